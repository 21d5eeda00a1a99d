"""When does N² hurt: the slider, the examples and the address, from the keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenCard

pytestmark = pytest.mark.browser

FIGURE = ("07_same_budget", "quadratic_cost")


def test_the_share_grows_with_the_image(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    start = card.seen()
    assert "4.1\u00a0%" in start.readout
    card.control("side").focus()
    seen = card.press("ArrowRight").seen()
    assert "320 pixels" in seen.readout
    assert seen.figure != start.figure
    card.button("ViT-B, 1024 px").focus()
    assert "47.1\u00a0% of the block, more than" in card.press("Enter").seen().readout
    card.button("Swin-T's first stage").focus()
    assert "1,888\u00a0M over all tokens" in card.press("Enter").seen().readout
    # N = 2C lies left of the scale for such tokens: no mark points beside the curve.
    expect(card.root.locator(".qc-equal")).to_be_hidden()
    card.root.get_by_label("96", exact=True).focus()
    assert "C = 192" in card.press("ArrowRight").seen().readout
    card.button("Reset").focus()
    assert card.press("Enter").seen().readout == start.readout


def test_an_address_gives_the_nearest_image(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE, "#side=600&channels=x&patch=5")
    expect(card.value("side")).to_have_text("640")
    expect(card.readout).to_contain_text("C = 768, patches of 4")
