"""Edits of a YAML file that touch only the edited value: comments, order, quoting and every other byte stay.

The parser gives the place of each value; an edit replaces that span of text, or inserts a line where it belongs.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dataflow_runtime.config.core_schema import typed_scalar
from dataflow_runtime.config.layers import value_node
from dataflow_runtime.config.problems import ConfigError
from dataflow_runtime.config.yaml import MAX_BYTES, Node, Source, parse_yaml, read_source
from dataflow_runtime.errors import DataflowError, UsageError

__all__ = ["edit_file", "plain_or_quoted", "set_value"]


def edit_file(file: Path, change: Callable[[str], str]) -> bool:
    """Replace the content of `file` by ``change(content)`` in one step; return whether anything changed.

    Processes that edit the same file wait for each other, so that no edit is lost; a crash leaves the old content.
    Permissions stay; a link is followed; a file that is not there is made.
    """
    file = file.resolve()
    with _locked(file.parent):
        # Bytes, not `read_source`: a byte order mark and the line ends stay as they are.
        exists = file.exists()
        if exists:
            read_source(file, "file")
        old = file.read_bytes().decode("utf-8") if exists else ""
        new = change(old)
        if new == old:
            return False
        if len(new.encode()) > MAX_BYTES:
            raise DataflowError(f"{file}: the file would be larger than {MAX_BYTES:,} bytes")
        descriptor, temporary = tempfile.mkstemp(
            dir=file.parent, prefix=f".{file.name}.", suffix=".tmp"
        )
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(new.encode())
                stream.flush()
                os.fsync(stream.fileno())
            # mkstemp's 0600 would lock out the group that shares the checkout.
            Path(temporary).chmod(file.stat().st_mode if exists else 0o666 & ~_umask())
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself: it is there already, and the file is replaced by another while it is edited."""
    try:
        import fcntl
    except (
        ImportError
    ):  # Windows: the replacement is atomic, but two edits at the same moment can lose one
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def set_value(text: str, dotted: str, value: str, *, file: Path, force: bool = False) -> str:
    """Return `text` with the value at a dotted key replaced, or the key added.

    Args:
        text: A YAML document.
        dotted: Where, e.g. ``processing.batch_size``.
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
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    source = Source("file", text.removeprefix(bom), file)
    node, depth, flow, indent = parse_yaml(source), 0, False, 0
    while depth < len(path) and isinstance(node.value, dict):
        key = path[depth]
        if key not in node.value or key in node.inherited:
            break
        child = node.value[key]
        if child.alias and depth < len(path) - 1:
            raise UsageError(f"key {dotted!r}: {key!r} is an alias; edit what its anchor marks")
        indent = node.keys[key].column + 1
        node, depth, flow = child, depth + 1, flow or node.flow
    rest = path[depth:]
    new = value_node(value, Source("set", value, variable=dotted))
    if (
        rest
        and not isinstance(node.value, dict)
        and not (node.value == "" and node.plain and not node.alias)
    ):
        found = "a list" if isinstance(node.value, list) else "a value"
        raise UsageError(
            f"key {dotted!r}: {'.'.join(path[:depth])!r} is {found}, it has no keys below it"
        )
    if rest:
        edited = _insert(source.text, node, indent, rest, new)
    else:
        if "${" in node.text and not force:
            raise DataflowError(
                f"{dotted}: the file takes this value from a variable: {_short(node.text)}",
                hint="set the variable instead, or replace it here with --force",
            )
        edited = _replace(source.text, node, new, flow=flow)
    _verify(source, edited, path, new)
    return bom + edited


def _short(text: str) -> str:
    from dataflow_runtime.config.secrets import mask

    names = re.findall(r"\$\{\w+", text)
    return (
        mask(text)
        if len(text) <= 60 and "\n" not in text and "://" not in text
        else ", ".join(f"{n}}}" for n in names)
    )


def _replace(text: str, node: Node, new: Node, *, flow: bool) -> str:
    start, end = node.start, node.end
    written = _written(new, old=text[start:end], flow=flow)
    if isinstance(node.value, str) and text[start : start + 1] in ("|", ">"):
        # A block scalar ends with its last line break, which belongs to the key's line now.
        while end > start and text[end - 1] in "\r\n":
            end -= 1
    if start == end and text[start - 1 : start] == ":":
        written = " " + written
    elif not node.flow and not isinstance(node.value, str) and not node.alias:
        # A block list or mapping begins on its own line; the value moves up behind the colon.
        start = (
            text.rfind(":", 0, start) + 1
            if "#" not in text[text.rfind(":", 0, start) : start]
            else start
        )
        written = " " + written if text[start - 1] == ":" else written
    return text[:start] + written + text[end:]


def _insert(text: str, parent: Node, indent: int, keys: list[str], new: Node) -> str:
    written = _written(new, old="", flow=parent.flow)
    entries = parent.value if isinstance(parent.value, dict) else {}
    own = [key for key in entries if key not in parent.inherited]
    if parent.flow:
        inner = "".join(f"{_key(key)}: {{" for key in keys[:-1])
        entry = f"{inner}{_key(keys[-1])}: {written}{'}' * (len(keys) - 1)}"
        close = text.rindex("}", 0, parent.end)
        body = text[:close].rstrip()
        separator = (
            "" if body.endswith(("{", ",")) and not own else " " if body.endswith(",") else ", "
        )
        return body + separator + entry + text[len(body) :] if own else body + entry + text[close:]
    if own:
        column = parent.keys[own[0]].column - 1
        end = max(entries[key].end for key in own)
    else:
        column = indent
        end = parent.end
    newline = "\r\n" if "\r\n" in text else "\n"
    at = end if end and text[end - 1] == "\n" else text.find("\n", end) + 1
    if not at:
        at = len(text)
        text += newline if text and not text.endswith("\n") else ""
        at = len(text)
    if not own and not indent:
        at = len(text)
        text += newline if text and not text.endswith("\n") else ""
        at = len(text)
    lines = [f"{' ' * (column + 2 * index)}{_key(key)}:" for index, key in enumerate(keys)]
    return text[:at] + newline.join(lines) + f" {written}{newline}" + text[at:]


def _key(key: str) -> str:
    return (
        key
        if re.fullmatch(r"[A-Za-z_][\w-]*", key) and typed_scalar(key) == key
        else _quoted(key, '"')
    )


def _written(new: Node, *, old: str, flow: bool) -> str:
    """Return the YAML of a new value: in the old one's quotes if it had any."""
    if not isinstance(new.value, str) or not new.plain:
        return new.source.text.strip()
    if old[:1] in ("'", '"'):
        return _quoted(new.value, old[0])
    return new.value if _is_plain(new.value, flow=flow) else _quoted(new.value, '"')


