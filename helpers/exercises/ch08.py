"""The exercises of notebook 08: reach, effect, and a stack for a budget."""

from __future__ import annotations

import math
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


def _late(kernels: Sequence[int], strides: Sequence[int]) -> int:
    return 1 + sum((k - 1) * math.prod(strides[: at + 1]) for at, k in enumerate(kernels))


_STACKS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((7,), (1,)),
    ((3, 3, 3), (1, 1, 1)),
    ((4, 7), (4, 1)),
    ((3, 2, 5), (2, 2, 3)),
    ((), ()),
)
# What would explain every answer, and what to say then.
_REACH_SLIPS: tuple[tuple[Callable[..., int], str], ...] = (
    (lambda k, s: _reach(k[::-1], s[::-1]), "You began with the last layer: begin at the input."),
    (lambda k, s: _reach(k, s) ** 2, "That is the area: how many pixels across is asked."),
    (lambda k, s: sum(k), "You added the kernels. Each adds only what lies beyond its middle."),
    (
        lambda k, s: 1 + sum(one - 1 for one in k),
        "The strides are missing: after one, neighbours lie further apart.",
    ),
    (_late, "A layer's own stride spreads the layers after it, not itself."),
)


def _check_reach(reach: Any) -> str:
    got = [
        _number(call(reach, list(kernels), list(strides)), "reach(kernels, strides)")
        for kernels, strides in _STACKS
    ]
    right = [_reach(*stack) for stack in _STACKS]
    if got == right:
        return "1, and for each layer (k - 1) times the strides before it."
    said = "Go layer by layer, from one pixel on."
    for slip, sentence in _REACH_SLIPS:
        if got == [slip(*stack) for stack in _STACKS]:
            said = sentence
            break
    at = next(at for at in range(len(got)) if got[at] != right[at])
    kernels, strides = map(list, _STACKS[at])
    raise Wrong(
        f"kernels {kernels} with strides {strides} reach {right[at]}; yours: {got[at]}. {said}"
    )


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


def _gradient(layer: nn.Module, image: Tensor, channel: int | None = None) -> Tensor:
    """Give the gradient of the middle pixel, its channels summed or one alone: ``(C, H, W)``."""
    image = image.detach().clone().requires_grad_()
    middle = layer(image)[0, :, image.shape[2] // 2, image.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle.sum() if channel is None else middle[channel], image)
    return gradient[0]


def _share(seen: Tensor, row: int | None = None, column: int | None = None) -> float:
    row = seen.shape[0] // 2 if row is None else row
    column = seen.shape[1] // 2 if column is None else column
    return (seen[row - 1 : row + 2, column - 1 : column + 2].sum() / seen.sum()).item()


def _right_share(layer: nn.Module, image: Tensor) -> float:
    return _share(_gradient(layer, image).abs().sum(0))


_SHARE_SLIPS: tuple[tuple[Callable[[nn.Module, Tensor], float], str], ...] = (
    (lambda f, x: 100 * _right_share(f, x), "That is in per cent: give a part of 1."),
    (
        lambda f, x: _share(_gradient(f, x).sum(0)),
        "Take the gradient's size, abs(), before you sum: signs cancel.",
    ),
    (
        lambda f, x: _share(_gradient(f, x).sum(0).abs()),
        "You summed over the channels before abs(), and signs cancel: sizes first, then the sum.",
    ),
    (
        lambda f, x: _share(_gradient(f, x).square().sum(0)),
        "You squared the gradient: its size is abs().",
    ),
    (
        lambda f, x: _share(_gradient(f, x).norm(dim=0)),
        "You took the norm over the channels, a root of squares: sum the sizes instead.",
    ),
    (
        lambda f, x: _share(_gradient(f, x, channel=0).abs().sum(0)),
        "You took one output channel alone: sum the middle pixel's channels.",
    ),
    (
        lambda f, x: _share(_gradient(f, x)[0].abs()),
        "You took one input channel alone: sum the sizes over all of them.",
    ),
    (
        lambda f, x: _right_share(f, torch.zeros_like(x)),
        "Right for linear layers. With a GELU inside the effect depends on the input: use the "
        "image that is given.",
    ),
)


def _layers() -> list[nn.Module]:
    """Make what the answer is tried on: depthwise, dense, and with a GELU inside."""
    layers = [
        DepthwiseConv(4, 7),
        nn.Sequential(*(DepthwiseConv(4, 3) for _ in range(3))),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, 4, 3, padding=1)),
    ]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layers


def _check_share(share_in_centre: Any) -> str:
    image = torch.randn(1, 4, 11, 13, generator=torch.Generator().manual_seed(1))
    layers = _layers()
    got = [
        _number(call(share_in_centre, layer, image.clone()), "share_in_centre(layer, image)")
        for layer in layers
    ]
    right = [_right_share(layer, image) for layer in layers]
    if _near(got, right):
        return "Measured by autograd: it works for any layer that keeps the image's size."
    for slip, sentence in _SHARE_SLIPS:
        if _near(got, [slip(layer, image) for layer in layers]):
            raise Wrong(sentence)
    at = next(at for at in range(len(got)) if not _near(got[at : at + 1], right[at : at + 1]))
    raise Wrong(
        f"For this layer the share is {right[at]:.3f}, and yours {got[at]:.3f}: {layers[at]}. The "
        "image is 11 x 13. Is the output pixel the middle one, row 5 and column 6, and are the "
        "three rows and columns around it summed?"
    )


def _near(got: Sequence[float], wanted: Sequence[float]) -> bool:
    return all(
        abs(one - other) <= 1e-4 * max(1, abs(other))
        for one, other in zip(got, wanted, strict=True)
    )


register(
    Exercise(
        id="08.2",
        goal="Write share_in_centre(layer, image): the part of the effect on the middle output "
        "pixel that the central 3x3 input pixels hold, as a part of 1. The layer may be depthwise "
        "or dense, and may have a GELU inside, so take the effect at the given image, (1, C, H, "
        "W), H and W odd and not always equal.",
        difficulty=2,
        minutes=10,
        hints=(
            "Which line of the page gave the gradient of one output pixel? What of it depends on "
            "the image?",
            "Take a copy of the image with requires_grad, then layer(image)[0, :, row, column]"
            ".sum(), and its gradient; then abs() and the sum over channels; then two sums and a "
            "quotient.",
            "image = image.clone().requires_grad_()\n"
            "row, column = image.shape[2] // 2, image.shape[3] // 2\n"
            "(gradient,) = torch.autograd.grad(..., image)\n"
            "seen = gradient[0].abs().sum(0)\n"
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
        "Kernels 3, 5 and 7, equal in all layers; 1 to 8 layers. Where several have the same "
        "sigma, any of them.",
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
