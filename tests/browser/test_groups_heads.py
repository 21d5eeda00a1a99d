"""Groups beside heads, in the built book: moved by keyboard, by click, and by the address."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser import decks
from tests.browser.chromium import Open
from tests.browser.conftest import OpenCard, built
from tests.browser.explorer import Card
from tests.browser.test_slides import turn_to

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


# Words that leave their picture, or numbers under the bars that touch.
MISPLACED = """(card) => [...card.querySelectorAll(".gh-wires, .gh-bars")].flatMap((picture) => {
  const [frame, box] = [picture.getBoundingClientRect(), (text) => text.getBoundingClientRect()];
  const texts = [...picture.querySelectorAll("text")];
  const out = texts.filter(
    (text) => box(text).left < frame.left - 1 || box(text).right > frame.right + 1);
  const bars = picture.matches(".gh-bars");
  const line = texts.filter((text) => bars && !text.matches(".gh-total"));
  const touching = line.slice(1).filter((text, n) => box(text).left < box(line[n]).right + 2);
  return [...out, ...touching].map((text) => text.textContent);
})"""


def corners(card: Card) -> Iterator[str]:
    """Set 96 channels, and go to the ends of groups, heads and the channel that is followed."""
    card.root.get_by_role("radio", name="96").check()
    for keys in (("Home", "End", "End"), ("End", "End", "End"), ("End", "Home", "Home")):
        for control, key in zip(("groups", "heads", "channel"), keys, strict=True):
            card.control(control).focus()
            card.page.keyboard.press(key)
        yield f"{card.value('groups').inner_text()} groups"


def test_on_a_slide_96_channels_need_no_scrolling(visit: Open) -> None:
    page = decks.ready(visit(built("slides", "03_groups_and_heads.html"), **decks.SIZE))
    card = turn_to(page, "groups_heads")
    for state in itertools.chain(["8 channels"], corners(card)):
        size = page.evaluate(
            "() => { const s = Reveal.getCurrentSlide(); return [s.scrollHeight, s.clientHeight] }"
        )
        assert size[0] <= size[1], f"{state}: {size[0] - size[1]} pixels below the slide"
        assert card.root.evaluate(MISPLACED) == [], state
    expect(card.root.locator(".ob-how")).to_be_visible()


def test_on_a_phone_words_stay_in_their_picture(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE, viewport={"width": 375, "height": 700})
    for state in itertools.chain(["8 channels"], corners(card)):
        assert card.root.evaluate(MISPLACED) == [], state
