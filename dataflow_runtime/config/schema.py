"""The models as JSON Schema: for editors, and for saying what is allowed where something else was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

__all__ = ["allowed_keys", "config_schema", "describe", "is_secret", "schemas_at"]

Schema = dict[str, Any]

_INTERPOLATED: Schema = {"type": "string", "pattern": r"\$\{.+\}"}
_SCALARS = frozenset({"integer", "number", "boolean", "null", "string"})


def config_schema(model: type[BaseModel]) -> Schema:
    """Return the JSON Schema (2020-12) of a config file: where a scalar is expected, ``${VAR}`` is allowed as well."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_interpolatable(_plain_schema(model)),
    }


@cache
def _plain_schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema(by_alias=True, mode="validation")


def _interpolatable(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_interpolatable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result: Schema = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            result[key] = {name: _interpolatable(part) for name, part in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            result[key] = _interpolatable(value)
        elif key in ("anyOf", "oneOf"):
            # A `${VAR}` tag fits every branch of a union, so exactly one is too strict.
            result["anyOf"] = [*result.get("anyOf", []), *_interpolatable(value)]
        elif key != "discriminator":
            result[key] = value
    # An empty section is one whose keys are all commented out.
    if "properties" in schema and "$defs" in schema:
        sections = result["properties"]
        result["properties"] = {
            name: {"anyOf": [part, {"type": "null"}]} for name, part in sections.items()
        }
    if "anyOf" in result or not _is_restricted_scalar(result):
        return result
    notes = {key: result.pop(key) for key in ("title", "description", "default") if key in result}
    return {**notes, "anyOf": [result, _INTERPOLATED]}


def _is_restricted_scalar(schema: Schema) -> bool:
    if "const" in schema or "enum" in schema:
        return True
    if schema.get("type") == "string":
        return bool(schema.keys() & {"pattern", "maxLength", "format"})
    return schema.get("type") in _SCALARS - {"null"}


def schemas_at(model: type[BaseModel], path: Sequence[str], values: Any) -> list[Schema]:
    """Return what the model allows at `path`: several schemas for a union, none for an unknown key."""
    root = _plain_schema(model)
    found = list(_branches(root, root, values))
    for key in path:
        below: list[Schema] = []
        if isinstance(values, dict):
            values = values.get(key)
        elif isinstance(values, list) and key.isdecimal():
            values = values[int(key)] if int(key) < len(values) else None
        else:
            values = None
        for schema in found:
            part = schema.get("properties", {}).get(key)
            if part is None and schema.get("type") == "array" and key.isdecimal():
                part = schema.get("items")
            if part is None:
                part = schema.get("additionalProperties")
            if isinstance(part, dict):
                below.extend(_branches(part, root, values))
        found = below
    return found


def _branches(schema: Schema, root: Schema, values: Any) -> Iterator[Schema]:
    if "$ref" in schema:
        target = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        yield from _branches(target, root, values)
        return
    union = schema.get("anyOf") or schema.get("oneOf")
    if not union:
        yield schema
        return
    branches = [branch for part in union for branch in _branches(part, root, values)]
    tag = values.get("type") if isinstance(values, dict) else None
    tagged = [
        part
        for part in branches
        if tag is not None and part.get("properties", {}).get("type", {}).get("const") == tag
    ]
    yield from tagged or branches


def allowed_keys(model: type[BaseModel], path: Sequence[str], values: Any) -> list[str]:
    """Return the keys that the mapping at `path` may hold, in the order of the model."""
    return list(
        dict.fromkeys(
            key for part in schemas_at(model, path, values) for key in part.get("properties", {})
        )
    )


def is_secret(schemas: Sequence[Schema]) -> bool:
    """Return whether a value of these schemas is a secret."""
    return any(schema.get("format") == "password" for schema in schemas)


def describe(schemas: Sequence[Schema]) -> str:
    """Return what is allowed, in words: ``a positive integer``, ``'duckdb' or 'postgres'``."""
    words = dict.fromkeys(_word(schema) for schema in schemas if schema.get("type") != "null")
    return _either(words) or "another value"


def _either(words: Any) -> str:
    *first, last = list(words) or [""]
    return f"{', '.join(first)} or {last}" if first else last


def _word(schema: Schema) -> str:
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


def _number(schema: Schema, noun: str) -> str:
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


def _text(schema: Schema) -> str:
    if schema.get("pattern") == r"^[a-z_][a-z0-9_]*$":
        return f"lower-case letters, digits and '_', not a digit first, at most {schema.get('maxLength', 63)} characters"
    if "examples" in schema:
        return f"text such as {schema['examples'][0]!r}"
    if "pattern" in schema:
        return f"text that matches {schema['pattern']}"
    if schema.get("maxLength") == 1:
        return "one character"
    if schema.get("format") == "date":
        return "a date (YYYY-MM-DD)"
    return "text" if not schema.get("minLength") else "text that is not empty"
