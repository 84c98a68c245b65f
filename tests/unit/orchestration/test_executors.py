from __future__ import annotations

from typing import Any

import pytest

from dataflow_runtime.orchestration.executors import shared_resources


def test_outputs_of_ops_go_where_staging_is_shared(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared_resources() == {}
    monkeypatch.setenv("DATAFLOW_STAGING", "s3://bucket/staging")
    manager = shared_resources()["io_manager"]
    assert manager.base_dir == "s3://bucket/staging/dagster"
