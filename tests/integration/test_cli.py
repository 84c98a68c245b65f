"""The command line as users and scripts see it: exit codes, what stands on stdout and on stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest

SECRET = "planted-token-1234"


def in_no_output(outcome: subprocess.CompletedProcess[str], *texts: str) -> bool:
    return not any(text in outcome.stdout + outcome.stderr for text in texts)


@pytest.mark.e2e
def test_run_json_is_the_documented_shape_and_alone_on_stdout(site: Any) -> None:
    site.install("orders")
    outcome = site.run("run", "orders", "--json")
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert {"orders is being imported", "extracting 10", "extracting, from below Python"} <= set(
        outcome.stderr.splitlines()
    )
    assert len(report.pop("run_id")) == 36
    steps = report.pop("steps")
    assert [(step["name"], step["status"]) for step in steps] == [
        (name, "success") for name in ("extract", "transform", "load", "dbt")
    ]
    assert all(
        list(step) == ["name", "status", "seconds"] and step["seconds"] > 0 for step in steps
    )
    assert report == {
        "workflow": "orders",
        "status": "success",
        "rows": {"extracted": 40, "rejected": 4, "loaded": 36},
        "rejected_by": {"amount_positive": 2, "type:amount": 1, "primary_key": 1},
        "dbt": {"models": 2, "tests": 4, "failed": []},
        "warehouse": {"type": "duckdb", "location": str(site.home / "orders.duckdb")},
        "tables": ["orders_raw.orders", "orders_raw.orders_rejected"],
        "error": None,
    }


@pytest.mark.e2e
def test_a_run_for_people_and_what_show_says_of_it(site: Any) -> None:
    site.install("orders")
    outcome = site.run(
        "run", "orders", "--set", "processing.batch_size=7", "--set", "source.name=shop"
    )
    assert outcome.returncode == 0, outcome.stderr
    for text in (
        "40 rows",
        "4 rows",
        "amount_positive: 2",
        "36 rows",
        "2 models built, 4 tests passed",
        "orders.duckdb",
    ):
        assert text in outcome.stdout
    assert "extracting" not in outcome.stdout
    for line in ("✓ extract", "✓ transform", "✓ load", "✓ dbt"):
        assert line in outcome.stderr
    assert in_no_output(outcome, "Traceback", "dagster - ")
    shown = site.json("show", "orders")
    assert shown["last_run"]["status"] == "success"
    assert shown["last_run"]["run_id"] in outcome.stdout
    assert shown["dbt_models"] == ["fct_orders_daily", "stg_orders"]


@pytest.mark.e2e
def test_a_failing_run_is_one_line_without_traceback_or_secret(site: Any) -> None:
    folder = site.install("orders")
    environ = {
        "ORDERS_TOKEN": SECRET,
        "ORDERS_BUG": f"cannot reach https://me:{SECRET}@host with {SECRET}",
    }
    outcome = site.run("run", "orders", **environ)
    assert outcome.returncode == 1
    assert "✗ transform" in outcome.stderr
    (error,) = (line for line in outcome.stderr.splitlines() if line.startswith("error: "))
    assert error.startswith("error: transform: KeyError: ")
    assert f"({folder / 'transform.py'}:" in error
    assert "failure" in outcome.stdout
    assert in_no_output(outcome, SECRET, "Traceback")

    verbose = site.run("--verbose", "run", "orders", "--json", **environ)
    assert verbose.returncode == 1
    assert json.loads(verbose.stdout)["error"]["step"] == "transform"
    assert "Traceback (most recent call last)" in verbose.stderr
    assert in_no_output(verbose, SECRET)
    kept = [
        file
        for file in site.home.rglob("*")
        if file.is_file() and SECRET.encode() in file.read_bytes()
    ]
    assert kept == [], "nor in what is kept of the run"


@pytest.mark.e2e
def test_a_failing_run_as_json(site: Any) -> None:
    site.install("orders")
    outcome = site.run("run", "orders", "--env", "strict", "--json")
    assert outcome.returncode == 1
    report = json.loads(outcome.stdout)
    assert report["status"] == "failure"
    assert report["error"]["step"] == "transform"
    assert "processing.max_rejected_ratio allows 0.0%" in report["error"]["message"]
    assert report["error"]["hint"].startswith("nothing was loaded")
    assert report["dbt"] == {"models": 0, "tests": 0, "failed": []}


def test_show_reads_the_last_run_as_dagster_does_but_without_importing_it(
    site: Any, run: Any
) -> None:
    from dataflow_runtime.orchestration.listing import last_run, show_workflow
    from dataflow_runtime.orchestration.run import open_instance

    site.install("good")
    assert show_workflow("good")["last_run"] is None
    report = run("good")
    with open_instance() as instance:
        expected = last_run(instance, "good")
    assert expected is not None
    assert expected["run_id"] == report.run_id
    assert show_workflow("good")["last_run"] == expected
    code = (
        "import sys\n"
        "from dataflow_runtime.orchestration.listing import show_workflow\n"
        "print(show_workflow('good')['last_run']['status'], 'dagster' in sys.modules)"
    )
    assert site.python(code) == "success False\n"


CRASH = """
import os, signal
from dagster import job, op
from dataflow_runtime import register_workflow

