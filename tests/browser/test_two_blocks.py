"""The two blocks on the book's page: keys, pointer and slider light up a part and its twin."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import OpenCard
from tests.browser.explorer import Card

pytestmark = pytest.mark.browser


FIGURE = ("00_start_here", "two_blocks")


@pytest.fixture
def card(figure_in_book: OpenCard) -> Card:
    card = figure_in_book(*FIGURE)
    card.root.scroll_into_view_if_needed()
    return card


def box(card: Card, name: str) -> Locator:
    return card.root.get_by_role("button", name=name, exact=True)


def lit(card: Card) -> list[str]:
    return card.root.locator(".tb-box.tb-selected").evaluate_all(
        "(boxes) => boxes.map((box) => box.getAttribute('aria-label'))"
    )


def test_untouched_it_shows_the_part_that_all_agree_on(card: Card) -> None:
    assert len(lit(card)) == 2
    expect(card.readout).to_contain_text("Widen: exact")


def test_who_mixes_tokens_differs(card: Card) -> None:
    box(card, "A: Q, K, Transformer block").click()
    card.page.mouse.move(0, 0)
    assert lit(card) == ["A: Q, K, Transformer block", "A: filter, ConvNeXt block"]
    expect(card.readout).to_contain_text("18,624 in the Transformer block, 4,800 in ConvNeXt's")


def test_the_arrow_keys_go_down_a_block_and_across(card: Card) -> None:
    box(card, "A: Q, K, Transformer block").focus()
    for key, name in (
        ("ArrowDown", "W: V, O, Transformer block"),
        ("ArrowRight", "W: fixed, ConvNeXt block"),
        ("ArrowDown", "LayerNorm: The norm before the feed-forward, ConvNeXt block"),
        ("End", "The last skip, ConvNeXt block"),
        ("ArrowLeft", "The last skip, Transformer block"),
        ("Home", "LayerNorm: The norm before the mixing, Transformer block"),
    ):
        card.page.keyboard.press(key)
        expect(box(card, name)).to_be_focused()
        expect(box(card, name)).to_have_class(re.compile("tb-selected"))
    # The first norm has no counterpart: the other block says so in its place.
    expect(card.root.locator(".tb-empty.tb-selected")).to_be_visible()


def test_pointing_looks_and_leaving_returns(card: Card) -> None:
    before = card.readout.inner_text()
    box(card, "GELU, ConvNeXt block").hover()
    expect(card.readout).to_contain_text("Bend: exact")
    assert len(lit(card)) == 2
    card.page.mouse.move(0, 0)
    expect(card.readout).to_have_text(before)
    box(card, "GELU, ConvNeXt block").click()
    card.page.mouse.move(0, 0)
    expect(card.readout).to_contain_text("Bend: exact")


def test_the_slider_steps_and_reset_goes_back(card: Card) -> None:
    before = card.readout.inner_text()
    card.control("part").focus()
    card.press("ArrowRight")
    expect(card.readout).to_contain_text("Bend: exact")
    card.press("Home")
    for _ in range(2):
        card.press("ArrowRight")
    expect(card.readout).to_contain_text("Who mixes channels on the way")
    card.control("channels").focus()
    card.press("End")
    expect(card.readout).to_contain_text("Parameters at C = 768: 1,181,184")
    expect(card.root.locator(".tb-total")).to_contain_text("7,087,872 and 4,763,136")
    expect(card.root.locator(".ob-code pre")).to_contain_text("nn.Linear(768, 768)")
    card.button("Reset").click()
    expect(card.readout).to_have_text(before)


@pytest.mark.parametrize(
    ("hash", "says"),
    [
        ("#part=scale&channels=192", "192 in ConvNeXt's"),
        ("#part=head&channels=7", "Widen: exact"),
    ],
)
def test_the_address_holds_a_state(figure_in_book: OpenCard, hash: str, says: str) -> None:
    expect(figure_in_book(*FIGURE, hash).readout).to_contain_text(says)


def test_its_own_script_is_quick(card: Card) -> None:
    spent = card.root.evaluate(
        """(root) => {
          const boxes = [...root.querySelectorAll(".tb-box")];
          const times = boxes.map((box) => {
            const start = performance.now();
            const over = { bubbles: true, pointerType: "mouse" };
            box.dispatchEvent(new PointerEvent("pointerover", over));
            return performance.now() - start;
          });
          return times.sort((a, b) => a - b)[Math.floor(0.9 * times.length)];
        }"""
    )
    assert spent < 8
