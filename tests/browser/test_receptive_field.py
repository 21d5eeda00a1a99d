"""Reach and effect: moved from the keyboard, set right from the address, set back."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from helpers.explorers import ReceptiveField
from tests.browser.conftest import OpenCard

pytestmark = pytest.mark.browser


def test_it_moves_with_the_keyboard_and_goes_back(figure_alone: OpenCard) -> None:
    card = figure_alone(ReceptiveField())
    expect(card.readout).to_contain_text("18.4 % and 49.5 %")
    card.control("depth_b").focus()
    wider = card.press("ArrowRight").seen().readout
    assert "7 × 7 pixels on the left and 9 × 9 on the right" in wider
    card.root.get_by_role("application").first.focus()
    assert "The chosen pixel" in card.press("ArrowRight").seen().readout
    card.root.get_by_label("dense", exact=True).check()
    expect(card.root.locator("table")).to_contain_text("451,584")
    card.button("Reset").focus()
    assert "Both reach 7 × 7" in card.press("Enter").seen().readout


def test_a_larger_kernel_keeps_the_reach_within_bounds(figure_alone: OpenCard) -> None:
    card = figure_alone(ReceptiveField(depth_b=8))
    card.control("kernel_b").focus()
    card.press("End")
    expect(card.value("depth_b")).to_have_text("4")


def test_both_stacks_stay_in_view_on_a_phone(figure_alone: OpenCard) -> None:
    start = ReceptiveField(kernel_a=7, kernel_b=3, depth_b=8, wiring="dense")
    card = figure_alone(start, viewport={"width": 375, "height": 800})
    table, body = (card.root.locator(name).bounding_box() for name in ("table", ".ob-body"))
    assert table["x"] + table["width"] <= body["x"] + body["width"] + 1
