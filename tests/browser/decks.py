"""A deck as its teacher finds it: standing, explorers alive, gone through slide by slide."""

from __future__ import annotations

from collections.abc import Iterator

from playwright.sync_api import Page

from tests.browser import mathjax
from tests.browser.chromium import Visit

SIZE = {"viewport": {"width": 1280, "height": 720}, "reduced_motion": "reduce"}


def ready(visit: Visit) -> Page:
    """Wait until the deck stands, its explorers are alive and its formulas typeset."""
    page = visit.page
    page.wait_for_function("() => window.Reveal?.isReady?.()")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.ob-explorer')]"
        ".every((root) => root.dataset.mounted === 'yes')"
    )
    mathjax.typeset(page)
    return page


def slides(page: Page) -> Iterator[str]:
    """Turn to each slide in order, with all its fragments shown; yield its number."""
    page.evaluate("() => Reveal.slide(0, 0)")
    while True:
        page.evaluate("() => { while (Reveal.availableFragments().next) Reveal.nextFragment(); }")
        # The deck measures a slide after it is laid out.
        page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        yield page.locator(".slide-number").inner_text()
        if page.evaluate("() => Reveal.isLastSlide()"):
            return
        page.evaluate("() => Reveal.next()")
