"""Going through the deck as a teacher does: keys, a remote control, the speaker's window, paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import Open
from tests.browser.decks import SIZE, ready
from tests.browser.test_slides import LINKED, turn_to

pytestmark = pytest.mark.browser

LARGE = {"viewport": {"width": 1920, "height": 1080}, "reduced_motion": "reduce"}
MOST_STEPS = 400

# What is in view: the slide, its last fragment, and how far it is scrolled.
PLACE = """() => {
  const slide = Reveal.getCurrentSlide();
  const { h, v, f } = Reveal.getIndices();
  return [h, v, f ?? -1, slide.scrollTop];
}"""
BELOW = """() => {
  const slide = Reveal.getCurrentSlide();
  const margin = parseFloat(getComputedStyle(slide).paddingBottom);
  return slide.scrollHeight - slide.clientHeight - slide.scrollTop - margin;
}"""
SETTLE = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def walk(page: Page, key: str) -> list[list[float]]:
    """Press a key until nothing changes; give every place it led to."""
    places = [page.evaluate(PLACE)]
    for _ in range(MOST_STEPS):
        page.keyboard.press(key)
        place = page.evaluate(PLACE)
        if place == places[-1]:
            return places
        places.append(place)
    raise AssertionError(f"{MOST_STEPS} times {key} did not reach the end")


def every_step(page: Page) -> set[tuple[int, int, int]]:
    """List the slides and fragments that there are: (h, v, fragment), -1 for none."""
    return {
        (h, v, f)
        for h, v, fragments in page.evaluate(
            """() => Reveal.getSlides().map((slide) => {
              const { h, v } = Reveal.getIndices(slide);
              return [h, v, slide.querySelectorAll(".fragment").length];
            })"""
        )
        for f in range(-1, fragments)
    }


@pytest.mark.parametrize("key", ["ArrowRight", "PageDown", "Space", "ArrowDown"])
def test_one_key_leads_through_everything(visit: Open, deck: Path, key: str) -> None:
    page = ready(visit(deck, **SIZE))
    seen = {(h, v, f) for h, v, f, _ in walk(page, key)}
    assert seen == every_step(page)


@pytest.mark.parametrize("query", ["", "?lecture"])
def test_nothing_is_passed_over_below(visit: Open, deck: Path, query: str) -> None:
    page = ready(visit(f"{deck.as_uri()}{query}", **SIZE))
    for _ in range(MOST_STEPS):
        slide, below = page.evaluate(PLACE)[:2], page.evaluate(BELOW)
        page.keyboard.press("PageDown")
        if page.evaluate(PLACE)[:2] != slide:
            assert below <= 0, f"{slide} was left with {below} pixels below unseen"
        if page.evaluate("() => Reveal.isLastSlide() && !Reveal.availableFragments().next"):
            return
    raise AssertionError(f"{MOST_STEPS} steps did not reach the end")


def test_the_way_back_is_the_way_there(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    there = {tuple(place[:3]) for place in walk(page, "ArrowRight")}
    back = {tuple(place[:3]) for place in walk(page, "ArrowLeft")}
    assert back == there
    assert page.evaluate(PLACE) == [0, 0, -1, 0]


def test_a_cue_says_that_a_slide_goes_on_and_covers_nothing(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    page.evaluate(
        """() => {
          Reveal.getCurrentSlide().firstElementChild.style.minHeight = "1400px";
        }"""
    )
    page.evaluate(SETTLE)
    cue = page.get_by_role("button", name="More below")
    expect(cue).to_be_visible()
    slide = page.locator("section.present:not(.stack)")
    edge = slide.bounding_box()["y"] + slide.bounding_box()["height"]
    assert cue.bounding_box()["y"] >= edge
    for key in ("PageDown", "ArrowDown", "Space"):
        page.evaluate("() => Reveal.getCurrentSlide().scrollTo(0, 0)")
        page.keyboard.press(key)
        where = page.evaluate(PLACE)
        assert where[:2] == [0, 0], key
        assert where[3] > 0, key
    walk(page, "PageUp")
    assert page.evaluate(PLACE)[3] == 0


def test_code_then_output_then_explanation(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    # A prediction's output is a fragment; the code above it, where a slide shows it, comes first.
    outputs = page.locator(".cell-code + .cell-output.fragment")
    assert outputs.count() >= 3
    for output in outputs.all():
        output.evaluate(
            """(output) => {
              const { h, v } = Reveal.getIndices(output.closest("section"));
              Reveal.slide(h, v, -1);
            }"""
        )
        code = output.locator("xpath=preceding-sibling::*[1]")
        while not code.is_visible():
            page.evaluate("() => Reveal.nextFragment()")
        expect(output).to_be_hidden()
        page.evaluate("() => Reveal.nextFragment()")
        expect(output).to_be_visible()
        later = output.evaluate(
            """(output) => [...output.closest("section").querySelectorAll(".fragment")]
              .filter((other) => output.compareDocumentPosition(other) & 4)
              .some((other) => other.checkVisibility())"""
        )
        assert not later
    assert page.get_by_text("Show the answer", exact=True).count() == 0
    assert page.get_by_text("Show the output", exact=True).count() == 0


def test_only_the_slide_in_view_takes_the_focus(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    for _ in range(3):
        page.evaluate("() => Reveal.slide(Reveal.getIndices().h + 1)")
        open_ = page.evaluate(
            """() => [...document.querySelectorAll(".slides section:not(.stack)")]
              .filter((slide) => !slide.inert).map((slide) => slide === Reveal.getCurrentSlide())"""
        )
        assert open_ == [True]
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate(
            """() => {
              const slide = document.activeElement.closest(".slides section:not(.stack)");
              return slide === null || slide === Reveal.getCurrentSlide();
            }"""
        )
    page.keyboard.press("o")
    page.wait_for_function("() => Reveal.isOverview()")
    assert page.locator(".slides section[inert]").count() == 0


@pytest.mark.parametrize(
    "control", ["input[type='range']", ".op-shuffle", ".op-x td[tabindex='0']"]
)
def test_the_speakers_keys_work_from_a_control(visit: Open, deck: Path, control: str) -> None:
    page = ready(visit(deck, **SIZE))
    card = turn_to(page, LINKED)
    here = page.evaluate(PLACE)
    card.root.locator(control).first.focus()
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    popup.value.close()
    expect(card.root.locator(control).first).to_be_focused()
    page.keyboard.press("f")
    page.wait_for_function("() => document.fullscreenElement !== null")
    assert page.evaluate(PLACE)[:2] == here[:2]


def test_letters_are_typed_into_a_field_and_digits_stay(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    card = turn_to(page, LINKED)
    here = page.evaluate(PLACE)
    field = card.root.locator(".op-w input").first
    field.focus()
    for key in ("s", "f", "o"):
        page.keyboard.press(key)
    assert len(page.context.pages) == 1
    assert page.evaluate("() => document.fullscreenElement === null && !Reveal.isOverview()")
    expect(field).to_be_focused()
    assert page.evaluate(PLACE) == here


def test_an_emptied_weight_says_so_and_comes_back(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    card = turn_to(page, LINKED)
    field = card.root.locator(".op-w input").first
    old = field.input_value()
    field.fill("")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_attribute("placeholder", old)
    field.blur()
    expect(field).to_have_value(old)
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_a_shuffled_row_is_counted_as_in_the_formula(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    card = turn_to(page, LINKED)
    card.button("Shuffle pixels").click()
    formula = card.root.locator(".op-formula").inner_text()
    row = formula.split("Y[")[1].split(",")[0]
    for table in (".op-x", ".op-y"):
        bold = card.root.locator(f"{table} tr.ob-row th").inner_text()
        assert bold.split("→")[-1].strip() == row


@pytest.mark.parametrize(("query", "size"), [("", SIZE), ("?lecture", SIZE), ("?lecture", LARGE)])
def test_the_linked_figure_fits_a_slide(visit: Open, deck: Path, query: str, size: dict) -> None:
    page = ready(visit(f"{deck.as_uri()}{query}", **size))
    card = turn_to(page, LINKED)
    page.evaluate("() => Reveal.getCurrentSlide().scrollTo(0, 0)")
    assert card.root.locator(".ob-code").get_attribute("open") is None
    for shuffled in (False, True):
        if shuffled:
            card.button("Shuffle pixels").click()
        parts = card.root.evaluate(
            """(card) => {
              const slide = card.closest("section").getBoundingClientRect();
              const box = (name) => card.querySelector(name).getBoundingClientRect();
              const row = ".ob-control .ob-label, .ob-controls > button";
              const tops = [...card.querySelectorAll(row)]
                .map((element) => element.getBoundingClientRect())
                .map(({ top, bottom }) => (top + bottom) / 2);
              return {
                below: card.getBoundingClientRect().bottom - slide.bottom,
                rows: Math.max(...tops) - Math.min(...tops),
                order: [".op-x", ".op-w", ".op-y", ".op-at-output", ".op-formula"]
                  .map((name) => box(name).left),
                words: box(".ob-readout").top < box(".op-x").bottom,
                text: parseFloat(getComputedStyle(card.querySelector(".op-x td")).fontSize),
              };
            }"""
        )
        assert parts["below"] <= 0
        assert parts["rows"] < 10
        assert parts["order"] == sorted(parts["order"])
        assert parts["words"]
        assert parts["text"] >= 21


@pytest.mark.parametrize(("query", "least"), [("", 26), ("?lecture", 30)])
def test_text_is_large(visit: Open, deck: Path, query: str, least: int) -> None:
    page = ready(visit(f"{deck.as_uri()}{query}", **SIZE))
    sizes = []
    while True:
        page.evaluate("() => { while (Reveal.availableFragments().next) Reveal.nextFragment(); }")
        sizes += page.evaluate(
            """() => [...Reveal.getCurrentSlide().querySelectorAll(".cell-prose p, .cell-prose li")]
              .map((element) => parseFloat(getComputedStyle(element).fontSize))"""
        )
        if page.evaluate("() => Reveal.isLastSlide()"):
            break
        page.evaluate("() => Reveal.next()")
    assert min(sizes) >= least
    assert sum(size >= least + 2 for size in sizes) > len(sizes) / 2


def test_the_speakers_window_scrolls_the_classs_window(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    page.evaluate(
        """() => {
          Reveal.getCurrentSlide().firstElementChild.style.minHeight = "1400px";
          window.postMessage(
            JSON.stringify({ namespace: "deck", h: 0, v: 0, f: -1, top: 123 }), "*");
        }"""
    )
    page.wait_for_function("() => Reveal.getCurrentSlide().scrollTop === 123")


def test_paper_holds_every_slide_once_and_open(visit: Open, deck: Path) -> None:
    opened = visit(f"{deck.as_uri()}?print-pdf", **SIZE)
    page = ready(opened)
    page.wait_for_function("() => document.querySelectorAll('.pdf-page').length > 0")
    faults = page.evaluate(
        """() => {
          const faults = [];
          for (const page of document.querySelectorAll(".pdf-page")) {
            const slide = page.querySelector("section");
            const name = slide.textContent.trim().slice(0, 40);
            if (!name && !slide.querySelector("img")) faults.push("an empty page");
            // reveal makes a page one pixel lower than the paper, lest the next one stay blank.
            if (page.offsetHeight % 719) faults.push(`${name}: not whole pages`);
            if (slide.scrollHeight > page.offsetHeight + 1) faults.push(`${name}: cut`);
            if (page.offsetHeight - slide.scrollHeight > 720) faults.push(`${name}: blank page`);
            for (const fragment of slide.querySelectorAll(".fragment"))
              if (!fragment.checkVisibility({ visibilityProperty: true }))
                faults.push(`${name}: hidden`);
            for (const fold of slide.querySelectorAll("details:not(.ob-card details)"))
              if (!fold.open) faults.push(`${name}: folded`);
            for (const notes of slide.querySelectorAll("aside.notes"))
              if (notes.checkVisibility()) faults.push(`${name}: notes`);
          }
          return faults;
        }"""
    )
    assert faults == []
    assert opened.log.errors == []


def test_ctrl_p_prints_every_slide_without_notes(visit: Open, deck: Path) -> None:
    page = ready(visit(deck, **SIZE))
    page.emulate_media(media="print")
    faults = page.evaluate(
        """() => {
          const how = { visibilityProperty: true, opacityProperty: true };
          const seen = (element) => element.checkVisibility(how);
          const all = (name) => [...document.querySelectorAll(name)];
          return [
            ...all(".slides section:not(.stack)").filter((slide) => !seen(slide)),
            ...all(".slides .fragment").filter((fragment) => !seen(fragment)),
            ...all("aside.notes, .deck-more, .controls, .slide-number, .ob-controls").filter(seen),
          ].map((element) => element.outerHTML.slice(0, 80));
        }"""
    )
    assert faults == []
