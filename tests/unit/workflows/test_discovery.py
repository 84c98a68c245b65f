from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.errors import FailureKind, UnknownWorkflowError
from dataflow_runtime.workflows import discovery
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflow, find_workflows

HEAVY = ["dagster", "polars", "dlt", "dbt", "duckdb", "pydantic", "fastapi", "ruamel"]
JOB = """
from dagster import job
from dataflow_runtime import register_workflow

@register_workflow(name={name!r}, metadata={{"owner": "me"}})
@job
def a_job(): ...
"""


def found(name: str) -> InstalledWorkflow:
    (workflow,) = (workflow for workflow in find_workflows() if workflow.name == name)
    return workflow


def test_reads_the_metadata_of_a_package(site: Any) -> None:
    folder = site.install("good", version="2.1")
    workflow = found("good")
    assert workflow == find_workflow("good")
    assert (workflow.package, workflow.version, workflow.module) == (
        "good",
        "2.1",
        "good.dagster_job",
    )
    assert workflow.file == folder / "dagster_job.py"
    assert workflow.line == 10
    assert workflow.metadata == {
        "description": "Does its work",
        "owner": "data-team",
        "schedule": "0 3 * * *",
        "tags": ["fixture", "nightly"],
        "runbook": "on the wall",
    }
    assert workflow.config_file == folder / "config.yaml"
    assert workflow.error is None
    assert workflow.place == f"{folder / 'dagster_job.py'}:10 (good 2.1)"


def test_imports_nothing(site: Any) -> None:
    site.install(
        "good",
        "import_error",
        "sys_exit",
        "registers_nothing",
        "in_namespace",
        "two_in_one",
        "not_literal",
    )
    printed = site.python(
        "import sys, json\n"
        "from dataflow_runtime.orchestration.listing import list_workflows\n"
        "names = [workflow.name for workflow in list_workflows()]\n"
        "print(json.dumps([names, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    names, modules = json.loads(printed)
    expected = {
        "good",
        "import_error",
        "sys_exit",
        "registers_nothing",
        "weather",
        "north",
        "south",
        "not_literal",
    }
    assert expected <= set(names)
    assert not set(modules) & {*HEAVY, *site.top_levels}


def test_listing_by_the_command_line_imports_nothing_heavy(site: Any) -> None:
    site.install("good", "two_in_one")
    printed = site.python(
        "import sys, click\n"
        "from dataflow_runtime.cli import cli\n"
        "cli.main(['list', '--json'], standalone_mode=False)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        f"unwanted = set({[*HEAVY, 'good', 'two_in_one']!r})\n"
        "found = {name.split('.')[0] for name in sys.modules} & unwanted\n"
        "assert not found, found"
    )
    assert {"good", "north", "south"} <= {entry["name"] for entry in json.loads(printed)}


def test_two_workflows_in_one_module(site: Any) -> None:
    folder = site.install("two_in_one")
    north, south = found("north"), found("south")
    assert (north.file, north.line) == (folder / "jobs.py", 10)
    assert (south.file, south.line) == (folder / "jobs.py", 16)
    assert north.metadata == {"description": "Goes north", "owner": "explorers"}
    assert north.error is south.error is None


def test_a_namespace_package(site: Any) -> None:
    site.install("in_namespace")
    weather = found("weather")
    assert weather.file == site.folder / "acme" / "pipelines" / "weather" / "dagster_job.py"
    assert weather.error is None


def test_two_distributions_share_a_namespace(site: Any) -> None:
    site.install("in_namespace")
    site.write(
        "in_namespace_too",
        {"acme/pipelines/tides/job.py": JOB.format(name="tides")},
        {"tides": "acme.pipelines.tides.job"},
    )
    assert found("weather").error is found("tides").error is None
    assert found("tides").package == "in_namespace_too"


def test_an_editable_install_through_a_pth_file(site: Any, tmp_path: Path) -> None:
    source = tmp_path / "checkout" / "src"
    (source / "checked_out").mkdir(parents=True)
    (source / "checked_out" / "job.py").write_text(JOB.format(name="checked_out"))
    site.write("checked_out", {}, {"checked_out": "checked_out.job"})
    (site.folder / "checked_out.pth").write_text(f"{source}\n")
    printed = site.python(
        f"import site; site.addsitedir({str(site.folder)!r})\n"
        "from dataflow_runtime.workflows.discovery import find_workflow\n"
        "workflow = find_workflow('checked_out'); print(workflow.file, workflow.error)"
    )
    assert printed.split() == [str(source / "checked_out" / "job.py"), "None"]


def test_a_zip_on_the_path(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "zipped.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped/__init__.py", "")
        file.writestr("zipped/job.py", JOB.format(name="zipped"))
        file.writestr(
            "zipped-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: zipped\nVersion: 1.0\n"
        )
        file.writestr(
            "zipped-1.0.dist-info/entry_points.txt", "[dataflow.workflows]\nzipped = zipped.job\n"
        )
    monkeypatch.syspath_prepend(archive)
    workflow = found("zipped")
    assert workflow.file == archive / "zipped" / "job.py"
    assert (workflow.metadata, workflow.error) == ({"owner": "me"}, None)


def test_arguments_that_are_not_literals_are_unknown_not_wrong(site: Any) -> None:
    site.install("not_literal")
    workflow = found("not_literal")
    assert (workflow.metadata, workflow.error) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("name=NAME, metadata={}", "advertised"),
        ("**ARGUMENTS", "advertised"),
        ("name='advertised', **ARGUMENTS", "advertised"),
        ("name='advertised', metadata={'owner': OWNER}", "advertised"),
        ("name='advertised', metadata=f'{x}'", "advertised"),
        ("name='registered', metadata={**MORE}", "registered"),
    ],
)
def test_what_is_computed_is_unknown(site: Any, arguments: str, name: str) -> None:
    site.write(
        "computed",
        {"computed/job.py": f"register_workflow({arguments})(job)"},
        {"advertised": "computed.job"},
    )
    workflow = found(name)
    assert workflow.error is None
    assert workflow.metadata in (None, {})


