"""The deck, opened from the disk: offline, nothing cut off, the explorers alive on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import Open
from tests.browser.decks import SIZE, ready, slides
from tests.browser.explorer import Card, tab_to

pytestmark = pytest.mark.browser

EXPLORE, LINKED = "beyond_one_pixel", "one_pixel"


def turn_to(page: Page, name: str) -> Card:
    """Turn to the slide that an explorer is on, and reach its first control with the keyboard."""
    page.evaluate(
        """(name) => {
          const root = document.querySelector(`.ob-explorer[data-name="${name}"]`);
          const { h, v } = Reveal.getIndices(root.closest("section"));
          Reveal.slide(h, v);
          while (Reveal.availableFragments().next) Reveal.nextFragment();
        }""",
        name,
    )
    card = Card(page, name)
    tab_to(card.root.locator("input[type='range']").first)
    return card.settled()


def test_a_whole_lecture_asks_no_other_host_and_logs_no_error(visit: Open, deck: Path) -> None:
    opened = visit(deck, **SIZE)
    page = ready(opened)
    assert len(list(slides(page))) >= 15
    for name in (LINKED, EXPLORE):
        for button in turn_to(page, name).root.locator("button").all():
            if button.get_attribute("aria-disabled") != "true":
                button.click()
    page.wait_for_load_state("networkidle")
    assert opened.log.foreign() == []
    assert opened.log.failed == []
    assert opened.log.errors == []


def test_the_slider_moves_and_the_slide_stays(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    card = turn_to(page, EXPLORE)
    here = page.evaluate("() => Reveal.getIndices()")
    expect(card.control("kernel_size")).to_be_focused()
    page.keyboard.press("Home")
    seen = [card.seen()]
    for key in ("ArrowRight", "ArrowUp", "ArrowRight"):
        seen.append(card.press(key).seen())
    seen.append(card.press("ArrowLeft").seen())
    for part in ("readout", "figure", "source"):
        values = [getattr(one, part) for one in seen]
        assert len(set(values[:4])) == 4, f"the same {part} for two states"
        assert values[4] == values[2]
    assert page.evaluate("() => Reveal.getIndices()") == here
    # The address is reveal's: it names the slide.
    assert "kernel_size" not in page.url


def test_the_linked_figure_moves_and_the_slide_stays(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    card = turn_to(page, LINKED)
    here = page.evaluate("() => Reveal.getIndices()")
    before = card.seen()
    card.root.get_by_role("grid", name="Image, channel 0").locator("[tabindex='0']").focus()
    card.press("ArrowDown")
    card.press("ArrowRight")
    assert card.seen().figure != before.figure
    card.button("Shuffle pixels").focus()
    card.press("Space")
    assert "no value changed" in card.seen().readout
    assert page.evaluate("() => Reveal.getIndices()") == here


def test_a_digit_sets_the_control_that_has_the_focus(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    card = turn_to(page, EXPLORE)
    # The values of this one are digits: 7 is 7, and there is no 4 and no 9.
    for digit, value in (("7", "7"), ("1", "1"), ("4", "1"), ("9", "1"), ("3", "3")):
        page.keyboard.press(digit)
        expect(card.value("kernel_size")).to_have_text(value)
    card.settled()
    # Those of the other are words: the second one.
    smooth = card.root.locator("[data-parameter=smooth] input")
    smooth.first.focus()
    page.keyboard.press("2")
    expect(smooth.nth(1)).to_be_checked()
    expect(card.value("kernel_size")).to_have_text("3")


def test_the_deck_keeps_its_keys(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => Reveal.getSlidePastCount() === 1")
    card = turn_to(page, EXPLORE)
    state = card.root.get_attribute("data-state")
    here = page.evaluate("() => Reveal.getSlidePastCount()")
    # What a presenter's remote control sends, while the slider has the focus: it shows what is
    # below, and then the next slide.
    for _ in range(20):
        page.keyboard.press("PageDown")
        if page.evaluate("() => Reveal.getSlidePastCount()") > here:
            break
    assert page.evaluate("() => Reveal.getSlidePastCount()") == here + 1
    assert card.root.get_attribute("data-state") == state


def test_the_deck_can_be_printed(visit: Open, deck: Path) -> None:
    opened = visit(f"{deck.as_uri()}?print-pdf", **SIZE)
    page = opened.page
    page.wait_for_function("() => document.querySelectorAll('.pdf-page').length >= 15")
    expect(Card(page, EXPLORE).root).to_be_visible()
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    assert opened.log.foreign() == []
    assert opened.log.errors == []


def test_what_is_below_can_be_reached(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    card = turn_to(page, EXPLORE)
    card.readout.scroll_into_view_if_needed()
    expect(card.readout).to_be_in_viewport()
    page.evaluate("() => Reveal.getCurrentSlide().scrollTo(0, 0)")
    more = page.get_by_role("button", name="More below")
    if page.evaluate(
        "() => Reveal.getCurrentSlide().scrollHeight > Reveal.getCurrentSlide().clientHeight + 24"
    ):
        more.click()
        page.wait_for_function("() => Reveal.getCurrentSlide().scrollTop > 0")


def test_the_teacher_has_notes(visit: Open, deck: Path) -> None:
    opened = visit(deck, **SIZE)
    page = ready(opened)
    notes = page.locator("aside.notes")
    assert notes.count() >= 1
    assert "minutes" in notes.first.text_content()
    expect(notes.first).to_be_hidden()
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    expect(popup.value.locator(".speaker-controls-notes .value")).to_contain_text("minutes")
    assert opened.log.foreign() == []
