"""Change one value of a YAML file: comments, order and every other byte stay.

The parser tells where each value is; an edit replaces that span of text, or inserts a line.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dataflow_runtime.config.core_schema import typed_scalar
from dataflow_runtime.config.layers import value_node
from dataflow_runtime.config.problems import ConfigError, display_path
from dataflow_runtime.config.tree import MAX_BYTES, Node, Source, read_source
from dataflow_runtime.config.yaml import parse_yaml
from dataflow_runtime.errors import DataflowError, UsageError

# Text that needs no quotes, in a block and between brackets.
_PLAIN = re.compile(r"[\w./$(](?:[\w./+=?&~()<>;@%^*$|-]|:(?=[^\s])| (?=[^\s#:]))*")
_PLAIN_IN_BRACKETS = re.compile(r"[\w./+-]+(?: [\w./+-]+)*")


def edit_file(file: Path, change: Callable[[str], str]) -> bool:
    """Replace the content of `file` by ``change(content)`` in one step; return whether it differs.

    Processes that edit the same file wait for each other, so that no edit is lost; a crash leaves
    the old content. A link is followed; a file that does not exist is made.

    Raises:
        DataflowError: It cannot be read or written.
    """
    file = Path(os.path.realpath(file))
    try:
        with _locked(file.parent):
            # Bytes: a byte order mark and the line ends stay as they are.
            old = ""
            if os.path.lexists(file):
                read_source(file, "file")
                old = file.read_bytes().decode("utf-8")
            new = change(old).encode()
            if len(new) > MAX_BYTES:
                raise DataflowError(f"{file}: the file would be larger than {MAX_BYTES:,} bytes")
            if new == old.encode():
                return False
            _replace_file(file, new)
            return True
    except OSError as error:
        message = f"{display_path(file)}: cannot be written: {error.strerror or error}"
        raise DataflowError(message, hint="nothing was written") from error


def _replace_file(file: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        file.touch()  # a new file gets the permissions that the user's umask gives
        found = file.stat()
        with contextlib.suppress(PermissionError):  # only root can give a file away
            os.chown(temporary, found.st_uid, found.st_gid)
        shutil.copystat(file, temporary)  # permissions and extended attributes
        os.utime(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder: the file itself is replaced by another one."""
    try:
        import fcntl
    except ImportError:  # Windows, where one of two edits at the same moment can be lost
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def set_value(text: str, dotted: str, value: str, *, file: Path, force: bool = False) -> str:
    """Return `text` with the value at a dotted key replaced, or the key added.

    Args:
        text: A YAML document.
        dotted: The key, such as ``processing.batch_size``.
        value: YAML in brackets or quotes, otherwise one scalar; the old value's quotes stay.
        file: Named in errors.
        force: Whether a value that holds ``${VAR}`` may be replaced.

    Raises:
        ConfigError: The document cannot be parsed.
        UsageError: The key is not one, or leads through a scalar or an alias.
        DataflowError: The old value holds a variable and `force` is not given.
    """
    path = dotted.split(".")
    if not all(path):
        raise UsageError(f"key {dotted!r}: expected section.key, found an empty part")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix(mark)
    root = parse_yaml(Source("file", text, file))
    # So that `$$` is read back as it was set; `${VAR}` is a variable.
    value = value.replace("$$", "$$$$")
    new = value_node(value, Source("set", value, variable=dotted))
    parent: Any = root
    node: Any = root
    depth = 0
    while depth < len(path) and (key := _own_key(node, path[depth])):
        parent, node, depth = node, node.value[path[depth]], depth + 1
        if node.start < key.start and depth < len(path):
            raise UsageError(f"key {dotted!r}: {key.value!r} is an alias; edit what it names")
    key = _own_key(parent, path[depth - 1]) if depth else None
    if depth == len(path) and key is not None:
        if "${" in node.text and not force:
            # Not its default, which may be a secret.
            names = ", ".join(f"{name}}}" for name in re.findall(r"\$\{\w+", node.text))
            message = f"{dotted}: the file takes this value from a variable: {names}"
            hint = "set the variable instead, or replace it here with --force"
            raise DataflowError(message, hint=hint)
        edited = _replaced(text, key, node, _written(new, node.text[:1], flow=parent.flow))
    elif isinstance(node.value, dict) or node.is_empty:
        edited = _extended(text, node, key, path[depth:], new)
    else:
        above = ".".join(path[:depth])
        found = "a list" if isinstance(node.value, list) else "a value"
        raise UsageError(f"key {dotted!r}: {above!r} is {found}, it has no keys below it")
    _verify(root, Source("file", edited, file), path, new)
    return mark + edited


