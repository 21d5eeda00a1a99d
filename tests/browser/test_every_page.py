"""Every page of the built book, opened from the disk: what must hold of each, whatever it teaches.

One visit serves several questions, because a page is opened four times for each notebook.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import mathjax
from tests.browser.access import violations
from tests.browser.chromium import Open
from tests.browser.conftest import built
from tests.browser.explorer import Card, answers_a_key
from tests.browser.pages import NAMES, ready, unfold

pytestmark = pytest.mark.browser

PAGES = pytest.mark.parametrize("name", NAMES)

# What the theme, not the book, does wrong.
EXCEPTIONS: dict[tuple[str, str], str] = {}

UNREADABLE_LETTERS = r"""() => {
  const light = (css) => {
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = css.match(/[\d.]+/g).slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll("mjx-container [style*='color']")].filter((letter) => {
    const ink = light(getComputedStyle(letter).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) < 4.5;
  }).map((letter) => letter.getAttribute("style"));
}"""

WITHOUT_ALT = """() => [...document.querySelectorAll("article img")]
  .filter((image) => !image.alt.trim()).map((image) => image.outerHTML.slice(0, 120))"""

BROKEN_ANCHORS = """() => [...document.querySelectorAll("article a[href^='#']")]
  .map((link) => decodeURIComponent(link.getAttribute("href").slice(1)))
  .filter((id) => id && !document.getElementById(id))"""

LINKED_FILES = """() => [...document.querySelectorAll("a[href]")].map((link) => link.href)
  .filter((address) => address.startsWith("file:"))"""

# Only what scrolls in a box of its own may be wider than the page, and no explorer.
TOO_WIDE = """() => {
  const limit = document.documentElement.clientWidth + 1;
  const boxed = (element) => {
    for (let up = element.parentElement; up; up = up.parentElement) {
      const clips = ["auto", "scroll", "hidden", "clip"];
      if (clips.includes(getComputedStyle(up).overflowX) && up !== document.body
          && up !== document.documentElement) return true;
    }
    return false;
  };
  return [...document.querySelectorAll("article *")]
    .filter((e) => e.getBoundingClientRect().right > limit)
    .filter((e) => e.matches(".ob-card") || !boxed(e))
    .map((e) => e.outerHTML.slice(0, 120));
}"""


def page_of(name: str) -> Path:
    return built("book", f"{name}.html")


@PAGES
def test_a_visit(visit: Open, name: str) -> None:
    opened = visit(page_of(name), color_scheme="light", reduced_motion="reduce")
    page = ready(opened)
    assert mathjax.faults(page, "article") == []
    assert page.evaluate(UNREADABLE_LETTERS) == []
    assert page.evaluate(WITHOUT_ALT) == []
    assert page.evaluate(BROKEN_ANCHORS) == []
    files = {re.sub(r"^file://|[?#].*$", "", a) for a in page.evaluate(LINKED_FILES)}
    assert {path for path in files if not Path(path).exists()} == set()
    link = page.get_by_role("link", name="Download this page as a notebook")
    assert (page_of(name).parent / link.get_attribute("href")).stat().st_size > 1000
    unfold(page)
    found = violations(page, exceptions=EXCEPTIONS)
    assert not found, "\n\n".join(found)
    names = [card.get_attribute("data-name") for card in page.locator(".ob-card").all()]
    assert [name for name in names if not answers_a_key(Card(page, name))] == []
    page.wait_for_load_state("networkidle")
    assert opened.log.foreign() == []
    assert opened.log.failed == []
    assert opened.log.errors == []


@PAGES
def test_a_visit_in_the_dark(visit: Open, name: str) -> None:
    page = ready(visit(page_of(name), color_scheme="dark", reduced_motion="reduce"))
    unfold(page)
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate(UNREADABLE_LETTERS) == []
    found = violations(page, exceptions=EXCEPTIONS)
    assert not found, "\n\n".join(found)


@PAGES
def test_a_phone_has_no_sideways_scroll(visit: Open, name: str) -> None:
    page = ready(visit(page_of(name), viewport={"width": 375, "height": 700}))
    for folded in (True, False):
        if not folded:
            unfold(page)
        assert page.evaluate("() => document.documentElement.clientWidth") <= 375
        assert page.evaluate(TOO_WIDE) == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@PAGES
def test_without_a_script_each_explorer_is_a_picture_and_a_sentence(visit: Open, name: str) -> None:
    page = visit(page_of(name), java_script_enabled=False).page
    for root in page.locator(".ob-explorer").all():
        fold = root.locator("xpath=ancestor::details[contains(@class, 'hide')]")
        if fold.count():
            fold.locator("> summary").click()
        still, sentence = root.locator("img.ob-still"), root.locator(".ob-sentence")
        still.scroll_into_view_if_needed()
        expect(still).to_be_visible()
        expect(still).to_have_js_property("complete", True)
        assert still.evaluate("(image) => image.naturalWidth") > 100
        assert len(sentence.inner_text()) > 40
        assert still.get_attribute("alt") == sentence.inner_text()
