"""The base install, without any extra: what reads metadata works, the rest names the extra."""

from __future__ import annotations

from typing import Any

import pytest

# As if the packages of all extras were not installed.
BLOCK = """
import importlib.metadata
import sys

MISSING = {
    "adbc_driver_manager", "adbc_driver_postgresql", "copier", "dagster", "dagster_dbt",
    "dagster_webserver", "dbt", "dlt", "duckdb", "fastapi", "filelock", "fsspec", "polars",
    "pyarrow", "sqlalchemy", "starlette", "uvicorn", "watchfiles",
}

class Block:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block)
version = importlib.metadata.version

def version_of(name):
    if name.replace("-", "_") in MISSING:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.metadata.version = version_of
"""


@pytest.fixture
def base(site: Any) -> Any:
    """A site whose commands find no package of an extra."""
    site.install("orders")
    (site.folder / "sitecustomize.py").write_text(BLOCK)
    return site


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "orders"),
        ("show", "orders", "--json"),
        ("config", "show", "orders"),
        ("config", "validate"),
        ("config", "schema"),
        ("completion", "bash"),
        ("workspace",),
    ],
)
def test_what_reads_metadata_works(base: Any, arguments: tuple[str, ...]) -> None:
    (base.home / "dagster").mkdir(parents=True)
    (base.home / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    outcome = base.run(*arguments)
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("run", "orders"), "run"),
        (("check",), "run"),
        (("dbt", "orders", "--", "ls"), "run"),
        (("dev", "--port", "3978"), "run"),
        (("dashboards", "build"), "run"),
        (("outdated",), "fleet"),
        (("serve", "--port", "0"), "api"),
    ],
)
def test_the_rest_names_the_extra_that_it_needs(
    base: Any, arguments: tuple[str, ...], extra: str
) -> None:
    outcome = base.run(*arguments)
    assert outcome.returncode == 1
    assert f'hint: pip install "dataflow-runtime[{extra}]"' in outcome.stderr
    assert "Traceback" not in outcome.stderr
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].endswith(" is not installed")
