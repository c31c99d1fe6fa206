"""The page in a real browser: it loads nothing, reports no error, shows every picture, and its tables sort.

Runs headless Chromium from `RUNNER_CHROMIUM` or the path; skips where there is none, unless
`RUNNER_NEEDS_BROWSER` is set, as `.ci/run` does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from made_run import write_run
from method_record import record

from eval.report.page import render
from runner.reporting.compare import compare_page
from runner.reporting.record import read_run
from runner.stages.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PHONE_PX, DESK_PX = 390, 1280


@dataclass
class Watched:
    """An open page and all that it did wrong or asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return headless Chromium with an empty profile and no network.

    For one module: playwright refuses a second start in a process while the first one runs.
    """
    found = os.environ.get("RUNNER_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no browser: none of {', '.join(NAMES)} is installed (apt-get install chromium)"
        if os.environ.get("RUNNER_NEEDS_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the page of a run and the page of two, each alone in a folder: nothing beside it helps."""
    runs = [write_run(tmp_path_factory.mktemp("runs") / name, title=name) for name in ("one", "two")]
    written = write_report(runs[0])
    alone = tmp_path_factory.mktemp("alone")
    made = {"report": alone / "a" / "page.html", "compare": alone / "b" / "page.html"}
    texts = {
        "report": (runs[0] / written.page).read_text(encoding="utf-8"),
        "compare": render(compare_page([read_run(run) for run in runs])),
    }
    for name, path in made.items():
        path.parent.mkdir()
        path.write_text(texts[name], encoding="utf-8")
    return made


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """Return a function that opens a page by name and watches it."""
    contexts = []

    def open_page(name: str, width_px: int = DESK_PX, scheme: Literal["light", "dark"] = "light") -> Watched:
        context = browser.new_context(
            viewport={"width": width_px, "height": 900}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.on("console", lambda message: watched.said.append(message.text))
        watched.page.on("pageerror", lambda error: watched.said.append(str(error)))
        watched.page.on("dialog", lambda dialog: (watched.said.append("dialog"), dialog.dismiss()))
        watched.page.on("request", lambda request: watched.asked.append(request.url))
        watched.page.goto(pages[name].as_uri())
        return watched

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [PHONE_PX, DESK_PX])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_nothing_is_asked_of_the_network_and_no_error_is_told(
    opened: Any, pages: dict[str, Path], name: str, width_px: int, scheme: str
) -> None:
    watched = opened(name, width_px, scheme)
    assert watched.said == []
    assert watched.asked == [pages[name].as_uri()]
    wide = watched.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width_px, "the page itself scrolls sideways"


@pytest.mark.parametrize("name", ["report", "compare"])
def test_every_picture_is_there_and_has_a_name(opened: Any, name: str) -> None:
    page = opened(name).page
    sizes = page.eval_on_selector_all(
        "figure svg", "all => all.map(s => [s.getAttribute('aria-label'), s.getBoundingClientRect().width])"
    )
    assert len(sizes) == {"report": 10, "compare": 4}[name]
    assert all(label and width > 100 for label, width in sizes)
    drawn = page.eval_on_selector_all("figure svg", "all => all.map(s => s.querySelectorAll('path').length)")
    assert min(drawn) > 3
    assert (
        page.eval_on_selector_all("img", "all => all.filter(i => !i.complete || !i.naturalWidth).length") == 0
    )


def test_a_picture_follows_dark_mode(opened: Any) -> None:
    colours = [
        opened("report", scheme=scheme).page.eval_on_selector(
            "#picture-loss svg text", "text => getComputedStyle(text).fill"
        )
        for scheme in ("light", "dark")
    ]
    assert colours[0] != colours[1]


CONTRAST = """
() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const back = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || ["SCRIPT", "STYLE"].includes(node.tagName)) continue;
    const svg = node.closest("svg");
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(svg ? style.fill : style.color)), light(back(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${text.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return low;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_every_word_can_be_read(opened: Any, name: str, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1 between text and what is behind it."""
    assert opened(name, scheme=scheme).page.evaluate(CONTRAST) == []


