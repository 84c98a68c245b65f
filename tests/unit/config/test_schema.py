from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from dataflow_runtime.config import ConfigModel, WorkflowConfig, models, sources
from dataflow_runtime.config.base import descriptions
from dataflow_runtime.config.layers import read_layers
from dataflow_runtime.config.schema import config_schema

jsonschema = importlib.import_module("jsonschema")


def errors(text: str) -> list[str]:
    texts = {Path("c"): text.replace("${", "$${")}
    values = read_layers("wf", Path("c"), BaseModel, {}, texts=texts).values()
    validator = jsonschema.Draft202012Validator(config_schema(WorkflowConfig))
    return [error.json_path for error in validator.iter_errors(values)]


def test_it_is_a_schema() -> None:
    schema = config_schema(WorkflowConfig)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


GOOD = """\
source:
  type: ${TYPE:-api}
  api:
    url: ${URL}
    method: "${METHOD}"
    timeout: ${TIMEOUT:-5}
    auth: {type: "${AUTH}", token: "${TOKEN}"}
    pagination: {type: offset, limit: "${LIMIT}"}
  database:
    url: ${URL}
    table: t
processing:
  batch_size: ${N:-1}
  primary_key: id
  columns: {id: integer, at: "${TYPE}"}
  cursor: {column: at, lookback: 3d}
output:
  schema: ${SCHEMA}_raw
schedule:
  cron: 0 0 * * *
  partitions_start: 2026-01-01
retries:
"""


def test_variables_are_allowed_everywhere() -> None:
    assert errors(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("${N:-1}", "lots"),
        ("${N:-1}", "0"),
        ("type: offset", "type: offsets"),
        ("columns: {id: integer", "columns: {id: int"),
        ("batch_size", "batchsize"),
        ("${SCHEMA}_raw", "No-Schema"),
        ("lookback: 3d", "lookback: -1"),
    ],
)
def test_the_rest_is_as_strict_as_the_models(old: str, new: str) -> None:
    assert old in GOOD
    assert errors(GOOD.replace(old, new))


def test_every_field_is_described() -> None:
    for model in [*vars(models).values(), *vars(sources).values()]:
        if (
            isinstance(model, type)
            and issubclass(model, BaseModel)
            and model not in (BaseModel, ConfigModel)
        ):
            assert model.__doc__
            for name, field in model.model_fields.items():
                described = field.description or descriptions(model).get(name)
                assert described or name == "type", f"{model.__name__}.{name}"


def test_own_models() -> None:
    class Own(WorkflowConfig):
        limit: int

    schema = config_schema(Own)
    assert "limit" in schema["required"]
    assert schema["properties"].keys() >= {"limit", "source"}
