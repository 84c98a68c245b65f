"""A merged tree against its model: the validated config, or every problem with its place."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dataflow_runtime.config.allowed import allowed_keys, models_at, secret_paths, types_at
from dataflow_runtime.config.base import RULE, descriptions
from dataflow_runtime.config.layers import Layers, variables_of
from dataflow_runtime.config.problems import MAX_PROBLEMS, ConfigProblem
from dataflow_runtime.config.secrets import MASK, is_secret_key, mask, remember_secrets
from dataflow_runtime.config.tree import Node, problem_at
from dataflow_runtime.errors import did_you_mean

Path = tuple[str, ...]


class Validation:
    """One validation of a merged tree.

    Attributes:
        config: The validated model, None if there are problems.
        problems: What is wrong, in the order of the files.
        secrets: The secrets of a validated model, by path.
    """

    def __init__(self, layers: Layers, context: dict[str, Any]) -> None:
        self.layers, self.model, self.context = layers, layers.model, context
        self.config: Any = None
        self.secrets: dict[Path, str] = {}
        self.values = layers.values()
        self.problems = list(layers.problems)
        # Values that could not be read would be reported a second time.
        self.reported = {problem.path for problem in self.problems}
        if layers.unreadable:
            return
        try:
            config = self.validated()
        except ValidationError as error:
            self.explain(error)
        except Exception as error:
            # A validator of a model that a workflow brings.
            self.find_secrets()
            message = f"the model {self.model.__name__} failed: {type(error).__name__}: {error}"
            self.problems.append(ConfigProblem("", self.masked(message)))
        else:
            self.secrets = dict(secret_values(config))
            self.remember(self.secrets)
            if not self.problems:
                self.config = config

    def validated(self) -> BaseModel:
        """Return the validated model."""
        # As JSON, strictly: a list may become a tuple and a text a date, but no text a number.
        text = json.dumps(self.values)
        return self.model.model_validate_json(text, context=self.context)

    def remember(self, secrets: Mapping[Path, str]) -> None:
        """Have these secrets masked from now on, also in the header of a login."""
        remember_secrets(secrets.values())
        for path, secret in secrets.items():
            user = self.at((*path[:-1], "username"))
            if isinstance(user, str):
                login = f"{user}:{secret}".encode("utf-8", "replace")
                remember_secrets([base64.b64encode(login).decode().rstrip("=")])

    def find_secrets(self) -> None:
        """Find what may not be shown, although nothing is known to be in the right place."""
        self.secret_paths = set(secret_paths(self.values, [self.model]))
        scalars = dict(self.layers.scalars())
        self.secret_nodes = {path: scalars[path] for path in self.secret_paths & scalars.keys()}
        self.secret_variables = set()
        for node in self.secret_nodes.values():
            self.secret_variables.update(variables_of(node))
        self.found_secrets = {path: str(self.at(path) or "") for path in self.secret_nodes}
        self.remember(self.found_secrets)

    def masked(self, message: str) -> str:
        """Return the message of a validator without the secrets that it may repeat."""
        for secret in self.found_secrets.values():
            if len(secret) > 3:
                message = message.replace(secret, MASK)
        return mask(message)

    def explain(self, error: ValidationError) -> None:
        """Turn the errors of pydantic into problems with their place."""
        self.find_secrets()
        grouped: dict[Path, list[Any]] = {}
        for detail in error.errors(include_url=False, include_input=False):
            path, _ = self.located(detail["loc"], is_missing=detail["type"] == "missing")
            grouped.setdefault(path, []).append(detail)
        for number, (path, details) in enumerate(grouped.items()):
            if number < 2 * MAX_PROBLEMS:
                self.add(path, details)
            else:
                # It is counted, but not shown.
                self.problems.append(ConfigProblem(".".join(path), details[0]["msg"]))
        self.explain_rules(set(grouped))
        self.problems.sort(key=_order)

    def explain_rules(self, invalid: set[Path]) -> None:
        """Report rules between keys, which are checked only once every key by itself is valid."""
        for path in invalid:
            parent = self.at(path[:-1])
            if isinstance(parent, dict) and path:
                parent.pop(path[-1], None)
        names = {".".join(path) for path in invalid}
        try:
            self.validated()
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                if detail["type"] == RULE and not _concerns(detail["ctx"]["needs"], names):
                    self.add(self.located(detail["loc"])[0], [detail])
        except Exception:
            return  # of somebody's own validator, which did not expect a key to be missing

    def located(self, loc: tuple[int | str, ...], *, is_missing: bool = False) -> tuple[Path, Node]:
        """Return path and node of a location of pydantic, which also names branches of unions."""
        node, path = self.layers.root, []
        for part in loc:
            below, key, child = node.value, str(part), None
            if isinstance(below, dict):
                child = below.get(key)
            elif isinstance(below, list) and isinstance(part, int):
                child = below[part] if part < len(below) else None
            if child is not None:
                node = child
                path.append(key)
        if is_missing:
            path.append(str(loc[-1]))
        return tuple(path), node

    def at(self, path: Path) -> Any:
        """Return the value at a path, None where there is none."""
        value: Any = self.values
        for key in path:
            if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                value = value.get(key) if isinstance(value, dict) else None
        return value

    def add(self, path: Path, details: list[Any]) -> None:
        """Add the problem of a path; of a union, pydantic gives one error for each branch."""
        detail, context, hint = details[0], details[0].get("ctx", {}), None
        kind = detail["type"]
        if kind == RULE:
            path, _ = self.located((*path, *context["path"]))
            message, hint = context["message"], context["hint"]
        elif kind == "missing":
            message, hint = "required key is missing", self.description(path)
        elif kind == "extra_forbidden":
            self.add_unknown(path)
            return
        elif kind == "union_tag_not_found":
            path = (*path, "type")
            message, hint = "required key is missing", f"add `type`: one of {self.tags(path)}"
        elif kind == "union_tag_invalid":
            path = (*path, "type")
            message = f"Input should be one of {context['expected_tags']}, found {self.found(path)}"
            hint = self.suggestion(path)
        elif kind in ("value_error", "assertion_error"):
            message = f"{context['error']}, found {self.found(path)}"
        else:
            messages = dict.fromkeys(found["msg"] for found in details)
            message = f"{' or '.join(messages)}, found {self.found(path)}"
            hint = self.suggestion(path)
        self.report(path, message, hint)

    def report(self, path: Path, message: str, hint: str | None) -> None:
        """Add a problem, at most one for each path."""
        dotted = ".".join(path)
        if dotted in self.reported | self.layers.unknown:
            return
        self.reported.add(dotted)
        _, node = self.located(path)
        names = variables_of(node) if node.source.is_file and isinstance(node.value, str) else []
        if names and hint is None:
            hint = f"the value comes from {', '.join(f'${{{name}}}' for name in names)}"
        at = self.pointed_at(path, node)
        hidden = self.secret_nodes.values()
        self.problems.append(problem_at(at, dotted, self.masked(message), hint=hint, hidden=hidden))

    def add_unknown(self, path: Path) -> None:
        """Add the problem of an unknown key."""
        dotted, parent = ".".join(path), self.at(path[:-1])
        tag = parent.get("type") if isinstance(parent, dict) else None
        known = allowed_keys(models_at(self.model, path[:-1], tag))
        hint = did_you_mean(path[-1], known) or (f"allowed here: {', '.join(known)}")
        _, node = self.located(path)
        _, section = self.located(path[:-1])
        key = section.keys.get(path[-1], node)
        if dotted not in self.reported:
            self.reported.add(dotted)
            # The value of a misspelt key may be a secret.
            problem = problem_at(
                key, dotted, "unknown key", hint=hint, hidden=[node], unknown_key=True
            )
            self.problems.append(problem)

    def pointed_at(self, path: Path, node: Node) -> Node:
        """Return what the caret is under: of a mapping, its key, as it begins with another key."""
        if isinstance(node.value, str) and (node.value or node.end > node.start):
            return node
        if node.flow:
            return node
        while path:
            _, section = self.located(path[:-1])
            if path[-1] in section.keys:
                return section.keys[path[-1]]
            path = path[:-1]
        sources = [child.source for _, child in self.layers.scalars() if child.source.is_file]
        return Node("", sources[0] if sources else node.source)

    def found(self, path: Path) -> str:
        """Return what was found at a path, as far as it may be shown."""
        value, (_, node) = self.at(path), self.located(path)
        names = variables_of(node)
        by_variable = any(name in self.secret_variables or is_secret_key(name) for name in names)
        if path in self.secret_paths or by_variable:
            return "another value (secret, not shown)"
        if isinstance(value, bool):
            return str(value).lower()
        words = {type(None): "nothing", list: "a list", dict: "a mapping"}
        shown = words.get(type(value)) or repr(value)
        return shown if len(shown) <= 60 else shown[:57] + "…'"

    def description(self, path: Path) -> str | None:
        """Return what the model says about a key."""
        parent = self.at(path[:-1])
        tag = parent.get("type") if isinstance(parent, dict) else None
        for model in models_at(self.model, path[:-1], tag):
            for name, field in model.model_fields.items():
                words = field.description or descriptions(model).get(name)
                if (field.alias or name) == path[-1] and words:
                    return f"add `{path[-1]}`: {words}"
        return f"add `{path[-1]}`"

    def tags(self, path: Path) -> str:
        """Return the types that a union of sections has."""
        return ", ".join(repr(word) for word in self.words(path))

    def words(self, path: Path) -> list[str]:
        """Return the words that are allowed at a path."""
        found = []
        for annotation in types_at(self.model, path):
            if get_origin(annotation) is Literal:
                found += [str(word) for word in get_args(annotation)]
        return found

    def suggestion(self, path: Path) -> str | None:
        """Return the allowed word that was likely meant, or how to make text of a number."""
        value, (_, node) = self.at(path), self.located(path)
        if isinstance(value, str):
            return did_you_mean(value, self.words(path))
        is_text = str in types_at(self.model, path) and isinstance(node.value, str)
        if is_text and node.plain and node.value and node not in self.secret_nodes.values():
            return f'quote text that looks like another type: "{node.value}"'
        return None


def _concerns(needs: str, invalid: set[str]) -> bool:
    """Return whether a rule looks at a value that is invalid by itself."""
    return bool(needs) and any(f"{name}.".startswith(f"{needs}.") for name in invalid)


def _order(problem: ConfigProblem) -> tuple[Any, ...]:
    file = problem.file or ""
    # The shorter name is config.yaml, which comes before its overlay.
    place = (not file, len(file), file, problem.line or 0, problem.column or 0)
    return problem.place == "--set", *place


def secret_values(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield path and text of every secret of a validated config: by its type, or by its key."""
    if hasattr(value, "get_secret_value"):
        yield path, str(value.get_secret_value())
    elif isinstance(value, BaseModel):
        for name, child in value:
            field = type(value).model_fields.get(name)
            yield from secret_values(child, (*path, (field and field.alias) or name))
    elif isinstance(value, dict) and path != ("processing", "columns"):
        for key, child in value.items():
            yield from secret_values(child, (*path, str(key)))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, child in enumerate(value):
            yield from secret_values(child, (*path, str(index)))
    elif isinstance(value, str) and value and any(map(is_secret_key, path[-2:])):
        yield path, value
