"""Shuffle and shift, on the built page: what each layer notices, said in words, by keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenCard

pytestmark = pytest.mark.browser

FIGURE = ("04_who_chooses_the_weights", "shuffle_shift")
UNNOTICED = "{}: move then mix is mix then move, up to rounding."


def test_each_layer_says_what_it_notices(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    blind = UNNOTICED.format("Attention without positions")
    expect(card.readout).to_contain_text(blind)
    expect(card.readout).to_contain_text("off by 1.44 times the size of its output, in 64 of 64")
    before = card.seen()
    card.button("Shuffle pixels").focus()
    card.press("Enter")
    assert card.seen().figure != before.figure
    expect(card.readout).to_contain_text(blind)
    card.button("Shift one pixel").focus()
    card.press("Space")
    expect(card.readout).to_contain_text("Shifted by 1 pixel to the right")
    expect(card.readout).to_contain_text(UNNOTICED.format("Depthwise 3 × 3, circular padding"))
    card.root.get_by_role("radio", name="added").check()
    expect(card.readout).to_contain_text("Attention with positions: off by")
    card.root.get_by_role("radio", name="zeros").check()
    expect(card.readout).to_contain_text("in 24 of 64 pixels")
    expect(card.root.locator(".ob-code pre")).to_contain_text("P = lambda t: t.roll(1, dims=3)")
    card.button("Reset").click()
    assert card.seen().readout == before.readout


def test_a_pixel_is_followed_with_the_arrow_keys_and_the_mouse(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    image = card.root.get_by_role("application", name="The image x")
    image.focus()
    card.press("ArrowRight")
    expect(card.readout).to_contain_text("Pixel (4, 5) stands at")
    image.hover(position={"x": 3, "y": 3})
    expect(card.readout).to_contain_text("Pixel (0, 0) stands at")
    card.button("Reset").hover()
    expect(card.readout).to_contain_text("Pixel (4, 5) stands at")


def test_any_address_leads_to_a_state_that_exists(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE, "#move=fly&times=x&filter_size=4&padding=none&spot=999")
    expect(card.readout).to_contain_text("Shuffled. ")
    expect(card.readout).to_contain_text("Pixel (7, 7)")
