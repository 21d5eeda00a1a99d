"""Notebook 09's exercises: typical wrong answers are told what is wrong, other right ones pass."""

from __future__ import annotations

from typing import Any

import torch

from helpers.exercises import Status, check
from helpers.models import PatchClassifier


def _gap(straight: Any, shuffled: Any, vit: Any) -> Any:
    return straight.mean() - vit.mean()


def _distance(
    A: torch.Tensor, height: int, width: int, *, power: float = 0.5, wide: int | None = None
) -> torch.Tensor:
    place = torch.arange(height * width)
    row, column = place // (wide or width), place % (wide or width)
    squared = (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
    return A * squared**power


def _along_the_list(A: torch.Tensor, height: int, width: int) -> torch.Tensor:
    place = torch.arange(height * width)
    return (A * (place[:, None] - place).abs()).sum(-1).mean()


def _in_steps(A: torch.Tensor, height: int, width: int) -> torch.Tensor:
    place = torch.arange(height * width)
    row, column = place // width, place % width
    steps = (row[:, None] - row).abs() + (column[:, None] - column).abs()
    return (A * steps).sum(-1).mean()


def _filters(model: PatchClassifier) -> torch.Tensor:
    return torch.stack([block.dwconv.weight.flatten(1) for block in model.blocks])


CONTROLS = {"A": "patches", "B": "steps", "C": "seeds", "D": "pixels"}

WRONG = {
    "09.1": [
        (lambda a, b, c: (b.mean() - c.mean()) / _gap(a, b, c), "share that is left"),
        (lambda a, b, c: a.mean() - b.mean(), "Its share of the gap"),
        (_gap, "That is the gap itself"),
        (lambda a, b, c: (a.mean() - b.mean()) / a.mean(), "divide by the gap"),
        (lambda a, b, c: ((a - b) / (a - c)).mean(), "shares of single seeds"),
        (lambda a, b, c: (b.mean() - a.mean()) / _gap(a, b, c), "sign is wrong"),
        (lambda a, b, c: a - b, "should be one number"),
        (lambda a, b, c: "a quarter", "yours is a str"),
        (lambda a, b, c: 0.25, "you give 0.250"),
    ],
    "09.2": [
        (CONTROLS | {"A": "pixels", "D": "patches"}, "leaves every patch whole"),
        (CONTROLS | {"B": "seeds", "C": "steps"}, "more of them"),
        (CONTROLS | {"C": "patches"}, "only draws anew"),
        (CONTROLS | {"D": "steps"}, "takes the patches apart"),
        (CONTROLS | {"D": "noise"}, "no control 'noise'"),
        ({"A": "patches"}, "no control yet for B, C, D"),
        (["patches"], "Give a dict"),
    ],
    "09.3": [
        (_along_the_list, "along the list"),
        (_in_steps, "counted steps"),
        (lambda A, h, w: _distance(A, h, w, power=1).sum(-1).mean(), "squared distance"),
        (lambda A, h, w: _distance(A, h, w).sum(), "summed over the queries"),
        (lambda A, h, w: _distance(A, h, w).mean(), "all entries of A"),
        (lambda A, h, w: _distance(torch.ones_like(A), h, w).mean(), "weights are missing"),
        (lambda A, h, w: _distance(A, h, w, wide=h).sum(-1).mean(), "changed places"),
        (lambda A, h, w: _distance(A, h, w).sum(-1), "should be one number"),
        (lambda A, h, w: 1.0, "Lay out the distances"),
    ],
    "09.4": [
        (lambda m: int((_filters(m)[0] >= 0).all(-1).sum()), "first block only"),
        (lambda m: int((_filters(m) >= 0).sum()), "single weights"),
        (lambda m: int((_filters(m).sum(-1) >= 0).sum()), "positive sum"),
        (lambda m: int((_filters(m) >= 0).any(-1).sum()), "some weight above zero"),
        (lambda m: int((_filters(m) < 0).any(-1).sum()), "the others are asked for"),
        (lambda m: 0, "have no negative weight you give 0"),
        (lambda m: [0], "should be one number"),
    ],
    "09.5": [
        ({"a", "c"}, "there is more"),
        ({"a", "b", "c", "e"}, "Statement b is true"),
        ("d", "Statement d is true"),
        ({"g"}, "no statement g"),
        (3, "Give the letters"),
    ],
}

RIGHT = {
    "09.1": [lambda a, b, c: ((a - b).mean() / (a - c).mean()).item()],
    "09.2": [{"a": "patches", "b": "steps", "c": "seeds", "d": "pixels"}],
    "09.3": [lambda A, h, w: _distance(A, h, w).sum().item() / (h * w)],
    "09.4": [lambda m: (_filters(m).amin(-1) >= 0).sum()],
    "09.5": [{"a", "c", "e"}, "ace", ["A", "C", "E"], "a, c and e", ("(a)", "c.", "e")],
}


def test_an_untouched_dict_is_not_attempted() -> None:
    assert check("09.2", dict.fromkeys("ABCD", ...)).status is Status.NOT_ATTEMPTED
    assert check("09.2", {}).status is Status.NOT_ATTEMPTED
