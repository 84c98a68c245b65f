"""Ends a command that failed: one line, a hint, an exit code; a traceback with ``--verbose``."""

from __future__ import annotations

import re
import sys
import textwrap
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_runtime.cli.output import clean, echo, print_error
from dataflow_runtime.errors import DataflowError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def require(extra: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Raises:
        DataflowError: One is not; the hint says how to install it.
    """
    from importlib import metadata

    for package in requirements(extra):
        try:
            metadata.version(package.name)
        except metadata.PackageNotFoundError:
            raise _missing(package.name, extra) from None


def requirements(extra: str) -> list[Requirement]:
    """Return what an extra of the runtime brings, as its package says."""
    from importlib import metadata

    from packaging.requirements import Requirement

    found = map(Requirement, metadata.requires("dataflow-runtime") or ())
    return [one for one in found if one.marker and one.marker.evaluate({"extra": extra})]


def _missing(package: str, extra: str) -> DataflowError:
    hint = f'pip install "dataflow-runtime[{extra}]"'
    return DataflowError(f"{package} is not installed", hint=hint)


def _bringing(module: str) -> str | None:
    """Return the smallest extra that brings a module, None where no extra does."""
    from importlib import metadata

    extras = metadata.metadata("dataflow-runtime").get_all("Provides-Extra", [])
    brought = {extra: [one.name for one in requirements(extra)] for extra in extras}
    found = [extra for extra in extras if any(module in name for name in brought[extra])]
    return min(found, key=lambda extra: len(brought[extra]), default=None)


def end(error: BaseException, *, verbose: bool) -> int:
    """Print why a command ends, and return its exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        echo("interrupted", err=True)
        return 130
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = f"`{context.command_path} --help` shows the usage" if context else None
        print_error(_without_values(error.format_message()), hint)
        return error.exit_code
    from dataflow_runtime.config.secrets import mask

    if verbose:
        echo(clean(mask("".join(traceback.format_exception(error)).rstrip())), err=True)
    known = explained(error)
    print_error(mask(known.message), known.hint)
    return known.exit_code


def explained(error: BaseException) -> DataflowError:
    """Return an error as one line and a hint, also one that nothing below has foreseen."""
    if isinstance(error, DataflowError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0].replace("_", "-")
        extra = _bringing(module)
        if extra is not None:
            return _missing(module, extra)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        hint = "check this path: owner, permissions, links, free disk space"
        return DataflowError(f"{where}{error.strerror}", hint=hint)
    # Tools below write messages of many lines.
    message = textwrap.shorten(clean(str(error)), 400, placeholder=" …")
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    hint = "this is unexpected; `--verbose` shows the traceback"
    return DataflowError(f"{type(error).__name__}: {message} ({place})", hint=hint)


def _without_values(message: str) -> str:
    """Take the values of ``KEY=VALUE`` arguments out of a message of click: they may be secrets."""
    for argument in sys.argv[1:]:
        found = re.match(r"([^-=:][^=:]*)[=:].", argument)
        if found:
            message = message.replace(argument, f"{found[1]}…")
    return message
