"""``check``, the whole code location and what happens to them where a package is broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.orchestration.check import CheckResult, check_workflows

JOB = """
from dagster import job, op, asset, define_asset_job
from dataflow_runtime import register_workflow

@op
def {op}(): ...

@register_workflow(name="{name}")
@job
def {job}():
    {op}()

{more}
"""
CONFIG = "source: { type: mock }\n"


def add(
    site: Any, name: str, *, job: str, op: str = "an_op", more: str = "", config: str = CONFIG
) -> None:
    code = JOB.format(name=name, job=job, op=op, more=more)
    site.write(name, {f"{name}/job.py": code, f"{name}/config.yaml": config}, {name: f"{name}.job"})


def check(*names: str) -> dict[str, CheckResult]:
    return {result.name: result for result in check_workflows(names)}


@pytest.mark.e2e
def test_each_broken_package_is_named_with_version_file_line_and_reason(site: Any) -> None:
    packages = [
        "import_error",
        "sys_exit",
        "registers_nothing",
        "missing_module",
        "bad_config",
        "bad_metadata",
    ]
    good = ["good", "orders", "not_literal", "prints_on_import", "in_namespace", "two_in_one"]
    site.install(*packages, *good, "claims_twice_a", "claims_twice_b", version="3.4")
    unwritten = {"unwritten/job.py": "x = 1\ndef (:\n", "unwritten/config.yaml": CONFIG}
    site.write("unwritten", unwritten, {"unwritten": "unwritten.job"}, version="3.4")
    outcome = site.run("check", "--json")
    assert outcome.returncode == 1, outcome.stderr
    found = json.loads(outcome.stdout)
    results = {
        result["name"]: result
        for result in found
        if result["package"] in [*packages, *good, "unwritten"]
    }
    folder = site.folder
    expected = {
        "import_error": (
            "import",
            folder / "import_error" / "dagster_job.py",
            1,
            "a_module_that_is_not_installed",
        ),
        "sys_exit": (
            "exit",
            folder / "sys_exit" / "dagster_job.py",
            18,
            "SystemExit: no licence for this machine",
        ),
        "registers_nothing": (
            "unregistered",
            folder / "registers_nothing" / "dagster_job.py",
            None,
            "no workflow",
        ),
        "missing_module": (
            "missing",
            None,
            None,
            "module 'missing_module.gone' of the entry point does not exist",
        ),
        "bad_config": ("config", folder / "bad_config" / "config.yaml", 6, "primary_kee"),
        "bad_metadata": (
            "import",
            folder / "bad_metadata" / "dagster_job.py",
            10,
            "metadata 'owner': expected a string",
        ),
        "unwritten": ("import", folder / "unwritten" / "job.py", 2, "SyntaxError: "),
    }
    for name, (kind, file, line, reason) in expected.items():
        result = results.pop(name)
        assert (result["status"], result["version"]) == ("broken", "3.4")
        (problem,) = result["problems"]
        assert problem["kind"] == kind, problem
        assert problem["file"] == (str(file) if file else None)
        assert problem["line"] == line
        assert reason in problem["message"]
    assert {name: result["problems"] for name, result in results.items()} == {
        name: []
        for name in (
            "good",
            "orders",
            "not_literal",
            "prints_on_import",
            "weather",
            "north",
            "south",
        )
    }
    twice = [result for result in found if result["name"] == "twice"]
    assert [result["package"] for result in twice] == ["claims_twice_a", "claims_twice_b"]
    assert ["claims_twice_b 3.4" in twice[0]["problems"][0]["message"]] == [True]

    plain = site.run("check", "import_error", "good")
    assert plain.returncode == 1
    assert "import_error (import_error 3.4)" in plain.stdout
    assert f"{folder / 'import_error' / 'dagster_job.py'}:1: ModuleNotFoundError" in plain.stdout
    assert site.run("check", "good").returncode == 0


@pytest.mark.e2e
def test_the_code_location_holds_the_good_ones(site: Any) -> None:
    site.install(
        "good",
        "import_error",
        "sys_exit",
        "bad_config",
        "claims_twice_a",
        "claims_twice_b",
        "prints_on_import",
    )
    site.write("unwritten", {"unwritten/job.py": "def (:\n"}, {"unwritten": "unwritten.job"})
    site.python(
        "import subprocess, sys\n"
        "sys.exit(subprocess.run([sys.executable, '-m', 'dagster', 'definitions', 'validate',"
        " '-m', 'dataflow_runtime.dagster_repo']).returncode)",
        DAGSTER_HOME=str(site.folder.parent),
    )
    printed = site.python(
        "from dataflow_runtime.dagster_repo import defs\nprint([job.name for job in defs.resolve_all_job_defs()])"
    )
    assert "'good_job'" in printed
    assert "prints_on_import_job" in printed
    assert "twice_job" not in printed
    narrowed = site.python(
        "from dataflow_runtime.dagster_repo import defs\nprint([job.name for job in defs.resolve_all_job_defs()])",
        DATAFLOW_WORKFLOWS="good",
    )
    assert "good_job" in narrowed
    assert "prints_on_import_job" not in narrowed


def test_what_a_workflow_brings_to_dagster(site: Any) -> None:
    from dataflow_runtime.orchestration.definitions import build_definitions

    site.install("good", "shipments")
    definitions = build_definitions(["good", "shipments"])
    repository = definitions.get_repository_def()
    assert {"good_job", "shipments_job"} <= {job.name for job in definitions.resolve_all_job_defs()}
    schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
    assert schedules["good_schedule"].cron_schedule == "0 3 * * *"
    assert schedules["shipments_schedule"].cron_schedule == "@daily"
    assert schedules["shipments_schedule"].execution_timezone == "Europe/Berlin"
    keys = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    assert keys == {
        "shipments/raw/shipments",
        "shipments/raw/shipments_rejected",
        "shipments/stg_shipments",
    }
    parents = repository.asset_graph.get(
        next(
            k for k in repository.asset_graph.get_all_asset_keys() if k.path[-1] == "stg_shipments"
        )
    )
    assert {key.to_user_string() for key in parents.parent_keys} == {"shipments/raw/shipments"}


def test_one_job_name_in_two_packages_names_both(site: Any) -> None:
    add(site, "first", job="the_job", op="op_a")
    add(site, "second", job="the_job", op="op_b")
    results = check("first", "second")
    assert results["first"].problems == []
    (problem,) = results["second"].problems
    assert "job 'the_job' is also defined by " in problem.message
    assert "(first 1.0)" in problem.message
    assert problem.file == str(site.folder / "second" / "job.py")


def test_one_asset_key_in_two_packages_names_both(site: Any) -> None:
    more = "@asset\ndef the_table(): ...\n"
    add(site, "first", job="job_a", op="op_a", more=more)
    add(site, "second", job="job_b", op="op_b", more=more)
    results = check("first", "second")
    assert results["first"].problems == []
    assert "asset 'the_table' is also defined by " in results["second"].problems[0].message


def test_one_op_name_in_two_packages_names_both(site: Any) -> None:
    add(site, "first", job="job_a")
    add(site, "second", job="job_b")
    results = check("first", "second")
    assert results["first"].problems == []
    (problem,) = results["second"].problems
    assert problem.message.startswith("op 'an_op' is also defined by ")
    assert "(first 1.0)" in problem.message


def test_what_cannot_be_resolved_is_the_workflows_own_problem(site: Any) -> None:
    add(
        site,
        "first",
        job="job_a",
        op="op_a",
        more="@asset(required_resource_keys={'no_such'})\ndef lost(): ...\n",
    )
    add(site, "second", job="job_b", op="op_b")
    results = check("first", "second")
    assert results["second"].problems == []
    assert "no_such" in results["first"].problems[0].message


def test_what_stands_in_a_module_belongs_to_each_of_its_workflows(site: Any) -> None:
    folder = site.install("two_in_one")
    with (folder / "jobs.py").open("a") as file:
        file.write(
            "\nimport dagster as dg\n\n@dg.asset\ndef shared() -> None: ...\n\n"
            "nightly = dg.ScheduleDefinition(name='nightly', job=north_job, cron_schedule='0 0 * * *')\n"
        )
    results = check("north", "south")
    assert results["north"].problems == results["south"].problems == []
    from dataflow_runtime.orchestration.definitions import build_definitions

    repository = build_definitions(["north", "south"]).get_repository_def()
    assert [schedule.name for schedule in repository.schedule_defs] == ["nightly"]
    assert {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()} == {
        "shared"
    }


@pytest.mark.parametrize(
    "registered",
    [
        "42",
        "'job'",
        "lambda: None",
        "None",
        "dg.op(name='o')(lambda: None)",
        "dg.asset(name='a')(lambda: None)",
    ],
)
def test_what_is_registered_must_be_a_job(site: Any, registered: str) -> None:
    imports = "import dagster as dg\nfrom dataflow_runtime import register_workflow\n"
    code = f"{imports}register_workflow(name='odd')({registered})\n"
    site.write("odd", {"odd/job.py": code, "odd/config.yaml": CONFIG}, {"odd": "odd.job"})
    add(site, "first", job="first_job")
    results = check("odd", "first")
    assert results["first"].problems == []
    (problem,) = results["odd"].problems
    assert "expected a Dagster job or graph" in problem.message
    assert problem.file == str(site.folder / "odd" / "job.py")


def test_two_schedules_of_one_name_harm_no_other(site: Any) -> None:
    more = "import dagster as dg\ns = dg.ScheduleDefinition(name='nightly', job={job}, cron_schedule='0 0 * * *')\n"
    add(site, "first", job="job_a", op="op_a", more=more.format(job="job_a"))
    add(site, "second", job="job_b", op="op_b", more=more.format(job="job_b"))
    results = check("first", "second")
    assert results["first"].problems == []
    assert "'nightly'" in results["second"].problems[0].message


def test_a_bad_cron_of_the_decorator_is_that_workflows_problem(site: Any) -> None:
    code = JOB.format(name="first", job="job_a", op="op_a", more="").replace(
        'name="first"', 'name="first", metadata={"schedule": "every day"}'
    )
    site.write("first", {"first/job.py": code, "first/config.yaml": CONFIG}, {"first": "first.job"})
    add(site, "second", job="job_b", op="op_b")
    results = check("first", "second")
    assert results["second"].problems == []
    assert "every day" in results["first"].problems[0].message


def test_no_config_is_a_problem_with_the_file(site: Any) -> None:
    add(site, "first", job="job_a")
    (site.folder / "first" / "config.yaml").unlink()
    (problem,) = check("first")["first"].problems
    assert problem.kind == "config"
    assert problem.file == str(site.folder / "first" / "config.yaml")


def test_a_dbt_project_that_cannot_be_parsed(site: Any) -> None:
    folder = site.install("orders")
    (folder / "dbt" / "models" / "stg_orders.sql").write_text("select * from {{ ref('nowhere') }}")
    (problem,) = check("orders")["orders"].problems
    assert problem.kind == "dbt"
    assert "nowhere" in problem.message
    assert Path(str(problem.file)).is_relative_to(folder / "dbt")


def test_checking_leaves_other_modules_alone(site: Any) -> None:
    site.install("good", "orders")
    check("good")
    assert "orders.dagster_job" not in sys.modules
