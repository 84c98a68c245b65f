"""The built site, as a browser shows it: what is on the pages is what is in the warehouses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from tests.integration.dashboards.conftest import BASE, TITLE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
PATIENCE = 120_000  # milliseconds
Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """A function that opens a page; no page may log an error or request another host."""
    complaints: list[str] = []
    contexts = []

    def open_(url: str, **options: Any) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        host = re.match(r"https?://[^/]+", url)
        assert host is not None
        page.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((host[0], "data:", "blob:"))
                else complaints.append(f"asked {request.url}")
            ),
        )
        page.on(
            "response",
            lambda response: (
                complaints.append(f"{response.status} {response.url}")
                if response.status >= 400
                else None
            ),
        )
        page.goto(url, wait_until="networkidle")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def value(page: Page, title: str) -> str:
    """Return what stands below the title of a big value."""
    name = page.locator("article p", has_text=re.compile(rf"^\s*{re.escape(title)}\s*$")).first
    return name.locator("..").inner_text().removeprefix(title).strip()


def has_marks(chart: Locator) -> bool:
    """Wait until a chart's canvas has coloured pixels, which are marks: axes and words are grey."""
    chart.scroll_into_view_if_needed()
    chart.page.wait_for_function(
        """canvas => {
            if (!canvas.width || !canvas.height) return false;
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let coloured = 0;
            for (let i = 0; i < data.length; i += 4) {
                const [r, g, b, a] = data.slice(i, i + 4);
                if (a > 128 && Math.max(r, g, b) - Math.min(r, g, b) > 40) coloured++;
            }
            return coloured > 200;
        }""",
        arg=chart.element_handle(),
        timeout=PATIENCE,
    )
    return True


def fits(page: Page) -> bool:
    """Whether a page is no wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def cells(page: Page, column: int) -> list[str]:
    """Return what stands in a column of the page's first table, counted from 1."""
    found = page.locator("table:visible").first.locator(f"td:nth-child({column})")
    found.first.wait_for(timeout=PATIENCE)
    return [text.strip() for text in found.all_inner_texts()]


@pytest.mark.parametrize(
    "options", [{}, {"color_scheme": "dark"}, PHONE], ids=["desktop", "dark", "phone"]
)
def test_the_example_shows_what_its_warehouse_holds(
    world: Any, served: Any, open_page: Open, options: Any
) -> None:
    page, expected = open_page(served.page("/example_workflow/"), **options), world.expected

    assert value(page, "Events") == f"{expected['events']:,}"
    assert value(page, "Strongest") == f"{expected['strongest']:.1f}"
    assert value(page, "Events rejected") == f"{expected['rejected']:,}"
    assert page.locator("figure svg circle").count() == expected["located"]
    charts = page.locator("article canvas")
    charts.first.wait_for()
    assert charts.count() == 2
    assert all(has_marks(charts.nth(index)) for index in range(2))
    assert cells(page, 3) == expected["places"]
    assert fits(page)
    dark = page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert dark == (options.get("color_scheme") == "dark")


@pytest.mark.parametrize("name", ["sales", "sales_pg"])
def test_a_rendered_workflow_has_a_dashboard_after_its_first_run(
    world: Any, served: Any, open_page: Open, name: str
) -> None:
    records, total, rejected = world.expected[name]
    page = open_page(served.page(f"/{name}/"))

    assert value(page, "Records") == f"{records:,.0f}"
    assert value(page, "Total value") == f"{total:,.0f}"
    assert f"{100 * rejected / (records + rejected):.1f} %" in page.locator(".share").inner_text()
    charts = page.locator("article canvas")
    charts.first.wait_for()
    assert charts.count() == 3
    assert all(has_marks(charts.nth(index)) for index in range(3))
    assert len(cells(page, 1)) == 10
    assert fits(page)


