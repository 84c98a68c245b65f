"""Validate a merged tree: return the config, or every problem and where it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dataflow_runtime.config.allowed import allowed_keys, models_at, secret_paths, types_at
from dataflow_runtime.config.base import RULE, descriptions
from dataflow_runtime.config.layers import Layers, variables_of
from dataflow_runtime.config.problems import MAX_PROBLEMS, ConfigProblem
from dataflow_runtime.config.secrets import MASK, is_secret_key, mask, remember_secrets
from dataflow_runtime.config.tree import Node, problem_at, walk
from dataflow_runtime.errors import did_you_mean

Path = tuple[str, ...]

UNKNOWN = "unknown key"


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
            self.find_secrets()
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
        for path, secret in secrets.items():
            login = f"http://{self.at((*path[:-1], 'username'))}:{secret}@"
            remember_secrets([secret, login] if path[-1] == "password" else [secret])

    def find_secrets(self) -> None:
        """Find what may be secret, also among values that are in the wrong place."""
        self.nodes = dict(walk(self.layers.root))
        self.secret_paths = set(secret_paths(self.values, [self.model])) & self.nodes.keys()
        self.secret_variables: set[str] = set()
        self.secret_scalars: dict[Path, str] = {}
        for path in self.secret_paths:
            if isinstance(self.nodes[path].value, str):
                self.secret_scalars[path] = str(self.at(path) or "")
                self.secret_variables.update(variables_of(self.nodes[path]))
        self.remember(self.secret_scalars)

    def masked(self, message: str) -> str:
        """Return the message of a validator without the secrets that it may repeat."""
        for secret in self.secret_scalars.values():
            if len(secret) > 3:
                message = message.replace(secret, MASK)
        return mask(message)

    def explain(self, error: ValidationError) -> None:
        """Turn the errors of pydantic into problems with their place."""
        grouped: dict[Path, list[Any]] = {}
        for detail in error.errors(include_url=False, include_input=False):
            grouped.setdefault(self.path_of(detail), []).append(detail)
        for number, (path, details) in enumerate(grouped.items()):
            if number < 2 * MAX_PROBLEMS:
                self.add(path, details)
            else:
                # It is counted, but not shown.
                self.problems.append(ConfigProblem(".".join(path), details[0]["msg"]))
        self.explain_rules(grouped)
        self.problems.sort(key=_order)

    def explain_rules(self, invalid: Iterable[Path]) -> None:
        """Report broken rules between keys; pydantic checks them only if every key is valid."""
        for path in invalid:
            parent = self.at(path[:-1])
            if isinstance(parent, dict) and path:
                parent.pop(path[-1], None)
        names = [".".join(path) for path in invalid]
        try:
            self.validated()
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                if detail["type"] == RULE and not _concerns(detail["ctx"]["needs"], names):
                    self.add(self.path_of(detail), [detail])
        except Exception:
            return  # a workflow's own validator did not expect a missing key

    def path_of(self, detail: Any) -> Path:
        """Return the path of an error of pydantic, whose location also names branches of unions."""
        path: Path = ()
        for part in (*detail["loc"], *detail.get("ctx", {}).get("path", ())):
            if (*path, str(part)) in self.nodes:
                path = (*path, str(part))
        return (*path, str(detail["loc"][-1])) if detail["type"] == "missing" else path

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
        context, hint, kind = details[0].get("ctx", {}), None, details[0]["type"]
        if kind == "extra_forbidden":
            self.add_unknown(path)
            return
        if kind.startswith("union_tag"):
            path = (*path, "type")
        words = self.words(path)
        if kind == RULE:
            message, hint = context["message"], context["hint"]
        elif kind in ("missing", "union_tag_not_found"):
            message = "required key is missing"
            allowed = f"one of {', '.join(map(repr, words))}"
            hint = f"add `{path[-1]}`: {self.description(path) or allowed}"
        else:
            messages = dict.fromkeys(found["msg"] for found in details)
            message = " or ".join(messages)
            if kind == "union_tag_invalid":
                message = f"Input should be one of {context['expected_tags']}"
            elif kind in ("value_error", "assertion_error"):
                message = str(context["error"])
            message = f"{message}, found {self.found(path)}"
            hint = self.suggestion(path, words)
        self.report(path, message, hint)

    def report(self, path: Path, message: str, hint: str | None) -> None:
        """Add a problem, at most one for each path."""
        dotted, node = ".".join(path), self.nodes.get(path, self.layers.root)
        if dotted in self.reported | self.layers.unknown:
            return
        self.reported.add(dotted)
        names = variables_of(node) if node.source.is_file and isinstance(node.value, str) else []
        if names and hint is None:
            hint = f"the value comes from {', '.join(f'${{{name}}}' for name in names)}"
        if not node.flow and (not isinstance(node.value, str) or not node.text):
            # A block begins with its first key: point at the key that the block belongs to.
            node = self.key_of(path) or node
        hidden = [self.nodes[path] for path in self.secret_scalars]
        message = self.masked(message)
        self.problems.append(problem_at(node, dotted, message, hint=hint, hidden=hidden))

    def key_of(self, path: Path) -> Node | None:
        """Return the innermost key of a path that is written somewhere."""
        for end in range(len(path), 0, -1):
            section = self.nodes.get(path[: end - 1])
            if section is not None and path[end - 1] in section.keys:
                return section.keys[path[end - 1]]
        files = [node.source for node in self.nodes.values() if node.source.is_file]
        return Node("", files[0]) if files else None

    def add_unknown(self, path: Path) -> None:
        """Add the problem of an unknown key, whose value may be a secret."""
        known = allowed_keys(self.models_of(path))
        hint = did_you_mean(path[-1], known) or f"allowed here: {', '.join(known)}"
        key, hidden = self.key_of(path) or self.nodes[path], [self.nodes[path]]
        problem = problem_at(
            key, ".".join(path), UNKNOWN, hint=hint, hidden=hidden, unknown_key=True
        )
        self.problems.append(problem)

    def found(self, path: Path) -> str:
        """Return what was found at a path, as far as it may be shown."""
        value, names = self.at(path), variables_of(self.nodes[path])
        by_variable = any(name in self.secret_variables or is_secret_key(name) for name in names)
        if path in self.secret_paths or by_variable:
            return "another value (secret, not shown)"
        if isinstance(value, bool):
            return str(value).lower()
        words = {type(None): "nothing", list: "a list", dict: "a mapping"}
        shown = words.get(type(value)) or repr(value)
        return shown if len(shown) <= 60 else shown[:57] + "…'"

    def models_of(self, path: Path) -> list[type[BaseModel]]:
        """Return the models that may have the last key of a path."""
        parent = self.at(path[:-1])
        tag = parent.get("type") if isinstance(parent, dict) else None
        return models_at(self.model, path[:-1], tag)

    def description(self, path: Path) -> str | None:
        """Return what the model says about a key."""
        for model in self.models_of(path):
            for name, field in model.model_fields.items():
                if (field.alias or name) == path[-1]:
                    return field.description or descriptions(model).get(name)
        return None

    def words(self, path: Path) -> list[str]:
        """Return the words that are allowed at a path."""
        found = []
        for annotation in types_at(self.model, path):
            if get_origin(annotation) is Literal:
                found += [str(word) for word in get_args(annotation)]
        return found

    def suggestion(self, path: Path, words: list[str]) -> str | None:
        """Return the allowed word that was probably meant, or how to write a number as text."""
        value, node = self.at(path), self.nodes[path]
        if isinstance(value, str):
            return did_you_mean(value, words)
        is_text = str in types_at(self.model, path) and node.plain and bool(node.value)
        if is_text and path not in self.secret_paths:
            return f'quote text that looks like another type: "{node.value}"'
        return None


def _concerns(needs: str, invalid: Iterable[str]) -> bool:
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
