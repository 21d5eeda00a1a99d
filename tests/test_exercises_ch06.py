"""Notebook 06's exercises: typical wrong answers are told what is wrong, other right ones pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from helpers.exercises import Status, check

# 06.1: a memory by hand.


def memory_of(keys: Any, bias: Any, values: Any) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: tuple(torch.tensor(part, dtype=torch.float32) for part in (keys, bias, values))


two_units = memory_of([[10, -10], [-10, 10]], [-5, -5], [[0.2], [0.2]])


def one_unit() -> tuple[Tensor, ...]:
    """GELU dips below zero: at -2 it is not 0, and at -4 and 0 it is."""
    dip = nn.functional.gelu(torch.tensor([[-2.0]]))
    return torch.tensor([[2.0, 2.0]]), torch.tensor([-4.0]), 1 / dip


# 06.2: the expansion.


def expansion_for(share: float) -> float:
    return 2 * share / (1 - share)


# 06.3: closer without moving.


def closer_by(common: Callable[[float, float, int], float]) -> Callable[[Tensor, float], Tensor]:
    def closer(tokens: Tensor, distance: float) -> Tensor:
        apart = tokens - tokens.mean(0)
        shift = torch.zeros(tokens.shape[1], dtype=tokens.dtype)
        shift[0] = common(float(apart.norm()), distance, len(tokens))
        return apart + shift

    return closer


closer = closer_by(lambda apart, d, n: apart * ((1 / d**2 - 1) / n) ** 0.5)


def along_all(tokens: Tensor, distance: float) -> Tensor:
    apart = tokens - tokens.mean(0)
    return apart - apart.norm() * ((1 / distance**2 - 1) / tokens.numel()) ** 0.5


# 06.4: Linears in one.


class Through(nn.Linear):
    """A Linear in name: its forward runs the Linears that it was to replace."""

    def __init__(self, linears: list[nn.Linear]) -> None:
        super().__init__(3, 2, dtype=torch.float64)
        self.linears = linears

    def forward(self, x: Tensor) -> Tensor:
        return nn.Sequential(*self.linears)(x)


def fold_with(
    weight: Callable[[list[nn.Linear]], Any], bias: Callable[[list[nn.Linear]], Any]
) -> Callable[[list[nn.Linear]], nn.Linear]:
    def fold(linears: list[nn.Linear]) -> nn.Linear:
        one = nn.Linear(linears[0].in_features, linears[-1].out_features, dtype=torch.float64)
        with torch.no_grad():
            one.weight.copy_(weight(linears))
            one.bias.copy_(bias(linears))
        return one

    return fold


def _product(linears: list[nn.Linear]) -> Tensor:
    weight = linears[0].weight
    for linear in linears[1:]:
        weight = linear.weight @ weight
    return weight


def _of_zero(linears: list[nn.Linear]) -> Tensor:
    return nn.Sequential(*linears)(torch.zeros(linears[0].in_features, dtype=torch.float64))


def _only_last(linears: list[nn.Linear]) -> Tensor:
    bias = linears[-1].bias
    return torch.zeros(linears[-1].out_features) if bias is None else bias


def _in_place(linears: list[nn.Linear]) -> nn.Linear:
    one = fold_with(_product, _of_zero)(linears)
    with torch.no_grad():
        linears[0].weight.zero_()
    return one


def _emptied(linears: list[nn.Linear]) -> nn.Linear:
    one = fold_with(_product, _of_zero)(linears)
    linears.pop()
    return one


WRONG = {
    "06.1": [
        (memory_of([[10, 10]], [-15], [[0.2]]), "That is and"),
        (memory_of([[10, 10], [10, -10], [-10, 10]], [-15, -5, -5], [[0.2]] * 3), "That is or"),
        (memory_of([[10, 10], [-10, -10]], [-15, 5], [[0.2], [0.2]]), "the opposite"),
        (memory_of([[10, -10]], [-5], [[0.2]]), "'first and not second' alone"),
        (memory_of([[-10, 10]], [-5], [[0.2]]), "'second and not first' alone"),
        (memory_of([[10, -10], [-10, 10]], [-5, -5], [[1], [1]]), r"\(0, 1\) gives 5\.00"),
        (memory_of([[10, -10], [-10, 10]], [-5, -5], [[0.2, 0.2]]), "values.*should have shape"),
        (memory_of([[10, -10], [-10, 10]], [-5], [[0.2], [0.2]]), "bias should have shape"),
        (lambda: two_units()[:2], "three tensors"),
        (lambda: ([[10, -10]], [-5], [[0.2]]), "should be tensors"),
    ],
    "06.2": [
        (lambda share: 4 * share / (1 - share), "has two matrices"),
        (lambda share: share / (1 - share), "four matrices"),
        (lambda share: 2 * (1 - share) / share, "share of attention"),
        (lambda share: share / (2 + share), "turn it round"),
        (lambda share: 3, "holds 60.0% of the weights; 50.0% was asked"),
        (lambda share: -1, "holds 0.0%"),
        (lambda share: "four", "should be a number"),
    ],
    "06.3": [
        (lambda tokens, d: d * tokens, "differences between the tokens changed"),
        (lambda tokens, d: tokens + 1, "relative distance is .* of their own"),
        (closer_by(lambda apart, d, n: apart * (1 / d**2 - 1) ** 0.5), r"sqrt\(N\) m"),
        (closer_by(lambda apart, d, n: apart / d / n**0.5), "Pythagoras"),
        (lambda tokens, d: tokens.mean(0), "should have shape"),
    ],
    "06.4": [
        (fold_with(_product, _only_last), "in order: a bias, a bias"),
        (fold_with(_product, lambda linears: 0 * _of_zero(linears)), "the bias is not"),
        (fold_with(lambda linears: -_product(linears), _of_zero), "product of all"),
        (lambda linears: fold_with(_product, _of_zero)(linears[:2]), r"For 3 Linears.*\(2, 3\)"),
        (lambda linears: nn.Linear(3, 2), "dtype=linears"),
        (lambda linears: nn.Sequential(*linears), "yours is a Sequential"),
        (Through, "product of all"),
        (_in_place, "You changed the list"),
        (_emptied, "You changed the list"),
    ],
    "06.5": [
        ({"b"}, "there is more"),
        ({"a", "d"}, "Statement a is true"),
        ("c and e", "Statement c is true.*Statement e is true"),
        ({"x"}, "no statement x"),
        (3, "as a set"),
    ],
}

RIGHT = {
    "06.1": [two_units, one_unit, lambda: list(two_units())],
    "06.2": [expansion_for, lambda share: torch.tensor(expansion_for(share)).double()],
    "06.3": [closer, along_all],
    "06.4": [fold_with(_product, _of_zero)],
    "06.5": [{"b", "d"}, "bd", "b, d", ["(B)", "D."], ("d", "b")],
}


def test_an_empty_set_is_no_attempt() -> None:
    assert check("06.5", set()).status is Status.NOT_ATTEMPTED
