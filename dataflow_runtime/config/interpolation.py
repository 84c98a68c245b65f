"""Variables in config values: the braced grammar of Compose files, as a pure function.

``${VAR}``, ``${VAR:-default}``, ``${VAR-default}``, ``${VAR:?message}``, ``${VAR?message}``, ``${VAR:+alternative}``,
``${VAR+alternative}``; defaults and alternatives may nest; ``$$`` is one dollar. With the colon an empty variable
counts as unset. A dollar before anything else stays, so that JSONPath (``$.features[*]``) needs no escape.
See https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Interpolated", "InterpolationError", "MissingVariable", "interpolate"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_MAX_NESTING = 20


class InterpolationError(ValueError):
    """A ``${`` that does not follow the grammar."""


@dataclass(frozen=True)
class MissingVariable:
    """A variable that is unset (or empty, where that counts) and has no default; `message` is the author's, if any."""

    name: str
    message: str = ""


@dataclass
class Interpolated:
    """A value after interpolation.

    Attributes:
        text: The value.
        variables: Names of the variables that decided it, in order: what a cache has to watch.
        missing: Variables without a value; `text` has nothing in their place.
    """

    text: str = ""
    variables: list[str] = field(default_factory=list)
    missing: list[MissingVariable] = field(default_factory=list)


def interpolate(text: str, environ: Mapping[str, str]) -> Interpolated:
    """Return `text` with its variables replaced by their values in `environ`, which are not interpolated again.

    Raises:
        InterpolationError: A ``${`` without a variable name, with an unknown operator, or without its ``}``.
    """
    result = Interpolated()
    result.text, _ = _scan(text, 0, 0, environ, result)
    return result


def _scan(
    text: str, at: int, depth: int, environ: Mapping[str, str], result: Interpolated | None
) -> tuple[str, int]:
    """Read up to the end, or to the brace that closes an operand; `result` is None in a branch that is not taken."""
    parts: list[str] = []
    while at < len(text):
        stop = _next_special(text, at, closing=depth > 0)
        parts.append(text[at:stop])
        at = stop
        if text.startswith("$$", at):
            parts.append("$")
            at += 2
        elif text.startswith("${", at):
            value, at = _expression(text, at, depth, environ, result)
            parts.append(value)
        elif depth and text.startswith("}", at):
            return "".join(parts), at
        elif at < len(text):
            parts.append(text[at])
            at += 1
    return "".join(parts), at


def _next_special(text: str, at: int, *, closing: bool) -> int:
    dollar = text.find("$", at)
    dollar = len(text) if dollar < 0 else dollar
    brace = text.find("}", at, dollar) if closing else -1
    return dollar if brace < 0 else brace


def _expression(
    text: str, start: int, depth: int, environ: Mapping[str, str], result: Interpolated | None
) -> tuple[str, int]:
    if depth >= _MAX_NESTING:
        raise InterpolationError(f"variables nest more than {_MAX_NESTING} deep")
    matched = _NAME.match(text, start + 2)
    if matched is None:
        raise InterpolationError(
            "expected a variable name after '${' (a literal '${' is written '$${')"
        )
    name, at = matched[0], matched.end()
    value = environ.get(name)
    if result is not None:
        result.variables.append(name)
    if text.startswith("}", at):
        if value is None and result is not None:
            result.missing.append(MissingVariable(name))
        return value or "", at + 1

    operator = _OPERATOR.match(text, at)
    if operator is None and at < len(text):
        raise InterpolationError(
            f"expected '}}', ':-', '-', ':?', '?', ':+' or '+' after '${{{name}', found {text[at]!r}"
        )
    if operator is None:
        raise InterpolationError(f"'${{{name}' has no closing '}}'")
    kind = operator[0][-1]
    is_set = bool(value) if operator[0][0] == ":" else value is not None
    taken = kind == ("+" if is_set else "-")
    # A branch that is not taken is read only to find its end: what it names may be unset.
    operand, end = _scan(text, operator.end(), depth + 1, environ, result if taken else None)
    if not text.startswith("}", end):
        raise InterpolationError(f"'${{{name}' has no closing '}}'")
    if kind == "?" and not is_set and result is not None:
        # As written: interpolating the message could print the value of another variable.
        result.missing.append(MissingVariable(name, text[operator.end() : end]))
    if taken:
        return operand, end + 1
    return (value or "") if is_set and kind != "+" else "", end + 1
