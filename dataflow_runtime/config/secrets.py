"""What must not be printed: secrets are known by their field, by their key, and once loaded by their value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from urllib.parse import quote, unquote

__all__ = [
    "MASK",
    "forget_secrets",
    "has_literal_secret",
    "is_secret_key",
    "lent_secrets",
    "mask",
    "remember_secrets",
]

MASK = "**********"

_SECRET_WORD = r"pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|authorization|credentials?|cookie|(?:private|access|account)[-_]?key"  # noqa: S105
_SECRET_KEY = re.compile(
    rf"(?i)(?:^|[-_.])x?(?:{_SECRET_WORD})(?:$|[-_.](?!url|param|path|name|type|location))"
)
_URL_PASSWORD = re.compile(r"(?<=://)([^\s:/@?#'\"]*):([^\s@'\"]+)(?=@)")
_QUERY_SECRET = re.compile(
    rf"(?i)([?&](?:[\w.-]*[-_.])?(?:{_SECRET_WORD}|sig|signature|key)=)[^&\s'\"#]+"
)
_YAML_SECRET = re.compile(
    rf"(?i)((?:^|[\s{{,\"'])(?:[\w.-]*[-_.])?(?:{_SECRET_WORD})[\"']?\s*:\s+)(?=[^\s#])([^,}}#]+)"
)

# Shorter values, and defaults that everyone knows, would blot out harmless text (``warehouse: postgres``).
_SHORTEST = 4
_HARMLESS = frozenset(
    {"postgres", "postgresql", "duckdb", "root", "admin", "test", "user", "true", "false", "null"}
)

_known: set[str] = set()
_lent: ContextVar[set[str] | None] = ContextVar("_lent", default=None)


@contextmanager
def lent_secrets() -> Iterator[None]:
    """Keep what is remembered meanwhile for this block only: what somebody else sent is not to be masked for all."""
    token = _lent.set(set())
    try:
        yield
    finally:
        _lent.reset(token)


@lru_cache(1024)
def is_secret_key(key: str) -> bool:
    """Return whether a key of this name holds a secret whatever its type: ``password``, ``X-Api-Key``, ``DB_TOKEN``."""
    return _SECRET_KEY.search(key) is not None


def remember_secrets(values: Iterable[str]) -> None:
    """Make `mask` replace these values from now on; of a URL only its password, the rest is no secret by itself."""
    lent = _lent.get()
    remembered = _known if lent is None else lent
    for value in values:
        passwords = [found[2] for found in _URL_PASSWORD.finditer(value)]
        for secret in passwords or ([] if "://" in value else [value]):
            for form in (secret, unquote(secret), quote(secret, safe="")):
                if len(form) >= _SHORTEST and form.lower() not in _HARMLESS:
                    remembered.add(form)


def forget_secrets() -> None:
    """Forget every remembered value. For tests."""
    _known.clear()


def mask(text: str) -> str:
    """Return `text` with stars in place of secrets: values of loaded configs, passwords in URLs, secret keys."""
    for secret in sorted(_known | (_lent.get() or set()), key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, MASK)
    if "://" in text:
        text = _URL_PASSWORD.sub(lambda found: f"{found[1]}:{MASK}", text)
        text = _QUERY_SECRET.sub(lambda found: found[1] + MASK, text)
    return _YAML_SECRET.sub(_mask_literal, text) if ":" in text else text


def _mask_literal(found: re.Match[str]) -> str:
    # `${VAR}` names where the secret is; it is not the secret.
    value = found[2].strip().strip("\"'")
    return found[0] if re.fullmatch(r"\$\{\w+\}?", value) else found[1] + MASK


def has_literal_secret(text: str) -> bool:
    """Return whether a secret field's text, before interpolation, holds the secret itself: of a URL, the password."""
    if "://" in text:
        found = _URL_PASSWORD.search(text)
        return found is not None and "${" not in found[2]
    return bool(text) and "${" not in text
