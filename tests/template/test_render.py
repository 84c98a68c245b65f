"""What every combination of answers renders: the tree, its style, files that can be read."""

import compileall
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

Render = Callable[..., Path]

COMBINATIONS = list(
    itertools.product(("mock", "file", "api", "database"), ("duckdb", "postgres"), (True, False))
)
# Lines must not get too long, nor imports change places, with the name.
NAMES = ("a", "orders", "zz_top", "n" * 19 + "_" + "m" * 20)

ALWAYS = [
    ".copier-answers.yml",
    ".env.example",
    ".gitattributes",
    ".github/workflows/ci.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    "AGENTS.md",
    "README.md",
    "config.schema.json",
    "pyproject.toml",
    "requirements.txt",
    "src/NAME/__init__.py",
    "src/NAME/config.yaml",
    "src/NAME/dagster_job.py",
    "src/NAME/ingestion.py",
    "src/NAME/transform.py",
    "src/NAME/dbt/.dbtignore",
    "src/NAME/dbt/dbt_project.yml",
    "src/NAME/dbt/profiles.yml",
    "src/NAME/dbt/schema.yml",
    "src/NAME/dbt/sources.yml",
    "src/NAME/dbt/models/stg_NAME.sql",
    "src/NAME/dbt/models/fct_NAME_daily.sql",
    "src/NAME/evidence/index.md",
    "src/NAME/evidence/components/Share.svelte",
    "src/NAME/evidence/sources/daily.sql",
    "src/NAME/evidence/sources/latest.sql",
    "src/NAME/evidence/sources/rejected.sql",
    "tests/conftest.py",
    "tests/test_config.py",
    "tests/test_dagster_job.py",
    "tests/test_ingestion.py",
    "tests/test_transform.py",
]


@pytest.fixture(scope="module")
def workflows(
    render: Render, tmp_path_factory: pytest.TempPathFactory
) -> dict[Path, dict[str, Any]]:
    """Every combination, rendered: folder to answers."""
    folder = tmp_path_factory.mktemp("workflows")
    rendered: dict[Path, dict[str, Any]] = {}
    for number, (source_type, warehouse, assets) in enumerate(COMBINATIONS):
        answers = {
            "workflow_name": NAMES[number % 4],
            "source_type": source_type,
            "warehouse": warehouse,
            "assets": assets,
            "schedule": "" if number % 3 else "*/5 * * * *",
            "description": ('it\'s "quoted" {{ x }} \\', "x" * 200, "plain")[number % 3],
            "owner": ('"q"', "a'b", "data-team")[number % 3],
        }
        rendered[render(folder / f"{number:02}", **answers)] = answers
    return rendered


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def test_the_tree_is_that_of_the_answers(workflows: dict[Path, dict[str, Any]]) -> None:
    for folder, answers in workflows.items():
        name = answers["workflow_name"]
        expected = {path.replace("NAME", name) for path in ALWAYS}
        expected |= {f"src/{name}/assets.py"} if answers["assets"] else set()
        expected |= {f"src/{name}/data/sample.csv"} if answers["source_type"] == "file" else set()
        assert {path.relative_to(folder).as_posix() for path in files(folder)} == expected


@pytest.mark.parametrize("command", [["check"], ["format", "--check", "--diff"]], ids=" ".join)
def test_ruff_has_nothing_to_say(workflows: dict[Path, dict[str, Any]], command: list[str]) -> None:
    for folder, answers in workflows.items():
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        run = subprocess.run(ruff, cwd=folder, capture_output=True, text=True)
        assert run.returncode == 0, f"{answers}\n{run.stdout}{run.stderr}"


def test_every_file_is_readable_by_its_own_kind(workflows: dict[Path, dict[str, Any]]) -> None:
    for folder in workflows:
        assert compileall.compile_dir(folder, quiet=1, force=True, ddir="")
        for path in files(folder):
            if path.suffix in (".yml", ".yaml"):
                assert YAML(typ="safe").load(path)
            if path.suffix == ".toml":
                assert tomllib.loads(path.read_text(encoding="utf-8"))


def test_no_jinja_is_left_but_that_of_dbt(workflows: dict[Path, dict[str, Any]]) -> None:
    for folder in workflows:
        for path in (
            path
            for path in files(folder)
            if path.suffix in (".py", ".toml", ".md", ".sql", ".yml", ".yaml")
        ):
            text = path.read_text(encoding="utf-8").replace("{{ x }}", "")
            assert not re.search(r"{%|{#(?!if|each)", text), path
            assert all(
                re.match(r"{{ (ref|source|env_var)\(", found) for found in re.findall(r"{{.*", text)
            ), path


def test_text_ends_in_one_line_break_and_no_line_in_a_space(
    workflows: dict[Path, dict[str, Any]],
) -> None:
    for folder in workflows:
        for path in (
            path for path in files(folder) if path.suffix != ".csv" and path.suffix != ".pyc"
        ):
            text = path.read_text(encoding="utf-8")
            assert re.search(r"[^\n]\n\Z", text), f"{path}: {text[-20:]!r}"
            assert not re.search(r"[ \t]\n|\n\n\n\n", text), path
            assert path.suffix == ".py" or "\n\n\n" not in text, path


def test_secrets_are_asked_of_the_environment(workflows: dict[Path, dict[str, Any]]) -> None:
    for folder, answers in workflows.items():
        prefix = answers["workflow_name"].upper()
        variables = {"api": [f"{prefix}_API_URL"], "database": [f"{prefix}_DATABASE_URL"]}.get(
            answers["source_type"], []
        )
        variables += [f"{prefix}_POSTGRES_URL"] if answers["warehouse"] == "postgres" else []
        config = (folder / "src" / answers["workflow_name"] / "config.yaml").read_text()
        example = (folder / ".env.example").read_text()
        asked = [
            line.split("${")[1].split(":?")[0] for line in config.splitlines() if ":?set" in line
        ]
        assert sorted(asked) == sorted(variables)
        assert all(f"\n{variable}=\n" in example for variable in variables)


def test_rendering_twice_gives_the_same(render: Render, tmp_path: Path) -> None:
    first, second = render(tmp_path / "1" / "orders"), render(tmp_path / "2" / "orders")
    assert {p.relative_to(first): p.read_bytes() for p in files(first)} == {
        p.relative_to(second): p.read_bytes() for p in files(second)
    }


def test_the_group_dev_holds_what_the_extra_dev_holds(
    workflows: dict[Path, dict[str, Any]],
) -> None:
    for folder in workflows:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        extra = project["project"]["optional-dependencies"]["dev"]
        assert project["dependency-groups"]["dev"] == extra


def test_the_guide_for_assistants_names_files_that_are_there(
    workflows: dict[Path, dict[str, Any]],
) -> None:
    for folder, answers in workflows.items():
        package = folder / "src" / answers["workflow_name"]
        guide = (folder / "AGENTS.md").read_text(encoding="utf-8")
        rows = [line.split("|")[2] for line in guide.splitlines() if line.startswith("| ")][2:]
        for path in re.findall(
            r"`([\w./]+\.(?:py|yml|yaml|toml|example)|dbt/models/)`", "".join(rows)
        ):
            assert (package / path).exists() or (folder / path).exists(), path
