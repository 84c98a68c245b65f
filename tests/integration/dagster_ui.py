"""Dagster's webserver as its UI sees it: what is asked of it over GraphQL."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Callable, Collection
from typing import Any, TypeVar

LOCATION = "dataflow_runtime.dagster_repo"

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], what: str, seconds: float = 180) -> T:
    """Return the first value of `probe` that is not false."""
    deadline = time.monotonic() + seconds
    while not (value := probe()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.25)
    return value


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class DagsterUI:
    """A webserver that serves the code location of all workflows."""

    def __init__(self, url: str) -> None:
        self.url = url

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=60):
                return True
        except OSError:
            return False

    def query(self, text: str, **variables: Any) -> Any:
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def repositories(self) -> dict[str, set[str]]:
        """Return the jobs of each repository of the location."""
        found = self.query(
            "{ repositoriesOrError { __typename ... on RepositoryConnection { nodes"
            " { name location { name } jobs { name } } } ... on PythonError { message } } }"
        )["repositoriesOrError"]
        assert found["__typename"] == "RepositoryConnection", found
        assert {node["location"]["name"] for node in found["nodes"]} == {LOCATION}
        return {
            node["name"]: {job["name"] for job in node["jobs"] if job["name"][:2] != "__"}
            for node in found["nodes"]
        }

    def assets(self, repository: str) -> dict[str, str]:
        """Return the descriptions of a repository's assets by their keys."""
        found = self.query(
            "query ($of: RepositorySelector!) { repositoryOrError(repositorySelector: $of)"
            " { ... on Repository { assetNodes { assetKey { path } description } } } }",
            of={"repositoryLocationName": LOCATION, "repositoryName": repository},
        )["repositoryOrError"]["assetNodes"]
        return {"/".join(node["assetKey"]["path"]): node["description"] for node in found}

    def reload(self) -> None:
        """Reload the code location, as the button in the UI does."""
        reloaded = self.query(
            "mutation ($of: String!) { reloadRepositoryLocation(repositoryLocationName: $of)"
            " { __typename ... on WorkspaceLocationEntry { loadStatus locationOrLoadError"
            " { __typename ... on PythonError { message } } } } }",
            of=LOCATION,
        )["reloadRepositoryLocation"]
        assert reloaded["locationOrLoadError"]["__typename"] == "RepositoryLocation", reloaded

    def start_schedule(self, repository: str, schedule: str) -> None:
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": repository,
            "scheduleName": schedule,
        }
        started = self.query(
            "mutation ($of: ScheduleSelector!) { startSchedule(scheduleSelector: $of)"
            " { __typename } }",
            of=selector,
        )["startSchedule"]
        assert started["__typename"] == "ScheduleStateResult", started

    def launch(self, repository: str, job: str, assets: Collection[str] = ()) -> str:
        """Launch a job, or only some of its assets; return the id of its run."""
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": repository,
            "jobName": job,
            "assetSelection": [{"path": key.split("/")} for key in assets] or None,
        }
        launched = self.query(
            "mutation ($of: ExecutionParams!) { launchRun(executionParams: $of) { __typename"
            " ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
            of={"selector": selector, "runConfigData": {}},
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def runs(self, **filter_: Any) -> list[dict[str, Any]]:
        """Return runs, the newest first."""
        found = self.query(
            "query ($of: RunsFilter) { runsOrError(filter: $of, limit: 50) { ... on Runs"
            " { results { runId status jobName parentRunId tags { key value } } } } }",
            of=filter_,
        )
        results: list[dict[str, Any]] = found["runsOrError"]["results"]
        return results

    def ended(self, run_id: str) -> str:
        """Return the status of a run once it has ended."""

        def status() -> str | None:
            (run,) = self.runs(runIds=[run_id])
            return run["status"] if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        return eventually(status, f"the end of run {run_id}")