def test_the_registered_name_wins_over_the_entry_points(site: Any) -> None:
    site.write(
        "other", {"other/job.py": JOB.format(name="registered")}, {"advertised": "other.job"}
    )
    assert found("registered").entry_point == "advertised"
    assert "advertised" not in {workflow.name for workflow in find_workflows()}


def test_registered_by_attribute(site: Any) -> None:
    site.write(
        "attribute",
        {
            "attribute/job.py": (
                "import dataflow_runtime as d\nd.register_workflow(name='attribute')(1)"
            )
        },
        {"attribute": "attribute.job"},
    )
    assert (found("attribute").line, found("attribute").metadata) == (2, {})


def test_a_module_that_does_not_exist(site: Any) -> None:
    site.install("missing_module")
    workflow = found("missing_module")
    assert workflow.file is None
    assert workflow.error == "module 'missing_module.gone' of the entry point does not exist"


def test_a_package_that_does_not_exist(site: Any) -> None:
    site.write("gone", {}, {"gone": "gone_altogether.deep.job"})
    assert "'gone_altogether.deep.job' of the entry point does not exist" in str(
        found("gone").error
    )


def test_a_syntax_error_has_its_line(site: Any) -> None:
    site.write("unwritten", {"unwritten/job.py": "x = 1\ndef (:\n"}, {"unwritten": "unwritten.job"})
    workflow = found("unwritten")
    assert workflow.line == 2
    assert str(workflow.error).startswith("SyntaxError: ")


def test_a_name_that_is_claimed_twice_names_the_other(site: Any) -> None:
    site.install("claims_twice_a", "claims_twice_b")
    first, second = (workflow for workflow in find_workflows() if workflow.name == "twice")
    assert first.package == "claims_twice_a"
    assert first.error == f"the name is also claimed by {second.place}"
    assert second.error == f"the name is also claimed by {first.place}"
    assert "(claims_twice_b 1.0)" in first.error


def test_an_entry_point_whose_module_registers_others(site: Any) -> None:
    site.write(
        "one", {"one/job.py": JOB.format(name="one")}, {"one": "one.job", "phantom": "one.job"}
    )
    assert found("one").error is None
    assert found("phantom").error == "module 'one.job' registers no workflow of this name"


@pytest.mark.parametrize(
    "source",
    [
        "raise SystemExit(3)\n",
        "while True: pass\n",
        "import os; os.kill(os.getpid(), 9)\n",
        "import os; os._exit(3)\n",
        "import sys; sys.setrecursionlimit(10); sys.modules.clear()\n",
    ],
)
def test_hostile_modules_are_read_not_run(site: Any, source: str) -> None:
    code = source + JOB.format(name="hostile")
    site.write(
        "hostile",
        {"hostile/__init__.py": source, "hostile/job.py": code},
        {"hostile": "hostile.job"},
    )
    workflow = found("hostile")
    assert (workflow.metadata, workflow.error) == ({"owner": "me"}, None)