def column(page: Any, table: str, number: int) -> list[str]:
    cells = page.eval_on_selector_all(
        f"{table} tbody tr", f"rows => rows.map(r => r.cells[{number}].firstChild.data)"
    )
    return [str(cell) for cell in cells]


def test_a_table_sorts_by_number_upwards_downwards_and_back(opened: Any) -> None:
    """Tuned values 0.9, missing, missing, 3.31, 2.424, 0.5, 16, 1.715, as the page shows them."""
    page = opened("report").page
    table, tuned = "#results table", 4
    before = column(page, table, tuned)
    assert before == ["0.900", "\u2013", "\u2013", "3.31", "2.424", "0.5000", "16.00", "1.715"]
    button = page.locator(f"{table} thead th").nth(tuned).locator("button")
    order = {}
    for way in ("ascending", "descending", None):
        button.click()
        assert page.locator(f"{table} thead th").nth(tuned).get_attribute("aria-sort") == way
        order[way] = column(page, table, tuned)
    assert order["ascending"] == ["0.5000", "0.900", "1.715", "2.424", "3.31", "16.00", "\u2013", "\u2013"]
    assert order["descending"] == ["16.00", "3.31", "2.424", "1.715", "0.900", "0.5000", "\u2013", "\u2013"]
    assert order[None] == before


def test_every_table_of_several_rows_sorts_by_keyboard_and_keeps_its_rows(opened: Any) -> None:
    page = opened("report").page
    page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true; })")
    tables = page.locator("table")
    sorted_tables = 0
    for number in range(tables.count()):
        table = tables.nth(number)
        rows = sorted(table.locator("tbody tr").all_inner_texts())
        if len(rows) < 2:
            assert table.locator("button").count() == 0
            continue
        header = table.locator("thead th").first
        header.locator("button").focus()
        page.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == "ascending"
        assert table.locator("thead th[aria-sort]").count() == 1
        page.keyboard.press("Space")
        assert header.get_attribute("aria-sort") == "descending"
        assert sorted(table.locator("tbody tr").all_inner_texts()) == rows
        sorted_tables += 1
    assert sorted_tables > 8


def test_text_of_the_records_is_text(opened: Any) -> None:
    watched = opened("report")
    assert watched.page.locator("main script").count() == 0
    assert watched.page.locator("main b").count() == 0
    assert watched.page.locator("#results p.lead").inner_text().count("<script>alert('x')</script>") == 1


def test_the_table_of_methods_fits_a_small_window_whatever_the_arms_are_called(
    opened: Any, pages: dict[str, Path]
) -> None:
    runs = [
        record(name)
        for name in ("control", "method.name=fused,method.zo.eps=0.0001,train.learning_rate=0.002")
    ]
    pages["methods"] = pages["report"].with_name("methods.html")
    pages["methods"].write_text(render(compare_page(runs)), encoding="utf-8")
    table = opened("methods", 1100).page.locator("#methods .scroll")
    assert table.evaluate("e => e.scrollWidth <= e.clientWidth")


def test_a_print_is_light_and_shows_what_is_folded_away(opened: Any) -> None:
    page = opened("report", scheme="dark").page
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.locator("nav").is_hidden()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open]):not(.screen)").count() == 0
    folded = page.locator("details.screen")
    assert folded.count() > 1
    assert not any(one.is_visible() for one in folded.all()), "hundreds of packages fill pages"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


@pytest.mark.parametrize("width_px", [390, 420])
def test_on_a_phone_every_number_of_the_first_table_is_in_view(opened: Any, width_px: int) -> None:
    page = opened("report", width_px).page
    cells = page.eval_on_selector_all(
        "#results table td", "all => all.map(c => [c.dataset.column, c.getBoundingClientRect().right])"
    )
    assert {"Baseline", "Tuned", "Difference"} <= {name for name, _ in cells}
    assert max(right for _, right in cells) <= width_px
    named = page.eval_on_selector("#results table td", "c => getComputedStyle(c, '::before').content")
    assert named == f'"{cells[0][0]}"'
