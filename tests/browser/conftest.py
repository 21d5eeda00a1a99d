"""Fixtures of the tests that look at the book the way its readers do, in Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import chromium
from tests.browser.chromium import Open

# Two browsers and a kernel on two cores: a condition may take its time, and what is quick does not
# wait for it.
expect.set_options(timeout=20_000)

BUILD = Path(__file__).resolve().parent.parent.parent / "_build"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; without one the test is skipped, and where REQUIRE_BROWSER is set it fails."""
    if chromium.executable() is None:
        reason = f"no Chromium on the PATH (looked for {', '.join(chromium.NAMES)})"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(f"REQUIRE_BROWSER is set, and there is {reason}.", pytrace=False)
        pytest.skip(f"browser tests need Chromium: {reason}")
    with chromium.running() as started:
        yield started


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Open pages for one test: ``visit(address, color_scheme="dark", ...)``."""
    with chromium.pages(browser) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def visit_once(browser: Browser) -> Iterator[Open]:
    """Open pages that the tests of a module share: what they look at, they do not change."""
    with chromium.pages(browser) as open_page:
        yield open_page


def built(*parts: str) -> Path:
    """Give a file that `make book` or `make slides` has made; `make test` runs both first."""
    path = BUILD.joinpath(*parts)
    if not path.exists():
        pytest.fail(
            f"{path.relative_to(BUILD.parent)} is missing: run `make book slides` first.",
            pytrace=False,
        )
    return path


@pytest.fixture(scope="session")
def book_page() -> Path:
    return built("book", "01_pointwise_is_linear.html")


@pytest.fixture(scope="session")
def front_page() -> Path:
    return built("book", "index.html")


@pytest.fixture(scope="session")
def deck() -> Path:
    return built("slides", "01_pointwise_is_linear.html")
