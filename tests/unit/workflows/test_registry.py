from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from dataflow_runtime import register_workflow
from dataflow_runtime.errors import DataflowError, DuplicateWorkflowError
from dataflow_runtime.workflows.registry import WorkflowMetadata, forget, registrations

pytestmark = pytest.mark.usefixtures("site")


@dg.op
def an_op() -> None: ...


@dg.job
def op_job() -> None:
    an_op()


@dg.graph
def a_graph() -> None:
    an_op()


@dg.asset
def an_asset() -> None: ...


@pytest.mark.parametrize(
    "job",
    [op_job, a_graph, dg.define_asset_job("asset_job", selection=[an_asset])],
    ids=["op job", "graph", "asset job"],
)
def test_registers_a_job_and_returns_it_unchanged(job: Any) -> None:
    assert register_workflow(name="one")(job) is job
    assert registrations()["one"].job is job


def test_remembers_where_it_was_registered() -> None:
    register_workflow(name="here")(op_job)
    registration = registrations()["here"]
    line = test_remembers_where_it_was_registered.__code__.co_firstlineno + 1
    assert registration.place == f"{__file__}:{line}"
    assert registration.module == __name__


def test_one_name_from_two_places_names_both() -> None:
    register_workflow(name="twice")(op_job)
    first = registrations()["twice"].place
    with pytest.raises(DuplicateWorkflowError, match="registered twice") as raised:
        register_workflow(name="twice")(op_job)
    assert raised.value.places[0] == first
    assert raised.value.places[1] != first
    assert first in raised.value.message
    assert raised.value.places[1] in raised.value.message
    assert registrations()["twice"].place == first


def test_the_same_place_again_is_a_reload() -> None:
    for job in (op_job, a_graph):
        register_workflow(name="reloaded")(job)
    assert registrations()["reloaded"].job is a_graph


def test_the_table_that_is_handed_out_is_a_copy() -> None:
    register_workflow(name="kept")(op_job)
    dict(registrations()).clear()
    table = registrations()
    forget(["kept", "never_there"])
    assert "kept" in table
    assert registrations() == {}


@pytest.mark.parametrize("name", ["", "two words", "9lives", "a-b", "a.b", None, 3])
def test_a_name_must_be_an_identifier(name: Any) -> None:
    with pytest.raises(DataflowError, match="expected letters, digits and underscores"):
        register_workflow(name=name)


def test_metadata_is_parsed_and_unknown_keys_are_kept() -> None:
    metadata = WorkflowMetadata.from_mapping(
        {
            "description": "d",
            "owner": "o",
            "schedule": "@daily",
            "tags": ["a", "b"],
            "runbook": "r",
            "tier": 1,
        }
    )
    assert metadata == WorkflowMetadata("d", "o", "@daily", ("a", "b"), {"runbook": "r", "tier": 1})
    assert WorkflowMetadata.from_mapping({}) == WorkflowMetadata()


@pytest.mark.parametrize(
    ("metadata", "key"),
    [
        ({"description": 3}, "description"),
        ({"owner": ["a"]}, "owner"),
        ({"schedule": True}, "schedule"),
        ({"tags": "a,b"}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"tags": 3}, "tags"),
        ({"tags": {"a": 1}}, "tags"),
    ],
)
def test_metadata_of_a_wrong_type_names_the_key(metadata: dict[str, Any], key: str) -> None:
    with pytest.raises(DataflowError, match=f"metadata '{key}': expected"):
        register_workflow(name="wrong", metadata=metadata)
    assert registrations() == {}
