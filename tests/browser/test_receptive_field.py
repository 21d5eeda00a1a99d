"""Reach and effect: moved from the keyboard, set right from the address, set back."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from helpers.explorers import ReceptiveField
from tests.browser.alone import alone
from tests.browser.chromium import Open
from tests.browser.explorer import Card

pytestmark = pytest.mark.browser


def test_it_moves_with_the_keyboard_and_goes_back(visit: Open, tmp_path: Path) -> None:
    opened = alone(visit, ReceptiveField(), tmp_path)
    card = Card(opened.page, "receptive_field")
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
    assert opened.log.errors == []


def test_a_larger_kernel_keeps_the_reach_within_bounds(visit: Open, tmp_path: Path) -> None:
    opened = alone(visit, ReceptiveField(depth_b=8), tmp_path)
    card = Card(opened.page, "receptive_field")
    card.control("kernel_b").focus()
    card.press("End")
    expect(card.value("depth_b")).to_have_text("4")
    assert opened.log.errors == []


def test_both_stacks_stay_in_view_on_a_phone(visit: Open, tmp_path: Path) -> None:
    start = ReceptiveField(kernel_a=7, kernel_b=3, depth_b=8, wiring="dense")
    opened = alone(visit, start, tmp_path, viewport={"width": 375, "height": 800})
    card = Card(opened.page, "receptive_field")
    table, body = (card.root.locator(name).bounding_box() for name in ("table", ".ob-body"))
    assert table["x"] + table["width"] <= body["x"] + body["width"] + 1
