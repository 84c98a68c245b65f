"""What all sections of the configuration models share: strictness, rules between keys, types of values."""

from __future__ import annotations

import re
from datetime import date, timedelta
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

from dataflow_runtime.config.secrets import MASK, is_secret_key, mask

__all__ = [
    "ColumnType",
    "Columns",
    "ConfigModel",
    "Day",
    "Identifier",
    "JsonPath",
    "Lookback",
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Ratio",
    "Secret",
    "Text",
    "decimal_digits",
    "rule",
]


def rule(message: str, *path: str, hint: str | None = None) -> PydanticCustomError:
    """Return the error of a rule between keys; `path` leads from the model to the key it points at."""
    # Braces would be read as a template's.
    return PydanticCustomError(
        "config_rule", "{message}", {"message": message, "path": path, "hint": hint}
    )


class ConfigModel(BaseModel):
    """A section: immutable, strict, no unknown keys, and no secret in its `repr` or in errors."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def __repr_args__(self) -> Any:
        """Return what `repr` shows, secrets masked."""
        return [(key, _masked(key or "", value)) for key, value in super().__repr_args__()]


def _masked(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _masked(str(name), child) for name, child in value.items()}
    if isinstance(value, list):
        return [_masked(key, child) for child in value]
    if isinstance(value, str):
        return MASK if is_secret_key(key) else mask(value)
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _lookback(value: object) -> object:
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if not parts or _DURATION.sub("", value).strip():
            raise ValueError("expected a number or a duration such as '3d', '12h' or '1d 6h'")
        try:
            return sum(
                (timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta()
            )
        except OverflowError:
            raise ValueError("the duration is too long") from None
    return value


def _duration_text(value: timedelta | float) -> str | float:
    if not isinstance(value, timedelta):
        return value
    seconds, parts = value.total_seconds(), []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count = seconds / length if unit == "s" else seconds // length
        if count:
            parts.append(f"{count:g}{unit}")
            seconds -= count * length
    return " ".join(parts) or "0s"


def _iso_date(value: object) -> object:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("expected a date such as 2026-01-31") from None
    return value


Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
JsonPath = Annotated[str, Field(min_length=1)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]
# What PostgreSQL and dlt take without quoting or renaming.
Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=63)]
Columns = Annotated[
    list[Text],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
]
Lookback = Annotated[
    timedelta | NonNegativeFloat,
    BeforeValidator(_lookback),
    PlainSerializer(_duration_text, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
Day = Annotated[
    date, BeforeValidator(_iso_date), WithJsonSchema({"type": "string", "format": "date"})
]
_TYPES = (
    "string",
    "integer",
    "float",
    "decimal",
    "boolean",
    "date",
    "timestamp",
    "epoch_s",
    "epoch_ms",
    "json",
)
_DECIMAL = r"decimal\((\d{1,2}), ?(\d{1,2})\)"
ColumnType = Annotated[
    str,
    AfterValidator(lambda value: _column_type(value)),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(_TYPES)},
                {"type": "string", "pattern": f"^{_DECIMAL}$", "examples": ["decimal(18, 4)"]},
            ]
        }
    ),
]


def decimal_digits(kind: str) -> tuple[int, int] | None:
    """Return the precision and scale of a decimal type, 38 and 9 where it names none; None for other types."""
    if kind == "decimal":
        return 38, 9
    matched = re.fullmatch(_DECIMAL, kind)
    return (int(matched[1]), int(matched[2])) if matched else None


def _column_type(value: str) -> str:
    digits = decimal_digits(value)
    if digits and not digits[1] <= digits[0] <= 38:
        raise ValueError(
            "expected decimal(precision, scale) of at most 38 digits, of which the scale is a part"
        )
    if not digits and value not in _TYPES:
        raise PydanticKnownError("literal_error", {"expected": "the name of a type"})
    return value
