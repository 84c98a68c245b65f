"""What a model allows at a path of a configuration: types, keys, secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from dataflow_runtime.config.secrets import is_secret_key

Path = Sequence[str]


def types_at(annotation: Any, path: Path) -> Iterator[Any]:
    """Yield the types of the value at `path`: one for each branch of a union."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from types_at(arguments[0], path)
    elif origin in (Union, UnionType):
        for branch in arguments:
            yield from types_at(branch, path)
    elif not path:
        yield annotation
    elif is_model(annotation):
        for name, field in annotation.model_fields.items():
            if path[0] == (field.alias or name):
                yield from types_at(field.annotation, path[1:])
    elif arguments and origin is not Literal:
        # The items of a list or tuple, the values of a mapping.
        yield from types_at(arguments[0 if origin is tuple else -1], path[1:])


def is_model(annotation: Any) -> bool:
    """Return whether a type is a pydantic model."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def models_at(model: type[BaseModel], path: Path, tag: object = None) -> list[type[BaseModel]]:
    """Return the models of the mapping at `path`; of a union, the one whose ``type`` is `tag`."""
    models = [found for found in types_at(model, path) if is_model(found)]
    tagged = []
    for found in models:
        kind = found.model_fields.get("type")
        if kind is not None and tag in get_args(kind.annotation):
            tagged.append(found)
    return tagged if len(models) > 1 and tagged else models


def allowed_keys(models: Sequence[type[BaseModel]]) -> list[str]:
    """Return the keys of a mapping that is one of `models`."""
    keys: dict[str, None] = {}
    for model in models:
        for name, field in model.model_fields.items():
            keys[field.alias or name] = None
    return list(keys)


def is_secret(annotation: Any) -> bool:
    """Return whether a type hides its value, as `SecretStr` does."""
    return hasattr(get_origin(annotation) or annotation, "get_secret_value")


def secret_paths(
    value: object, types: Sequence[Any], path: tuple[str, ...] = (), hidden: bool = False
) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all values that may be secret, also those in wrong places.

    Args:
        value: A value, valid or not.
        types: What a model allows in its place.
        path: Its path.
        hidden: Whether a mapping or list that it belongs to may be secret.
    """
    hidden = hidden or any(map(is_secret, types)) or (path != () and is_secret_key(path[-1]))
    # `auth: <token>`: a scalar where a mapping with a secret belongs is probably the secret.
    hidden = hidden or (not isinstance(value, Mapping) and any(map(_holds_secrets, types)))
    if hidden:
        yield path
    children: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        below: list[Any] = []
        for allowed in types:
            below += types_at(allowed, [str(key)])
        yield from secret_paths(child, below, (*path, str(key)), hidden)


def _holds_secrets(annotation: Any) -> bool:
    if not is_model(annotation):
        return get_origin(annotation) is dict
    for key in allowed_keys([annotation]):
        if any(map(is_secret, types_at(annotation, [key]))):
            return True
    return False
