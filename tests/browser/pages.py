"""A page of the book as its reader finds it: alive, and with everything unfolded."""

from __future__ import annotations

from playwright.sync_api import Page

from book import paths
from tests.browser import mathjax
from tests.browser.chromium import Visit

NAMES = [path.stem for path in paths.notebooks()]


def ready(visit: Visit) -> Page:
    """Wait until the explorers are alive and the formulas typeset."""
    page = visit.page
    page.wait_for_function(
        "() => [...document.querySelectorAll('.ob-explorer')]"
        ".every((root) => root.dataset.mounted === 'yes')"
    )
    mathjax.typeset(page)
    return page


def unfold(page: Page) -> None:
    """Open everything that is folded."""
    page.evaluate(
        "() => document.querySelectorAll('details').forEach((fold) => { fold.open = true })"
    )
