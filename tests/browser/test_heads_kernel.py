"""Heads that become a kernel, in the built book: moved by keyboard, by click, by the address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import decks
from tests.browser.chromium import Open
from tests.browser.conftest import built
from tests.browser.explorer import Card
from tests.browser.pages import ready, unfold
from tests.browser.test_slides import turn_to

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def path() -> Path:
    return built("book", "03_groups_and_heads.html")


def opened(visit: Open, path: Path, state: str = "") -> tuple[Page, Card]:
    page = ready(visit(path.as_uri() + state))
    unfold(page)
    return page, Card(page, "heads_kernel")


def test_sharper_heads_come_closer_and_the_border_stays(visit: Open, path: Path) -> None:
    _, card = opened(visit, path)
    expect(card.readout).to_contain_text("by 42 % away from the border")
    card.control("sharpness").focus()
    card.press("Home")
    expect(card.readout).to_contain_text("by 100 % away from the border")
    for _ in range(8):
        card.press("ArrowRight")
    expect(card.readout).to_contain_text("by 0.15 % away from the border")
    card.root.get_by_role("radio", name="unpadded").check()
    expect(card.readout).to_contain_text("31 % on the whole image")
    card.control("size").focus()
    card.press("End")
    expect(card.readout).to_contain_text("49 heads")
    expect(card.root.locator(".hk-curve")).to_have_attribute("aria-label", re.compile("49 heads"))
    card.button("Reset").press("Enter")
    expect(card.readout).to_contain_text("by 42 % away from the border")


def test_arrow_keys_go_from_head_to_head_and_from_pixel_to_pixel(visit: Open, path: Path) -> None:
    _, card = opened(visit, path)
    card.root.get_by_label("The heads.").focus()
    card.press("ArrowLeft")
    expect(card.readout).to_contain_text("head 4 looks at the pixel itself")
    card.press("ArrowUp")
    expect(card.readout).to_contain_text("head 1 looks 1 up and")
    card.root.get_by_label("Difference on the image").focus()
    card.press("End")
    expect(card.readout).to_contain_text("row 6, column 13")
    heads = card.root.get_by_label("The heads.")
    box = heads.bounding_box()
    heads.click(position={"x": box["width"] * 0.95, "y": box["height"] * 0.95})
    expect(card.readout).to_contain_text("head 8 looks 1 down and 1 right")


def test_the_first_state_is_at_the_border_and_shows_what_padding_does(
    visit: Open, path: Path
) -> None:
    _, card = opened(visit, path)
    expect(card.readout).to_contain_text("column 0, head 5 looks 1 right and puts at most 62 %")
    card.root.get_by_label("The heads.").focus()
    card.press("ArrowLeft")
    card.press("ArrowLeft")
    expect(card.readout).to_contain_text("head 3 looks 1 left and puts at most 9 %")
    expect(card.readout).to_contain_text("it aims at a zero outside the image")
    before = card.seen().figure
    card.root.get_by_role("radio", name="unpadded").check()
    expect(card.readout).to_contain_text("it aims outside the image, where no token is")
    assert card.seen().figure != before


def test_the_scale_of_the_difference_is_said_and_stays(visit: Open, path: Path) -> None:
    _, card = opened(visit, path)
    scale = card.root.locator(".hk-decades")
    expect(scale).to_contain_text("log scale: white is under 0.1 %")
    said = scale.inner_text()
    for control in ("sharpness", "size"):
        card.control(control).focus()
        card.press("End")
        assert scale.inner_text() == said
    label = card.root.get_by_label("Difference on the image")
    expect(label).to_have_attribute("aria-label", re.compile("of the largest output"))


def test_an_address_with_impossible_numbers_gives_the_nearest_state(
    visit: Open, path: Path
) -> None:
    _, card = opened(visit, path, "#sharpness=5.4&size=4&border=round&query=999&head=-1")
    expect(card.readout).to_contain_text("From pixel row 13, column 13, head 0")
    assert card.value("sharpness").inner_text() in ("4", "6")
    expect(card.value("size")).to_have_text("3")


def test_on_a_slide_49_heads_need_no_scrolling(visit: Open) -> None:
    page = decks.ready(visit(built("slides", "03_groups_and_heads.html"), **decks.SIZE))
    card = turn_to(page, "heads_kernel")
    card.root.get_by_role("radio", name="unpadded").check()
    for size in ("3", "5", "7"):
        expect(card.value("size")).to_have_text(size)
        # The longest sentence: a head that looks out of the image.
        card.root.get_by_label("The heads.").focus()
        for _ in range(7):
            page.keyboard.press("ArrowUp")
            page.keyboard.press("ArrowLeft")
        expect(card.readout).to_contain_text("where no token is")
        high = page.evaluate(
            "() => { const s = Reveal.getCurrentSlide(); return s.scrollHeight - s.clientHeight }"
        )
        assert high <= 0, f"{high} pixels below the slide at kernel size {size}"
        card.control("size").focus()
        page.keyboard.press("ArrowRight")
    expect(card.root.locator(".ob-how")).to_be_visible()
    expect(card.root.locator(".hk-decades")).to_be_visible()
