from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from dataflow_runtime.errors import UnknownWorkflowError
from dataflow_runtime.orchestration.listing import ListedWorkflow, list_workflows, show_workflow

KEYS = ["name", "package", "version", "description", "owner", "schedule", "tags", "status", "error"]


def listed(name: str, **narrowed: str) -> ListedWorkflow:
    (entry,) = (entry for entry in list_workflows(**narrowed) if entry.name == name)
    return entry


def test_an_entry_says_what_the_package_says(site: Any) -> None:
    site.install("good")
    entry = listed("good")
    assert asdict(entry) == {
        "name": "good",
        "package": "good",
        "version": "1.0",
        "description": "Does its work",
        "owner": "data-team",
        "schedule": "0 3 * * *",
        "tags": ("fixture", "nightly"),
        "status": "ok",
        "error": None,
    }
    assert list(entry.to_json()) == KEYS


def test_the_configs_schedule_wins_over_the_decorators(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = site.install("good")
    with (folder / "config.yaml").open("a") as file:
        file.write('schedule: { cron: "*/5 * * * *" }\n')
    assert listed("good").schedule == "*/5 * * * *"
    (folder / "config.prod.yaml").write_text('schedule: { cron: "@hourly" }\n')
    monkeypatch.setenv("DATAFLOW_ENV", "prod")
    assert listed("good").schedule == "@hourly"


def test_narrowed_to_a_tag_and_an_owner(site: Any) -> None:
    site.install("good", "two_in_one")
    assert [entry.name for entry in list_workflows(owner="explorers")] == ["north", "south"]
    assert [entry.name for entry in list_workflows(tag="nightly", owner="data-team")] == ["good"]
    assert list_workflows(tag="nightly", owner="explorers") == []


def test_what_is_not_literal_is_unknown(site: Any) -> None:
    site.install("not_literal")
    entry = listed("not_literal")
    assert (entry.status, entry.description, entry.error) == ("unknown", None, None)


def test_what_shows_to_be_broken_is_broken(site: Any) -> None:
    site.install("good", "missing_module", "claims_twice_a", "claims_twice_b", "bad_metadata")
    entries = {entry.name: entry for entry in list_workflows()}
    assert entries["missing_module"].status == "broken"
    assert entries["twice"].status == "broken"
    assert entries["bad_metadata"].status == "broken"
    assert entries["bad_metadata"].error == "metadata 'owner': expected a string, found 7"
    assert entries["good"].status == "ok"


@pytest.mark.parametrize(
    "metadata",
    [
        "{'tags': 3}",
        "{'tags': {1}}",
        "{1: 2}",
        "{'x': {(1, 2): 3j}}",
        "{'owner': b'x'}",
        "{'tags': [[]]}",
    ],
)
def test_odd_metadata_harms_no_listing(site: Any, metadata: str) -> None:
    site.install("good")
    site.write(
        "odd",
        {"odd/job.py": f"register_workflow(name='odd', metadata={metadata})(1)"},
        {"odd": "odd.job"},
    )
    assert listed("good").status == "ok"
    assert listed("odd").status in ("ok", "broken")
    assert listed("odd").error != ""


def test_show_adds_paths_config_and_models(site: Any) -> None:
    folder = site.install("good")
    (folder / "dbt" / "models").mkdir(parents=True)
    (folder / "dbt" / "models" / "stg_good.sql").write_text("select 1")
    details = show_workflow("good")
    assert list(details)[: len(KEYS)] == KEYS
    assert details["extra"] == {"runbook": "on the wall"}
    assert details["entry_point"] == "good = good.dagster_job"
    assert details["paths"] == {
        "module": str(folder / "dagster_job.py"),
        "config.yaml": str(folder / "config.yaml"),
        "dbt": str(folder / "dbt"),
    }
    assert details["config"] == {
        "source": "mock",
        "warehouse": "duckdb",
        "table": "good_raw.good",
        "write_disposition": "merge",
        "primary_key": ["id"],
        "schedule": None,
        "timezone": "UTC",
    }
    assert details["dbt_models"] == ["stg_good"]
    assert details["last_run"] is None
    assert not site.home.exists(), "asking changes nothing"


def test_show_of_a_broken_workflow_says_why(site: Any) -> None:
    site.install("missing_module", "bad_config", "bad_metadata")
    assert show_workflow("missing_module")["paths"] == {"module": None}
    assert "primary_kee" in show_workflow("bad_config")["config"]["error"]
    assert show_workflow("bad_metadata")["error"] == "metadata 'owner': expected a string, found 7"


def test_show_of_an_unknown_workflow(site: Any) -> None:
    site.install("good")
    with pytest.raises(UnknownWorkflowError):
        show_workflow("bad")
