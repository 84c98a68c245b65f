"""The models as JSON Schema, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{.+\}"}
_RESTRICTIONS = frozenset({"const", "enum", "pattern", "maxLength", "format"})


def config_schema(model: type[BaseModel]) -> Schema:
    """Return the JSON Schema (2020-12) of a config file: ``${VAR}`` is allowed for any scalar."""
    schema = _with_variables(model.model_json_schema(by_alias=True, mode="validation"))
    # An empty section is one whose keys are all commented out.
    for name, section in schema["properties"].items():
        schema["properties"][name] = {"anyOf": [section, {"type": "null"}]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _with_variables(schema: Schema) -> Schema:
    result: Schema = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            result[key] = {name: _with_variables(part) for name, part in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            result[key] = _with_variables(value)
        elif key in ("anyOf", "oneOf"):
            # A `type` that is a variable fits every branch of a union: exactly one is too strict.
            result["anyOf"] = [_with_variables(part) for part in value]
        elif key != "discriminator":
            result[key] = value
    is_number = result.get("type") in ("integer", "number", "boolean")
    if "anyOf" in result or not (is_number or _RESTRICTIONS & result.keys()):
        return result
    notes = {key: result.pop(key) for key in ("title", "description", "default") if key in result}
    return {**notes, "anyOf": [result, _VARIABLE]}