@op
def boom():
    os.kill(os.getpid(), signal.SIGKILL)

@register_workflow(name="crashes")
@job
def crashes_job():
    boom()
"""


@pytest.mark.e2e
def test_a_step_whose_process_is_killed_has_a_readable_error(site: Any) -> None:
    files = {"crashes/job.py": CRASH, "crashes/config.yaml": "source: {type: mock}\n"}
    site.write("crashes", files, {"crashes": "crashes.job"})
    outcome = site.run("run", "crashes", DATAFLOW_EXECUTOR="multiprocess")
    assert outcome.returncode == 1
    assert "error: boom: the step's process was killed or crashed\nhint: " in outcome.stderr
    assert in_no_output(outcome, "Traceback", "site-packages")


@pytest.mark.parametrize("text", ["telemetry: {enabled: [\n", "telemetri: {}\n", "\udcff"])
def test_a_dagster_yaml_that_cannot_be_read_is_one_short_line(site: Any, text: str) -> None:
    site.install("good")
    folder = site.home / "dagster"
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(text, errors="surrogateescape")
    outcome = site.run("run", "good")
    assert outcome.returncode == 1
    error, hint = outcome.stderr.splitlines()[-2:]
    assert error.startswith(f"error: DAGSTER_HOME: {folder} cannot be opened: ")
    assert hint.startswith("hint: ")
    assert in_no_output(outcome, "Traceback", "this is unexpected")
    assert max(map(len, outcome.stderr.splitlines())) < 500


def test_a_dagster_home_that_cannot_be_written_to_is_named_with_a_hint(site: Any) -> None:
    site.install("good")
    outcome = site.run("run", "good", DAGSTER_HOME="/sys")
    assert outcome.returncode == 2
    error, hint = outcome.stderr.splitlines()
    assert error == "error: DAGSTER_HOME: /sys: Permission denied"
    assert hint == "hint: set DAGSTER_HOME to a folder that you can write to"
    assert outcome.stdout == ""


@pytest.mark.parametrize(
    ("variable", "warning"),
    [
        ("DATAFLOW_HOEM", "DATAFLOW_HOEM: unknown variable; did you mean 'DATAFLOW_HOME'?"),
        ("DATAFLOW__GOD__SOURCE__TYPE", "no workflow of this name; did you mean 'DATAFLOW__GOOD'?"),
    ],
)
def test_misspelt_variables_are_warned_of(site: Any, variable: str, warning: str) -> None:
    site.install("good")
    for command in (("config", "validate"), ("config", "show", "good")):
        outcome = site.run(*command, **{variable: "x"})
        assert outcome.returncode == 0
        assert outcome.stderr.startswith("warning: ")
        assert warning in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["run", "odrers"], "error: unknown workflow 'odrers'", "did you mean 'orders'?"),
        (["show", "odrers"], "error: unknown workflow 'odrers'", "did you mean 'orders'?"),
        (
            ["check", "orders", "odrers"],
            "error: unknown workflow 'odrers'",
            "did you mean 'orders'?",
        ),
        (["rnu", "orders"], "No such command 'rnu'", "did you mean 'run'?"),
        (["run"], "Missing argument 'NAME'", ""),
        (["run", "orders", "--sett", "a=b"], "No such option", "--set"),
        (["run", "orders", "--set", "nonsense"], "expected KEY=VALUE", "for example"),
        (["run", "orders", "--set", "=1"], "expected KEY=VALUE", "for example"),
        (
            ["run", "orders", "--set", "processing.batch_sise=1"],
            "processing.batch_sise",
            "did you mean 'batch_size'?",
        ),
        (["run", "orders", "--env", "strickt"], "config.strickt.yaml", ""),
        (["run", "orders", "--env", "../x"], "../x", ""),
        (
            ["run", "orders", "--partition", "2024-01-01"],
            "'orders' is not partitioned",
            "without --partition",
        ),
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_suggestion(
    site: Any, arguments: list[str], error: str, hint: str
) -> None:
    site.install("orders")
    outcome = site.run(*arguments)
    assert outcome.returncode == 2, outcome.stderr
    assert error in outcome.stderr
    assert hint in outcome.stderr
    assert outcome.stdout == ""
    assert in_no_output(outcome, "Traceback")


def test_a_value_that_is_not_allowed_is_an_error_of_the_command(site: Any) -> None:
    site.install("orders")
    outcome = site.run("run", "orders", "--set", "processing.batch_size=-1")
    assert outcome.returncode == 1
    assert "processing.batch_size" in outcome.stderr
    assert in_no_output(outcome, "Traceback", "✗")
    assert outcome.stdout == ""


def test_an_unknown_executor_is_exit_code_2(site: Any) -> None:
    site.install("good")
    outcome = site.run("run", "good", DATAFLOW_EXECUTOR="multiproces")
    assert outcome.returncode == 2
    assert "DATAFLOW_EXECUTOR: unknown executor 'multiproces'" in outcome.stderr
    assert "in_process, multiprocess" in outcome.stderr
    outcome = site.run("run", "good", DATAFLOW_EXECUTOR="json:dumps")
    assert outcome.returncode == 2
    assert "is not a Dagster executor" in outcome.stderr


@pytest.mark.parametrize(
    "name", ["import_error", "sys_exit", "registers_nothing", "missing_module", "bad_config"]
)
def test_running_a_broken_workflow_says_why(site: Any, name: str) -> None:
    site.install(name)
    outcome = site.run("run", name)
    assert outcome.returncode == 1
    assert name in outcome.stderr
    assert in_no_output(outcome, "Traceback")
    assert outcome.stdout == ""


def test_running_a_name_that_two_packages_claim_names_both(site: Any) -> None:
    site.install("claims_twice_a", "claims_twice_b")
    outcome = site.run("run", "twice")
    assert outcome.returncode == 1
    assert "claims_twice_a 1.0" in outcome.stderr
    assert "claims_twice_b 1.0" in outcome.stderr


def test_list(site: Any) -> None:
    site.install("good", "two_in_one", "missing_module", "not_literal", "prints_on_import")
    listed = {entry["name"]: entry for entry in site.json("list")}
    assert list(listed["good"]) == [
        "name",
        "package",
        "version",
        "description",
        "owner",
        "schedule",
        "tags",
        "status",
        "error",
    ]
    assert listed["good"]["tags"] == ["fixture", "nightly"]
    assert listed["missing_module"]["status"] == "broken"
    assert listed["not_literal"]["status"] == "unknown"
    assert [
        entry["name"] for entry in site.json("list", "--tag", "nightly", "--owner", "data-team")
    ] == ["good"]
    table = site.run("list").stdout
    assert "Does its work" in table
    assert "module 'missing_module.gone' of the entry point does not exist" in table


def test_a_reader_that_goes_away_is_no_error(site: Any) -> None:
    site.install("good")
    command = Path(sysconfig.get_path("scripts")) / "dataflow-runtime"
    outcome = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} list --json | true"],
        env=site.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode in (0, 1)
    assert outcome.stderr == ""


@pytest.mark.e2e
def test_an_interrupt_is_exit_code_130(site: Any, tmp_path: Path) -> None:
    site.install("orders")
    process = site.start("run", "orders", ORDERS_WAIT=str(tmp_path))
    while not list(tmp_path.glob("here-*")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Stack Trace" not in stdout + stderr
    assert "error: " not in stderr
    assert "interrupted: no step was done; the tables are as before" in stderr
    assert site.json("show", "orders")["last_run"]["status"] == "canceled"


@pytest.mark.e2e
def test_a_workflow_of_its_own_ops_runs_too(site: Any) -> None:
    site.install("prints_on_import")
    outcome = site.run("run", "prints_on_import", "--json")
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert [(step["name"], step["status"]) for step in report["steps"]] == [("op", "success")]
    assert report["rows"] == {"extracted": 0, "rejected": 0, "loaded": 0}
    outcome = site.run("run", "prints_on_import", "--set", "processing.batch_size=5")
    assert outcome.returncode == 2
    assert "has no op prints_on_import_extract" in outcome.stderr
