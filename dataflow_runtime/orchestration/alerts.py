"""Sensors that report failed runs and late tables to the addresses in the config."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.models import AlertsConfig
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.orchestration.report import report

__all__ = ["alert_sensors", "with_freshness"]


def with_freshness(spec: dg.AssetSpec, config: WorkflowConfig) -> dg.AssetSpec:
    """Return the spec of an asset with the policy of ``freshness``, unless it has one."""
    age = config.max_age
    if age is None or spec.freshness_policy is not None:
        return spec
    return spec.replace_attributes(freshness_policy=dg.FreshnessPolicy.time_window(age))


def alert_sensors(
    config: WorkflowConfig, job: Any, keys: Collection[dg.AssetKey]
) -> list[dg.SensorDefinition]:
    """Return the sensors of a workflow's alerts, which are on from the start.

    Args:
        config: The workflow's config.
        job: Its job, whose failed runs are reported.
        keys: Its assets: one that is older than ``freshness.max_age`` is reported once.
    """
    # A model of the workflow's own may have a section of this name that means something else.
    if not isinstance(config.alerts, AlertsConfig) or not config.alerts.to:
        return []
    sensors: list[dg.SensorDefinition] = [_failure_sensor(config, job)]
    if config.max_age is not None:
        sensors.append(_lateness_sensor(config, keys, config.max_age))
    return sensors


def _failure_sensor(config: WorkflowConfig, job: Any) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name=f"{config.workflow}_failure_alert",
        description="Reports runs that failed.",
        monitored_jobs=[job],
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def failure_alert(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        error = report(context.instance, run).error or {"message": context.failure_event.message}
        step = f"{error['step']}: " if error.get("step") else ""
        message = f"run {run.run_id} failed: {step}{error['message']}"
        _send(config, "failure", message, run_id=run.run_id)

    return failure_alert


def _lateness_sensor(
    config: WorkflowConfig, keys: Collection[dg.AssetKey], max_age: timedelta
) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{config.workflow}_late_alert",
        description="Reports tables that are older than freshness.max_age, once.",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def late_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        late = _late(context.instance, keys, max_age)
        known = json.loads(context.cursor or "[]")
        if set(late) - set(known):
            _send(config, "late", f"older than {max_age}: {', '.join(late)}", assets=late)
        context.update_cursor(json.dumps(late))
        return dg.SkipReason(f"{len(late)} of {len(keys)} assets are late")

    return late_alert


def _late(
    instance: dg.DagsterInstance, keys: Collection[dg.AssetKey], max_age: timedelta
) -> list[str]:
    """Return the assets whose last materialization is too old; one that has none is not late."""
    oldest = (datetime.now(UTC) - max_age).timestamp()
    late = []
    for key in keys:
        event = instance.get_latest_materialization_event(key)
        if event is not None and event.timestamp < oldest:
            late.append(key.to_user_string())
    return sorted(late)


def _send(config: WorkflowConfig, event: str, message: str, **details: Any) -> None:
    """Send an alert to every address, also after one has failed.

    Raises:
        DataflowError: It did not reach an address, which is named with its secrets masked.
    """
    text = mask(f"{config.workflow}: {message}")
    document = {"workflow": config.workflow, "event": event, "text": text, **details}
    failures = []
    for address in config.alerts.to:
        url = address.get_secret_value()
        try:
            if url.startswith(("http://", "https://")):
                _post(url, document)
            else:
                _notify(url, text)
        except Exception as error:  # each service has errors of its own
            scheme = url.partition("://")[0]
            reason = str(error).replace(url, f"{scheme}://**********")
            failures.append(f"{scheme}: {type(error).__name__}: {mask(reason)}")
    if failures:
        raise DataflowError(f"alert not sent: {'; '.join(failures)}", hint="see alerts.to")


def _post(url: str, document: Mapping[str, Any]) -> None:
    import requests

    requests.post(url, json=document, timeout=10).raise_for_status()


def _notify(url: str, text: str) -> None:
    try:
        import apprise
    except ImportError:
        raise DataflowError(
            "apprise is missing", hint='pip install "dataflow-runtime[alerts]"'
        ) from None
    service = apprise.Apprise()
    if not service.add(url):
        raise DataflowError("not an address that Apprise knows")
    if not service.notify(body=text):
        raise DataflowError("the service refused it; Apprise's log says why")
