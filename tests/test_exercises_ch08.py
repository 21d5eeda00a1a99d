"""Wrong and right answers to the exercises of notebook 08."""

from __future__ import annotations

from typing import Any

import torch

from helpers.exercises import Status, check


def _late_stride(kernels: list[int], strides: list[int]) -> int:
    size, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        step *= stride
        size += (kernel - 1) * step
    return size


def _gradient(layer: Any, channels: int, side: int) -> torch.Tensor:
    image = torch.zeros(1, channels, side, side, requires_grad=True)
    middle = layer(image)[0, :, side // 2, side // 2].sum()
    return torch.autograd.grad(middle, image)[0][0]


def _centre(seen: torch.Tensor) -> torch.Tensor:
    at = len(seen) // 2
    return seen[at - 1 : at + 2, at - 1 : at + 2].sum() / seen.sum()


WRONG = {
    "08.1": [
        (lambda kernels, strides: sum(kernels), "You added the kernels"),
        (lambda kernels, strides: 1 + sum(k - 1 for k in kernels), "strides are missing"),
        (_late_stride, "own stride spreads the layers after it"),
        (lambda kernels, strides: 7, "Go layer by layer"),
        (lambda kernels, strides: "7", "yours is a str"),
    ],
    "08.2": [
        (lambda *given: _centre(_gradient(*given).sum(0)), "signs cancel"),
        (lambda *given: _centre(_gradient(*given).square().sum(0)), "You squared"),
        (lambda *given: 100 * _centre(_gradient(*given).abs().sum(0)), "per cent"),
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
