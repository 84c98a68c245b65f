"""Variables in values: the braced grammar of Compose files, as a pure function.

``${VAR}``, ``${VAR:-default}``, ``${VAR-default}``, ``${VAR:?message}``, ``${VAR?message}``,
``${VAR:+alternative}``, ``${VAR+alternative}``; defaults and alternatives may nest; ``$$`` is one
dollar. With the colon, an empty variable counts as unset. A dollar before anything else stays, so
that JSONPath (``$.features[*]``) needs no escape.
See https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_BRACE = re.compile(r"[{}]")
_MAX_NESTING = 20


class InterpolationError(ValueError):
    """A ``${`` that does not follow the grammar."""


@dataclass(frozen=True)
class MissingVariable:
    """A variable without a value and without a default; `message` is the author's, if any."""

    name: str
    message: str = ""


@dataclass
class Interpolated:
    """A value after interpolation.

    Attributes:
        text: The value.
        variables: Names of the variables that decided it, in order.
        missing: Variables without a value; `text` has nothing in their place.
    """

    text: str = ""
    variables: list[str] = field(default_factory=list)
    missing: list[MissingVariable] = field(default_factory=list)


def interpolate(text: str, environ: Mapping[str, str]) -> Interpolated:
    """Return `text` with the values of its variables, which are not interpolated again.

    Raises:
        InterpolationError: A ``${`` has no variable name, an unknown operator, or no ``}``.
    """
    result = Interpolated()
    result.text = _replaced(text, environ, result, 0)
    return result


def _replaced(text: str, environ: Mapping[str, str], result: Interpolated, depth: int) -> str:
    if depth > _MAX_NESTING:
        raise InterpolationError(f"variables nest more than {_MAX_NESTING} deep")
    parts, at = [], 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        if text.startswith("${", dollar):
            end = _closing_brace(text, dollar + 1)
            parts.append(_value(text[dollar + 2 : end], environ, result, depth))
            at = end + 1
        else:
            parts.append("$")
            at = dollar + (2 if text.startswith("$$", dollar) else 1)
    return "".join(parts) + text[at:]


def _closing_brace(text: str, start: int) -> int:
    """Return the index of the brace that closes the one at `start`, as Compose counts them."""
    depth = 0
    for found in _BRACE.finditer(text, start):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return found.start()
    name = _NAME.match(text, start + 1)
    raise InterpolationError(f"'${{{name[0] if name else ''}' has no closing '}}'")


def _value(body: str, environ: Mapping[str, str], result: Interpolated, depth: int) -> str:
    matched = _NAME.match(body)
    if matched is None:
        hint = "(a literal '${' is written '$${')"
        raise InterpolationError(f"expected a variable name after '${{' {hint}")
    name, rest = matched[0], body[matched.end() :]
    value = environ.get(name)
    result.variables.append(name)
    operator = _OPERATOR.match(rest)
    if operator is None:
        if rest:
            allowed = "'}', ':-', '-', ':?', '?', ':+' or '+'"
            message = f"expected {allowed} after '${{{name}', found {rest[0]!r}"
            raise InterpolationError(message)
        if value is None:
            result.missing.append(MissingVariable(name))
        return value or ""
    is_set = bool(value) if operator[0].startswith(":") else value is not None
    kind, operand = operator[0][-1], rest[operator.end() :]
    if kind == "?":
        if not is_set:
            # As written: interpolating the message could print the value of another variable.
            result.missing.append(MissingVariable(name, operand))
        return value or ""
    taken = is_set if kind == "+" else not is_set
    # The syntax of a branch that is not taken counts, its missing variables do not.
    text = _replaced(operand, environ, result if taken else Interpolated(), depth + 1)
    if taken:
        return text
    return value or "" if kind == "-" else ""