def test_the_home_page_shows_what_needs_somebody_first(
    world: Any, served: Any, open_page: Open
) -> None:
    page = open_page(served.page("/"))
    assert TITLE in page.locator("header").first.inner_text()
    rows = page.locator("tr.workflow")
    page.get_by_text("5 ✕ broken").wait_for()

    states = [row.locator("td").first.inner_text().split()[-1] for row in rows.all()]
    assert len(states) == len(world.report["dashboards"])
    broken = [entry for entry in world.report["dashboards"] if entry["status"] == "broken"]
    # Grouped by owner, and each group has its most urgent first.
    assert states[: len(broken)] == ["broken"] * len(broken)
    owners = page.locator("tr.owner").all_inner_texts()
    assert owners == ["team-b", "data-team"]
    sales = rows.filter(has=page.get_by_role("link", name="Sales", exact=True)).inner_text()
    for text in ("ok", "Sales: <b>{x}</b>", "minute", "1.0 %", "At 00:00 (UTC)"):
        assert text in sales
    sidebar = page.locator("aside a", has_text="Sales pg")
    assert sidebar.first.evaluate("link => getComputedStyle(link).textTransform") == "none"

    page.get_by_role("searchbox").fill("sales_p")
    assert rows.count() == 1
    rows.first.locator("a").click()
    page.wait_for_url("**/sales_pg/")
    page.get_by_role("heading", name="Sales pg", exact=True).wait_for()
    for text in ("Sales: <b>{x}</b>", "Data as of", "data-team", "At 00:00 (UTC)"):
        assert page.locator(".workflow-header").get_by_text(text).first.is_visible()
    assert page.get_by_text("Built ").is_visible()
    page.get_by_role("link", name="Home").first.click()
    page.wait_for_url(served.page("/"))


def test_the_home_page_is_sorted_with_the_keyboard(served: Any, open_page: Open) -> None:
    page = open_page(served.page("/"))
    heading = page.get_by_role("columnheader", name="Workflow")
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    names = page.locator("tbody").first.locator(".name a").all_inner_texts()
    assert names == sorted(names, key=str.lower)
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    names = page.locator("tbody").first.locator(".name a").all_inner_texts()
    assert names == sorted(names, key=str.lower, reverse=True)


def test_the_home_page_fits_a_phone(served: Any, open_page: Open) -> None:
    page = open_page(served.page("/"), **PHONE)
    assert fits(page)
    assert page.locator("tr.workflow .name a").first.is_visible()


def test_text_of_a_warehouse_never_runs_as_a_script(served: Any, open_page: Open) -> None:
    page = open_page(served.page("/hostile/"))
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    charts = page.locator("article canvas")
    for index in range(charts.count()):
        assert has_marks(charts.nth(index))
        box = charts.nth(index).bounding_box()
        assert box is not None
        for part in range(1, 20):
            x = box["x"] + box["width"] * part / 20
            page.mouse.move(x, box["y"] + box["height"] * 0.6)
            page.wait_for_timeout(20)
        # The tooltip shows it as text. Evidence writes names of series Like This.
        assert "<img src=x onerror=alert(1)>" in page.locator("body").inner_text().lower()
        assert page.locator("img[src=x]").count() == 0
    assert dialogs == []


def test_every_page_has_a_policy_against_foreign_scripts(world: Any) -> None:
    pages = list(world.folder.rglob("*.html"))
    assert len(pages) > 10
    for file in pages:
        policy = re.search(
            r'http-equiv="content-security-policy" content="([^"]*)"',
            file.read_text(encoding="utf-8"),
            re.IGNORECASE,
        )
        assert policy is not None, file
        assert "script-src-attr 'none'" in policy[1] or "default-src 'none'" in policy[1], file
        assert "'unsafe-inline'" not in policy[1].partition("script-src")[2], file


def test_inline_handlers_are_refused_by_the_policy(served: Any, browser: Browser) -> None:
    page = browser.new_page()
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(served.page("/"), wait_until="networkidle")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)>')")
    page.wait_for_timeout(500)
    page.close()
    assert dialogs == []


