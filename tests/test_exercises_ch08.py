"""Wrong and right answers to the exercises of notebook 08."""

from __future__ import annotations

import collections
from typing import Any

import torch

from book import paths
from helpers.exercises import Status, check


def _late_stride(kernels: list[int], strides: list[int]) -> int:
    size, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        step *= stride
        size += (kernel - 1) * step
    return size


def _gradient(layer: Any, image: torch.Tensor) -> torch.Tensor:
    image = image.clone().requires_grad_()
    middle = layer(image)[0, :, image.shape[2] // 2, image.shape[3] // 2].sum()
    return torch.autograd.grad(middle, image)[0][0]


def _one_output(layer: Any, image: torch.Tensor) -> torch.Tensor:
    image = image.clone().requires_grad_()
    return torch.autograd.grad(layer(image)[0, 0, 5, 6], image)[0][0]


def _centre(seen: torch.Tensor, row: int = 5, column: int = 6) -> torch.Tensor:
    return seen[row - 1 : row + 2, column - 1 : column + 2].sum() / seen.sum()


def _reversed(kernels: list[int], strides: list[int]) -> int:
    return _reach(kernels[::-1], strides[::-1])


def _reach(kernels: list[int], strides: list[int]) -> int:
    size, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        size, step = size + (kernel - 1) * step, step * stride
    return size


WRONG = {
    "08.1": [
        (lambda kernels, strides: sum(kernels), "You added the kernels"),
        (lambda kernels, strides: 1 + sum(k - 1 for k in kernels), "strides are missing"),
        (_late_stride, "own stride spreads the layers after it"),
        (_reversed, "began with the last layer"),
        (lambda kernels, strides: _reach(kernels, strides) ** 2, "That is the area"),
        (lambda kernels, strides: 7, "Go layer by layer"),
        (lambda kernels, strides: "7", "yours is a str"),
    ],
    "08.2": [
        (lambda *given: _centre(_gradient(*given).sum(0)), "before you sum: signs cancel"),
        (lambda *given: _centre(_gradient(*given).sum(0).abs()), "over the channels before abs()"),
        (lambda *given: _centre(_gradient(*given).square().sum(0)), "You squared"),
        (lambda *given: _centre(_gradient(*given).norm(dim=0)), "the norm over the channels"),
        (lambda *given: 100 * _centre(_gradient(*given).abs().sum(0)), "per cent"),
        (lambda *given: _centre(_gradient(*given)[0].abs()), "one input channel alone"),
        (lambda *given: _centre(_one_output(*given).abs().sum(0)), "one output channel alone"),
        (
            lambda f, x: _centre(_gradient(f, torch.zeros_like(x)).abs().sum(0)),
            "use the image that is given",
        ),
        (
            lambda *given: _centre(_gradient(*given).abs().sum(0), 6, 5),
            "Is the output pixel the middle one",
        ),
        (lambda *given: 0.5, "Is the output pixel the middle one"),
    ],
    "08.3": [
        ({"a", "b"}, "Statement a is true"),
        ({"b"}, "there is more"),
        ({"e"}, "no statement e"),
        (3, "Give the letters"),
    ],
    "08.4": [
        (lambda channels, budget: 7, "Return two numbers"),
        (lambda channels, budget: (9, 1), "the kernel is 3, 5 or 7"),
        (lambda channels, budget: (7, 8), "with biases"),
        (lambda channels, budget: (3, 1), "has a larger sigma"),
    ],
}

RIGHT = {"08.3": ["bd", ["d", "b"], "b, d"]}


def test_a_forgotten_bias_is_named() -> None:
    def without_biases(channels: int, budget: int) -> tuple[int, int]:
        fits = [(k, n) for k in (3, 5, 7) for n in range(1, 9) if n * channels * k**2 <= budget]
        return max(fits, key=lambda one: one[1] * (one[0] ** 2 - 1))

    assert "Are the biases counted?" in check("08.4", without_biases).message


def test_an_empty_answer_is_no_attempt() -> None:
    assert check("08.3", set()).status is Status.NOT_ATTEMPTED


def test_the_solution_counts_who_wins() -> None:
    def winner(budget: int) -> int:
        fits = [(k, n) for k in (3, 5, 7) for n in range(1, 9) if n * (k**2 + 1) <= budget]
        return max(fits, key=lambda one: (one[1] * (one[0] ** 2 - 1), -one[0]))[0]

    wins = collections.Counter(map(winner, range(10, 401)))
    page = (paths.NOTEBOOKS / "08_receptive_field.md").read_text("utf-8")
    assert f"7x7 wins {wins[7]} times, 5x5 {wins[5]} times, and 3x3 {wins[3]} times" in page
