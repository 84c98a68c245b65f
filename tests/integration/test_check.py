"""``check``, the whole code location and what happens to them where a package is broken."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dataflow_runtime.orchestration import check as checking
from dataflow_runtime.orchestration.check import CheckResult, check_workflows
from dataflow_runtime.orchestration.repositories import build_repositories
from tests.conftest import PACKAGES

ROOT = Path(__file__).parents[2]

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
def test_the_code_location_has_a_repository_for_each_workflow(site: Any) -> None:
    site.install("good", "import_error", "sys_exit", "bad_config", "prints_on_import")
    site.install("claims_twice_a", "claims_twice_b")
    site.write("unwritten", {"unwritten/job.py": "def (:\n"}, {"unwritten": "unwritten.job"})
    site.python(
        "import subprocess, sys\n"
        "sys.exit(subprocess.run([sys.executable, '-m', 'dagster', 'definitions', 'validate',"
        " '-m', 'dataflow_runtime.dagster_repo']).returncode)",
        DAGSTER_HOME=str(site.folder.parent),
    )
    listed = (
        "import inspect, dagster as dg\n"
        "from dataflow_runtime import dagster_repo\n"
        "for name, found in inspect.getmembers(dagster_repo):\n"
        "    jobs = [job for job in found.job_names if not job.startswith('__')]\n"
        "    keys = found.asset_graph.get_all_asset_keys()\n"
        "    print(found.name, jobs, [key.to_user_string() for key in keys])\n"
    )
    broken = ["bad_config", "import_error", "sys_exit", "twice", "unwritten"]
    lines = site.python(listed).splitlines()
    printed = [line for line in lines if not line.startswith(("dashboards", "hello"))]
    assert printed[0] == "bad_config [] ['bad_config/broken']"
    assert printed == sorted(
        [
            "good ['good_job'] []",
            "prints_on_import ['prints_on_import_job'] []",
            *(f"{name} [] ['{name}/broken']" for name in broken),
        ]
    )
    assert site.python(listed, DATAFLOW_WORKFLOWS="good") == "good ['good_job'] []\n"


def test_a_step_builds_the_repository_of_its_own_workflow_only(site: Any) -> None:
    site.install("good", "orders")
    printed = site.python(
        "import sys\nfrom dataflow_runtime.dagster_repo import good\n"
        "print(good.name, 'orders.dagster_job' in sys.modules)"
    )
    assert printed == "good False\n"


def test_what_a_workflow_brings_to_dagster(site: Any) -> None:
    site.install("good", "shipments")
    found, broken = build_repositories(["good", "shipments"])
    assert broken == []
    assert "good_job" in found["good"].job_names
    assert "shipments_job" in found["shipments"].job_names
    assert found["good"].get_schedule_def("good_schedule").cron_schedule == "0 3 * * *"
    schedule = found["shipments"].get_schedule_def("shipments_schedule")
    assert schedule.cron_schedule == "@daily"
    assert schedule.execution_timezone == "Europe/Berlin"
    graph = found["shipments"].asset_graph
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert keys == {
        "shipments/raw/shipments",
        "shipments/raw/shipments_rejected",
        "shipments/stg_shipments",
    }
    model = next(key for key in graph.get_all_asset_keys() if key.path[-1] == "stg_shipments")
    parents = {key.to_user_string() for key in graph.get(model).parent_keys}
    assert parents == {"shipments/raw/shipments"}


def test_names_of_ops_jobs_and_schedules_are_each_workflows_own(site: Any) -> None:
    schedule = (
        "import dagster as dg\n"
        "s = dg.ScheduleDefinition(name='nightly', job=the_job, cron_schedule='0 0 * * *')\n"
    )
    add(site, "first", job="the_job", more=schedule)
    add(site, "second", job="the_job", more=schedule)
    results = check("first", "second")
    assert results["first"].problems == results["second"].problems == []
    found, _ = build_repositories(["first", "second"])
    for repository in found.values():
        assert repository.has_job("the_job")
        assert [schedule.name for schedule in repository.schedule_defs] == ["nightly"]


def test_an_asset_key_of_two_packages_names_both_and_everything_else_loads(site: Any) -> None:
    more = "@asset\ndef the_table(): ...\n@asset\ndef {name}_own(): ...\n"
    add(site, "first", job="job_a", more=more.format(name="first"))
    add(site, "second", job="job_b", more=more.format(name="second"))
    results = check("first", "second")
    for name, other in (("first", "second"), ("second", "first")):
        (problem,) = results[name].problems
        assert problem.kind == "asset_key"
        assert "asset 'the_table' is also defined by " in problem.message
        assert f"({other} 1.0)" in problem.message
        assert problem.file == str(site.folder / name / "job.py")
    found, broken = build_repositories(["first", "second"])
    assert [failure.name for failure in broken] == ["first", "second"]
    for name, job in (("first", "job_a"), ("second", "job_b")):
        assert found[name].has_job(job)
        graph = found[name].asset_graph
        keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
        assert keys == {"the_table", f"{name}_own", f"{name}/broken"}
        spec = graph.get(dg.AssetKey([name, "broken"]))
        assert "asset 'the_table' is also defined by" in spec.description


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


def test_the_definitions_of_a_shared_module_belong_to_its_first_workflow(site: Any) -> None:
    folder = site.install("two_in_one")
    with (folder / "jobs.py").open("a") as file:
        file.write(
            "\nimport dagster as dg\n\n@dg.asset\ndef shared() -> None: ...\n\n"
            "nightly = dg.ScheduleDefinition(\n"
            "    name='nightly', job=north_job, cron_schedule='0 0 * * *'\n)\n"
        )
    results = check("north", "south")
    assert results["north"].problems == results["south"].problems == []
    found, _ = build_repositories(["north", "south"])
    assert [schedule.name for schedule in found["north"].schedule_defs] == ["nightly"]
    assert found["north"].asset_graph.get_all_asset_keys() == {dg.AssetKey("shared")}
    assert found["south"].schedule_defs == []
    assert found["south"].asset_graph.get_all_asset_keys() == set()


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


DEADLY = {
    "exits": ("import os\nos._exit(7)\n", "crash", "exit code 7"),
    "segfaults": ("import ctypes\nctypes.string_at(0)\n", "crash", "exit code -11"),
    "sleeps": ("import time\nwhile True:\n    time.sleep(1)\n", "timeout", "within 8 s"),
    "patches": (
        "import dagster\nfrom dataflow_runtime import register_workflow\n"
        "@dagster.op\ndef an_op(): ...\n"
        "@dagster.job\ndef a_job():\n    an_op()\n"
        "register_workflow(name='patches')(a_job)\ndagster.job = None\n",
        "import",
        "replaces dagster.job for all workflows",
    ),
}


@pytest.mark.e2e
def test_a_workflow_that_harms_its_process_is_named_and_harms_no_other(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "TIME_LIMIT", 8.0)
    for name, (code, _, _) in DEADLY.items():
        files = {f"{name}/job.py": code, f"{name}/config.yaml": CONFIG}
        site.write(name, files, {name: f"{name}.job"})
    add(site, "strict", job="strict_job", more="import warnings\nwarnings.simplefilter('error')\n")
    site.install("good")
    results = check()
    for name, (_, kind, message) in DEADLY.items():
        (problem,) = results[name].problems
        assert (problem.kind, problem.file) == (kind, str(site.folder / name / "job.py"))
        assert message in problem.message
    assert results["good"].problems == results["strict"].problems == []
    # The code location does not import what killed its process in the check.
    found, broken = build_repositories((), checking.check_again())
    assert sorted(failure.name for failure in broken) == sorted(DEADLY)
    assert set(found) >= {"good", "strict", *DEADLY}
    assert found["good"].has_job("good_job")


def test_the_transform_and_the_checks_run_on_no_rows(site: Any) -> None:
    folder = site.install("orders")
    transform = (folder / "transform.py").read_text()
    assert check("orders")["orders"].problems == []
    (folder / "transform.py").write_text(transform.replace('pl.col("amount")', 'pl.col("amoumt")'))
    (problem,) = check("orders")["orders"].problems
    assert problem.kind == "checks"
    assert "amoumt" in problem.message


def test_hints_reach_the_command(site: Any) -> None:
    site.install("registers_nothing", "bad_config")
    hint = '@register_workflow(name="registers_nothing"'
    outcome = site.run("check", "registers_nothing", "bad_config")
    assert f"hint: decorate its job with {hint}" in outcome.stdout
    assert "hint: did you mean 'primary_key'?" in outcome.stdout
    (result,) = site.json("check", "registers_nothing")
    assert hint in result["problems"][0]["hint"]


@pytest.mark.e2e
def test_six_broken_workflows_of_fifty_say_why_and_the_others_load(site: Any) -> None:
    site.install("import_error", "sys_exit", "registers_nothing", "bad_config")
    site.write("unwritten", {"unwritten/job.py": "def (:\n"}, {"unwritten": "unwritten.job"})
    table = "@asset(key=['shared', 'table'])\ndef {name}_table(): ...\n"
    for number in range(45):
        name = f"flow_{number:02}"
        # Of two workflows with one asset key both say so, and both load.
        more = table.format(name=name) if number in (7, 8) else ""
        add(site, name, job="the_job", more=more)
    found, broken = build_repositories()
    flows = [name for name in found if name.startswith("flow_")]
    assert (len(found), len(flows)) == (50, 45)
    assert all(found[name].has_job("the_job") for name in flows)
    reasons = {failure.name: failure.kind.value for failure in broken}
    assert reasons == {
        "import_error": "import",
        "sys_exit": "exit",
        "unwritten": "import",
        "registers_nothing": "unregistered",
        "bad_config": "config",
        "flow_07": "asset_key",
        "flow_08": "asset_key",
    }
    # 43 load without a word. The clash names both packages, whose other definitions load too.
    shown = [
        name
        for name, repository in found.items()
        if dg.AssetKey([name, "broken"]) in repository.asset_graph.get_all_asset_keys()
    ]
    assert sorted(shown) == sorted(reasons)
    assert len(found) - len(shown) == 43
    clashes = {failure.name: failure.message for failure in broken if failure.kind == "asset_key"}
    assert "(flow_08 1.0)" in clashes["flow_07"]
    assert "(flow_07 1.0)" in clashes["flow_08"]


def test_build_finds_a_model_that_names_an_absent_column(site: Any) -> None:
    folder = site.install("orders")
    assert site.run("check", "orders", "--build").returncode == 0
    model = next((folder / "dbt" / "models").glob("stg_*.sql"))
    model.write_text(model.read_text().replace("amount", "amuont"))
    assert site.run("check", "orders").returncode == 0
    checked = site.run("check", "orders", "--build")
    assert checked.returncode == 1
    assert "stg_orders" in checked.stdout
    assert "amuont" in checked.stdout
    assert not (site.home / "orders.duckdb").exists()


LOADING = """
import sys
from dataflow_runtime.orchestration.repositories import build_repositories
from dataflow_runtime.pipeline import dbt

