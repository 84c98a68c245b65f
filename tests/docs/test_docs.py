"""The documentation is right: its command reference is the commands' help, its links work."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
import pytest

from dataflow_runtime.cli import cli
from dataflow_runtime.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMANDS = DOCS / "reference" / "commands.md"
START, END = (
    "<!-- generated from the commands: UPDATE_DOCS=1 pytest tests/docs/test_docs.py -->\n",
    "<!-- end -->\n",
)


def commands(group: click.Group, parent: click.Context) -> list[tuple[str, str]]:
    """Return each command's path and help, groups followed by what is in them."""
    found = []
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(
            command, parent=parent, info_name=name, terminal_width=100, max_content_width=100
        )
        found.append((context.command_path, command.get_help(context)))
        if isinstance(command, click.Group):
            found += commands(command, context)
    return found


def reference() -> str:
    root = click.Context(
        cli, info_name="dataflow-runtime", terminal_width=100, max_content_width=100
    )
    return "".join(f"### {path}\n\n```text\n{text}\n```\n\n" for path, text in commands(cli, root))


def test_the_command_reference_is_the_help_of_the_commands() -> None:
    before, _, rest = COMMANDS.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    expected = f"{before}{START}\n{reference()}{END}{after}"
    if os.environ.get("UPDATE_DOCS"):
        COMMANDS.write_text(expected, encoding="utf-8")
    assert COMMANDS.read_text(encoding="utf-8") == expected


def test_every_setting_is_documented() -> None:
    text = COMMANDS.read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"`DATAFLOW_{name.upper()}`" not in text]
    assert not missing


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_code_can_be_copied(page: Path) -> None:
    """Every block says its language, and no command has a prompt before it."""
    fences = re.findall(
        r"^( *)```(.*)\n(.*?)^\1```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert [body for _, language, body in fences if not language] == []
    assert [body for _, _, body in fences if re.search(r"^ *\$ ", body, re.MULTILINE)] == []


def test_the_readme_speaks_of_one_workflow() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tour = text.partition("## One for yourself")[2].partition("## Why this")[0]
    assert set(re.findall(r"(?<!@)\b\w+_workflow\b", tour)) == {"my_workflow"}


def test_every_key_of_the_json_is_documented() -> None:
    from dataflow_runtime.cli.doctor import Finding
    from dataflow_runtime.orchestration.listing import ListedWorkflow
    from dataflow_runtime.orchestration.report import RunReport
    from dataflow_runtime.workflows.loading import BrokenWorkflow

    text = COMMANDS.read_text(encoding="utf-8").partition("## JSON")[2].partition("## Env")[0]
    names = [*Finding._fields]
    for shape in (BrokenWorkflow, ListedWorkflow, RunReport):
        names += shape.__dataclass_fields__
    names.remove("installed")  # its name is listed, its own fields are not
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []
