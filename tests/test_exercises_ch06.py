"""Notebook 06's exercises: typical wrong answers are told what is wrong, other right ones pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from helpers.exercises import Status, check

# 06.1: the feed-forward as a lookup.


def memory_of(first: nn.Linear, second: nn.Linear) -> tuple[Tensor, ...]:
    return first.weight, first.bias, second.weight.T, second.bias


def memory_that(change: Callable[..., Any]) -> Callable[[nn.Linear, nn.Linear], Any]:
    return lambda first, second: change(*memory_of(first, second))


# 06.2: the share.


def share_of(block: nn.Module, *parts: str, of: str = "") -> float:
    sizes = {n: p.numel() for n, p in block.named_parameters() if n.endswith(of)}
    return sum(k for n, k in sizes.items() if n.startswith(parts)) / sum(sizes.values())


def share(block: nn.Module) -> float:
    return share_of(block, "linear", "pwconv")


# 06.3: the distance.


def distance(tokens: Tensor) -> Tensor:
    return (tokens - tokens.mean(0)).norm() / tokens.norm()


# 06.4: two Linears in one.


def fold_with(
    weight: Callable[[nn.Linear, nn.Linear], Any], bias: Callable[[nn.Linear, nn.Linear], Any]
) -> Callable[[nn.Linear, nn.Linear], nn.Linear]:
    def fold(first: nn.Linear, second: nn.Linear) -> nn.Linear:
        one = nn.Linear(first.in_features, second.out_features, dtype=first.weight.dtype)
        with torch.no_grad():
            one.weight.copy_(weight(first, second))
            one.bias.copy_(bias(first, second))
        return one

    return fold


def _product(first: nn.Linear, second: nn.Linear) -> Tensor:
    return second.weight @ first.weight


def _through_both(first: nn.Linear, second: nn.Linear) -> Tensor:
    return second(first(torch.zeros(first.in_features, dtype=first.weight.dtype)))


def _only_second(first: nn.Linear, second: nn.Linear) -> Tensor:
    return torch.zeros(second.out_features) if second.bias is None else second.bias


def _in_place(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    one = fold_with(_product, _through_both)(first, second)
    with torch.no_grad():
        first.weight.zero_()
    return one


WRONG = {
    "06.1": [
        (memory_that(lambda k, b, v, c: (k.T, b, v, c)), "keys, one row.*should have shape"),
        (memory_that(lambda k, b, v, c: (k, b, v.T, c)), "values, one row.*should have shape"),
        (memory_that(lambda k, b, v, c: (k, b, v.T.reshape(7, 3), c)), "reshape and view move no"),
        (memory_that(lambda k, b, v, c: (k, b, v, 0 * c)), "look at the biases"),
        (memory_that(lambda k, b, v, c: (v, b, k, c)), "keys are not the rows"),
        (memory_that(lambda k, b, v, c: (k, b, v)), "four tensors"),
        (memory_that(lambda k, b, v, c: (k, None, v, c)), "yours is a NoneType"),
    ],
    "06.2": [
        (lambda block: 100 * share(block), "percent"),
        (lambda block: share_of(block, "linear", "pwconv", of="weight"), "biases are parameters"),
        (lambda block: share_of(block, "linear", "pwconv", "norm2", "norm."), "norm in front"),
        (lambda block: 1 - share(block), "share of all the rest"),
        (lambda block: share(block) / (1 - share(block)), "ratio to the rest"),
        (lambda block: share_of(block, "linear1", "pwconv1"), "One of the two layers"),
        (lambda block: share_of(block, "linear"), r"other names.*ConvNeXtBlock\(96\)"),
        (lambda block: torch.tensor(0.6), "Expected 0.6635, and got 0.6000"),
        (lambda block: "two thirds", "should be a number"),
    ],
    "06.3": [
        (lambda x: (x - x.mean(0)).norm(), "not relative"),
        (lambda x: (x - x.mean(1, keepdim=True)).norm() / x.norm(), "mean over the channels"),
        (lambda x: (x - x.mean()).norm() / x.norm(), "mean of all entries"),
        (lambda x: distance(x) ** 2, "the square"),
        (lambda x: (x - x.mean(0)).norm() / x.mean(0).norm(), "norm of the mean"),
        (lambda x: distance(x) + 1, "and yours gives"),
        (lambda x: x - x.mean(0), "should have shape"),
        (lambda x: 0.0, "large common part it is"),
    ],
    "06.4": [
        (fold_with(_product, _only_second), "the first Linear has a bias"),
        (fold_with(_product, lambda a, b: 0 * _through_both(a, b)), "the bias is not"),
        (fold_with(lambda a, b: -_product(a, b), _through_both), "product of the two"),
        (lambda first, second: nn.Linear(3, 8), r"it is \(2, 3\)"),
        (lambda first, second: nn.Linear(3, 2), "dtype=first.weight.dtype"),
        (lambda first, second: nn.Sequential(first, second), "yours is a Sequential"),
        (_in_place, "You changed one of the Linears"),
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
    "06.1": [memory_of, lambda first, second: list(memory_of(first, second))],
    "06.2": [share, lambda block: torch.tensor(share(block), dtype=torch.float64)],
    "06.3": [distance, lambda tokens: distance(tokens).item()],
    "06.4": [fold_with(_product, _through_both)],
    "06.5": [{"b", "d"}, "bd", "b, d", ["(B)", "D."], ("d", "b")],
}


def test_an_empty_set_is_no_attempt() -> None:
    assert check("06.5", set()).status is Status.NOT_ATTEMPTED
