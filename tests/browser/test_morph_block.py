"""The morph figure in the built book: keys, buttons and clicks move it, Reset brings it back."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser import decks
from tests.browser.chromium import Open
from tests.browser.conftest import OpenCard, built
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


@pytest.mark.parametrize("query", ["", "?lecture"])
def test_no_step_makes_a_slide_scroll(visit: Open, query: str) -> None:
    deck = built("slides", "05_block_correspondence.html").as_uri()
    page = decks.ready(visit(f"{deck}{query}", **decks.SIZE))
    card = Card(page, FIGURE[1])
    card.root.evaluate(
        """(card) => {
          const { h, v } = Reveal.getIndices(card.closest("section"));
          Reveal.slide(h, v);
        }"""
    )
    for step in range(14):
        expect(card.root).to_have_attribute("data-step", str(step))
        faults = card.root.evaluate(
            """(card) => {
              const slide = card.closest("section");
              const margin = parseFloat(getComputedStyle(slide).paddingBottom);
              const code = card.querySelector(".mb-diff");
              const inside = card.getBoundingClientRect().bottom;
              return [
                [slide.scrollHeight - slide.clientHeight > margin, "the slide scrolls"],
                [card.querySelector(".ob-readout").getBoundingClientRect().bottom > inside,
                  "the sentence is cut"],
                [code.scrollWidth > code.clientWidth, "a line of code is cut"],
                [code.scrollHeight - code.clientHeight > 8, "the code is cut"],
              ].filter(([wrong]) => wrong).map(([, what]) => what);
            }"""
        )
        assert faults == [], f"step {step}"
        if step < 13:
            card.button("Next").click()


def test_the_column_that_is_cut_says_so(card: Card) -> None:
    charts = card.root.locator(".mb-chart")
    expect(charts.nth(1).locator(".mb-cut-says")).to_have_text("\u2190 cut off: 2,235.0")
    expect(charts.nth(0).locator(".mb-torn")).to_have_count(0)
    heights = (
        charts.nth(1)
        .locator(".mb-stack")
        .evaluate_all(
            """(all) => all.map((stack) => [...stack.querySelectorAll(".mb-of")]
          .reduce((sum, part) => sum + part.getBoundingClientRect().height, 0))"""
        )
    )
    # Below the cut one scale holds: as the numbers of the table are to each other.
    assert heights[1] / heights[13] == pytest.approx(376.3 / 246.0, abs=0.03)
    assert heights[0] == pytest.approx(1.4 * heights[1], rel=0.03)
