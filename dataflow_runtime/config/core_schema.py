"""The types of unquoted YAML scalars."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["typed_scalar"]

# The core schema of YAML 1.2.2, section 10.3.2.
_CORE = re.compile(
    r"(?P<null>null|Null|NULL|~|)"
    r"|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+)|0o(?P<oct>[0-7]+)|0x(?P<hex>[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<inf>[-+]?)\.(?:inf|Inf|INF)|(?P<nan>\.nan|\.NaN|\.NAN)"
)


def typed_scalar(text: str) -> Any:
    """Return what an unquoted scalar stands for: None, bool, int, float or the text itself."""
    matched = _CORE.fullmatch(text)
    if matched is None:
        return text
    kind = matched.lastgroup
    try:
        match kind:
            case "true" | "false":
                return kind == "true"
            case "int":
                return int(text)
            case "oct" | "hex":
                return int(matched[kind], 8 if kind == "oct" else 16)
            case "float" | "nan":
                return float(text.removeprefix(".") if kind == "nan" else text)
            case "inf":
                return float(matched["inf"] + "inf")
            case _:
                return None
    except ValueError:  # Python refuses integers of more than 4,300 digits
        return text
