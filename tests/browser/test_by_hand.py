"""One output by hand, on the built page: typed, checked, shown, changed, and by keyboard alone."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import expect

from helpers.explorers import ByHand
from tests.browser.conftest import OpenCard
from tests.browser.explorer import Card

pytestmark = pytest.mark.browser

MINUS = "\N{MINUS SIGN}"


FIGURE = ("04_who_chooses_the_weights", "by_hand")


@pytest.fixture
def card(figure_in_book: OpenCard) -> Card:
    return figure_in_book(*FIGURE)


def answer(card: Card, text: str) -> None:
    box = card.root.locator(".bh-answer")
    box.fill(text)
    box.press("Enter")


def test_a_worksheet_is_done_by_typing_and_by_being_shown(card: Card) -> None:
    feedback, question = card.root.locator(".bh-feedback"), card.root.locator(".bh-question")
    expect(question).to_contain_text(f"pixel 0, channel 0 = {MINUS}1 · 2 =")
    for wrong, says in (
        ("2", "the sign is not"),
        ("1", "sum. Here weight and pixel are multiplied"),
        ("-1", "channel 1 of the pixel"),
        ("7", "Too large"),
        ("x", "no number"),
        ("", "Type the number first"),
    ):
        answer(card, wrong)
        expect(feedback).to_contain_text(says)
        assert card.root.get_attribute("data-line") == "0"
    answer(card, f"{MINUS}2,0")
    expect(feedback).to_contain_text("Right")
    expect(card.root).to_have_attribute("data-line", "1")
    # The focus stays in the box, where Space shows the next number.
    expect(card.root.locator(".bh-answer")).to_be_focused()
    for line in range(2, 7):
        card.page.keyboard.press("Space")
        expect(card.root).to_have_attribute("data-line", str(line))
    expect(question).to_contain_text(f"Output channel 0 is {MINUS}2")
    card.button("Next: attention").click()
    expect(card.root).to_have_attribute("data-sheet", "attention")
    expect(card.readout).to_contain_text("Line 1 of 16")
    answer(card, "2")
    expect(feedback).to_contain_text("Divide it by √2")
    answer(card, "1.41")
    expect(feedback).to_contain_text("Right")
    card.button("Show all").click()
    expect(card.readout).to_contain_text("0.62, 0.31, 0.07, for both channels")
    expect(card.root.locator(".bh-attention tbody tr:last-child td:last-child")).to_have_text(
        "1.89"
    )
    card.button("Back").click()
    expect(card.root).to_have_attribute("data-line", "15")


@pytest.mark.parametrize("sheet", ["depthwise", "attention"])
def test_the_code_computes_what_the_worksheet_says(figure_alone: OpenCard, sheet: str) -> None:
    figure = ByHand(sheet=sheet)
    lines = (
        figure_alone(figure)
        .root.locator(".ob-code pre")
        .inner_text()
        .replace("▶", " ")
        .splitlines()
    )
    names: dict[str, Any] = {"tensor": lambda x: torch.tensor(x).float(), "F": F, "math": math}
    exec("\n".join(line.strip() for line in lines[:-1]), names)
    expected = figure.outputs()
    torch.testing.assert_close(names["y"], torch.tensor(expected[f"{sheet}_sums"]))
    torch.testing.assert_close(names["z"], torch.tensor(expected[f"{sheet}_out"]))
    again = eval(lines[-1].strip(), names)
    torch.testing.assert_close(again, names["y"])


def test_the_numbers_are_the_readers(card: Card) -> None:
    field = card.root.get_by_label("X, the pixels: pixel 0, ch 0")
    field.fill("3")
    expect(card.root.locator(".bh-question")).to_contain_text(f"{MINUS}1 · 3 =")
    field.fill("99")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.blur()
    expect(field).to_have_value("3")
    before = card.root.locator(".bh-numbers input").evaluate_all("(all) => all.map((i) => i.value)")
    card.button("New numbers").click()
    expect(card.root.locator(".ob-code pre")).to_contain_text("▶ p = A * X.T")
    after = card.root.locator(".bh-numbers input").evaluate_all("(all) => all.map((i) => i.value)")
    assert after != before
    card.root.locator(".bh-depthwise tbody tr:nth-child(5) td:nth-child(4)").click()
    expect(card.root).to_have_attribute("data-line", "2")
    card.button("Reset").click()
    expect(field).to_have_value("2")
    expect(card.root).to_have_attribute("data-line", "0")


def test_any_address_leads_to_a_state_that_exists(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE, "#sheet=attention&line=99")
    expect(card.root).to_have_attribute("data-sheet", "attention")
    expect(card.root).to_have_attribute("data-line", "16")
    card.page.evaluate("() => { location.hash = '#sheet=nothing&line=x' }")
    expect(card.root).to_have_attribute("data-sheet", re.compile("depthwise"))
