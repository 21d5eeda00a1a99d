"""The budget designer: presets, the locked total and the address, from the keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenCard

pytestmark = pytest.mark.browser

FIGURE = ("07_same_budget", "budget_designer")


def test_a_locked_total_turns_swin_into_convnext(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    card.root.get_by_label("ConvNeXt-T", exact=True).focus()
    assert "depths 2, 2, 6, 2" in card.press("ArrowRight").seen().readout
    card.root.get_by_label("lock parameters").focus()
    assert "Locked at 28.29" in card.press("Space").seen().readout
    expect(card.control("depth3")).to_be_disabled()
    card.root.get_by_label("attention", exact=True).focus()
    assert "ConvNeXt-T (depths 3, 3, 9, 3" in card.press("ArrowLeft").seen().readout
    expect(card.value("depth3")).to_have_text("9")
    expect(card.root.get_by_label("ConvNeXt-T", exact=True)).to_be_checked()
    # One stage keeps the total as well, with depths that no longer follow Swin's.
    card.root.get_by_label("4", exact=True).focus()
    assert "0.1\u00a0% off" in card.press("ArrowRight").seen().readout
    expect(card.control("depth2")).to_be_hidden()
    card.button("Reset").focus()
    assert "Locked" not in card.press("Enter").seen().readout
    expect(card.control("depth3")).to_be_enabled()


def test_every_slider_is_said_and_drawn(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    before = card.seen()
    for name in ("width", "kernel", "expansion", "image", "depth1", "depth4"):
        card.control(name).focus()
        seen = card.press("ArrowRight").seen()
        assert seen.figure != before.figure, name
        before = seen
    heads = card.control("heads")
    expect(heads).to_be_hidden()
    card.root.get_by_label("attention", exact=True).check()
    heads.focus()
    card.press("ArrowRight")
    card.root.get_by_label("compare with").select_option("ViT-B")
    expect(card.root.locator("thead")).to_contain_text("of ViT-B")


def test_an_address_gives_the_nearest_net(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE, "#width=100&heads=7&depth1=99&mixer=pooling&lock=-3")
    expect(card.value("width")).to_have_text("96")
    expect(card.value("depth1")).to_have_text("36")
    expect(card.root.get_by_label("depthwise conv")).to_be_checked()
    expect(card.root.get_by_label("lock parameters")).not_to_be_checked()
