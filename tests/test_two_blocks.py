"""The figure of the two blocks: what it says is what the live blocks have."""

from __future__ import annotations

import re

import pytest

from helpers import figures
from helpers.budget import convnext_block, transformer_block
from helpers.claims import LEDGER
from helpers.explorers import TwoBlocks, esm
from helpers.explorers.two_blocks import CHANNELS, PARTS

IDS = [part["id"] for part in PARTS]


@pytest.mark.parametrize("channels", CHANNELS)
def test_the_parts_are_the_whole_budget(channels: int) -> None:
    counted = TwoBlocks.reference(channels)
    budgets = (transformer_block(channels), convnext_block(channels))
    for block, total, budget in zip(
        ("transformer", "convnext"), counted["totals"], budgets, strict=True
    ):
        assert sum(counted[block]) == total == budget.parameters
    at = dict(zip(IDS, counted["transformer"], strict=True))
    assert at["a"] == budgets[0].part("query, key").parameters
    assert at["w"] == budgets[0].part("value, output").parameters
    assert dict(zip(IDS, counted["convnext"], strict=True))["a"] == (
        budgets[1].part("depthwise").parameters
    )


def test_the_front_end_has_the_same_parts_in_the_same_order() -> None:
    order = re.search(r"const TB_ORDER = (\[.*?\])", esm("two_blocks"))[1]
    assert re.findall(r'"(\w+)"', order) == IDS


@pytest.mark.parametrize("id", IDS)
def test_every_part_is_drawn_and_said(id: str) -> None:
    figure = TwoBlocks(part=id, channels=192)
    fig, sentence = figure.still()
    assert len(fig.axes) == 1
    assert "channels=192" not in sentence
    part = PARTS[IDS.index(id)]
    assert sentence.startswith(f"{part['name']}: {part['verdict']}. ")
    # What is cited exists: the claims, and notebooks that treat one of them.
    claims = re.findall(r"C\d+", part["where"])
    assert claims
    numbers = re.findall(r"\b\d\d\b", part["where"])
    taught = {name[:2] for claim in claims for name in LEDGER[claim].notebooks}
    assert set(numbers) <= taught


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="part='head' must be one of 'norm1', 'a', 'w'"):
        TwoBlocks(part="head")
    with pytest.raises(ValueError, match="channels=100 must be one of 96, 192"):
        TwoBlocks(channels=100)
    with pytest.raises(ValueError, match="parameters part, channels, and got"):
        TwoBlocks(width=96)
    with pytest.raises(ValueError, match="mark='head' must be one of"):
        figures.two_blocks(mark="head")
