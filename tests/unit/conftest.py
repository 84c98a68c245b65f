from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.config import WorkflowConfig

Configure = Callable[..., WorkflowConfig]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Return a config of the given sections; its root is `tmp_path`."""
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))

    def make(source: dict[str, Any] | None = None, **sections: Any) -> WorkflowConfig:
        values = {"source": source or {"type": "mock"}, **sections}
        return WorkflowConfig.model_validate(
            values, context={"workflow": "things", "root": tmp_path}
        )

    return make
