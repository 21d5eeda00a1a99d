"""Two mixing matrices in a browser: keyboard, hover, paint, reset, and what an event costs."""

from __future__ import annotations

import statistics

import pytest
from playwright.sync_api import Locator, expect

from helpers.explorers import TwoMatrices
from tests.browser.access import violations
from tests.browser.conftest import OpenCard
from tests.browser.explorer import Card, tab_to

pytestmark = pytest.mark.browser


def cells(card: Card, name: str) -> Locator:
    return card.root.locator(f".tm-at-{name} .ob-cells")


def picture(card: Card, name: str) -> str:
    canvas = cells(card, name).locator("canvas").last
    return canvas.evaluate("(canvas) => canvas.toDataURL()")


def test_the_keyboard_chooses_a_query_a_pair_and_comes_back(figure_alone: OpenCard) -> None:
    card = figure_alone(TwoMatrices())
    start = card.seen()
    tab_to(cells(card, "image"))
    assert "row 7, column 5" in card.press("ArrowRight").seen().readout
    assert "row 8, column 5" in card.press("ArrowDown").seen().readout
    assert card.root.get_attribute("data-query") == "117"
    tab_to(cells(card, "left"))
    readout = card.press("ArrowRight").seen().readout
    assert "For the key at row 0, column 1: 0 in the filter" in readout
    tab_to(card.button("Reset"))
    assert card.press("Enter").seen().readout == start.readout


def test_hovering_shows_and_leaving_returns(figure_alone: OpenCard) -> None:
    card = figure_alone(TwoMatrices())
    start = card.readout.inner_text()
    cells(card, "image").hover(position={"x": 7, "y": 7})
    expect(card.readout).to_contain_text("Row 0 of both matrices")
    cells(card, "right").hover(position={"x": 100, "y": 20})
    expect(card.readout).to_contain_text("For the key at")
    card.page.mouse.move(1, 1)
    expect(card.readout).to_have_text(start)
    cells(card, "filter").click(position={"x": 170, "y": 100})
    expect(card.readout).to_contain_text("For the key at row 7, column 7")


def test_painting_moves_the_right_hand_matrix_alone(figure_alone: OpenCard) -> None:
    card = figure_alone(TwoMatrices())
    left, right, said = picture(card, "left"), picture(card, "right"), card.readout.inner_text()
    card.choose("image", "paint")
    box = cells(card, "image").bounding_box()
    assert box
    card.page.mouse.move(box["x"] + 100, box["y"] + 20)
    card.page.mouse.down()
    card.page.mouse.move(box["x"] + 180, box["y"] + 20, steps=6)
    card.page.mouse.up()
    expect(card.readout).to_contain_text("moved 196 of the head’s 196 rows and none of the filter")
    assert picture(card, "left") == left
    assert picture(card, "right") != right
    card.choose("support", "7 × 7 windows")
    expect(card.readout).to_contain_text("moved 49 of")
    card.choose("support", "all")
    card.choose("head", "2: place")
    expect(card.readout).to_contain_text("moved 0 of the head’s 196 rows")
    expect(card.readout).to_contain_text("reads places alone")
    card.button("Reset").click()
    expect(card.readout).to_have_text(said)
    assert picture(card, "right") == right


def test_the_keyboard_paints_too(figure_alone: OpenCard) -> None:
    card = figure_alone(TwoMatrices())
    card.choose("image", "paint")
    tab_to(cells(card, "image"))
    assert "Your paint moved 196" in card.press("Space").seen().readout
    card.button("Remove the paint").click()
    expect(card.readout).to_contain_text("Paint on the image")
    card.button("Clear to white").click()
    expect(card.readout).to_contain_text("Your paint moved 196")
    card.choose("image", "photograph")
    expect(card.readout).to_contain_text("Paint on the image")
    card.button("Paint a spot").click()
    expect(card.readout).to_contain_text("Your paint moved 196")


def test_every_control_names_what_it_does_and_counts_follow(figure_alone: OpenCard) -> None:
    card = figure_alone(TwoMatrices())
    facts = card.root.locator(".tm-facts")
    expect(facts).to_contain_text("7,396")
    expect(facts).to_contain_text("49 numbers")
    card.choose("support", "7 × 7 windows")
    expect(facts).to_contain_text("9,604")
    expect(facts).to_contain_text("5,476")
    card.choose("kernel_size", "1")
    expect(facts).to_contain_text("1 number")
    card.choose("heads", "4")
    card.choose("head", "4: column")
    expect(card.readout).to_contain_text("Head 4 of 4")
    card.choose("heads", "1")
    expect(card.readout).to_contain_text("Head 1 of 1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(figure_alone: OpenCard, scheme: str) -> None:
    card = figure_alone(TwoMatrices(), color_scheme=scheme)
    card.button("Paint a spot").click()
    assert violations(card.page, "main") == []


def test_a_phone_scrolls_in_one_direction(figure_alone: OpenCard) -> None:
    card = figure_alone(TwoMatrices(), viewport={"width": 375, "height": 800})
    assert card.page.evaluate("() => document.documentElement.scrollWidth") <= 375
    assert cells(card, "right").bounding_box()["width"] > 140


def test_an_event_costs_less_than_eight_milliseconds(figure_alone: OpenCard) -> None:
    card = figure_alone(TwoMatrices())
    card.choose("image", "paint")
    spent = card.page.evaluate(
        """() => {
          const cells = document.querySelector(".tm-at-image .ob-cells");
          const box = cells.getBoundingClientRect();
          const send = (type, n) => {
            const clientX = box.left + 7 + 14 * (n % 14);
            const clientY = box.top + 7 + 14 * Math.floor(n / 14);
            const options = { bubbles: true, clientX, clientY, pointerType: "mouse", pointerId: 1 };
            const start = performance.now();
            cells.dispatchEvent(new PointerEvent(type, options));
            return performance.now() - start;
          };
          cells.setPointerCapture = () => {};
          const times = { hover: [], paint: [] };
          for (let n = 0; n < 80; n += 1) times.hover.push(send("pointermove", n));
          send("pointerdown", 0);
          for (let n = 1; n < 80; n += 1) times.paint.push(send("pointermove", n));
          send("pointerup", 79);
          return times;
        }"""
    )
    # The bench measures p95 on a quiet machine; here the other tests may be running beside it.
    for kind, times in spent.items():
        assert statistics.quantiles(times, n=4)[0] < 8, kind
