"""Finding failures in what Evidence prints and shows. The texts are Evidence's, shortened."""

from __future__ import annotations

import json
from hashlib import md5
from pathlib import Path

import pytest

from dataflow_runtime.dashboards.failures import compile_failure, shown_failures, unrendered
from dataflow_runtime.dashboards.model import Dashboard
from dataflow_runtime.workflows.discovery import InstalledWorkflow

UNKNOWN_COMPONENT = """\
[ERROR]:  x Build failed in 2.70s
error during build:
[vite-plugin-svelte] 'NoSuchComponent' is not defined
file: /home/x/.evidence/template/src/pages/sales/+page.md
    at errorHandler (file:///home/x/.evidence/template/svelte.config.js?ts=1795439883574:33:9)
"""
MISSING_IMPORT = """\
error during build:
[vite:load-fallback] Could not load /home/x/.evidence/template/src/components/sales/Nope.svelte \
(imported by src/pages/sales/details/+page.md): \
ENOENT: no such file or directory, open '/home/x/Nope.svelte'
    at async open (node:internal/fs/promises:637:25)
"""
UNCLOSED = """\
(unclosed-element) <div> was left open: Line 124, column 0.

error during build:
[vite-plugin-svelte] [plugin vite-plugin-svelte] src/pages/sales/details/+page.md (124:0): \
/home/x/.evidence/template/src/pages/sales/details/+page.md:124:0 <div> was left open
file: /home/x/.evidence/template/src/pages/sales/details/+page.md:124:0
"""
IN_A_COMPONENT = """\
error during build:
[vite-plugin-svelte] [plugin vite-plugin-svelte] src/components/sales/Share.svelte (3:9): \
/home/x/.evidence/template/src/components/sales/Share.svelte:3:9 Expected value for the attribute
file: /home/x/.evidence/template/src/components/sales/Share.svelte:3:9
"""


@pytest.fixture
def sales(tmp_path: Path) -> Dashboard:
    folder = tmp_path / "sales" / "evidence"
    folder.mkdir(parents=True)
    for name in ("index.md", "details.md"):
        (folder / name).touch()
    return Dashboard(
        InstalledWorkflow(
            "sales", "sales", "1.0", "sales", "sales", file=folder.parent / "dagster_job.py"
        )
    )


@pytest.mark.parametrize(
    ("printed", "file", "message"),
    [
        (UNKNOWN_COMPONENT, "index.md", "'NoSuchComponent' is not defined"),
        (
            MISSING_IMPORT,
            "components/Nope.svelte",
            "Could not load components/Nope.svelte (imported by {page})",
        ),
        (UNCLOSED, "details.md", "<div> was left open"),
        (IN_A_COMPONENT, "components/Share.svelte", "Expected value for the attribute"),
    ],
)
def test_the_file_that_ends_a_build_is_the_workflows_own(
    sales: Dashboard, printed: str, file: str, message: str
) -> None:
    found = compile_failure(printed, [sales])
    assert found is not None
    name, problem = found
    assert (name, problem.message) == (
        "sales",
        message.format(page="src/pages/sales/details/+page.md"),
    )
    assert problem.file == sales.workflow.file.parent / "evidence" / file  # type: ignore[union-attr]


def test_a_failure_of_evidence_itself_is_no_workflows(sales: Dashboard) -> None:
    assert (
        compile_failure("error during build:\nError: Cannot find package 'vite'\n", [sales]) is None
    )
    assert compile_failure(UNCLOSED.replace("sales", "unknown"), [sales]) is None
    assert compile_failure("", [sales]) is None


def test_a_component_of_a_workflow_that_is_left_out_is_missed_by_the_page(sales: Dashboard) -> None:
    found = compile_failure(MISSING_IMPORT.replace("components/sales", "components/gone"), [sales])
    assert found is not None
    assert (found[0], found[1].file and found[1].file.name) == ("sales", "details.md")


def test_pages_that_fail_to_render(sales: Dashboard) -> None:
    printed = '[dataflow] http {"status":500,"path":"/sales/details/","referrer":null}\n'
    ((name, problem),) = unrendered(printed, [sales])
    assert (name, problem.page, problem.file and problem.file.name) == (
        "sales",
        "/sales/details/",
        "details.md",
    )
    assert list(unrendered(printed.replace("500", "404"), [sales])) == []
    assert list(unrendered(printed.replace("sales", "salesmen"), [sales])) == []


def test_a_failed_query_is_found_on_the_page_that_has_no_rows_of_it(
    sales: Dashboard, tmp_path: Path
) -> None:
    # Two pages have a query of this name; Evidence prints no more than the name.
    built = tmp_path / "built"
    for page, kept in (("/sales", {"rows_data": "1"}), ("/sales/details", {})):
        (built / page[1:]).mkdir(parents=True, exist_ok=True)
        (built / page[1:] / "index.html").write_text("<p>fine</p>")
        about = built / "api" / page[1:]
        about.mkdir(parents=True, exist_ok=True)
        (about / "evidencemeta.json").write_text(
            json.dumps({"queries": [{"id": "rows"}, {"id": "unused"}]})
        )
        queries = built / "api" / md5(page.encode(), usedforsecurity=False).hexdigest() / "x"
        queries.mkdir(parents=True)
        (queries / "all-queries.json").write_text(json.dumps(kept))
    printed = (
        'rows | Error in Query! Binder Error: no column "n"\nCandidate bindings: "m"\n'
        "\x1b[31mError in Bar Chart: 'n' is not a column in the dataset\x1b[0m\n"
        "[ERROR]:  Not Found\n"
    )

    ((_, problem),) = shown_failures(printed, built, [sales])

    assert (problem.page, problem.query) == ("/sales/details", "rows")
    assert str(problem).endswith(
        'details.md: query \'rows\': Binder Error: no column "n" Candidate bindings: "m"'
    )


def test_a_chart_that_shows_an_error(sales: Dashboard, tmp_path: Path) -> None:
    built = tmp_path / "built"
    (built / "sales").mkdir(parents=True)
    (built / "sales" / "index.html").write_text(
        '<div class="bg-negative/10 border border-negative/50">'
        "<b>Bar <br>Chart</b><pre>n is no column</pre></div>"
        '<div class="fine">rest</div>'
    )
    ((_, problem),) = shown_failures("", built, [sales])
    assert (problem.message, problem.page, problem.query) == (
        "Bar Chart n is no column",
        "/sales",
        None,
    )
