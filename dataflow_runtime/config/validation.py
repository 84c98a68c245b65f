"""A merged tree against a model: the validated config, or every problem with its place in the words of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from dataflow_runtime.config.interpolation import interpolate
from dataflow_runtime.config.layers import Layered, variables_of
from dataflow_runtime.config.problems import UNKNOWN_KEY, Problem, snippet
from dataflow_runtime.config.schema import allowed_keys, describe, is_secret, schemas_at
from dataflow_runtime.config.secrets import is_secret_key, mask, remember_secrets
from dataflow_runtime.config.yaml import Node, problem_at
from dataflow_runtime.errors import did_you_mean

__all__ = ["Validation", "secret_leaves"]

M = TypeVar("M", bound=BaseModel)
Path = tuple[str, ...]


class Validation(Generic[M]):
    """One validation of a merged tree.

    Attributes:
        config: The validated model, None if there are problems.
        problems: What is wrong, in the order of the files.
        secrets: The secrets of a validated model, by path.
    """

    def __init__(
        self,
        layered: Layered,
        model: type[M],
        environ: Mapping[str, str] | None,
        context: dict[str, Any],
    ) -> None:
        self.layered, self.model, self.environ, self.context = layered, model, environ, context
        self.config: M | None = None
        self.secrets: dict[Path, str] = {}
        self.values = layered.resolved(environ)
        self.problems = list(layered.problems)
        # Values that could not be read would be reported a second time.
        self._reported = {problem.path for problem in self.problems}
        if layered.unreadable:
            return
        try:
            config = self._validate()
        except ValidationError as error:
            self._explain(error)
            return
        self.secrets = dict(secret_leaves(config))
        remember_secrets(self.secrets.values())
        if not self.problems:
            self.config = config

    def _validate(self) -> M:
        try:
            return self.model.model_validate(self.values, context=self.context)
        except ValidationError as error:
            if not self._retype(error):
                raise
            return self.model.model_validate(self.values, context=self.context)

    def _retype(self, error: ValidationError) -> bool:
        """Where text is expected, take a variable's value as the text it is: a token of digits is no number."""
        changed = False
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            if detail["type"] != "string_type":
                continue
            path, node = self._locate(detail["loc"])
            found = path[-1:] == (str(detail["loc"][-1]),) and ".".join(path) not in self._reported
            text = self._text_of(node) if found else None
            if text is not None:
                self._assign(path, text)
                changed = True
        return changed

    def _text_of(self, node: Node) -> str | None:
        if not node.source.is_file:
            return node.source.text if node.source.text else None
        if not isinstance(node.value, str) or "${" not in node.value:
            return None
        return node.value if self.environ is None else interpolate(node.value, self.environ).text

    def _assign(self, path: Path, value: Any) -> None:
        parent: Any = self.values
        for key in path[:-1]:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        if isinstance(parent, list):
            parent[int(path[-1])] = value
        else:
            parent[path[-1]] = value

    def _locate(self, loc: Sequence[int | str]) -> tuple[Path, Node]:
        """Return the dotted path and the deepest node of a pydantic location, which also names union branches."""
        node, path = self.layered.root, []
        for index, part in enumerate(loc):
            key = str(part)
            below = node.value
            child = below.get(key) if isinstance(below, dict) else None
            if isinstance(below, list) and isinstance(part, int) and part < len(below):
                child = below[part]
            if child is not None:
                path.append(key)
                node = child
            elif isinstance(below, dict) and index == len(loc) - 1:
                path.append(key)
        return tuple(path), node

    def _explain(self, error: ValidationError) -> None:
        self._secret_paths = {path for path, _ in self.layered.scalars if self._is_secret(path)}
        literal = (
            str(node.value) for path, node in self.layered.scalars if path in self._secret_paths
        )
        remember_secrets(text for text in literal if "${" not in text)
        errors = error.errors(include_url=False)
        for detail in errors:
            self._add(detail)
        self._explain_rules(errors)
        self.problems.sort(key=_in_order_of_layers)

    def _explain_rules(self, errors: Sequence[Any]) -> None:
        """Rules between keys run only once every key is sound: look at them without the faulty ones."""
        faulty = set()
        for detail in errors:
            path, _ = self._locate(detail["loc"])
            parent: Any = self.values
            for key in path[:-1]:
                parent = parent.get(key) if isinstance(parent, dict) else None
            if path and isinstance(parent, dict) and detail["type"] != "config_rule":
                parent.pop(path[-1], None)
                faulty.add(path[-1])
        try:
            self.model.model_validate(self.values, context=self.context)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                if detail["type"] == "config_rule" and not any(
                    f"{key}'" in detail["msg"] for key in faulty
                ):
                    self._add(detail)

    def _add(self, detail: Any) -> None:
        path, node = self._locate(detail["loc"])
        context, hint = detail.get("ctx", {}), None
        kind = detail["type"]
        if kind == "config_rule":
            path, node = self._locate((*path, *context["path"]))
            message, hint = context["message"], context["hint"]
            if "found" in message and self._is_secret(path):
                message = message.split(", found")[0]
        elif kind in ("missing", "union_tag_not_found"):
            if kind == "union_tag_not_found":
                path = (*path, "type")
            message = "required key is missing"
            schemas = schemas_at(self.model, path, self.values)
            words = schemas[0].get("description") if schemas else None
            hint = f"expected {describe(schemas)}" + (f": {words}" if words else "")
        elif kind == "extra_forbidden":
            self._add_unknown(path, node)
            return
        elif kind == "union_tag_invalid":
            path, node = self._locate((*path, "type"))
            message = f"expected {_tags(context['expected_tags'])}, found {self._found(path, node)}"
            hint = did_you_mean(
                str(context["tag"]), context["expected_tags"].replace("'", "").split(", ")
            )
        elif kind in ("value_error", "assertion_error"):
            message = detail["msg"].split(", ", 1)[-1]
            if message.startswith("expected") and "found" not in message:
                message += f", found {self._found(path, node)}"
        elif kind in ("model_type", "model_attributes_type", "dict_type"):
            message = f"expected a mapping, found {self._found(path, node)}"
        else:
            schemas = schemas_at(self.model, path, self.values)
            message = f"expected {describe(schemas)}, found {self._found(path, node)}"
            hint = self._hint(kind, detail, path, node)
        dotted = ".".join(path)
        if dotted in self._reported or dotted in self.layered.unknown:
            return
        self._reported.add(dotted)
        names = variables_of(node) if node.source.is_file else []
        if names and hint is None and kind != "config_rule":
            hint = f"the value comes from {', '.join('${' + name + '}' for name in dict.fromkeys(names))}"
        self.problems.append(
            problem_at(
                self._shown(path, node), dotted, message, hint=hint, **self._snippet(path, node)
            )
        )

    def _hint(self, kind: str, detail: Any, path: Path, node: Node) -> str | None:
        if kind in ("literal_error", "enum"):
            words = [
                value
                for part in schemas_at(self.model, path, self.values)
                for value in part.get("enum", [])
            ]
            return did_you_mean(str(node.value), [str(word) for word in words])
        if (
            kind == "string_type"
            and isinstance(node.value, str)
            and node.plain
            and node.value
            and not self._hidden(path, node)
        ):
            return f'text that looks like another type is quoted: "{node.value}"'
        return None

    def _add_unknown(self, path: Path, node: Node) -> None:
        dotted, key = ".".join(path), path[-1]
        if dotted in self._reported:
            return
        self._reported.add(dotted)
        known = allowed_keys(self.model, path[:-1], self.values)
        hint = did_you_mean(key, known) or (f"allowed here: {', '.join(known)}" if known else None)
        at = self._key_of(path) or node
        extra: dict[str, Any] = {}
        if at.source.file is not None:
            # What stands behind a misspelt key may be a secret.
            hidden = [(node.start, node.end)] if node.source is at.source else []
            extra = {
                "snippet": snippet(at.source.text, at.line, at.column, hidden=hidden, instead="…")
            }
        self.problems.append(problem_at(at, dotted, UNKNOWN_KEY, hint=hint, **extra))

    def _key_of(self, path: Path) -> Node | None:
        _, parent = self._locate(path[:-1])
        return parent.keys.get(path[-1])

    def _shown(self, path: Path, node: Node) -> Node:
        """A mapping is pointed at by its key: its own beginning is the key of its first entry."""
        if isinstance(node.value, str) and (node.value or node.end > node.start):
            return node
        located, _ = self._locate(path)
        while located:
            if (key := self._key_of(located)) is not None:
                return key if not node.flow else node
            located = located[:-1]
        files = (child.source for _, child in self.layered.scalars if child.source.is_file)
        return Node("", next(files, node.source))

    def _snippet(self, path: Path, node: Node) -> dict[str, Any]:
        at = self._shown(path, node)
        if at.source.file is None or not at.end:
            return {"snippet": None}
        hidden = [
            (child.start, child.end)
            for found, child in self.layered.scalars
            if found in self._secret_paths and child.source is at.source
        ]
        return {"snippet": snippet(at.source.text, at.line, at.column, hidden=hidden)}

    def _is_secret(self, path: Path) -> bool:
        value: Any = self.values
        for end, key in enumerate(path):
            schemas = schemas_at(self.model, path[: end + 1], self.values)
            value = _below(value, key)
            # Text where a mapping with a secret in it belongs is likely the secret: `auth: <token>`.
            inside = (
                []
                if isinstance(value, dict)
                else [p for part in schemas for p in part.get("properties", {}).values()]
            )
            if is_secret_key(key) or is_secret([*schemas, *inside]):
                return True
        return False

    def _hidden(self, path: Path, node: Node) -> bool:
        return self._is_secret(path) or any(is_secret_key(name) for name in variables_of(node))

    def _found(self, path: Path, node: Node) -> str:
        if self._hidden(path, node):
            return "another value (secret, not shown)"
        value: Any = self.values
        for key in path:
            value = _below(value, key)
        return describe_value(value)


