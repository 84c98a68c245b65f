"""The reference in ``docs/config.md`` is made from the models; ``UPDATE_GOLDEN=1`` writes it anew."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.schema import describe, is_secret

DOCS = Path(__file__).parents[3] / "docs" / "config.md"
SCHEMA = WorkflowConfig.model_json_schema(by_alias=True)


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return branches(SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[-1]])
    union = schema.get("anyOf") or schema.get("oneOf")
    return [branch for part in union for branch in branches(part)] if union else [schema]


def rows(schema: dict[str, Any], path: str) -> Iterator[str]:
    for key, field in schema.get("properties", {}).items():
        found, dotted = branches(field), f"{path}.{key}" if path else key
        sections = [part for part in found if "properties" in part]
        tagged = [part for part in sections if "const" in part["properties"].get("type", {})]
        if sections and not tagged:
            # pydantic leaves a description out that only repeats the model's.
            yield f"| **`{dotted}`** | | | {field.get('description') or sections[0]['description']} |"
        elif not sections and not ("const" in field and path):
            if "default" in field:
                default = f"`{json.dumps(field['default'])}`"
            else:
                default = "required" if key in schema.get("required", []) else ""
            allowed = "secret" if is_secret(found) else describe(found).replace("|", "\\|")
            yield f"| `{dotted}` | {allowed} | {default} | {field.get('description', '').replace('<', '&lt;')} |"
        if tagged:
            yield f"| **`{dotted}`** | | | {field['description']} By `type`: |"
        for part in sections:
            if part in tagged:
                kind = part["properties"]["type"]["const"]
                yield f"| `{dotted}.type: {kind}` | | | {part['description']} |"
            yield from rows(part, dotted)


def test_reference() -> None:
    table = [
        "",
        "| key | allowed | default | meaning |",
        "| --- | --- | --- | --- |",
        *rows(SCHEMA, ""),
        "",
    ]
    text = DOCS.read_text(encoding="utf-8")
    before, marker, after = text.partition("test_docs.py -->\n")
    if os.environ.get("UPDATE_GOLDEN"):
        DOCS.write_text(before + marker + "\n".join(table), encoding="utf-8")
        after = "\n".join(table)
    assert after == "\n".join(table)
