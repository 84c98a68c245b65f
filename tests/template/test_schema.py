"""The rendered schema, which `config.yaml` points editors at, is that of the runtime's models."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.schema import config_schema


def test_the_rendered_schema_is_that_of_the_models(root: Path) -> None:
    file = root / "template" / "config.schema.json"
    text = (
        json.dumps(config_schema(WorkflowConfig), ensure_ascii=False, separators=(",", ":")) + "\n"
    )
    if os.environ.get("UPDATE_SCHEMA"):
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text
