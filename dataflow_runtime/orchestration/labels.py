"""What Dagster's UI shows of a workflow: owner, tags, description, links to its files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import dagster as dg

from dataflow_runtime.orchestration._dagster import (
    ignore_beta_warnings,
    is_valid_owner,
    is_valid_tag_key,
    with_labels,
)
from dataflow_runtime.orchestration.listing import RUN_TAG
from dataflow_runtime.workflows.loading import LoadedWorkflow

__all__ = ["dashboard_of", "labelled_asset", "labelled_job"]

ignore_beta_warnings()


def labelled_job(
    job: Any, workflow: LoadedWorkflow, partitions: dg.PartitionsDefinition | None
) -> Any:
    """Return the workflow's job with the labels of its registration and its partitions.

    Labels of the job itself win. Its runs carry `RUN_TAG`, by which runs of one workflow queue.

    Args:
        job: An op job, or an asset job that is not resolved yet.
        workflow: The workflow.
        partitions: The partitions of an op job; an asset job has those of its assets.
    """
    run_tags = job.tags if job.run_tags is None else job.run_tags
    labels = {
        "tags": {**_tags(workflow), **(job.tags or {})},
        "run_tags": {**(run_tags or {}), RUN_TAG: workflow.name},
        "metadata": {**_metadata(workflow), **(job.metadata or {})},
        "description": job.description or workflow.registration.metadata.description,
        "owners": job.owners or _owners(workflow),
    }
    if isinstance(job, dg.JobDefinition) and partitions and job.partitions_def is None:
        labels["partitions_def"] = partitions
    return with_labels(job, labels)


def labelled_asset(spec: dg.AssetSpec, workflow: LoadedWorkflow) -> dg.AssetSpec:
    """Return the spec of a workflow's asset with the labels that it does not set itself."""
    return spec.replace_attributes(
        owners=spec.owners or _owners(workflow),
        metadata={**_metadata(workflow), **spec.metadata},
        tags={**_tags(workflow), **spec.tags},
    )


def dashboard_of(
    workflow: LoadedWorkflow, tables: Iterable[dg.AssetKey], loaded: Iterable[dg.AssetKey]
) -> dg.AssetSpec | None:
    """Return the workflow's dashboard as an external asset below the tables that its queries name.

    The queries of a workflow without assets may read its models, which come from what is `loaded`.
    None where the workflow has no dashboard, or its queries read none of its tables.
    """
    folder = workflow.installed.directory
    queries = folder.glob("evidence/sources/*.sql") if folder else ()
    text = " ".join(file.read_text("utf-8") for file in queries)
    words = set(re.findall(r"\w+", text))
    read = [key for key in tables if key.path[-1] in words] or (list(loaded) if words else [])
    if not read:
        return None
    return dg.AssetSpec(
        [workflow.name, "dashboard"],
        deps=read,
        group_name=workflow.name,
        kinds={"evidence"},
        description="The Evidence dashboard: `dataflow-runtime dashboards dev`.",
    )


def _owners(workflow: LoadedWorkflow) -> list[str] | None:
    owner = workflow.registration.metadata.owner
    if not owner:
        return None
    return [owner if is_valid_owner(owner) else f"team:{owner}"]


def _tags(workflow: LoadedWorkflow) -> dict[str, str]:
    # The registry takes any text as a tag; the others show in the metadata only.
    return {tag: "" for tag in workflow.registration.metadata.tags if is_valid_tag_key(tag)}


def _metadata(workflow: LoadedWorkflow) -> dict[str, Any]:
    registration, installed = workflow.registration, workflow.installed
    job = dg.LocalFileCodeReference(
        file_path=registration.file, line_number=registration.line, label="job"
    )
    config = dg.LocalFileCodeReference(file_path=str(installed.config_file), label="config")
    metadata: dict[str, Any] = {
        "dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[job, config]),
        "package": f"{installed.package} {installed.version}",
    }
    if registration.metadata.tags:
        metadata["tags"] = ", ".join(registration.metadata.tags)
    return metadata
