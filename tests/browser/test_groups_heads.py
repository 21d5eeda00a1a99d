"""Groups beside heads, in the built book: moved by keyboard, by click, and by the address."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenCard

pytestmark = pytest.mark.browser


FIGURE = ("03_groups_and_heads", "groups_heads")


def test_groups_cut_wires_and_bars_and_heads_do_not(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    expect(card.readout).to_contain_text("reads 4 of 8 input channels")
    card.control("groups").focus()
    card.press("End")
    expect(card.readout).to_contain_text("reads 1 of 8 input channels")
    expect(card.readout).to_contain_text("convolution 392, attention 256")
    card.control("heads").focus()
    card.press("Home")
    expect(card.readout).to_contain_text("Head 0 reads 8 of 8")
    expect(card.readout).to_contain_text("attention 256")
    card.root.get_by_role("radio", name="96").check()
    expect(card.readout).to_contain_text("of 96 input channels")
    card.control("groups").focus()
    card.press("End")
    expect(card.readout).to_contain_text("convolution 4,704, attention 36,864")
    expect(card.root.locator(".ob-code pre")).to_contain_text("groups=96, bias=False")
    card.button("Reset").press("Enter")
    expect(card.readout).to_contain_text("reads 4 of 8 input channels")


def test_a_click_on_the_wires_follows_another_channel(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    wires = card.root.locator(".gh-left .gh-wires")
    wires.scroll_into_view_if_needed()
    box = wires.bounding_box()
    wires.click(position={"x": box["width"] * 0.9, "y": box["height"] * 0.9})
    expect(card.readout).to_contain_text("Output channel 7")
    expect(card.value("channel")).to_have_text("7")


def test_an_impossible_address_gives_the_nearest_state(
    figure_in_book: OpenCard,
) -> None:
    card = figure_in_book(*FIGURE, "#groups=3&heads=99&channels=7&channel=-4&kernel_size=x")
    expect(card.readout).to_contain_text("Output channel 0")
    expect(card.value("heads")).to_have_text("8")
    expect(card.value("kernel_size")).to_have_text("7")
    assert card.value("groups").inner_text() in ("2", "4")
