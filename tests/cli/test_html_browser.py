"""The HTML report in a real headless browser: XPET_TEST_BROWSER, or a Chromium in PATH; skipped where there is none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import browser as driver
from tests.cli.reports import BEFORE, SAMPLES, html
from xpet.jobs.results.from_json import from_dict

PAGES = ("full", "several", "hostile")
pytestmark = pytest.mark.skipif(driver.find() is None, reason="no Chromium in PATH, and XPET_TEST_BROWSER is not set")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name in PAGES:
        (folder / f"{name}.html").write_text(html(name), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[driver.Browser]:
    program = driver.find()
    assert program
    started = driver.Browser(program, tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture
def window(browser: driver.Browser) -> driver.Browser:
    browser.resize(1200, 800)
    browser.colours("light")
    return browser


def order(window: driver.Browser) -> list[str]:
    names: list[str] = window.run("[...document.querySelectorAll('#languages tbody th')].map(c => c.textContent)")
    return names


def head(words: str) -> str:
    return f"[...document.querySelectorAll('#languages thead th')].find(h => h.textContent === '{words}')"


@pytest.mark.parametrize("name", PAGES)
def test_no_errors_and_no_requests(window: driver.Browser, pages: dict[str, Path], name: str) -> None:
    window.open(pages[name].as_uri())
    assert window.run("document.fonts.ready.then(() => document.title.startsWith('R@1 on'))") is True
    asked = [r["request"]["url"] for r in window.saw("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:image/")] == [pages[name].as_uri()]
    assert window.saw("Runtime.exceptionThrown") == []
    assert [entry["entry"]["text"] for entry in window.saw("Log.entryAdded")] == []
    assert window.saw("Runtime.consoleAPICalled") == []


def test_the_policy_stops_what_a_caption_could_try(window: driver.Browser, pages: dict[str, Path]) -> None:
    window.open(pages["hostile"].as_uri())
    assert window.run("document.querySelectorAll('[onclick], [onerror]').length") == 0
    blocked = "fetch('http://127.0.0.1:9/').then(() => 'sent', (e) => String(e))"
    assert "Failed to fetch" in window.run(blocked)
    assert any("Content Security Policy" in entry["entry"]["text"] for entry in window.saw("Log.entryAdded")) or any(
        "Content Security Policy" in str(call) for call in window.saw("Runtime.consoleAPICalled")
    )
    insert = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    window.run(f"{{ {insert} }}")
    assert window.run("typeof window.ran") == "undefined"


def test_tables_sort_by_click_and_by_keyboard(window: driver.Browser, pages: dict[str, Path]) -> None:
    window.open(pages["full"].as_uri())
    weakest = sorted(BEFORE, key=BEFORE.__getitem__)
    assert order(window) == weakest[::-1]
    window.run(f"{head('zero-shot')}.querySelector('button').click()")
    assert order(window) == weakest
    assert window.run(f"{head('zero-shot')}.getAttribute('aria-sort')") == "ascending"
    window.run(f"{head('lang')}.querySelector('button').focus()")
    window.press("Enter", "\r")
    assert order(window) == sorted(BEFORE)
    window.press("Enter", "\r")
    assert order(window) == sorted(BEFORE, reverse=True)
    assert window.run("document.querySelectorAll('#languages [aria-sort]').length") == 1


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_scrolls_in_one_direction(window: driver.Browser, pages: dict[str, Path], name: str) -> None:
    window.resize(360, 740, mobile=True)
    window.open(pages[name].as_uri())
    window.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert window.run("document.documentElement.scrollWidth") == 360
    wide = "[...document.querySelectorAll('main > *')].filter(e => e.getBoundingClientRect().right > 360).length"
    assert window.run(wide) == 0
    assert window.run("document.querySelector('#directions').closest('.box').scrollWidth > 360") is True
    assert window.run("parseFloat(getComputedStyle(document.body).fontSize)") >= 16


CONTRAST = """(selector) => {
  const numbers = (c) => c.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255);
  const light = (c) => numbers(c).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (!c.endsWith(", 0)")) return c; } };
  const element = document.querySelector(selector);
  const pair = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05); }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_are_readable(window: driver.Browser, pages: dict[str, Path], scheme: str) -> None:
    window.colours(scheme)
    window.open(pages["full"].as_uri())
    shown = window.run("getComputedStyle(document.body).backgroundColor")
    assert shown == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 26)"}[scheme]
    for selector in ("h1", ".lead", ".note", ".banner", ".good", ".bad", "td.dim", "td small", "#download", "svg text"):
        # WCAG 2.2, 1.4.3: 4.5 for text
        assert window.run(f"({CONTRAST})('{selector}')") >= 4.5, selector


def test_the_json_can_be_downloaded(window: driver.Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    window.open(pages["full"].as_uri())
    window.call("Browser.setDownloadBehavior", session=False, behavior="allow", downloadPath=str(tmp_path))
    window.run("document.getElementById('download').click()")
    until = time.monotonic() + 10
    report = tmp_path / "report.json"
    # The browser reserves the name with an empty file, writes beside it, then renames.
    while not (report.exists() and report.stat().st_size) and time.monotonic() < until:
        window.run("new Promise((done) => setTimeout(done, 50))")
    document = json.loads(report.read_text(encoding="utf-8"))
    assert from_dict(document, "report.json") == SAMPLES["full"]()


def test_it_reads_without_script(window: driver.Browser, pages: dict[str, Path]) -> None:
    window.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        window.open(pages["full"].as_uri())
        assert len(order(window)) == 11
        assert window.run("document.querySelectorAll('button').length") == 0
        assert window.run("getComputedStyle(document.getElementById('download')).display") == "none"
    finally:
        window.call("Emulation.setScriptExecutionDisabled", value=False)
