"""What the shells complete, and that completing imports no workflow."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Command

RUNTIME = Path(sysconfig.get_path("scripts")) / "dataflow-runtime"
BASH = """
source {script}
complete -p dataflow-runtime
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_dataflow_runtime_completion {runtime}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("co", ["config", "completion"]),
        ("config ", ["list", "schema", "set", "show", "validate"]),
        ("run o", ["orders"]),
        ("check i", ["import_error"]),
        ("run orders --env s", ["strict"]),
        ("run import_error --env s", []),
        ("run orders --set processing.b", ["processing.batch_size="]),
        ("config set orders output.w", ["output.warehouse=", "output.write_disposition="]),
        ("run orders --pa", ["--partition"]),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_is_completed(
    site: Any,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    shell: str,
    words: str,
    expected: list[str],
) -> None:
    site.install("orders", "import_error")
    (site.folder / "orders" / "config.strict.yaml").write_text("{}\n")
    line = f"dataflow-runtime {words}"
    monkeypatch.setenv("_DATAFLOW_RUNTIME_COMPLETE", f"{shell}_complete")
    last = words.rpartition(" ")[2]
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", last if shell == "fish" else str(len(words.split(" "))))
    outcome = command()
    assert (outcome.code, outcome.stderr) == (0, "")
    lines = [line for line in outcome.stdout.splitlines() if line]
    if shell == "bash":
        found = [line.partition(",")[2] for line in lines]
    elif shell == "zsh":
        found = lines[1::3]
    else:
        found = [line.partition(",")[2].partition("\t")[0] for line in lines]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(command: Command, shell: str) -> None:
    outcome = command("completion", shell)
    assert outcome.code == 0
    assert "_DATAFLOW_RUNTIME_COMPLETE" in outcome.stdout


def test_bash_completes(site: Any, command: Command, tmp_path: Path) -> None:
    site.install("orders", "import_error")
    script = tmp_path / "completion.bash"
    script.write_text(command("completion", "bash").stdout)
    code = BASH.format(script=script, words="dataflow-runtime run o", runtime=RUNTIME)
    done = subprocess.run(
        ["bash", "-c", code], env=site.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "orders"
    assert done.stderr == ""
