"""Notebook 10's exercises: typical wrong answers are told what is wrong, other right ones pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.designs import BlockDesign
from helpers.exercises import Status, ch10, check
from helpers.mixers import DepthwiseConv


def _after(image: Tensor, mixer: Any, feed_forward: Any, norm1: Any, norm2: Any) -> Tensor:
    y = norm1(image + mixer(image))
    return norm2(y + feed_forward(y))


def _one_way(image: Tensor) -> Tensor:
    return F.pad(image, (1, 0))[..., :-1]


WRONG = {
    "10.1": [
        (lambda x, m, f, a, b: x + f(b(x + m(a(x)))), "carries what the first half gave"),
        (lambda x, m, f, a, b: x + f(b(m(a(x)))), "one skip, around the whole"),
        (lambda x, m, f, a, b: f(b(x + m(a(x)))), "second half has no skip"),
        (lambda x, m, f, a, b: m(a(x)) + f(b(m(a(x)))), "first half has no skip"),
        (_after, "stand after the skips"),
        (lambda x, m, f, a, b: x + m(x) + f(x + m(x)), "There is no norm"),
        (lambda x, m, f, a, b: x + m(a(x)) + f(x + m(a(x))), "second norm is missing"),
        (lambda x, m, f, a, b: x + m(b(x)) + f(a(x + m(b(x)))), "changed places"),
        (lambda x, m, f, a, b: x + m(a(x)) + f(b(x)), "side by side"),
        (lambda x, m, f, a, b: m(x), "Two lines do it"),
        (lambda x, m, f, a, b: 3, "should be a tensor"),
        (lambda x, m, f, a, b: x[:1], "the shape stays"),
    ],
    "10.2": [
        (ch10._rolled, "that is a roll"),
        (lambda x: ch10._shifted(x, ("left", "right", "up", "down")), "read from its left"),
        (lambda x: ch10._shifted(x, ("down", "up", "right", "left")), "last axis"),
        (_one_way, "Each quarter has its own way"),
        (lambda x: x, "Nothing has moved"),
        (lambda x: -x, "zeros in column 0"),
        (lambda x: x[..., 1:], "the shape stays"),
    ],
    "10.3": [
        ({"a"}, "1 of 3 found"),
        ({"a", "b"}, "Statement b is true"),
        ("a, c, d and e", "Statement e is true"),
        ({"x"}, "no statement x"),
        (7, "Give the letters"),
    ],
    "10.4": [
        (BlockDesign("attention"), "number of blocks too"),
        ("depthwise", "Give a pair"),
        (("depthwise", 5), "should be a BlockDesign"),
        ((BlockDesign("attention"), 4.0), "a whole number"),
        ((BlockDesign("attention"), 6), "with 4 it comes nearest"),
        ((BlockDesign("depthwise", kernel_size=5), 5), "no depth comes nearer"),
        ((BlockDesign("identity"), 6), "No token reads another"),
        ((BlockDesign("pooling"), 6), "direct neighbours only"),
    ],
}

RIGHT = {
    "10.1": [lambda x, m, f, a, b: f(b(x + m(a(x)))) + m(a(x)) + x],
    "10.2": [ch10._shifted],
    "10.3": ["acd", ["A", "C", "D"], "a, c and d"],
}


def test_a_design_that_learns_slowly_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ch10, "STEPS", 1)
    feedback = check("10.4", (BlockDesign("attention"), 4))
    assert feedback.status is Status.WRONG
    assert "Structure and budget are right" in feedback.message


def test_an_untouched_pair_is_not_attempted() -> None:
    assert check("10.4", (..., ...)).status is Status.NOT_ATTEMPTED
    assert check("10.3", []).status is Status.NOT_ATTEMPTED


def test_reach_of_a_mixer_that_reads_nothing() -> None:
    silent = DepthwiseConv(8, 3, bias=False)
    torch.nn.init.zeros_(silent.weight)
    assert ch10.reach(silent, 8) == 0