def plain_or_quoted(text: str) -> str:
    """Return the YAML of a text: in quotes where it would otherwise be read as something else."""
    return (
        text if typed_scalar(text) == text and _is_plain(text, flow=False) else _quoted(text, '"')
    )


def _is_plain(text: str, *, flow: bool) -> bool:
    if "\n" in text or text != text.strip():
        return False
    if flow and not re.fullmatch(r"[\w./+-]+(?: [\w./+-]+)*", text):
        return False  # the parsers do not agree on colons and brackets there
    document = f"[{text}]" if flow else f"key: {text}\n"
    try:
        root = parse_yaml(Source("file", document), any_value=True)
    except ConfigError:
        return False
    items = (
        root.value
        if isinstance(root.value, list)
        else list(root.value.values())
        if isinstance(root.value, dict)
        else []
    )
    return len(items) == 1 and items[0].value == text and items[0].plain


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _quoted(text: str, quote: str) -> str:
    if quote == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    escaped = (
        _ESCAPES.get(char) or (char if char.isprintable() else f"\\U{ord(char):08X}")
        for char in text
    )
    return '"' + "".join(escaped) + '"'


def _verify(source: Source, edited: str, path: list[str], new: Node) -> None:
    """Refuse an edit that changed anything but the value at `path`."""
    try:
        before = parse_yaml(source)
        after = parse_yaml(Source("file", edited, source.file))
    except ConfigError as error:
        raise DataflowError(
            f"{'.'.join(path)}: this value cannot be written into the file",
            hint="edit the file by hand",
        ) from error
    if _data(after) != _with(_data(before), path, _data(new)):
        raise DataflowError(
            f"{'.'.join(path)}: this value cannot be set without changing others",
            hint="edit the file by hand",
        )


def _data(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: _data(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_data(child) for child in node.value]
    return node.value


def _with(data: object, path: list[str], value: object) -> object:
    if not path:
        return value
    below = dict(data) if isinstance(data, dict) else {}
    return {**below, path[0]: _with(below.get(path[0]), path[1:], value)}
