"""The morph figure in the built book: keys, buttons and clicks move it, Reset brings it back."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenCard
from tests.browser.explorer import Card, tab_to

pytestmark = pytest.mark.browser

FIGURE = ("05_block_correspondence", "morph_block")


@pytest.fixture
def card(figure_in_book: OpenCard) -> Card:
    return figure_in_book(*FIGURE, reduced_motion="reduce")


def test_next_back_and_the_arrow_keys_go_a_step(card: Card) -> None:
    tab_to(card.button("Next"))
    for key, step in (("Enter", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)):
        card.press(key)
        expect(card.root).to_have_attribute("data-step", str(step))
    expect(card.root.locator(".mb-title")).to_have_text("Positions")
    expect(card.readout).to_contain_text("112,347 parameters and 376.3 million")
    assert card.root.locator(".mb-diff ins").all_inner_texts() == [
        "+ a = softmax(q @ k.mT / d**0.5 + table[:, offset])\n"
    ]
    card.button("Back").click()
    expect(card.root).to_have_attribute("data-step", "1")
    card.button("Reset").click()
    expect(card.root).to_have_attribute("data-step", "0")
    expect(card.button("Back")).to_have_attribute("aria-disabled", "true")


def test_a_column_is_a_step_and_the_drawing_says_what_it_is(card: Card) -> None:
    card.root.locator(".mb-columns").first.locator(".mb-column").nth(13).click()
    expect(card.root).to_have_attribute("data-step", "13")
    expect(card.button("Next")).to_have_attribute("aria-disabled", "true")
    words = card.root.locator(".mb-drawing").get_attribute("aria-label")
    assert "Depthwise conv 7×7 (96 kernels, 96 biases)" in words
    assert "a skip around the whole block" in words
    expect(card.readout).to_contain_text("one count by coincidence")


def test_kernel_and_heads_change_the_numbers(card: Card) -> None:
    for _ in range(2):
        card.button("Next").click()
    card.root.locator('[data-parameter="kernel"] input').first.check()
    expect(card.readout).to_contain_text("111,915 parameters")  # 12 C² + 13 C + 25 heads
    card.control("heads").press("ArrowRight")
    expect(card.readout).to_contain_text("111,990 parameters")


def test_an_address_that_cannot_be_becomes_one_that_can(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE, "#step=99&kernel=4&heads=5")
    assert card.root.get_attribute("data-step") in ("0", "13")
    expect(card.readout).to_contain_text("74,208")
