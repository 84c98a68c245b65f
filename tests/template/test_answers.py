"""Which answers are refused, for which reason; accepted ones are rendered unchanged everywhere."""

import ast
import itertools
import keyword
import re
import sys
import tomllib
import zoneinfo
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from dataflow_runtime.dashboards.model import RESERVED

Render = Callable[..., Path]

WORKFLOW_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def read_yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def read_names(root: Path, name: str) -> set[str]:
    return set((root / "template" / "_lists" / name).read_text().split())


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("daily_orders", "daily_orders"),
        ("daily-orders", "daily_orders"),
        ("Daily Orders", "daily_orders"),
        ("dailyOrders", "daily_orders"),
        ("--daily__orders--", "daily_orders"),
        ("2024-orders", "workflow_2024_orders"),
        ("日本", "my_workflow"),
    ],
)
def test_the_name_comes_from_the_folder(
    render: Render, tmp_path: Path, folder: str, name: str
) -> None:
    workflow = render(tmp_path / folder)
    assert (workflow / "src" / name / "dagster_job.py").is_file()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "",
            "at most 40 lower-case letters, digits and single underscores, starting with a letter",
        ),
        ("Orders", '"Orders" is not a workflow name'),
        ("2orders", "is not a workflow name"),
        ("_orders", "is not a workflow name"),
        ("orders_", "is not a workflow name"),
        ("daily__orders", "is not a workflow name"),
        ("daily-orders", "is not a workflow name"),
        ("orders\n", "is not a workflow name"),
        ("../orders", "is not a workflow name"),
        ("C:\\orders", "is not a workflow name"),
        ("{{ 7 * 7 }}", "is not a workflow name"),
        ("örders", "is not a workflow name"),
        ("o" * 41, "at most 40"),
        (
            "lambda",
            "'lambda' is taken: it is a Python keyword, a module of the standard library, "
            "a package",
        ),
        ("json", "choose another name, such as 'json_workflow'"),
        ("dagster", "'dagster' is taken"),
        ("dataflow_runtime", "'dataflow_runtime' is taken"),
        ("tests", "'tests' is taken"),
        ("settings", "'settings' is taken"),
    ],
)
def test_a_bad_name_is_refused_with_the_reason(
    render: Render, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(ValueError, match="workflow_name") as refused:
        render(tmp_path / "workflow", workflow_name=name)
    assert reason in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "workflow").exists()


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("description", "", "expected one line of 1 to 200 printable characters, found 0"),
        ("description", "   ", "expected one line of 1 to 200"),
        ("description", "x" * 300, "found 300"),
        ("description", "one\ntwo", "line breaks, control or invisible ones among them"),
        ("description", "zero\u200bwidth", "invisible ones among them"),
        ("description", "right\u202eleft", "invisible ones among them"),
        ("owner", "x" * 81, "expected one line of 1 to 80 printable characters, found 81"),
        ("owner", "one\r\ntwo", "line breaks"),
        ("schedule", "hourly", "expected a cron expression of 5 fields"),
        ("schedule", "* * * *", "such as '0 6 * * 1-5', or nothing"),
        ("schedule", "* * * * * *", "expected a cron expression of 5 fields"),
        (
            "schedule",
            "60 * * * *",
            'field 1 of the cron expression is "60", which is no minute (0-59)',
        ),
        ("schedule", "0 24 * * *", "no hour (0-23)"),
        ("schedule", "0 0 0 * *", "no day of month (1-31)"),
        ("schedule", "0 0 * 13 *", "no month (1-12 or jan-dec)"),
        ("schedule", "0 0 * * 8", "no day of week (0-7 or sun-sat)"),
        ("schedule", "*/0 * * * *", "field 1"),
        ("schedule", "0 18-6 * * *", "the range 18-6, which ends before it begins"),
        ("schedule", '0 0 * * *"', "field 5"),
        (
            "timezone",
            "Mars/Olympus",
            '"Mars/Olympus" is not a time zone: allowed are UTC and the names',
        ),
        ("timezone", "europe/berlin", "such as 'Europe/Berlin'"),
        ("timezone", "", "is not a time zone"),
        ("source_type", "ftp", "is not in ['mock', 'file', 'api', 'database']"),
        ("warehouse", "oracle", "is not in ['duckdb', 'postgres']"),
        ("runtime_source", "moon", "is not in ['template', 'index']"),
    ],
)
def test_a_bad_answer_is_refused_with_the_reason(
    render: Render, tmp_path: Path, question: str, answer: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=question) as refused:
        render(tmp_path / "workflow", **{question: answer})
    assert reason in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "* * * * *",
        "*/15 0-6,18-23 1,15 jan-jun MON-fri",
        "5 4 * * 7",
        "0 0 29 2 *",
        "0 0-23/2 1-31/7 * *",
    ],
)
@pytest.mark.parametrize("timezone", ["America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_a_schedule_arrives_in_the_config(
    render: Render, tmp_path: Path, schedule: str, timezone: str
) -> None:
    workflow = render(tmp_path / "orders", schedule=schedule, timezone=timezone)
    config = read_yaml(workflow / "src" / "orders" / "config.yaml")
    assert config["schedule"] == {"cron": schedule or None, "timezone": timezone}


@pytest.mark.parametrize(
    "text",
    [
        'She said "no"',
        "it's",
        "both ' and \"",
        "C:\\new\\table",
        "{{ 7 * 7 }} {% raw %} {# #}",
        "key: [value, *alias] # comment",
        "- !!python/object/apply:os.system",
        "${HOME} $(id) `id`",
        "<script>alert(1)</script> & more",
        "null",
        "2024-01-01",
        "Zürich 日本 😀",
        " spaces around ",
        '"""',
        "x" * 80,
    ],
)
def test_free_text_arrives_as_it_is(render: Render, tmp_path: Path, text: str) -> None:
    workflow = render(tmp_path / "orders", description=text, owner=text)

    answers = read_yaml(workflow / ".copier-answers.yml")
    assert (answers["description"], answers["owner"]) == (text, text)
    project = tomllib.loads((workflow / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["description"], project["authors"]) == (text, [{"name": text}])
    metadata = registered_metadata(workflow / "src" / "orders" / "dagster_job.py")
    assert (metadata["description"], metadata["owner"]) == (text, text)
    line = (workflow / "README.md").read_text(encoding="utf-8").splitlines()[2]
    assert re.sub(r"\\([^\w\s])", r"\1", line) == re.sub(r"\\([^\w\s])", r"\1", text)


def registered_metadata(module: Path) -> dict[str, Any]:
    """Return the metadata as static discovery sees it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "metadata":
            metadata: dict[str, Any] = ast.literal_eval(node.value)
            return metadata
    raise AssertionError(f"{module} registers no metadata")


def test_markdown_in_free_text_stays_text(render: Render, tmp_path: Path) -> None:
    readme = (
        render(tmp_path / "orders", description="<b>*bold*</b> [x](y)") / "README.md"
    ).read_text()
    assert r"\<b\>\*bold\*\</b\> \[x\](y)" in readme


def test_the_names_of_what_is_installed_beside_a_workflow_are_taken(root: Path) -> None:
    taken = read_names(root, "reserved_names.txt")
    assert {name for name in keyword.kwlist if WORKFLOW_NAME.fullmatch(name)} <= taken
    assert {name for name in sys.stdlib_module_names if WORKFLOW_NAME.fullmatch(name)} <= taken

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    requirements = [
        *project["dependencies"],
        *itertools.chain(*project["optional-dependencies"].values()),
    ]
    required = {canonicalize_name(Requirement(requirement).name) for requirement in requirements}
    for module, distributions in packages_distributions().items():
        if WORKFLOW_NAME.fullmatch(module) and required & {
            canonicalize_name(name) for name in distributions
        }:
            assert module in taken, f"add {module!r} to template/_lists/reserved_names.txt"


def test_names_that_the_dashboards_refuse_are_taken(root: Path) -> None:
    taken = read_names(root, "reserved_names.txt")
    assert {name for name in RESERVED if WORKFLOW_NAME.fullmatch(name)} <= taken


def test_the_time_zones_are_those_of_the_database(root: Path) -> None:
    zones = read_names(root, "time_zones.txt")
    known = zoneinfo.available_timezones() - {"localtime", "Factory", "posixrules"}
    assert "UTC" in zones
    # The database gains and loses a zone or two a year.
    assert len(zones ^ known) <= 20, (
        f"refresh template/_lists/time_zones.txt: {sorted(zones ^ known)}"
    )


def test_the_reference_shows_what_a_bad_answer_prints(render: Render, tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "template.md"
    with pytest.raises(ValueError, match="Validation error") as raised:
        render(tmp_path / "wf", schedule="often")
    assert f"ValueError: {raised.value}" in page.read_text(encoding="utf-8")
