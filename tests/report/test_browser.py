"""The report as a browser shows it: nothing asked of a network, nothing wider than the screen, tables that sort."""

import shutil

import pytest
from tests.report.conftest import NAMES, fill_run
from tests.report.test_page import DEVIATIONS, add_figures

from edgekws import report
from edgekws.report import rulegraph

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: envs/test.txt has it")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
pytestmark = [
    pytest.mark.slow, pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; on Debian: apt-get install chromium")]
WIDTHS = pytest.mark.parametrize("width", [390, 1280])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium with a profile of its own; the machine's network is not asked for anything."""
    with playwright.sync_playwright() as play:
        context = play.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=CHROMIUM, headless=True, args=FLAGS, offline=True)
        yield context
        context.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A whole report, made once."""
    folder = tmp_path_factory.mktemp("built")
    results = fill_run(folder / "results" / "made_up", neuedge={}, onda={}, alternatives={})
    (add_figures(results) / "rulegraph.svg").write_text(rulegraph.draw('0[label = "all"];\n1[label = "a"];\n1 -> 0\n'))
    (folder / "deviations.md").write_text(DEVIATIONS)
    report.build(results, results / "report.html", names=NAMES, deviations=folder / "deviations.md")
    return results / "report.html"


@pytest.fixture
def shown(built, browser):
    """The report, opened: the page, what its console said and what it asked for."""
    page = browser.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(built.as_uri())
    yield page, said, asked
    page.close()


def column(page, table, number):
    """What stands in a column of a table, from top to bottom."""
    return page.eval_on_selector_all(f"{table} tbody tr td:nth-child({number})", "cells => cells.map(cell => cell.innerText)")


@WIDTHS
def test_it_says_no_error_asks_for_nothing_and_fits_the_screen(shown, width):
    page, said, asked = shown
    page.set_viewport_size({"width": width, "height": 900})
    page.reload()
    for box in page.query_selector_all("details"):
        box.evaluate("box => box.open = true")
    assert said == []
    assert asked and {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # What is wider than the screen lies in a box of its own that scrolls.
    assert page.evaluate("""() => [...document.querySelectorAll("main *")].filter(each =>
        each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".scroll, .frame, .dag, pre")).length""") == 0


def test_every_picture_has_words(shown):
    page, *_ = shown
    wordless = page.eval_on_selector_all("img, svg", """all => all.filter(each => !(each.closest("[aria-hidden=true]")
        || each.getAttribute("alt") || each.getAttribute("aria-label"))).map(each => each.outerHTML.slice(0, 80))""")
    assert page.query_selector_all("img, svg") and wordless == []


def test_a_click_on_a_header_sorts_and_so_does_the_keyboard(shown):
    page, *_ = shown
    table = "#traces_propagation-claims .claims >> nth=0"
    numbers = "#cost table"
    assert page.query_selector(table)
    first = [float(text) for text in column(page, numbers, 3)]
    head = page.locator(f"{numbers} th:nth-child(3) button")
    head.click()
    assert [float(text) for text in column(page, numbers, 3)] == sorted(first) != sorted(first, reverse=True)
    head.focus()
    page.keyboard.press("Enter")
    assert [float(text) for text in column(page, numbers, 3)] == sorted(first, reverse=True)
    assert page.get_attribute(f"{numbers} th:nth-child(3)", "aria-sort") == "descending"


def test_claims_sort_by_verdict_from_the_strongest_on_a_small_screen_too(shown):
    page, *_ = shown
    page.set_viewport_size({"width": 390, "height": 900})
    claims = "#onda-claims > .scroll table"
    page.locator(f"{claims} th:nth-child(6) button").click()
    order = page.eval_on_selector_all(f"{claims} tbody td:nth-child(6)", "cells => cells.map(cell => +cell.dataset.sort)")
    assert len(set(order)) > 1 and order == sorted(order)


def test_a_link_to_a_claim_opens_what_it_is_folded_in(shown):
    page, *_ = shown
    assert not page.locator("#tp-08").is_visible()
    page.evaluate("location.hash = '#tp-08'")
    page.locator("#tp-08").wait_for(state="visible", timeout=10_000)
    # The browser scrolls when it has the time.
    page.wait_for_function("Math.abs(document.getElementById('tp-08').getBoundingClientRect().top) < innerHeight", timeout=10_000)


def test_dark_is_dark_and_paper_is_white(shown):
    page, *_ = shown

    def lightness(of):
        return page.evaluate(f"getComputedStyle(document.body).{of}.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 765")

    page.emulate_media(color_scheme="dark")
    assert lightness("backgroundColor") < 0.2 and lightness("color") > 0.8
    page.emulate_media(media="print", color_scheme="dark")
    assert lightness("backgroundColor") == 1 and lightness("color") < 0.2
