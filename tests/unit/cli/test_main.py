"""How a command ends: exit code, one line and a hint, never a traceback, never a secret."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from dataflow_runtime import cli
from dataflow_runtime.cli import failures
from dataflow_runtime.config import config_manager
from dataflow_runtime.errors import DataflowError
from tests.unit.cli.conftest import Command

SECRET = "hunter2planted"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "orders", "--set", f"password:{SECRET}"),
        ("run", "orders", "--set", SECRET),
        ("run", "orders", "--set", f"password:{SECRET}=="),
        ("run", "orders", f"password={SECRET}"),
        ("run", "orders", f"password:{SECRET}"),
        ("config", "set", "orders", f"password:{SECRET}"),
        ("config", "set", "orders", f"source.api.url:https://u:{SECRET}@h/?a=b"),
        ("config", "show", "orders", "--set", f"password:{SECRET}"),
        ("config", "validate", "--set", f"={SECRET}"),
        ("workspace", "--python", f"orders:{SECRET}"),
    ],
)
def test_a_mistyped_assignment_is_not_repeated(
    site: Any, command: Command, arguments: tuple[str, ...]
) -> None:
    site.install("orders")
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.stderr.startswith("error: ")
    assert SECRET not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataflowError("it failed", hint="do this"), 1, "error: it failed\nhint: do this\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "/data/x: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/sys/x"), 1, "/sys/x: Permission"),
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "/a"), 1, "/a: Too many levels"),
        (ZeroDivisionError("division\nby zero"), 1, "ZeroDivisionError: division by zero ("),
        (RecursionError(), 1, "RecursionError"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_every_error_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setitem(cli.cli.commands, "fails", click.Command("fails", callback=fails))
    outcome = command("fails")
    assert outcome.code == code
    assert line in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) <= 2


@pytest.mark.parametrize("arguments", [("-v", "fails"), ("--verbose", "fails")])
def test_verbose_adds_the_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    def fails() -> None:
        raise DataflowError("it failed")

    monkeypatch.setitem(cli.cli.commands, "fails", click.Command("fails", callback=fails))
    outcome = command(*arguments)
    assert outcome.stderr.startswith("Traceback (most recent call last)")
    assert outcome.stderr.endswith("error: it failed\n")


def test_verbose_works_after_any_command(site: Any, command: Command) -> None:
    site.install("orders")
    for arguments in (("show", "odrers"), ("config", "show", "odrers"), ("run", "odrers")):
        assert "Traceback" in command(*arguments, "-v").stderr
        assert "Traceback" not in command(*arguments).stderr


@pytest.mark.parametrize("arguments", [("--version",), ("-V",), ("-v",)])
def test_the_version(command: Command, arguments: tuple[str, ...]) -> None:
    outcome = command(*arguments)
    assert (outcome.code, outcome.stdout) == (
        0,
        f"dataflow-runtime, version {cli.__version__}\n",
    )


def test_help_cuts_no_summary_and_gives_examples(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = command("--help").stdout
    assert "..." not in text.partition("[ARGS]...")[2]
    for name, one in cli.cli.commands.items():
        assert name in text
        if isinstance(one, click.Group):
            continue
        assert "dataflow-runtime" in command(name, "--help").stdout.partition("\n")[2], name
    lines = command("run", "--help").stdout.splitlines()
    assert max(len(line) for line in lines if "dataflow-runtime" not in line) <= 40


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("rnu", "orders"), "did you mean 'run'?"),
        (("config", "shwo"), "did you mean 'show'?"),
        (("list", "--jsno"), "--json"),
    ],
)
def test_misspelt_commands_and_options_get_a_suggestion(
    command: Command, arguments: tuple[str, ...], hint: str
) -> None:
    outcome = command(*arguments)
    assert outcome.code == 2
    assert hint in outcome.stderr


def test_a_dotenv_file_that_is_not_utf_8(site: Any, command: Command, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"NAME=caf\xe9\n")
    outcome = command("list")
    assert outcome.code == 2
    assert outcome.stderr.startswith("error: .env: byte 9 is not UTF-8\nhint: ")


@pytest.mark.parametrize("arguments", [("run", "orders"), ("check",), ("dbt", "orders"), ("dev",)])
def test_what_runs_need_is_named_with_the_extra_that_brings_it(
    site: Any, command: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    site.install("orders")
    requirements = failures.requirements("run")
    requirements[0].name = "a-package-that-is-not-installed"
    monkeypatch.setattr(failures, "requirements", lambda extra: requirements)
    outcome = command(*arguments)
    assert outcome.code == 1
    assert outcome.stderr == (
        "error: a-package-that-is-not-installed is not installed\n"
        'hint: pip install "dataflow-runtime[run]"\n'
    )


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("dagster", "run"),
        ("polars._something", "run"),
        ("copier", "fleet"),
        ("s3fs", "s3"),
        ("adbc_driver_postgresql.dbapi", "postgres"),
        ("dagster_k8s", "k8s"),
    ],
)
def test_a_module_that_is_missing_deep_below_names_its_extra(module: str, extra: str) -> None:
    error = failures.explained(ModuleNotFoundError("No module", name=module))
    assert error.hint == f'pip install "dataflow-runtime[{extra}]"'


def test_a_module_that_no_extra_brings_is_unexpected() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        import a_module_that_does_not_exist  # noqa: F401
    assert "a_module_that_does_not_exist" in failures.explained(caught.value).message


def test_config_set_leaves_an_installed_copy_alone(
    site: Any, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = site.install("orders")
    packages = tmp_path / "lib" / "site-packages"
    packages.parent.mkdir()
    site.folder.rename(packages)
    monkeypatch.syspath_prepend(packages)
    file = packages / folder.name / "config.yaml"
    before = file.read_text()
    outcome = command("config", "set", "orders", "processing.batch_size=7")
    assert outcome.code == 2
    assert "is an installed copy" in outcome.stderr
    assert file.read_text() == before
    assert command("config", "set", "orders", "processing.batch_size=7", "--installed").code == 0
    assert config_manager.load_config("orders").processing.batch_size == 7
    other = ("config", "set", "orders", "processing.batch_size=8", "--file", str(file))
    assert command(*other).code == 0


def test_nothing_heavy_is_imported_by_the_help() -> None:
    import subprocess

    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "import atexit\n"
        "heavy = {'dagster', 'polars', 'pydantic', 'rich', 'ruamel', 'packaging',"
        " 'importlib.metadata', 'asyncio'}\n"
        "atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules))))\n"
        "from dataflow_runtime.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n")
