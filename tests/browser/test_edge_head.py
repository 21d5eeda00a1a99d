"""Can a head find an edge, in a browser: sliders by keyboard, what is said, reset, axe."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from helpers.explorers import EdgeHead
from tests.browser.access import violations
from tests.browser.conftest import OpenCard
from tests.browser.explorer import tab_to

pytestmark = pytest.mark.browser


def test_no_scores_of_one_head_pass_the_half(figure_alone: OpenCard) -> None:
    card = figure_alone(EdgeHead())
    start = card.seen()
    assert "32.4 % of the target" in start.readout
    assert "At best one head reaches 50.0 %" in start.readout
    tab_to(card.control("centre_1"))
    assert card.press("Home").seen().figure != start.figure
    tab_to(card.control("left_1"))
    card.press("Home")
    tab_to(card.control("right_1"))
    assert "50.0 % of the target" in card.press("End").seen().readout
    tab_to(card.button("Reset"))
    assert card.press("Enter").seen().readout == start.readout


def test_two_heads_or_a_skip_do_it(figure_alone: OpenCard) -> None:
    card = figure_alone(EdgeHead())
    card.choose("two_heads", "two")
    expect(card.readout).to_contain_text("100.0 % of the target")
    card.choose("two_heads", "one")
    card.choose("kernel", "difference")
    card.choose("skip", "on")
    card.button("Best scores").click()
    expect(card.readout).to_contain_text("times −1. Together they are [−1, 1, 0], 100.0 %")
    card.choose("kernel", "Laplacian")
    card.button("Best scores").click()
    expect(card.readout).to_contain_text("83.3 % of the target")
    card.choose("signal", "a line of the photograph")
    expect(card.root.locator(".eh-credit")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(figure_alone: OpenCard, scheme: str) -> None:
    card = figure_alone(EdgeHead(), color_scheme=scheme)
    card.choose("two_heads", "two")
    card.choose("skip", "on")
    assert violations(card.page, "main") == []


def test_a_phone_scrolls_in_one_direction(figure_alone: OpenCard) -> None:
    card = figure_alone(EdgeHead(), viewport={"width": 375, "height": 800})
    assert card.page.evaluate("() => document.documentElement.scrollWidth") <= 375
