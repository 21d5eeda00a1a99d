"""The operator matrix on the page of notebook 02: keyboard, hover, controls, address, reset."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenCard
from tests.browser.explorer import tab_to

pytestmark = pytest.mark.browser

FIGURE = ("02_convolution_is_a_matrix", "operator_matrix")


def test_what_it_is_for_is_seen_untouched(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    expect(card.readout).to_contain_text("52 numbers fill 1,600 of 4,096 cells, the very cells")
    rows = card.root.locator(".om-counts tbody tr")
    assert [row.inner_text().split()[-2:] for row in rows.all()] == [
        ["144", "1,600"], ["36", "400"], ["16", "256"], ["52", "1,600"], ["256", "1,024"],
    ]  # fmt: skip


def test_keys_move_the_cell_and_reset_goes_back(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    matrix = card.root.get_by_role("application")
    tab_to(matrix)
    start = card.readout.inner_text()
    card.press("ArrowRight")
    expect(card.readout).to_contain_text("Row 21")
    expect(card.readout).to_contain_text("Column 22")
    card.press("End")
    expect(card.readout).to_contain_text("Column 63")
    assert "This cell is 0" in (matrix.get_attribute("aria-label") or "")
    card.root.get_by_label("attention").check()
    card.root.get_by_label("by pixel").check()
    expect(card.readout).to_contain_text("256 numbers (computed, not learned)")
    card.button("Reset").click()
    expect(card.readout).to_have_text(start)


def test_hover_looks_and_a_click_chooses(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    box = card.root.locator(".ob-cells").bounding_box()
    assert box
    start = card.readout.inner_text()
    card.root.locator(".ob-cells").hover(position={"x": 2, "y": 2})
    expect(card.readout).to_contain_text("Row 0: ")
    card.page.mouse.move(box["x"] - 30, box["y"] - 30)
    expect(card.readout).to_have_text(start)
    card.root.locator(".ob-cells").click(position={"x": 2, "y": 2})
    card.page.mouse.move(box["x"] - 30, box["y"] - 30)
    expect(card.readout).to_contain_text("Row 0: ")


def test_only_what_exists_can_be_chosen(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    slider = card.control("kernel_size")
    slider.focus()
    card.press("ArrowRight")
    expect(card.value("kernel_size")).to_have_text("5")
    padding = card.root.locator("[data-parameter='padding'] label")
    expect(padding).to_have_text(["zeros"])
    card.press("ArrowLeft")
    card.root.get_by_label("none").check()
    expect(card.root.locator("[data-parameter='kernel_size'] .ob-ticks span")).to_have_text(
        ["1", "3"]
    )
    expect(card.readout).to_contain_text("52 numbers fill 576 of 1,024 cells, the very cells")
    card.root.get_by_label("attention").check()
    expect(slider).to_be_disabled()
    expect(card.root.locator("[data-parameter='stride'] label")).to_have_text(["1"])


def test_an_address_may_hold_anything(figure_in_book: OpenCard) -> None:
    visited = "#layer=nonsense&kernel_size=5&padding=none&stride=2&out_pixel=99&in_channel=x"
    card = figure_in_book(*FIGURE, visited)
    expect(card.root.get_by_label("dense conv")).to_be_checked()
    expect(card.value("kernel_size")).to_have_text("5")
    expect(card.readout).to_contain_text("400 numbers fill")
    expect(card.readout).to_contain_text("Row 7: output channel 1 at pixel 3")
