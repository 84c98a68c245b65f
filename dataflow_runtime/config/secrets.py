"""What must not be printed.

A secret is known by its place in a configuration: a field of a secret type, or a key of a telling
name. Text from elsewhere, such as the error of a library, is searched for secrets of loaded
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
from urllib.parse import quote, quote_plus, unquote

MASK = "**********"

_SECRET_WORDS = frozenset(
    [
        "apikey",
        "authorization",
        "cookie",
        "credential",
        "credentials",
        "passcode",
        "passphrase",
        "passwd",
        "password",
        "pwd",
        "secret",
        "sig",
        "signature",
        "token",
    ]
)
# What makes a secret of a `key`: `api_key` is one, `primary_key` is not.
_KINDS_OF_KEY = frozenset(
    [
        "access",
        "account",
        "api",
        "auth",
        "encryption",
        "master",
        "private",
        "secret",
        "service",
        "shared",
        "signing",
        "storage",
        "subscription",
    ]
)
# `token_url` says where a token comes from.
_NOT_THE_SECRET = frozenset(["location", "name", "param", "path", "type", "url"])
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_URL_LOGIN = re.compile(r"(?<=://)([^\s:/@?#'\"]*):([^\s'\"]+)(?=@)")
_QUERY = re.compile(r"([?&]([^=&\s?#]+)=)([^&\s'\"#]+)")

_HARMLESS = frozenset({"postgresql", "production"})

_known: set[str] = set()
_lent: ContextVar[set[str] | None] = ContextVar("_lent", default=None)


@contextmanager
def lent_secrets() -> Iterator[None]:
    """Keep what is remembered in this block for this block only: a client's secrets are not ours."""
    token = _lent.set(set())
    try:
        yield
    finally:
        _lent.reset(token)


@lru_cache(1024)
def is_secret_key(key: str) -> bool:
    """Return whether a key of this name holds a secret: ``password``, ``X-Api-Key``, ``dbToken``."""
    words = [word.lower() for word in _WORD.findall(key)]
    if words == ["key"]:
        return True
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        kind_of_key = before in _KINDS_OF_KEY or before.endswith("api")
        if word in _SECRET_WORDS or word.endswith("apikey") or (word == "key" and kind_of_key):
            return after not in _NOT_THE_SECRET
    return False


def remember_secrets(values: Iterable[str]) -> None:
    """Make `mask` replace these values from now on; of a URL, only its password is a secret."""
    lent = _lent.get()
    remembered = _known if lent is None else lent
    for value in values:
        logins = _URL_LOGIN.findall(value)
        for user, password in logins:
            remembered.update(_spellings(f"{user}:{password}", only_base64=True))
        secrets = [password for _, password in logins]
        if "://" not in value:
            secrets = [value, *value.splitlines()]
        for secret in secrets:
            remembered.update(_spellings(secret))


def _spellings(secret: str, *, only_base64: bool = False) -> Iterator[str]:
    """Yield the ways to write a secret, as far as each can be told from a word."""
    spellings = [base64.b64encode(secret.encode("utf-8", "replace")).decode().rstrip("=")]
    if not only_base64:
        spellings += [secret, secret.strip(), unquote(secret)]
        spellings += [
            quote(secret, safe="", errors="replace"),
            quote_plus(secret, errors="replace"),
        ]
        spellings += [json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]]
        spellings += [repr(secret)[1:-1], repr(secret.encode("utf-8", "replace"))[2:-1]]
    for spelling in spellings:
        if _stands_out(spelling) and (only_base64 or _stands_out(secret)):
            yield spelling


def _stands_out(text: str) -> bool:
    """Return whether a text is long enough to be told from the words and numbers of a message."""
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
    for secret in sorted(_known | (_lent.get() or set()), key=len, reverse=True):
        text = text.replace(secret, MASK)
    if "://" in text:
        text = _URL_LOGIN.sub(rf"\1:{MASK}", text)
    return _QUERY.sub(_masked_parameter, text) if "=" in text else text


def _masked_parameter(found: re.Match[str]) -> str:
    return found[1] + MASK if is_secret_key(found[2]) else found[0]


def has_literal_secret(text: str) -> bool:
    """Return whether the text of a secret holds the secret itself, not only variables."""
    if "://" in text:
        found = _URL_LOGIN.search(text)
        return found is not None and "${" not in found[2]
    return bool(text) and "${" not in text
