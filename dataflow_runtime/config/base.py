"""What all sections of the configuration share: strictness, descriptions, rules, types."""

from __future__ import annotations

import inspect
import re
from datetime import date, timedelta
from functools import cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from dataflow_runtime.config.secrets import masked_value

RULE = "config_rule"


def rule(message: str, *path: str, hint: str | None = None, needs: str = "") -> PydanticCustomError:
    """Return the error of a rule between keys.

    Args:
        message: What the rule says.
        path: Leads from the model to the key that the rule is about.
        hint: What to do.
        needs: Dotted key of another value that the rule looks at.
    """
    # Braces in the template would be read as placeholders.
    context = {"message": message, "path": path, "hint": hint, "needs": needs}
    return PydanticCustomError(RULE, "{message}", context)


@cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return what the docstrings of a model and its bases say about each field."""
    found = {}
    for base in reversed(model.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition("Attributes:\n")[2]
        for name, words in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
            found[name] = " ".join(words.split())
    return found


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Move what a docstring says about fields to the fields of the JSON Schema."""
    schema["description"] = schema.get("description", "").partition("\n")[0]
    for name, text in descriptions(model).items():
        field = model.model_fields.get(name)
        if field is not None:
            schema["properties"][field.alias or name].setdefault("description", text)


class ConfigModel(BaseModel):
    """A section: immutable, strict, no unknown keys, no secret in its `repr` or in errors."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        json_schema_extra=_describe,
    )

    def __repr_args__(self) -> Any:
        """Return what `repr` shows, secrets masked."""
        return [(key, masked_value(value, key or "")) for key, value in super().__repr_args__()]


def _stripped(value: Any) -> Any:
    """Return a text without the trailing line break that a file or `echo` adds."""
    if isinstance(value, SecretStr):
        return SecretStr(value.get_secret_value().rstrip("\r\n"))
    return value.rstrip("\r\n")


_URL = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*)://(?P<server>[^/?#]*)(?P<path>[^?]*)(?P<query>.*)")
_LOGIN = r"(?:(?:[^:@\[\]%]|%[0-9a-fA-F]{2})*(?::(?:[^@\[\]%]|%[0-9a-fA-F]{2})*)?@)?"
_HOST = r"(?:\[[^\[\]@]*\]|[^:@\[\],]*)(?::\d*)?"


def _database_url(value: SecretStr) -> SecretStr:
    """Refuse a URL that a database driver would split in the wrong places."""
    found = _URL.fullmatch(value.get_secret_value())
    if found is None:
        raise ValueError("expected a URL such as postgresql://user:password@host/database")
    # A password with one of these would be cut short, and its end shown as part of the host.
    cut = found["server"] and ("@" in found["path"] or "#" in found["path"])
    if cut or not re.fullmatch(f"{_LOGIN}{_HOST}(?:,{_HOST})*", found["server"]):
        raise rule(
            "the URL cannot be split into user, password, host and port",
            hint="percent-encode special characters of user name and password: "
            "@ as %40, / as %2F, : as %3A, # as %23, ? as %3F, [ as %5B, % as %25",
        )
    return value


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = _DURATION.findall(value)
    if not parts or _DURATION.sub("", value).strip():
        raise ValueError("expected a number or a duration such as '3d', '12h' or '1d 6h'")
    length = timedelta()
    try:
        for number, unit in parts:
            length += timedelta(**{_UNITS[unit]: float(number)})
    except OverflowError:
        raise ValueError("the duration is too long") from None
    return length


def _day(value: object) -> object:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("expected a date such as 2026-01-31") from None


def _duration_text(value: timedelta | float) -> str | float:
    if not isinstance(value, timedelta):
        return value
    seconds, parts = value.total_seconds(), []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count:g}{unit}")
    if seconds or not parts:
        parts.append(f"{seconds:g}s")
    return " ".join(parts)


_TYPES = (
    *("string", "integer", "float", "decimal", "boolean", "date", "timestamp"),
    *("epoch_s", "epoch_ms", "json"),
)
_DECIMAL = r"decimal\((\d{1,2}), ?(\d{1,2})\)"


def decimal_digits(kind: str) -> tuple[int, int] | None:
    """Return precision and scale of a decimal type, 38 and 9 by default; None for other types."""
    if kind == "decimal":
        return 38, 9
    matched = re.fullmatch(_DECIMAL, kind)
    return (int(matched[1]), int(matched[2])) if matched else None


def _column_type(value: str) -> str:
    digits = decimal_digits(value)
    if digits and not digits[1] <= digits[0] <= 38:
        raise ValueError("expected decimal(precision, scale): scale <= precision <= 38")
    if not digits and value not in _TYPES:
        expected = ", ".join(repr(name) for name in _TYPES) + " or 'decimal(18, 4)'"
        raise PydanticKnownError("literal_error", {"expected": expected})
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1)]
Header = Annotated[str, AfterValidator(_stripped)]
SecretText = Annotated[SecretStr, AfterValidator(_stripped)]
Secret = Annotated[SecretText, Field(min_length=1)]
DatabaseUrl = Annotated[Secret, AfterValidator(_database_url)]
Day = Annotated[date, BeforeValidator(_day)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]
# What PostgreSQL and DuckDB take without quoting.
Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=63)]
Columns = Annotated[
    list[Text],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
]
Lookback = Annotated[
    timedelta | NonNegativeFloat,
    BeforeValidator(_duration),
    PlainSerializer(_duration_text, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(ge=timedelta(minutes=1)),  # the shortest window of a freshness policy
    PlainSerializer(_duration_text, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["26h", "1d 6h"]}),
]
_DECIMAL_SCHEMA = {"type": "string", "pattern": f"^{_DECIMAL}$", "examples": ["decimal(18, 4)"]}
ColumnType = Annotated[
    str,
    AfterValidator(_column_type),
    WithJsonSchema({"anyOf": [{"enum": list(_TYPES)}, _DECIMAL_SCHEMA]}),
]
