"""One rendering, word for word: a change of the template shows what it changes in a workflow.

``UPDATE_GOLDEN=1 pytest tests/template/test_golden.py`` updates it.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.template import release

Render = Callable[..., Path]

GOLDEN = Path(__file__).parent / "golden"
# The smallest: no assets, no schedule, and no path of a machine in it.
ANSWERS = {"workflow_name": "golden", "assets": False, "schedule": "", "runtime_source": "index"}
# Tested elsewhere: the template's place (test_origin.py), the generated schema (test_schema.py).
LEFT_OUT = {".copier-answers.yml", "config.schema.json"}


def read(folder: Path) -> dict[str, str]:
    files = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    # A suffix keeps tools from taking the golden files for part of this repository.
    names = {name: name.removesuffix(".golden") for name in files}
    return {
        names[name]: path.read_text(encoding="utf-8")
        for name, path in files.items()
        if name not in LEFT_OUT
    }


def test_the_rendering_is_the_golden_one(render: Render, root: Path, tmp_path: Path) -> None:
    fresh = read(render(tmp_path / "golden", **ANSWERS))
    requirement = release.requirement(release.version_of(release.template_files(root)))
    fresh["pyproject.toml"] = fresh["pyproject.toml"].replace(
        requirement, "dataflow-runtime[run]==VERSION"
    )
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        for name, text in fresh.items():
            file = GOLDEN / f"{name}.golden"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    golden = read(GOLDEN)
    assert sorted(fresh) == sorted(golden)
    for name, text in fresh.items():
        assert text == golden[name], name
