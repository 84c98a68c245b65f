from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataflow_runtime.config.secrets import forget_secrets

Install = Callable[..., Path]


def install(
    folder: Path, name: str, config: str | bytes | None, *, entry_points: str = "", **files: str
) -> Path:
    """Install a workflow package into a folder of ``sys.path``; return its ``config.yaml``."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "job.py").write_text(f"register_workflow(name={name!r})(None)\n")
    for file, text in files.items():
        (package / f"{file}.py").write_text(text)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[dataflow.workflows]\n{name} = {name}.job\n{entry_points}"
    )
    path = package / "config.yaml"
    if config is not None:
        path.write_bytes(config.encode() if isinstance(config, str) else config)
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install` into the working directory of the test, which is on ``sys.path``."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATAFLOW_ENV", raising=False)
    before = set(sys.modules)
    yield lambda name, config, **more: install(tmp_path, name, config, **more)
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]
    forget_secrets()
