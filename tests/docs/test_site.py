"""The documentation site: whole, strict, readable from files, and asking no other host."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from uv import find_uv_bin

import dataflow_runtime
from tests.docs.pages import DOCS, ROOT

NAV = YAML(typ="safe").load(ROOT / "mkdocs.yml")["nav"]


def listed(entries: list[object]) -> list[str]:
    found = []
    for entry in entries:
        for target in entry.values() if isinstance(entry, dict) else [entry]:
            found += listed(target) if isinstance(target, list) else [str(target)]
    return found


def test_every_page_is_in_the_navigation_and_exists() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    own = {page for page in pages if not page.startswith("example_workflow/")}
    assert sorted(listed(NAV)) == sorted(own | {"example_workflow/README.md"})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly from a copy of the pages."""
    project = tmp_path_factory.mktemp("project")
    caches = shutil.ignore_patterns("__pycache__", ".*_cache", ".dataflow")
    shutil.copytree(DOCS, project / "docs", ignore=caches)
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (project / "mkdocs.yml").write_text(text.replace("paths: [.]", f"paths: [{ROOT}]"))
    # In an environment of its own: Zensical and Copier do not agree on pathspec.
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = [word for line in groups["dependency-groups"]["docs"] for word in ("--with", line)]
    command = [find_uv_bin(), "run", "--no-project", *packages, "zensical", "build", "--strict"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return project / "build" / "site"


def test_every_page_is_built(site: Path) -> None:
    for page in listed(NAV):
        html = re.sub(r"(README|index)\.md$", "index.md", page).removesuffix(".md") + ".html"
        assert (site / html).exists(), html


def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*\bsrc="(https?:[^"]*)', text)
        loaded += re.findall(
            r'<link[^>]*\brel="(?:stylesheet|preload)"[^>]*href="(https?:[^"]*)', text
        )
        assert loaded == [], page


def test_links_and_assets_of_the_site_exist(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r'\b(?:href|src)="([^"#?:]+)["#?]', text):
            assert (page.parent / target).exists(), f"{page.relative_to(site)}: {target}"


def test_the_python_api_is_rendered(site: Path) -> None:
    text = (site / "reference" / "python-api.html").read_text(encoding="utf-8")
    public = [*dataflow_runtime.__all__, "ConfigManager", "WorkflowConfig", "DataflowError"]
    missing = [name for name in public if f">{name}<" not in text and f".{name}" not in text]
    assert [name for name in missing if name != "__version__"] == []


@pytest.mark.e2e
def test_the_search_works_from_files(site: Path, browser: Any) -> None:
    page = browser.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((site / "index.html").as_uri())
    page.get_by_role("button", name="Search").first.click()
    page.keyboard.type("rejected")
    page.get_by_text(re.compile(r"^\d+ results$")).wait_for()
    page.close()
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
