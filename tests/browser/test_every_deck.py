"""Every deck, opened from the disk and gone through slide by slide, with everything shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser import mathjax
from tests.browser.access import violations
from tests.browser.chromium import Open
from tests.browser.conftest import built
from tests.browser.decks import SIZE, ready, slides
from tests.browser.pages import NAMES

pytestmark = pytest.mark.browser

# What reveal.js, not the deck, does wrong.
EXCEPTIONS: dict[tuple[str, str], str] = {}

# Higher than the canvas: it scrolls, and a button says so. The margin below may be cut.
BELOW = """() => {
  const slide = Reveal.getCurrentSlide();
  const { overflowY, paddingBottom } = getComputedStyle(slide);
  const cut = slide.scrollHeight - slide.clientHeight - parseFloat(paddingBottom);
  const cue = document.querySelector(".deck-more");
  const told = ["auto", "scroll"].includes(overflowY) && cue.checkVisibility();
  return cut > 0 && !told ? [`${cut} pixels are below the slide, and nothing says so`] : [];
}"""

# Wider than the canvas: only what has a scroll bar of its own may be.
TOO_WIDE = """() => {
  const slide = Reveal.getCurrentSlide();
  const limit = slide.getBoundingClientRect().right + 1;
  const boxed = (element) => {
    for (let up = element.parentElement; up !== slide; up = up.parentElement)
      if (["auto", "scroll"].includes(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  return [...slide.querySelectorAll("*")]
    .filter((e) => !e.closest("aside, mjx-assistive-mml, .ob-ticks, svg") && !boxed(e))
    .filter((e) => e.getBoundingClientRect().right > limit)
    .map((e) => `wider than the slide: ${e.outerHTML.slice(0, 100)}`);
}"""

# 16 points, to be read from the last row. Ticks and arrows repeat what is said elsewhere.
TOO_SMALL = """() => {
  const others = "aside, script, mjx-container, [aria-hidden='true']";
  const texts = document.createTreeWalker(Reveal.getCurrentSlide(), 4);
  const small = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest(others)) continue;
    const size = parseFloat(getComputedStyle(element).fontSize);
    if (size < 21) small.push(`${size} px: ${texts.currentNode.data}`);
  }
  return small;
}"""


def faults(page: Page, look: Callable[[Page], list[Any]]) -> list[str]:
    """Go through the deck, and name each slide on which something is found."""
    return [f"{number}: {fault}" for number in slides(page) for fault in look(page)]


@pytest.mark.parametrize("name", NAMES)
def test_a_lecture(visit: Open, name: str) -> None:
    opened = visit(built("slides", f"{name}.html"), **SIZE)
    page = ready(opened)
    assert mathjax.faults(page, ".slides") == []
    questions = (BELOW, TOO_WIDE, TOO_SMALL)
    assert faults(page, lambda page: [f for q in questions for f in page.evaluate(q)]) == []
    notes = page.locator("aside.notes")
    assert "minutes" in " ".join(notes.all_text_contents())
    assert opened.log.foreign() == []
    assert opened.log.failed == []
    assert opened.log.errors == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_serious_is_found_by_axe(visit: Open, name: str) -> None:
    page = ready(visit(built("slides", f"{name}.html"), **SIZE))
    # axe looks at what is visible: at every slide in its turn, with everything unfolded.
    page.evaluate(
        "() => document.querySelectorAll('details').forEach((fold) => { fold.open = true })"
    )
    # reveal's empty layers behind the slides would keep axe from seeing what a text stands on.
    page.add_style_tag(content=".reveal .backgrounds { display: none }")
    found = faults(page, lambda page: violations(page, "section.present:not(.stack)", EXCEPTIONS))
    assert not found, "\n\n".join(sorted(set(found)))
