"""Fixtures of the tests that look at the book the way its readers do, in Chromium."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from helpers.explorers import LinkedFigure
from tests.browser import chromium, pages
from tests.browser.alone import alone
from tests.browser.chromium import Open, Visit
from tests.browser.explorer import Card

# Two browsers and a kernel on two cores: a condition may take its time, and what is quick does not
# wait for it.
expect.set_options(timeout=20_000)

OpenCard = Callable[..., Card]

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


@pytest.fixture
def quiet_visit(visit: Open) -> Iterator[Open]:
    """Open pages for one test, none of which may have logged an error by its end."""
    opened: list[Visit] = []

    def open_page(*address: str | Path, **options: object) -> Visit:
        opened.append(visit(*address, **options))
        return opened[-1]

    yield open_page
    assert [error for one in opened for error in one.log.errors] == []


@pytest.fixture
def figure_alone(quiet_visit: Open, tmp_path: Path) -> OpenCard:
    """Open a figure on a page of its own: ``figure_alone(EdgeHead(), color_scheme="dark")``."""

    def open_figure(figure: LinkedFigure, **options: object) -> Card:
        return Card(alone(quiet_visit, figure, tmp_path, **options).page, figure.name)

    return open_figure


@pytest.fixture
def figure_in_book(quiet_visit: Open) -> OpenCard:
    """Open a figure in the built book: ``figure_in_book("07_same_budget", NAME, "#side=600")``."""

    def open_figure(page: str, name: str, address: str = "", **options: object) -> Card:
        visit = quiet_visit(f"{built('book', f'{page}.html').as_uri()}{address}", **options)
        opened = pages.ready(visit)
        pages.unfold(opened)
        return Card(opened, name)

    return open_figure


@pytest.fixture(scope="session")
def book_page() -> Path:
    return built("book", "01_pointwise_is_linear.html")


@pytest.fixture(scope="session")
def front_page() -> Path:
    return built("book", "index.html")


@pytest.fixture(scope="session")
def deck() -> Path:
    return built("slides", "01_pointwise_is_linear.html")