def test_a_page_loads_tables_of_its_own_workflow_only_and_none_without_a_filter(
    world: Any, served: Any, open_page: Open
) -> None:
    page = open_page(served.page("/empty/"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload(wait_until="networkidle")
    assert asked
    assert not [url for url in asked if ".parquet" in url or ".wasm" in url]

    page.goto(served.page("/sales/"), wait_until="networkidle")
    records = value(page, "Records")

    page.get_by_role("combobox", name="Category").click()
    page.get_by_role("option", name="category_3").click()
    page.wait_for_function(
        "before => ![...document.querySelectorAll('article p')].some(p =>"
        " p.innerText.trim() === 'Records' && p.parentElement.innerText.includes(before))",
        arg=records,
    )
    page.wait_for_load_state("networkidle")
    (expected,) = world.expected["category"]
    assert value(page, "Records") == str(expected)
    tables = [url.split(f"{BASE}/data/")[-1] for url in asked if ".parquet" in url]
    assert tables
    assert not [table for table in tables if not table.startswith(("sales/", "dataflow_site/"))]


def test_tables_without_rows_are_no_failure(served: Any, open_page: Open) -> None:
    page = open_page(served.page("/empty/"))
    assert value(page, "Rows of empty") == "0"
    assert page.get_by_text("No rows in the chart").is_visible()
    assert page.get_by_text("No rows in the table").is_visible()


def test_components_of_one_name_are_kept_apart(served: Any, open_page: Open) -> None:
    assert (
        open_page(served.page("/empty/")).locator(".own-share").inner_text() == "the share of empty"
    )
    assert (
        open_page(served.page("/all_types/")).locator(".own-share").inner_text()
        == "the share of all_types"
    )
    assert open_page(served.page("/sales/")).locator(".share .bar").count() == 1


def test_every_type_of_the_warehouse_arrives(served: Any, open_page: Open) -> None:
    # West of Greenwich a date must not become the day before.
    page = open_page(served.page("/all_types/"), timezone_id="America/Los_Angeles")
    row = [cells(page, column)[0] for column in range(1, 9)]
    assert row[:2] == ["12.3B", "1.25"]
    assert row[2:4] == ["2024-02-29", "2024-02-29"]
    assert row[4:6] == ["[1, 2]", "{'a': 1}"]
    assert row[-1] == 'Zoë "<b>" {x} \\'
    assert page.locator("img[alt='a picture']").evaluate("image => image.naturalWidth") == 8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("not_run", "has not run yet"),
        ("bad_source", "This dashboard is broken"),
        ("bad_markup", "This dashboard is broken"),
    ],
)
def test_what_cannot_be_shown_says_so(served: Any, open_page: Open, name: str, said: str) -> None:
    page = open_page(served.page(f"/{name}/"))
    assert said in page.locator("article").inner_text()
    if name == "not_run":
        assert "dataflow-runtime run not_run" in page.locator("article").inner_text()


def test_a_page_that_throws_says_so_however_it_is_reached(served: Any, open_page: Open) -> None:
    page = open_page(served.page("/"))
    page.locator("a", has_text="Bad render").first.click()
    page.get_by_role("heading", name="This page is broken").wait_for()
    assert "Cannot read properties of undefined" in page.locator("main").inner_text()
    page.get_by_role("link", name="All workflows").click()
    page.wait_for_url(served.page("/"))


def test_an_address_of_no_page_leads_home(world: Any) -> None:
    text = (world.folder / "404.html").read_text()
    assert "Page not found" in text
    assert f'href="{BASE}/"' in text


def test_no_secret_and_no_place_of_the_machine_is_in_the_site(world: Any) -> None:
    home = str(world.home)
    for file in (path for path in world.folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        assert world.secret.encode() not in content, file
        assert home.encode() not in content, file
    project = world.home / "dashboards" / "project"
    for file in project.rglob("*"):
        if file.is_file() and "node_modules" not in file.parts:
            assert world.secret.encode() not in file.read_bytes(), file