@pytest.mark.parametrize(
    "source",
    [
        b"\xff\xfe\x00nonsense",
        b"# coding: no-such-codec\nx = 1\n",
        b"x = '\x00'\n",
        b"x = " + b"(" * 5_000,
        b"x = " + b"-" * 100_000 + b"1",
        b"x = " + b"a." * 100_000 + b"a",
        b"x = " + b"+".join([b"1"] * 100_000),
        b"register_workflow(name='unreadable', metadata=" + b"-" * 50_000 + b"1)",
    ],
    ids=[
        "not utf-8",
        "codec",
        "null byte",
        "brackets",
        "minus signs",
        "attributes",
        "sum",
        "metadata",
    ],
)
def test_source_that_cannot_be_parsed_is_broken_and_harms_no_other(
    site: Any, source: bytes
) -> None:
    site.install("good")
    site.write("unreadable", {"unreadable/job.py": ""}, {"unreadable": "unreadable.job"})
    (site.folder / "unreadable" / "job.py").write_bytes(source)
    workflow = found("unreadable")
    assert workflow.metadata is None
    assert found("good").error is None


@pytest.mark.parametrize(
    "entry_points",
    [
        "[dataflow.workflows]\nodd\n",
        "[dataflow.workflows]\nodd = ???\n",
        "[dataflow.workflows]\nodd = \n",
        "[dataflow.workflows]\nodd = .\n",
        "[dataflow.workflows]\nodd = odd..job\n",
    ],
)
def test_a_damaged_entry_points_file_breaks_only_its_workflow(site: Any, entry_points: str) -> None:
    site.install("good")
    site.write("odd", {}, {})
    (site.folder / "odd-1.0.dist-info" / "entry_points.txt").write_text(entry_points)
    good, odd = find_workflows()
    assert (good.name, good.error) == ("good", None)
    assert (odd.name, odd.error_kind) == ("odd", FailureKind.MISSING)
    assert odd.error


@pytest.mark.parametrize(
    "entry_points",
    ["odd = odd.job\n[dataflow.workflows]\n", "[dataflow.workflows\nodd = odd.job\n"],
)
def test_an_entry_point_outside_the_group_is_ignored(site: Any, entry_points: str) -> None:
    site.install("good")
    site.write("odd", {}, {})
    (site.folder / "odd-1.0.dist-info" / "entry_points.txt").write_text(entry_points)
    assert [(workflow.name, workflow.error) for workflow in find_workflows()] == [("good", None)]


@pytest.mark.parametrize("imported", ["importlib.metadata", "importlib_metadata"])
def test_a_distribution_without_metadata_harms_no_other(site: Any, imported: str) -> None:
    # In a process of its own: once it is imported, the backport replaces the standard library's.
    site.install("good")
    site.write("nameless", {"nameless/job.py": JOB.format(name="other")}, {"other": "nameless.job"})
    (site.folder / "nameless-1.0.dist-info" / "METADATA").unlink()
    found = site.python(
        f"import {imported}\n"
        "from dataflow_runtime.workflows.discovery import find_workflows\n"
        "print([(workflow.name, workflow.package) for workflow in find_workflows()])\n"
    )
    assert found.strip() == "[('good', 'good'), ('other', '?')]"


def test_an_unknown_name_suggests_the_closest(site: Any) -> None:
    site.install("good")
    with pytest.raises(UnknownWorkflowError, match="unknown workflow 'goood'") as raised:
        find_workflow("goood")
    assert raised.value.hint == "did you mean 'good'?"
    assert raised.value.exit_code == 2


def test_a_package_that_an_earlier_folder_shadows_counts_once(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("good")
    shadow = tmp_path / "shadow"
    (shadow / "good-0.1.dist-info").mkdir(parents=True)
    (shadow / "good-0.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: good\nVersion: 0.1\n"
    )
    (shadow / "good-0.1.dist-info" / "entry_points.txt").write_text(
        "[dataflow.workflows]\ngood = good.dagster_job\n"
    )
    monkeypatch.syspath_prepend(shadow)
    assert found("good").version == "0.1"


def test_what_changes_is_found_again_and_nothing_else_is_read_twice(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = site.install("good")
    assert find_workflow("good").metadata["owner"] == "data-team"
    reads = []
    monkeypatch.setattr(discovery, "_find", lambda: reads.append(1) or [])
    find_workflow("good")
    assert reads == []
    monkeypatch.undo()
    monkeypatch.syspath_prepend(site.folder)
    job = folder / "dagster_job.py"
    job.write_text(job.read_text().replace("data-team", "new-owners"))
    assert find_workflow("good").metadata["owner"] == "new-owners"
    site.install("orders")
    assert find_workflow("orders").package == "orders"
