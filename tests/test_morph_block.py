"""The morph figure: its drawing says what the block does, and its numbers are the list's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers.explorers import MorphBlock
from helpers.explorers.morph_block import GROUPS
from helpers.figures import diagram
from helpers.morph import MORPH, Step

STEPS = pytest.mark.parametrize("step", MORPH, ids=lambda step: f"{step.number}-{step.name}")


def silenced(step: Step, *names: str) -> Any:
    """A block of noise in which the named parts give nothing."""
    block = step.build(channels=6, kernel_size=3, heads=2).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_()
        for name, parameter in block.named_parameters():
            if name.partition(".")[0] in names:
                parameter.zero_()
    return block


@STEPS
def test_the_skips_drawn_are_the_skips_there_are(step: Step) -> None:
    _, skips = diagram(step)
    there = {(skip.start, skip.end) for skip in skips if skip.change != "gone"}
    torch.manual_seed(0)
    image = torch.randn(1, 6, 5, 4, dtype=torch.float64)
    # Without a branch at all, what comes out came through skips.
    end = "output" if "output" in step.parts else "kernel"
    quiet = silenced(step, end, "linear2")(image)
    passes = torch.equal(quiet, image)
    assert passes == ({("top", "sum1"), ("between", "sum2")} <= there or ("top", "sum2") in there)
    assert passes or not quiet.any()
    # With the feed-forward silent, the mixing comes out only if the last skip starts after it.
    mixed = silenced(step, "linear2")(image)
    assert (("top", "sum2") in there) == torch.equal(mixed, image)
    if "top" in {skip.start for skip in skips} and ("top", "sum1") in there:
        assert not torch.equal(mixed, image)


@STEPS
def test_the_boxes_drawn_are_the_parts_there_are(step: Step) -> None:
    boxes, _ = diagram(step)
    there = {box.place for box in boxes if box.change != "gone"}
    for place in ("norm1", "norm2", "linear1", "linear2", "gamma"):
        assert (place in there) == (place in step.parts)
    assert ("mixer channels" in there) == bool({"value", "output"} & set(step.parts))
    [mixer] = [box for box in boxes if box.place == "mixer"]
    # Dashed: another image gets another mixing. Softmax of scores, or none.
    assert mixer.computed == ("query" in step.parts)


def test_what_is_new_and_gone_tells_the_steps_apart() -> None:
    for step in MORPH[1:]:
        boxes, skips = diagram(step)
        marks = {part.change for part in (*boxes, *skips)} - {""}
        assert marks, step.name
        assert all(mark in ("new", "gone") for mark in marks)
    assert all(part.change == "" for parts in diagram(MORPH[0]) for part in parts)


@pytest.mark.parametrize(("kernel", "heads"), [(7, 3), (3, 1), (5, 12)])
def test_the_costs_are_the_lists(kernel: int, heads: int) -> None:
    figure = MorphBlock(kernel=kernel, heads=heads)
    for step, cost in zip(MORPH, figure.costs(), strict=True):
        whole = step.cost(96, 56, kernel, heads)
        assert cost["total"] == {"parameters": whole.parameters, "macs": whole.macs}
        assert sum(cost["parameters"].values()) == whole.parameters
        assert list(cost["parameters"]) == list(GROUPS)
        assert cost["parameters"]["feed_forward"] == 74_208


@pytest.mark.parametrize("step", range(len(MORPH)))
def test_every_state_draws_and_says_its_numbers(step: int) -> None:
    figure = MorphBlock(step=step)
    fig, sentence = figure.still()
    assert f"{MORPH[step].cost().parameters:,} parameters" in sentence
    assert "74,208" in sentence
    assert ("coincidence" in sentence) == (step in (8, 13))
    sizes = {text.get_fontsize() for text in fig.findobj(lambda a: hasattr(a, "get_fontsize"))}
    assert min(sizes) >= 11


def test_steps_with_one_count_have_it_whatever_the_sizes() -> None:
    for kernel in (3, 5, 7):
        assert MORPH[8].cost(48, 8, kernel, 1) == MORPH[13].cost(48, 8, kernel, 1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"step": 14}, "step=14 must be an integer from 0 to 13"),
        ({"step": True}, "step=True"),
        ({"kernel": 4}, "kernel=4 must be one of 3, 5, 7"),
        ({"heads": 5}, "heads=5 must be one of 1, 2, 3, 6, 12"),
        ({"channels": 0}, "channels=0 must be a whole number"),
        ({"size": 1.5}, "size=1.5 must be a whole number"),
        ({"width": 3}, "and got step, kernel, heads, width"),
    ],
)
def test_what_cannot_be_is_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Exception, match=says):
        MorphBlock(**wrong)


def test_only_heads_that_divide_are_on_offer() -> None:
    assert MorphBlock(channels=8).heads_on_offer == [1, 2]
    assert MorphBlock(channels=8).value["heads"] == 1
