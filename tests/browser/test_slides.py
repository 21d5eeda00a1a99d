"""The deck, opened from the disk: offline, nothing cut off, the explorers alive on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import mathjax
from tests.browser.access import violations
from tests.browser.chromium import Open, Visit
from tests.browser.explorer import Card, tab_to

pytestmark = pytest.mark.browser

EXPLORE, LINKED = "beyond_one_pixel", "one_pixel"
SIZE = {"viewport": {"width": 1280, "height": 720}, "reduced_motion": "reduce"}

# What reveal.js, not the deck, does wrong.
EXCEPTIONS: dict[tuple[str, str], str] = {}


def ready(visit: Visit) -> Page:
    """Wait until the deck stands, its explorers are alive and its formulas typeset."""
    page = visit.page
    page.wait_for_function("() => window.Reveal?.isReady?.()")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.ob-explorer')]"
        ".every((root) => root.dataset.mounted === 'yes')"
    )
    mathjax.typeset(page)
    return page


def slides(page: Page) -> Iterator[str]:
    """Turn to each slide in order, with all its fragments shown; yield its number."""
    page.evaluate("() => Reveal.slide(0, 0)")
    while True:
        page.evaluate("() => { while (Reveal.availableFragments().next) Reveal.nextFragment(); }")
        # The deck measures a slide after it is laid out.
        page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        yield page.locator(".slide-number").inner_text()
        if page.evaluate("() => Reveal.isLastSlide()"):
            return
        page.evaluate("() => Reveal.next()")


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


def test_nothing_is_cut_off_unseen(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    faults = []
    for number in slides(page):
        # Higher than the canvas: it scrolls, and a button says so. The margin below may be cut.
        cut, told = page.evaluate(
            """() => {
              const slide = Reveal.getCurrentSlide();
              const { overflowY, paddingBottom } = getComputedStyle(slide);
              const cut = slide.scrollHeight - slide.clientHeight - parseFloat(paddingBottom);
              const cue = document.querySelector(".deck-more");
              return [cut, ["auto", "scroll"].includes(overflowY) && cue.checkVisibility()];
            }"""
        )
        if cut > 0 and not told:
            faults.append(f"{number}: {cut:.0f} pixels are below the slide, and nothing says so")
        # Wider than the canvas: only what has a scroll bar of its own may be.
        faults += [
            f"{number}: wider than the slide: {element}"
            for element in page.evaluate(
                """() => {
                  const slide = Reveal.getCurrentSlide();
                  const limit = slide.getBoundingClientRect().right + 1;
                  const boxed = (element) => {
                    for (let up = element.parentElement; up !== slide; up = up.parentElement)
                      if (["auto", "scroll"].includes(getComputedStyle(up).overflowX)) return true;
                    return false;
                  };
                  return [...slide.querySelectorAll("*")]
                    .filter((e) => !e.closest("aside, mjx-assistive-mml, .ob-ticks") && !boxed(e))
                    .filter((e) => e.getBoundingClientRect().right > limit)
                    .map((e) => e.outerHTML.slice(0, 100));
                }"""
            )
        ]
    assert faults == []


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


def test_formulas_are_typeset(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    assert page.locator("mjx-container").count() >= 5
    assert mathjax.faults(page, ".slides") == []


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


def test_what_is_on_a_slide_can_be_read_from_the_last_row(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    small = set()
    for _ in slides(page):
        small.update(
            page.evaluate(
                """() => {
                  // Ticks and arrows repeat what is said elsewhere.
                  const others = "aside, script, mjx-container, [aria-hidden='true']";
                  const texts = document.createTreeWalker(Reveal.getCurrentSlide(), 4);
                  const small = [];
                  while (texts.nextNode()) {
                    const element = texts.currentNode.parentElement;
                    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
                    if (element.closest(others)) continue;
                    const size = parseFloat(getComputedStyle(element).fontSize);
                    if (size < 21) small.push(`${size} px: ${texts.currentNode.data}`);
                  }
                  return small;
                }"""
            )
        )
    # 16 points, less what rounding takes.
    assert small == set()


def test_nothing_serious_is_found_by_axe(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    # axe looks at what is visible: at every slide in its turn, with everything unfolded.
    page.evaluate(
        "() => document.querySelectorAll('details').forEach((fold) => { fold.open = true })"
    )
    # reveal's empty layers behind the slides would keep axe from seeing what a text stands on.
    page.add_style_tag(content=".reveal .backgrounds { display: none }")
    found: set[str] = set()
    for _ in slides(page):
        found.update(violations(page, "section.present:not(.stack)", EXCEPTIONS))
    assert not found, "\n\n".join(sorted(found))