def fail(*arguments):
    raise AssertionError("parsed in the process that loads")

dbt._invoke = fail
repositories, broken = build_repositories()
print(sorted(repositories), broken)
"""


def install_with_assets(site: Any, *names: str) -> None:
    package = PACKAGES / "shipments" / "shipments"
    for name in names:
        files = {}
        for file in package.rglob("*.*"):
            if file.suffix != ".pyc":
                path = f"{name}/{file.relative_to(package)}".replace("shipments", name)
                files[path] = file.read_text().replace("shipments", name)
        site.write(name, files, {name: f"{name}.dagster_job"})


def load_all(site: Any) -> subprocess.CompletedProcess[str]:
    """Load the code location in a new process."""
    command = [sys.executable, "-c", LOADING]
    return subprocess.run(command, env=site.environ, check=True, capture_output=True, text=True)


@pytest.mark.e2e
def test_the_first_load_parses_dbt_projects_in_other_processes(site: Any) -> None:
    install_with_assets(site, "north", "south", "west")
    loaded = load_all(site)
    assert loaded.stdout == "['north', 'south', 'west'] []\n"
    assert "parsed 3 of 3 dbt projects\n" in loaded.stderr


@pytest.mark.e2e
def test_check_leaves_the_manifests_behind_for_the_code_location(site: Any) -> None:
    install_with_assets(site, "north", "south")
    assert site.run("check").returncode == 0
    loaded = load_all(site)
    assert loaded.stdout == "['north', 'south'] []\n"
    assert "dbt projects" not in loaded.stderr


def test_a_dbt_folder_without_a_project_says_what_to_add(site: Any) -> None:
    package = site.install("orders")
    for name in ("dbt_project.yml", "profiles.yml", ".dbtignore"):
        (package / "dbt" / name).unlink()
    checked = site.run("check", "orders")
    assert checked.returncode == 1
    assert "no dbt_project.yml" in checked.stdout
    assert "docs/how-to/existing-job.md shows them" in checked.stdout
    page = (ROOT / "docs" / "how-to" / "existing-job.md").read_text(encoding="utf-8")
    files = re.findall(r"`(dbt/[\w.]+)`[^`]*\n\n```\w+\n(.*?)```", page, re.DOTALL)
    assert len(files) == 3
    for name, text in files:
        (package / name).write_text(text.replace("my_workflow", "orders"))
    checked = site.run("check", "orders")
    assert checked.returncode == 0, checked.stdout


def test_a_config_that_is_not_there_says_what_to_add(site: Any) -> None:
    package = site.install("orders")
    (package / "config.yaml").unlink()
    checked = site.run("check", "orders")
    assert checked.returncode == 1
    assert "hint: create it, with `source: {type: mock}` at least" in checked.stdout
