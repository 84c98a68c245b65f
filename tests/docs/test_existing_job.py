"""docs/how-to/existing-job.md, followed to the letter for ten packages with the same ops."""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
import textwrap
import venv
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "existing-job.md").read_text(
    encoding="utf-8"
)
FILES = re.findall(r"^ *`([\w/.]+)`\n\n(?: *)```\w+\n(.*?)^ *```$", PAGE, re.M | re.S)
((_, COMMANDS),) = re.findall(r"^```(bash)\n(.*?)^```$", PAGE, re.M | re.S)
NAMES = [f"sales_{number}" for number in range(10)]

LISTED = """
import inspect
from dataflow_runtime import dagster_repo
for name, repository in inspect.getmembers(dagster_repo):
    jobs = sorted(job for job in repository.job_names if not job.startswith("__"))
    print(name, *jobs, *(schedule.name for schedule in repository.schedule_defs))
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of a new environment that sees the runtime of this one."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    (packages,) = environment.glob("lib/*/site-packages")
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (packages / "all.pth").write_text(line)
    return environment / "bin" / "python"


def test_the_page_works_for_ten_packages_side_by_side(
    site: Any, tmp_path: Path, python: Path
) -> None:
    assert [file for file, _ in FILES] == [
        "src/sales/dagster_job.py",
        "pyproject.toml",
        "src/sales/config.yaml",
    ]

    def follow(line: str, folder: Path) -> str:
        program, *arguments = shlex.split(line)
        if program == "pip":
            command = [python, "-m", "pip", *arguments, "--no-deps", "--quiet"]
            # The first is built as pip does it; the others with the hatchling of this environment.
            if folder.name != NAMES[0]:
                command.append("--no-build-isolation")
        else:
            assert program == "dataflow-runtime"
            start = "from dataflow_runtime.cli import main; main()"
            command = [python, "-P", "-c", start, *arguments]
        outcome = subprocess.run(
            command, cwd=folder, env=site.environ, capture_output=True, text=True, check=False
        )
        assert outcome.returncode == 0, (line, outcome.stdout, outcome.stderr)
        return outcome.stdout + outcome.stderr

    install, *others = COMMANDS.splitlines()
    for name in NAMES:
        for file, text in FILES:
            path = tmp_path / name / file.replace("sales", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(re.sub(r"\bsales(?=\b|_job)", name, textwrap.dedent(text)))
        (tmp_path / name / "src" / name / "__init__.py").touch()
        follow(install, tmp_path / name)

    listed = follow(others[0], tmp_path)
    assert all(re.search(rf"^{name} +1.0 +data-team +0 6 ", listed, re.M) for name in NAMES)
    for line in others[1:]:
        for name in (NAMES[0], NAMES[-1]):
            printed = follow(line.replace("sales", name), tmp_path)
            if line == "dataflow-runtime run sales":
                assert "total 7" in printed
                assert re.search(r"status +success", printed)
                assert "rows" not in printed, "counts of rows are not made up"
    outcome = subprocess.run(
        [python, "-c", LISTED], env=site.environ, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert [f"{name} {name}_job {name}_schedule" for name in NAMES] == [
        line for line in outcome.stdout.splitlines() if line.startswith("sales")
    ]
