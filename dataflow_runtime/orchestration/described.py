"""What Dagster's UI shows of a workflow: owner, tags, description, links to its files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from typing import Any

import dagster as dg
from dagster._core.definitions.utils import is_valid_owner
from dagster._utils.tags import is_valid_tag_key
from dagster_shared.record import replace

from dataflow_runtime.orchestration.listing import RUN_TAG
from dataflow_runtime.workflows.loading import LoadedWorkflow

__all__ = ["dashboard", "described", "described_asset"]

# What is beta in Dagster is ours to follow; nobody who lists or runs a workflow can do anything about it.
warnings.filterwarnings(
    "ignore", r"(Parameter `owners` of|Class `\w*CodeReference)", dg.BetaWarning
)


def described(
    job: Any, workflow: LoadedWorkflow, partitions: dg.PartitionsDefinition | None
) -> Any:
    """Return the job of a workflow with what its registration and config say: the user's code need not repeat it.

    What the job itself says stays. Its runs carry `RUN_TAG`, by which runs of one workflow queue.

    Args:
        job: An op job or an asset job that is not resolved yet.
        workflow: What it was registered as.
        partitions: The partitions of an op job; an asset job has those of its assets.
    """
    about = {
        "tags": {**_tags(workflow), **(job.tags or {})},
        "run_tags": {
            **((job.run_tags if job.run_tags is not None else job.tags) or {}),
            RUN_TAG: workflow.name,
        },
        "metadata": {**_metadata(workflow), **(job.metadata or {})},
        "description": job.description or workflow.registration.metadata.description,
        "owners": job.owners or _owners(workflow),
    }
    if not isinstance(job, dg.JobDefinition):
        return replace(job, **about)
    if partitions is not None and job.partitions_def is None:
        about["partitions_def"] = partitions
    # The public way, `graph.to_job(…)`, would lose what the decorator was given: config, hooks, resources, executor.
    return job._copy(**about)


def described_asset(spec: dg.AssetSpec, workflow: LoadedWorkflow) -> dg.AssetSpec:
    """Return the spec of a workflow's asset with its owner and a link to its files, where it names none itself."""
    metadata = {
        key: value for key, value in _metadata(workflow).items() if key not in spec.metadata
    }
    return spec.replace_attributes(
        owners=spec.owners or _owners(workflow),
        metadata={**spec.metadata, **metadata},
        tags={**_tags(workflow), **spec.tags},
    )


def dashboard(workflow: LoadedWorkflow, tables: Collection[dg.AssetKey]) -> dg.AssetSpec | None:
    """Return the workflow's dashboard as an asset that Dagster does not make, below the tables that its queries name.

    None where there is no dashboard, or where none of its queries names one of `tables`.
    """
    folder = workflow.installed.directory
    queries = sorted((folder / "evidence" / "sources").glob("*.sql")) if folder else []
    words = {
        word for file in queries for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))
    }
    read = [key for key in tables if key.path[-1] in words]
    if not read:
        return None
    spec = dg.AssetSpec(
        [workflow.name, "dashboard"],
        deps=read,
        group_name=workflow.name,
        kinds={"evidence"},
        description="The Evidence dashboard: `dataflow-runtime dashboards dev`.",
    )
    return described_asset(spec, workflow)


def _owners(workflow: LoadedWorkflow) -> list[str] | None:
    owner = workflow.registration.metadata.owner
    if not owner:
        return None
    return [owner if is_valid_owner(owner) else f"team:{owner}"]


def _tags(workflow: LoadedWorkflow) -> dict[str, str]:
    # Any text is a tag of the registry; one that Dagster does not allow stands in the metadata only.
    return {tag: "" for tag in workflow.registration.metadata.tags if is_valid_tag_key(tag)}


def _metadata(workflow: LoadedWorkflow) -> dict[str, Any]:
    registration, installed = workflow.registration, workflow.installed
    places = {
        "job": (registration.file, registration.line),
        "config": (str(installed.config_file), None),
    }
    files = [
        dg.LocalFileCodeReference(file_path=file, line_number=line, label=label)
        for label, (file, line) in places.items()
    ]
    tags = {"tags": ", ".join(registration.metadata.tags)} if registration.metadata.tags else {}
    return {
        "dagster/code_references": dg.CodeReferencesMetadataValue(code_references=list(files)),
        "package": f"{installed.package} {installed.version}",
        **tags,
    }