def _below(value: Any, key: str) -> Any:
    if isinstance(value, list) and key.isdecimal():
        return value[int(key)] if int(key) < len(value) else None
    return value.get(key) if isinstance(value, dict) else None


def _in_order_of_layers(problem: Problem) -> tuple[Any, ...]:
    file = problem.file or ""
    # The shorter name is config.yaml, which comes before its overlay.
    return (
        problem.place == "--set",
        not file,
        len(file),
        file,
        problem.line or 0,
        problem.column or 0,
    )


def describe_value(value: Any) -> str:
    """Return a found value in the words of YAML, cut where it is long."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            shown = repr(mask(value) if isinstance(value, str) else value)
            return shown if len(shown) <= 60 else shown[:57] + "…'"


def _tags(text: str) -> str:
    *first, last = text.split(", ")
    return f"{', '.join(first)} or {last}" if first else last


def secret_leaves(model: BaseModel, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield path and text of every secret of a validated config: by its type, or by the name of its key."""
    fields = type(model).model_fields
    for name, value in model:
        alias = fields[name].alias if name in fields else None
        yield from _secrets_in(value, (*path, alias or name))


def _secrets_in(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, SecretStr):
        yield path, value.get_secret_value()
    elif isinstance(value, BaseModel):
        yield from secret_leaves(value, path)
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _secrets_in(child, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _secrets_in(child, (*path, str(index)))
    elif isinstance(value, str) and value and any(is_secret_key(key) for key in path[-2:]):
        yield path, value
