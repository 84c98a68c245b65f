"""Masking of secrets in everything that is printed.

A secret is known by its place in a configuration: a field of a secret type, or a key whose name
says so. Text from elsewhere, such as the error of a library, is searched for secrets of loaded
configurations and for passwords in URLs.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MASK = "**********"

# Matches words in lower case, joined by `-`. `api_key` is a secret, `primary_key` is not, and
# `token_url` says where a token comes from.
_SECRET_NAME = re.compile(
    r"^key$|(?:^|-)(?:authorization|cookie|credentials?|pass(?:code|phrase|wd|word)|pwd|secret|sig"
    r"|signature|token|\w*apikey|(?:access|account|\w*api|auth|encryption|master|private|secret"
    r"|service|shared|signing|storage|subscription)-key)"
    r"(?:$|-(?!(?:location|name|param|path|type|url)(?:$|-)))"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_URL_LOGIN = re.compile(r"(?<=://)([^\s:/@?#'\"]*):([^\s'\"]+)(?=@)")
_QUERY = re.compile(r"([?&]([^=&\s?#]+)=)([^&\s'\"#]+)")

_HARMLESS = frozenset({"postgresql", "production"})

_known: set[str] = set()
_temporary: ContextVar[set[str] | None] = ContextVar("_temporary", default=None)


@contextmanager
def temporary_secrets() -> Iterator[None]:
    """Forget the secrets remembered in the block when it ends: those of a client's request."""
    token = _temporary.set(set())
    try:
        yield
    finally:
        _temporary.reset(token)


@lru_cache(1024)
def is_secret_key(key: str) -> bool:
    """Return whether a key of this name holds a secret, as ``password``, ``X-Api-Key`` do."""
    return bool(_SECRET_NAME.search("-".join(_WORD.findall(key)).lower()))


def remember_secrets(values: Iterable[str]) -> None:
    """Make `mask` replace these values from now on; of a URL, only its password is a secret."""
    temporary = _temporary.get()
    remembered = _known if temporary is None else temporary
    for value in values:
        secrets = [] if "://" in value else [value, *value.splitlines()]
        for user, password in _URL_LOGIN.findall(value):
            secrets += [password, _base64(f"{user}:{password}")]
        for secret in secrets:
            if _is_distinctive(secret):
                remembered.update(filter(_is_distinctive, _spellings(secret)))


def _spellings(secret: str) -> list[str]:
    """Return the ways to write a secret: as it is, and as text of a URL, JSON, Python or base64."""
    encoded = secret.encode("utf-8", "replace")
    urls = [unquote(secret), quote(encoded, safe=""), quote_plus(encoded)]
    literals = [repr(secret), repr(encoded)[1:], json.dumps(secret)]
    literals.append(json.dumps(secret, ensure_ascii=False))
    return [secret, secret.strip(), *urls, *(text[1:-1] for text in literals), _base64(secret)]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode().rstrip("=")


def _is_distinctive(text: str) -> bool:
    """Return whether a text is too long to be an ordinary word or number of a message."""
    if text.lower() in _HARMLESS:
        return False
    if text.isalpha():
        return len(text) >= 10
    return len(text) >= (8 if text.isdigit() else 6)


def forget_secrets() -> None:
    """Forget every remembered value. For tests."""
    _known.clear()


def mask(text: str) -> str:
    """Return `text` without secrets of loaded configurations and without passwords in URLs."""
    # Longer ones first: a secret may contain another one.
    for secret in sorted(_known | (_temporary.get() or set()), key=len, reverse=True):
        text = text.replace(secret, MASK)
    if "://" in text:
        text = _URL_LOGIN.sub(rf"\1:{MASK}", text)
    return _QUERY.sub(_masked_parameter, text) if "=" in text else text


def masked_value(value: Any, key: str = "") -> Any:
    """Return a value of a configuration without the secrets in it, known by text or by key."""
    if isinstance(value, dict):
        # What is below a secret's key is secret, whatever its own key.
        inner = {name: key if is_secret_key(key) else str(name) for name in value}
        return {name: masked_value(child, inner[name]) for name, child in value.items()}
    if isinstance(value, list):
        return [masked_value(child, key) for child in value]
    if isinstance(value, str):
        return MASK if is_secret_key(key) else mask(value)
    # Models mask their own secrets; a number under the key of a secret is one.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return MASK if is_number and is_secret_key(key) else value


def _masked_parameter(found: re.Match[str]) -> str:
    return found[1] + MASK if is_secret_key(found[2]) else found[0]


def has_literal_secret(text: str) -> bool:
    """Return whether the text of a secret holds the secret itself, not only variables."""
    if "://" in text:
        found = _URL_LOGIN.search(text)
        return found is not None and "${" not in found[2]
    return bool(text) and "${" not in text
