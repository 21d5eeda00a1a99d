"""The exercises of notebook 08: reach, effect, and a stack for a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helpers.exercises.answers import false_statements
from helpers.exercises.core import Exercise, Wrong, call, register
from helpers.mixers import DepthwiseConv


def _number(value: Any, what: str) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"{what} should be a number; yours is a {type(value).__name__}.")
    return value


# 08.1: reach.


def _reach(kernels: Sequence[int], strides: Sequence[int]) -> int:
    size, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        size, step = size + (kernel - 1) * step, step * stride
    return size


def _check_reach(reach: Any) -> str:
    cases = (
        ((7,), (1,)),
        ((3, 3, 3), (1, 1, 1)),
        ((4, 7), (4, 1)),
        ((3, 2, 5), (2, 2, 3)),
        ((), ()),
    )
    for kernels, strides in cases:
        got = _number(call(reach, list(kernels), list(strides)), "reach(kernels, strides)")
        right = _reach(kernels, strides)
        if got == right:
            continue
        said = f"kernels {list(kernels)} with strides {list(strides)} reach {right}; yours: {got}. "
        late = sum((k - 1) * _step(strides, at + 1) for at, k in enumerate(kernels)) + 1
        if got == sum(kernels):
            raise Wrong(said + "You added the kernels. Each adds only what lies beyond its middle.")
        if got == 1 + sum(k - 1 for k in kernels):
            raise Wrong(said + "The strides are missing: after one, neighbours lie further apart.")
        if got == late:
            raise Wrong(said + "A layer's own stride spreads the layers after it, not itself.")
        raise Wrong(said + "Go layer by layer, from one pixel on.")
    return "1, and for each layer (k - 1) times the strides before it."


def _step(strides: Sequence[int], count: int) -> int:
    step = 1
    for stride in strides[:count]:
        step *= stride
    return step


register(
    Exercise(
        id="08.1",
        goal="Write reach(kernels, strides): how many input pixels across one output sees, for "
        "convolutions in a row. Two lists of whole numbers, the first layer first.",
        difficulty=2,
        minutes=8,
        hints=(
            "After a layer of stride 2, how far apart in the input are two neighbours?",
            "Keep two numbers: the size so far, from 1, and the step between neighbours, from 1. "
            "Each layer adds (k - 1) steps to the size, then multiplies the step by its stride.",
            "size, step = 1, 1\nfor kernel, stride in zip(kernels, strides):\n"
            "    size += ...\n    step *= ...",
        ),
        checker=_check_reach,
    )
)


# 08.2: effect by autograd.


def _effect(layer: nn.Module, channels: int, side: int) -> Tensor:
    image = torch.zeros(1, channels, side, side, dtype=torch.float32, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(image)[0, :, side // 2, side // 2].sum(), image)
    return gradient[0]


def _share(seen: Tensor) -> float:
    at = len(seen) // 2
    return (seen[at - 1 : at + 2, at - 1 : at + 2].sum() / seen.sum()).item()


def _check_share(share_in_centre: Any) -> str:
    for kernel, depth, seed in ((7, 1, 0), (3, 3, 1), (3, 1, 2)):
        layer = nn.Sequential(*(DepthwiseConv(4, kernel) for _ in range(depth)))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        got = _number(call(share_in_centre, layer, 4, 11), "share_in_centre(layer, 4, 11)")
        gradient = _effect(layer, 4, 11)
        slips = (
            (_share(gradient.sum(0)), "Take the gradient's size, abs(), before you sum: signs"
             " cancel."),
            (_share(gradient.square().sum(0)), "You squared the gradient: its size is abs()."),
            (100 * _share(gradient.abs().sum(0)), "That is in per cent: give a part of 1."),
        )  # fmt: skip
        right = _share(gradient.abs().sum(0))
        if abs(got - right) <= 1e-4:
            continue
        for value, sentence in slips:
            if abs(got - value) <= 1e-4 * max(1, abs(value)):
                raise Wrong(sentence)
        raise Wrong(
            f"For {depth} of {kernel}x{kernel} the share is {right:.3f}, and yours {got:.3f}. Is "
            "the output pixel the middle one, and are rows and columns at - 1 to at + 1 summed?"
        )
    return "Measured by autograd: it works for any layer that keeps the image's size."


register(
    Exercise(
        id="08.2",
        goal="Write share_in_centre(layer, channels, side): the part of the effect on the middle "
        "output pixel, all its channels summed, that the central 3x3 input pixels hold. The "
        "effect is the gradient's size, summed over the input channels.",
        difficulty=2,
        minutes=10,
        hints=(
            "Which line of the page gave the gradient of one output pixel?",
            "Make an image with requires_grad=True, take layer(image)[0, :, at, at].sum(), and its "
            "gradient; then abs() and the sum over channels; then two sums and a quotient.",
            "(gradient,) = torch.autograd.grad(middle, image)\n"
            "seen = gradient[0].abs().sum(0)\n"
            "near = seen[at - 1 : at + 2, at - 1 : at + 2].sum()\n"
            "return ...",
        ),
        checker=_check_share,
    )
)


# 08.3: find the errors.

FALSE_STATEMENTS = ("b", "d")
TRUE_STATEMENTS = {
    "a": "Statement a is true: 27 C² against 49 C² is 44.9 % less.",
    "c": "Statement c is true: a convolution after a convolution is a convolution.",
}


def _check_find_the_errors(false_ones: Any) -> str:
    more = "What you named is false, but there is more. Print the counts, and a map."
    false_statements(false_ones, FALSE_STATEMENTS, TRUE_STATEMENTS, more)
    return "b and d. The saving is of the convolution, not of the block; reach is not effect."


register(
    Exercise(
        id="08.3",
        goal="Find the errors: name the false statements among a to d, as a set of letters.",
        difficulty=1,
        minutes=6,
        hints=(
            "Two of the four are about different things that happen to have the same number.",
            "For b, count a whole ConvNeXtBlock. For d, look at the corners of both maps.",
            "print(parameters(ConvNeXtBlock(96)), parameters(DepthwiseConv(96, 7)))\n"
            "print(uniform(7, 1)[1, 1], uniform(3, 3)[1, 1])",
        ),
        checker=_check_find_the_errors,
    )
)


# 08.4: a stack for a budget.


def _widest(cost: Callable[[int], int], budget: int) -> tuple[int, int]:
    """Choose the kernel and depth of largest sigma; the smaller kernel where two are equal."""
    fits = [(k, n) for k in (3, 5, 7) for n in range(1, 9) if n * cost(k) <= budget]
    return max(fits, key=lambda one: (one[1] * (one[0] ** 2 - 1), -one[0]))


def _check_widest(widest: Any) -> str:
    for channels, budget in ((96, 4_800), (96, 2_900), (96, 2_500), (8, 700), (10, 120)):
        got = call(widest, channels, budget)
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise Wrong("Return two numbers, (kernel, layers).")
        kernel, layers = (_number(one, "kernel and layers") for one in got)
        if kernel not in (3, 5, 7) or layers not in range(1, 9):
            raise Wrong(f"({kernel}, {layers}): the kernel is 3, 5 or 7, the layers are 1 to 8.")
        state = (
            f"At C = {channels} and {budget:,} parameters you chose {layers} of {kernel}x{kernel}"
        )
        cost = layers * channels * (kernel**2 + 1)
        if cost > budget:
            why = " Are the biases counted?" if layers * channels * kernel**2 <= budget else ""
            raise Wrong(f"{state}, which has {cost:,} with biases.{why}")
        best = _widest(lambda k, c=channels: c * (k * k + 1), budget)
        if layers * (kernel**2 - 1) < best[1] * (best[0] ** 2 - 1):
            raise Wrong(f"{state}; {best[1]} of {best[0]}x{best[0]} fits and has a larger sigma.")
    return "Compare layers * (k² - 1) among the stacks that fit."


register(
    Exercise(
        id="08.4",
        goal="Write widest(channels, budget): the (kernel, layers) of the stack of depthwise "
        "convolutions, biases counted, with the largest sigma within a budget of parameters. "
        "Kernels 3, 5 and 7, equal in all layers; 1 to 8 layers.",
        difficulty=2,
        minutes=8,
        hints=(
            "There are only 24 stacks. What does each cost, and what is its sigma?",
            "A layer has channels * (k² + 1) parameters. Keep the stacks that fit, and take the "
            "maximum of layers * (k² - 1): sigma is its root, up to a constant.",
            "fits = [(k, n) for k in (3, 5, 7) for n in range(1, 9)\n"
            "        if n * channels * (k**2 + 1) <= budget]\n"
            "return max(fits, key=...)",
        ),
        checker=_check_widest,
    )
)
