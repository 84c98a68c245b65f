"""The tables of docs/reference/config.md are made from the models; UPDATE_GOLDEN=1 writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataflow_runtime.config import WorkflowConfig

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "config.md"
SCHEMA = WorkflowConfig.model_json_schema(by_alias=True)


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return branches(SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[-1]])
    union = schema.get("anyOf") or schema.get("oneOf")
    return [branch for part in union for branch in branches(part)] if union else [schema]


def describe(schemas: list[dict[str, Any]]) -> str:
    """Return what is allowed, in words: ``a positive integer``, ``'duckdb' or 'postgres'``."""
    words = dict.fromkeys(_word(schema) for schema in schemas if schema.get("type") != "null")
    return _either(words) or "another value"


def _either(words: Any) -> str:
    *first, last = list(words) or [""]
    return f"{', '.join(first)} or {last}" if first else last


def _word(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return _either(repr(value) for value in schema["enum"])
    match schema.get("type"):
        case "integer" | "number" as kind:
            return _number(schema, "integer" if kind == "integer" else "number")
        case "boolean":
            return "true or false"
        case "array":
            item = {"string": "texts", "integer": "integers", "number": "numbers"}.get(
                schema.get("items", {}).get("type", "")
            )
            return f"a list of {item}" if item else "a list"
        case "object":
            return "a mapping"
        case "string":
            return _text(schema)
        case _:
            return "another value"


def _number(schema: dict[str, Any], noun: str) -> str:
    article = "an" if noun == "integer" else "a"
    low, high, above = schema.get("minimum"), schema.get("maximum"), schema.get("exclusiveMinimum")
    if above == 0 and high is None:
        return f"a positive {noun}"
    bounds = (
        [f"of at least {low:g}"]
        if low is not None
        else [f"above {above:g}"]
        if above is not None
        else []
    )
    if low is not None and high is not None:
        return f"{article} {noun} from {low:g} to {high:g}"
    if high is not None:
        bounds.append(f"of at most {high:g}")
    return " ".join([article, noun, *bounds])


def _text(schema: dict[str, Any]) -> str:
    if schema.get("pattern") == r"^[a-z_][a-z0-9_]*$":
        length = schema.get("maxLength", 63)
        return f"lower-case letters, digits and '_', not a digit first, at most {length} characters"
    if "examples" in schema:
        return f"text such as {schema['examples'][0]!r}"
    if "pattern" in schema:
        return f"text that matches {schema['pattern']}"
    if schema.get("maxLength") == 1:
        return "one character"
    if schema.get("format") == "date":
        return "a date (YYYY-MM-DD)"
    return "text" if not schema.get("minLength") else "text that is not empty"


def rows(schema: dict[str, Any], path: str) -> Iterator[str]:
    for key, field in schema.get("properties", {}).items():
        found, dotted = branches(field), f"{path}.{key}" if path else key
        sections = [part for part in found if "properties" in part]
        tagged = [part for part in sections if "const" in part["properties"].get("type", {})]
        if sections and not tagged:
            # pydantic leaves a description out that only repeats the model's.
            meaning = field.get("description") or sections[0]["description"]
            yield f"| **`{dotted}`** | | | {meaning} |"
        elif not sections and not ("const" in field and path):
            if "default" in field:
                default = f"`{json.dumps(field['default'])}`"
            else:
                default = "required" if key in schema.get("required", []) else ""
            is_secret = any(part.get("format") == "password" for part in found)
            allowed = "secret" if is_secret else describe(found).replace("|", "\\|")
            meaning = field.get("description", "").replace("<", "&lt;")
            yield f"| `{dotted}` | {allowed} | {default} | {meaning} |"
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
