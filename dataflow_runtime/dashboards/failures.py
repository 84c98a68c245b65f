"""Finds errors that Evidence hides: its exit code is 0 whatever queries and charts show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import md5
from html.parser import HTMLParser
from pathlib import Path

from dataflow_runtime.dashboards.model import Dashboard, Problem

__all__ = ["compile_failure", "shown_failures", "unrendered"]

# A message may have several lines; the next begins with a name, a bracket, an arrow, `Error in`.
_FAILED_QUERY = re.compile(
    r"^(\w+) \| Error in Query! (.*(?:\n(?!\w+ \| |\[|> |Error in | *$).*)*)", re.MULTILINE
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HTTP = re.compile(r"^\[dataflow\] http (\{.*\})$", re.MULTILINE)
_COMPILE = re.compile(r"^error during build:\n(.*)", re.MULTILINE | re.DOTALL)
_OWN_FILE = re.compile(r"src/(pages|components)/([^/\s]+)/([^\s:)]+)")


def compile_failure(output: str, dashboards: Iterable[Dashboard]) -> tuple[str, Problem] | None:
    """Return the workflow whose page or component ended the build, and why, or None."""
    failure = _COMPILE.search(output)
    if failure is None:
        return None
    by_name = {dashboard.name: dashboard for dashboard in dashboards}
    # A missing component may belong to a workflow that is left out; the page that uses it is named
    # after it.
    found = next((match for match in _OWN_FILE.finditer(failure[1]) if match[2] in by_name), None)
    if found is None:
        return None
    folder = by_name[found[2]].folder
    assert folder is not None
    message = failure[1].splitlines()[0]
    # Positions are of the page as Evidence has rewritten it, and lead nowhere.
    message = re.sub(
        r"\[(?:plugin )?[\w:-]+\]\s*|\S*\.evidence/template/|src/\S+ \(\d+:\d+\): |\S+:\d+:\d+ ",
        "",
        message,
    )
    message = message.replace(f"src/components/{found[2]}/", "components/").split(": ENOENT")[0]
    return found[2], Problem(message.strip(), _file(folder, found[1], found[3]))


def unrendered(output: str, dashboards: Iterable[Dashboard]) -> Iterator[tuple[str, Problem]]:
    """Yield the workflows that have a page which failed while it was rendered."""
    for status, path, _ in _http(output):
        for dashboard in dashboards:
            if status >= 500 and _below(path, dashboard):
                message = (
                    "the page fails when it is rendered: see `dataflow-runtime dashboards dev`"
                )
                yield dashboard.name, Problem(message, page_file(dashboard, path), page=path)


def shown_failures(
    output: str, built: Path, dashboards: Iterable[Dashboard]
) -> Iterator[tuple[str, Problem]]:
    """Yield each failed query, each chart with an error and each dead link, with its workflow."""
    printed = _COLOUR.sub("", output)
    queries = {found[1]: " ".join(found[2].split()) for found in _FAILED_QUERY.finditer(printed)}
    links = [(path, referrer) for status, path, referrer in _http(output) if status < 500]
    for dashboard in dashboards:
        for html in sorted(
            (built / dashboard.name).rglob("index.html"), key=lambda path: (len(path.parts), path)
        ):
            page = "/" + html.parent.relative_to(built).as_posix()
            file = page_file(dashboard, page)
            failed = [query for query in _queries_without_rows(built, page) if query in queries]
            for query in failed:
                yield dashboard.name, Problem(queries[query], file, page, query)
            known = {queries[query] for query in failed}
            for text in dict.fromkeys(_error_boxes(html.read_text(encoding="utf-8"))):
                if not any(message in text for message in known):
                    yield dashboard.name, Problem(text, file, page)
            for path, referrer in links:
                if referrer is not None and referrer.rstrip("/") == page:
                    yield dashboard.name, Problem(f"the link to {path} leads nowhere", file, page)


def page_file(dashboard: Dashboard, page: str) -> Path | None:
    """Return the workflow's file that a page of the site was made of."""
    assert dashboard.folder is not None
    inner = page.strip("/").partition("/")[2]
    candidates = [Path(inner, "index.md"), Path(f"{inner}.md")] if inner else [Path("index.md")]
    return next(
        (dashboard.folder / file for file in candidates if (dashboard.folder / file).is_file()),
        None,
    )


def _file(folder: Path, part: str, inner: str) -> Path:
    if part == "components":
        return folder / "components" / inner
    page = Path(inner.removesuffix("+page.md"))
    one = folder / page / "index.md"
    return one if one.is_file() else folder / page.with_suffix(".md")


def _below(path: str, dashboard: Dashboard) -> bool:
    return dashboard.name in path.strip("/").split("/")


def _http(output: str) -> Iterator[tuple[int, str, str | None]]:
    for found in _HTTP.finditer(output):
        failure: Mapping[str, str | int | None] = json.loads(found[1])
        referrer = failure["referrer"]
        yield int(failure["status"] or 0), str(failure["path"]), str(referrer) if referrer else None


def _queries_without_rows(built: Path, page: str) -> list[str]:
    """Return the page's queries without a result: they failed, or nothing on the page uses them."""
    about = built / "api" / page.strip("/") / "evidencemeta.json"
    if not about.is_file():
        return []
    kept: set[str] = set()
    for file in (built / "api" / md5(page.encode(), usedforsecurity=False).hexdigest()).rglob(
        "all-queries.json"
    ):
        kept |= set(json.loads(file.read_text(encoding="utf-8")))
    queries = json.loads(about.read_text(encoding="utf-8"))["queries"]
    return [query["id"] for query in queries if f"{query['id']}_data" not in kept]


class _Boxes(HTMLParser):
    """Collects the text of each element that has the colours in which Evidence shows an error."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = dict(attrs).get("class") or ""
        if self._depth:
            self._depth += tag not in _VOID
        elif "bg-negative/10" in classes and "border-negative/50" in classes:
            self._depth = 1
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._depth and tag not in _VOID:
            self._depth -= 1

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.found[-1] += f" {data}"


_VOID = {"br", "hr", "img", "input", "link", "meta", "path", "line", "circle", "rect"}


def _error_boxes(html: str) -> list[str]:
    parser = _Boxes()
    parser.feed(html)
    return [" ".join(text.split()) for text in parser.found]
