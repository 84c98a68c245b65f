"""The commands of README and how-to guides run, and their configurations are valid."""

from __future__ import annotations

import re
import shutil
import sysconfig
import venv
from pathlib import Path

import copier
import pytest
from ruamel.yaml import YAML

from dataflow_runtime.config import WorkflowConfig
from tests.docs import pages
from tests.template import release

GUIDES = [pages.ROOT / "README.md", *sorted((pages.DOCS / "how-to").glob("*.md"))]
# Followed by tests of their own.
ELSEWHERE = {"existing-job.md": "test_existing_job.py"}
SECTIONS = set(WorkflowConfig.model_fields)
# What the pages install is there already: test_tutorial.py installs for real.
PRELUDE = "pip() { :; }\n"


def ids(page: Path) -> str:
    return page.relative_to(pages.ROOT).as_posix()


class Workspace:
    """A folder with the workflow `my_workflow`, installed as editable in its own environment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder / "work", folder / "environment"
        venv.create(self.environment)
        (packages,) = self.environment.glob("lib/*/site-packages")
        lines = [f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"]
        lines.append(str(self.folder / "my_workflow" / "src"))
        (packages / "all.pth").write_text("\n".join(lines))
        info = packages / "my_workflow-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-workflow\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(
            "[dataflow.workflows]\nmy_workflow = my_workflow.dagster_job\n"
        )
        for program, module in (("dataflow-runtime", "dataflow_runtime.cli"), ("pytest", "pytest")):
            script = self.environment / "bin" / program
            start = f"from {module} import main\nif __name__ == '__main__':\n    exit(main())\n"
            script.write_text(f"#!{self.environment / 'bin' / 'python'}\n{start}")
            script.chmod(0o755)
        self.template = release.copy_template(folder / "template")

    def fresh(self) -> Path:
        """Return the folder as it was at first."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / ".dataflow").mkdir(parents=True)
        copier.run_copy(str(self.template), self.folder / "my_workflow", defaults=True, quiet=True)
        return self.folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("guides"))


@pytest.mark.e2e
@pytest.mark.parametrize(
    "page",
    [page for page in GUIDES if page.name not in ELSEWHERE and pages.script(page)],
    ids=ids,
)
def test_the_commands_of_a_page_run(page: Path, workspace: Workspace, tmp_path: Path) -> None:
    folder = workspace.fresh()
    environ = pages.variables(tmp_path)
    environ["PATH"] = f"{workspace.environment / 'bin'}:{environ['PATH']}"
    pages.follow(page, folder, environ, PRELUDE)


@pytest.mark.parametrize("page", GUIDES, ids=ids)
def test_the_configurations_of_a_page_are_valid(page: Path) -> None:
    for block in pages.blocks(page):
        if block.language == "yaml" and not block.file:
            text = re.sub(r"\$\{[^}]*\}", "postgresql://user:password@host/name", block.text)
            config = YAML(typ="safe").load(text)
            if isinstance(config, dict) and set(config) <= SECTIONS:
                WorkflowConfig.model_validate({"source": {"type": "mock"}} | config)


def test_every_command_that_is_not_run_names_who_runs_it() -> None:
    for page in [*GUIDES, pages.DOCS / "tutorial.md"]:
        for block in pages.blocks(page):
            if block.reason and "tests/" in block.reason:
                (name,) = [word for word in block.reason.split() if word.startswith("tests/")]
                assert (pages.ROOT / name).exists(), block.reason
