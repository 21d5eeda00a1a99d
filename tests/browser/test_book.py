"""The built book, opened from the disk: nothing is asked of another host, and all of it works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import Open
from tests.browser.explorer import Card, Seen, tab_to
from tests.browser.pages import ready, unfold

pytestmark = pytest.mark.browser

EXPLORE, LINKED = "beyond_one_pixel", "one_pixel"
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


def test_a_whole_visit_asks_no_other_host_and_logs_no_error(visit: Open, book_page: Path) -> None:
    opened = visit(book_page)
    page = ready(opened)
    unfold(page)
    for name in (LINKED, EXPLORE):
        card = Card(page, name)
        card.root.scroll_into_view_if_needed()
        card.settled()
        for button in card.root.locator("button").all():
            if button.get_attribute("aria-disabled") != "true":
                button.click()
        card.settled()
    page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")
    page.locator(".theme-switch-button:visible").first.click()
    page.wait_for_load_state("networkidle")
    assert opened.log.foreign() == []
    assert opened.log.failed == []
    assert opened.log.errors == []


def test_the_front_page_leads_to_the_notebook(visit: Open, front_page: Path) -> None:
    opened = visit(front_page)
    page = opened.page
    assert (
        page.evaluate(
            "() => [...document.images].filter((image) => !image.naturalWidth || !image.alt)"
            ".map((image) => image.outerHTML)"
        )
        == []
    )
    page.locator(".bd-article a[href^='01_pointwise_is_linear']").first.click()
    expect(page.locator("article h1")).to_contain_text("1x1 convolution")
    assert opened.log.foreign() == []
    assert opened.log.failed == []
    assert opened.log.errors == []


def test_the_slider_moves_with_the_keyboard_alone(visit: Open, book_page: Path) -> None:
    page = ready(visit(book_page))
    card = Card(page, EXPLORE)
    tab_to(card.control("kernel_size"))
    page.keyboard.press("Home")
    seen = [card.seen()]
    for _ in range(3):
        seen.append(card.press("ArrowRight").seen())
    for part in ("readout", "figure", "source"):
        assert len({getattr(one, part) for one in seen}) == 4, f"the same {part} for two states"
    assert "49" in seen[3].readout, "the sentence should say how many pixels reach an output"
    assert card.press("ArrowLeft").seen() == seen[2]


def test_the_linked_figure_moves_with_the_keyboard_alone(visit: Open, book_page: Path) -> None:
    page = ready(visit(book_page))
    card = Card(page, LINKED)
    tab_to(card.control("c_in"))
    seen = [card.seen()]

    def look() -> Seen:
        seen.append(card.seen())
        assert seen[-1].readout != seen[-2].readout
        assert seen[-1].figure != seen[-2].figure
        return seen[-1]

    card.press("ArrowLeft")
    look()
    tab_to(card.root.get_by_role("grid", name="Image, channel 0").locator("[tabindex='0']"))
    card.press("ArrowRight")
    assert "Pixel 6 (row 1, column 2)" in look().readout
    tab_to(card.root.get_by_label("weight from input channel 0 to output channel 0"))
    page.keyboard.press("Control+a")
    page.keyboard.type("2")
    expect(card.readout).to_contain_text("4 \u00b7 2 +")
    look()
    card.button("Shuffle pixels").focus()
    card.press("Enter")
    assert "no value changed" in look().readout
    card.button("Reset").focus()
    card.press("Enter")
    look()


def test_every_picture_of_every_explorer_loads(visit: Open, book_page: Path) -> None:
    named = set(re.findall(r"frames/[\w.]+", book_page.read_text(encoding="utf-8")))
    assert len(named) >= 5, "the page should name a picture for each state of its explorers"
    opened = visit(book_page)
    page = ready(opened)
    unfold(page)
    card = Card(page, EXPLORE)
    card.root.scroll_into_view_if_needed()
    slider = card.control("kernel_size")
    for position in range(int(slider.get_attribute("max")) + 1):
        slider.fill(str(position))
        card.settled()
        width, height = card.root.locator(".ob-picture img").evaluate(
            "(image) => [image.naturalWidth, image.naturalHeight]"
        )
        assert min(width, height) > 100
    page.wait_for_load_state("networkidle")
    # The stills of linked figures are replaced by the living figure; whoever has no script sees
    # them (below).
    stills = set(re.findall(r'class="ob-still[^>]*src="(frames/[\w.]+)', book_page.read_text()))
    asked = {address.rpartition("/book/")[2] for address in opened.log.requests}
    assert named - stills <= asked
    assert opened.log.failed == []


def test_a_state_is_shared_through_the_address(visit: Open, book_page: Path) -> None:
    page = ready(visit(f"{book_page.as_uri()}#kernel_size=7"))
    card = Card(page, EXPLORE)
    # Who is sent a state should see it, though the output is folded.
    expect(card.root).to_be_visible()
    card.settled()
    expect(card.value("kernel_size")).to_have_text("7")
    expect(card.readout).to_contain_text("49")
    expect(card.root).to_be_in_viewport()
    card.control("kernel_size").focus()
    card.press("ArrowLeft")
    expect(card.value("kernel_size")).to_have_text("5")
    page.wait_for_function("() => location.hash === '#kernel_size=5'")
    page.evaluate("() => { location.hash = '#kernel_size=1' }")
    expect(card.value("kernel_size")).to_have_text("1")


def test_an_address_with_a_state_that_does_not_exist_is_no_error(
    visit: Open, book_page: Path
) -> None:
    opened = visit(f"{book_page.as_uri()}#kernel_size=4&c_in=99")
    page = ready(opened)
    unfold(page)
    expect(Card(page, EXPLORE).settled().value("kernel_size")).to_have_text(re.compile("3|5"))
    expect(Card(page, LINKED).value("c_in")).to_have_text("4")
    assert opened.log.errors == []


def test_answers_hints_and_solutions_are_folded_until_asked_for(
    visit: Open, book_page: Path
) -> None:
    page = ready(visit(book_page))
    for summary in ("Hint 1: a nudge", "Hint 2: a plan", "Hint 3: code"):
        fold = page.locator("details", has=page.locator("> summary", has_text=summary)).first
        content = fold.locator("> :not(summary)").first
        expect(content).to_be_hidden()
        fold.locator("> summary").click()
        expect(content).to_be_visible()
    solution = page.locator("details", has=page.locator("> summary", has_text="Solution 01.1"))
    expect(solution.locator("pre")).to_be_hidden()
    solution.locator("> summary").click()
    expect(solution.locator("pre")).to_be_visible()
    solutions = page.locator("summary", has_text=re.compile(r"^\s*Solution \d"))
    exercises = page.locator(".ob-exercise")
    assert solutions.count() == exercises.count() >= 3

    hidden = page.locator("details.hide", has=page.locator(".cell_output"))
    assert hidden.count() >= 4
    for fold in hidden.all():
        expect(fold.locator(".cell_output")).to_be_hidden()
        fold.locator("> summary").click()
        expect(fold.locator(".cell_output")).to_be_visible()


@SCHEMES
def test_the_page_is_light_or_dark_as_the_reader_wants(
    visit: Open, book_page: Path, scheme: str
) -> None:
    page = ready(visit(book_page, color_scheme=scheme))
    lightness = page.evaluate(
        """() => [document.body, document.querySelector(".ob-card")].map((element) => {
          const [r, g, b] = getComputedStyle(element).backgroundColor.match(/[\\d.]+/g).map(Number);
          return (r + g + b) / 765;
        })"""
    )
    assert all(value > 0.9 if scheme == "light" else value < 0.25 for value in lightness)
    # A figure keeps its paper: the theme would dim it.
    unfold(page)
    picture = Card(page, EXPLORE).settled().root.locator(".ob-picture img")
    assert picture.evaluate("(image) => getComputedStyle(image).filter") == "none"


def test_a_lecture_has_large_text_and_targets(visit: Open, book_page: Path) -> None:
    page = ready(visit(f"{book_page.as_uri()}?lecture"))
    unfold(page)
    card = Card(page, EXPLORE).settled()
    sizes = card.root.evaluate(
        """(card) => [...card.querySelectorAll(".ob-readout, .ob-label, .ob-value")]
        .map((element) => parseFloat(getComputedStyle(element).fontSize))"""
    )
    assert min(sizes) >= 24
    for button in card.root.locator("button").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44