def _own_key(node: Node, name: str) -> Node | None:
    """Return a key that is written in the mapping itself, not taken from a merge key."""
    key = node.keys.get(name)
    return key if key is not None and node.start <= key.start < node.end else None


def _replaced(text: str, key: Node, node: Node, written: str) -> str:
    start, end = node.start, node.end
    alias = re.compile(r"""["']?\s*:\s*(\*[^\s,\]}]+)""").match(text, key.end)
    if start < key.start and alias:
        start, end = alias.span(1)
    elif not isinstance(node.value, str) and not node.flow:
        # A block begins on its own line; what replaces it follows the colon.
        colon = text.rindex(":", key.end - 1, start)
        start = start if "#" in text[colon:start] else colon + 1
    while end > start and text[end - 1] in "\r\n":  # of a block of text
        end -= 1
    space = " " if text[start - 1] == ":" else ""
    return text[:start] + space + written + text[end:]


def _extended(text: str, node: Any, key: Node | None, keys: list[str], new: Node) -> str:
    """Return the text with a new entry at the end of a mapping, which may be empty."""
    names = [name if _PLAIN_IN_BRACKETS.fullmatch(name) else _quoted(name) for name in keys]
    written = _written(new, "", flow=node.flow)
    own = [name for name in node.keys if _own_key(node, name)]
    if node.flow:
        close = text.rindex("}", node.start, node.end)
        body = text[:close].rstrip()
        comma = ", " if own and not body.endswith(",") else ""
        entry = ": {".join(names) + f": {written}" + "}" * (len(names) - 1)
        return body + comma + entry + text[close:]
    newline = "\r\n" if "\r\n" in text else "\n"
    column, end = (key.column + 1 if key else 0), (node.end if key else len(text))
    if own:
        column = node.keys[own[0]].column - 1
        end = max(node.value[name].end for name in own)
    # After the rest of the line, which may be a comment.
    at = end if text[end - 1 : end] == "\n" else text.find("\n", end) + 1
    if not at:
        text += "" if text.endswith("\n") or not text else newline
        at = len(text)
    lines = [f"{' ' * (column + 2 * depth)}{name}:" for depth, name in enumerate(names)]
    return f"{text[:at]}{newline.join(lines)} {written}{newline}{text[at:]}"


def _written(new: Node, quote: str, *, flow: bool) -> str:
    """Return the YAML of a new value: in the quotes of the old one, if it had any."""
    if not isinstance(new.value, str) or not new.plain:
        return new.source.text.strip()
    if quote == "'" and new.value.isprintable():
        return "'" + new.value.replace("'", "''") + "'"
    if quote == '"' or not (_PLAIN_IN_BRACKETS if flow else _PLAIN).fullmatch(new.value):
        return _quoted(new.value)
    return new.value


def plain_or_quoted(text: str) -> str:
    """Return the YAML of a text: in quotes where it would be read as something else."""
    is_plain = _PLAIN.fullmatch(text) and typed_scalar(text) == text
    return text if is_plain else _quoted(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    # The escapes of Python are those of YAML.
    shown = [c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped]
    return f'"{"".join(shown)}"'


def _verify(before: Node, edited: Source, path: list[str], new: Node) -> None:
    """Refuse an edit that changed anything but the value at `path`."""
    try:
        after = _data(parse_yaml(edited))
    except ConfigError as error:
        message = f"{'.'.join(path)}: this value cannot be written into the file"
        raise DataflowError(message, hint="edit the file by hand") from error
    expected = _data(before)
    section: Any = expected
    for key in path[:-1]:
        section[key] = section.get(key) or {}
        section = section[key]
    section[path[-1]] = _data(new)
    if after != expected:
        message = f"{'.'.join(path)}: this value cannot be set without changing others"
        raise DataflowError(message, hint="edit the file by hand")


def _data(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _data(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_data(child) for child in node.value]
    return node.value
