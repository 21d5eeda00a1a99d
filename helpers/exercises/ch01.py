"""The exercises of notebook 01: tokens, 1x1 convolution, feed-forward."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from helpers.blocks import ConvNeXtTail
from helpers.equivalence import OnPixels, pointwise_from_linear
from helpers.exercises.answers import (
    CLOSE,
    CLOSE_IN_FLOAT32,
    differ,
    false_statements,
    noise,
    require_tensor,
    same_parameters,
)
from helpers.exercises.core import Exercise, Wrong, call, register

# 01.1: tokens back into an image.


def _check_to_image(to_image: Any) -> str:
    # Height, width and channels all differ, so that no two orders share a shape by accident.
    for batch, channels, height, width in ((2, 3, 4, 5), (1, 1, 1, 1), (3, 2, 5, 3)):
        image = noise(batch, channels, height, width)
        tokens = image.flatten(2).transpose(1, 2)
        result = call(to_image, tokens.clone(), height, width)
        require_tensor(result, tuple(image.shape), f"to_image(tokens, {height}, {width})")
        if result.dtype != image.dtype:
            raise Wrong(f"The tokens are {image.dtype}; your image is {result.dtype}.")
        if not torch.equal(result, image):
            raise Wrong(_why_the_image_is_wrong(result, tokens, image.shape))
    return "The image is back: token i * W + j is pixel i, j, with its channels in axis 1."


def _why_the_image_is_wrong(result: Tensor, tokens: Tensor, shape: torch.Size) -> str:
    _, _, height, width = shape
    if torch.equal(result, tokens.reshape(shape)):
        return (
            "The numbers were cut anew as they lie in memory: your channel 0 holds whole tokens, "
            "all their channels in a row. view and reshape never move an axis; permute or "
            "transpose does."
        )
    if torch.equal(result, tokens.unflatten(1, (width, height)).permute(0, 3, 2, 1)):
        return (
            "You read the tokens column by column. The book's order is row by row: the last "
            "spatial axis, the width, changes fastest."
        )
    return "The shape is right, but the numbers are not where they belong."


register(
    Exercise(
        id="01.1",
        goal="Write to_image(tokens, height, width): from tokens (B, H*W, C), in reading order, "
        "back to the image (B, C, H, W).",
        difficulty=1,
        minutes=5,
        hints=(
            "In (B, H*W, C), where do the channels stand, and where must they go? Can a reshape "
            "take them there?",
            "Two moves: bring the channel axis in front of the pixels, then make two axes of the "
            "one that counts pixels. Only the first needs an axis to change its place.",
            "def to_image(tokens, height, width):\n"
            "    channels_first = tokens.transpose(...)      # (B, C, H*W)\n"
            "    return channels_first.unflatten(2, ...)     # (B, C, H, W)",
        ),
        checker=_check_to_image,
    )
)


# 01.2: a Linear as a convolution.


def _check_pointwise_from(pointwise_from: Any) -> str:
    if pointwise_from is pointwise_from_linear:
        raise Wrong("That is the book's own helper. Write it yourself: four lines are enough.")
    for c_in, c_out, bias, dtype in (
        (3, 5, True, torch.float64),
        (3, 5, False, torch.float64),
        (4, 2, True, torch.float32),
    ):
        linear = nn.Linear(c_in, c_out, bias=bias, dtype=dtype)
        theirs = copy.deepcopy(linear)
        conv = call(pointwise_from, theirs)
        _require_pointwise(conv, linear)
        if not same_parameters(theirs, linear):
            raise Wrong("You changed the Linear: copy the other way, from it to the convolution.")
        image = noise(2, c_in, 4, 6).to(dtype)
        expected = OnPixels(linear)(image)
        output = require_tensor(conv(image), tuple(expected.shape), "Its output on an image")
        if differ(output, expected, CLOSE if dtype == torch.float64 else CLOSE_IN_FLOAT32):
            raise Wrong(_why_the_copy_is_wrong(conv, linear))
    return (
        "The same numbers, with two axes of length 1 added: (C_out, C_in) to (C_out, C_in, 1, 1)."
    )


def _require_pointwise(conv: Any, linear: nn.Linear) -> None:
    if not isinstance(conv, nn.Conv2d):
        raise Wrong(f"Expected an nn.Conv2d; yours is a {type(conv).__name__}.")
    if conv.kernel_size != (1, 1):
        raise Wrong(f"Its kernel size is {conv.kernel_size}; a Linear sees one pixel: (1, 1).")
    channels = (linear.in_features, linear.out_features)
    if (conv.in_channels, conv.out_channels) != channels:
        raise Wrong(
            f"It maps {conv.in_channels} channels to {conv.out_channels}; the Linear maps "
            f"in_features = {channels[0]} to out_features = {channels[1]}."
        )
    if (conv.bias is not None) != (linear.bias is not None):
        raise Wrong(
            "The Linear has no bias, yet the convolution has one: pass bias=False."
            if linear.bias is None
            else "The Linear has a bias and the convolution has none."
        )
    shape = (channels[1], channels[0], 1, 1)
    if conv.weight.shape != shape:
        raise Wrong(
            f"Its weight has shape {tuple(conv.weight.shape)}; a 1x1 convolution's is "
            f"(C_out, C_in, 1, 1), here {shape}."
        )
    for name, parameter in conv.named_parameters():
        if parameter.dtype != linear.weight.dtype:
            raise Wrong(
                f"The Linear is in {linear.weight.dtype} and the convolution's {name} in "
                f"{parameter.dtype}. Build the convolution with dtype=linear.weight.dtype."
            )


def _why_the_copy_is_wrong(conv: nn.Conv2d, linear: nn.Linear) -> str:
    if not torch.equal(conv.weight.flatten(1), linear.weight):
        return "The weights are not the Linear's. Did you copy them into conv.weight?"
    if linear.bias is not None and not torch.equal(conv.bias, linear.bias):
        return "The weights are right; the bias is not the Linear's. It has to be copied as well."
    return "Weights and bias are right, yet the outputs differ: look at stride, padding and groups."


register(
    Exercise(
        id="01.2",
        goal="Write pointwise_from(linear): a 1x1 nn.Conv2d that computes what the given Linear "
        "computes. It has the Linear's dtype, and a bias only if the Linear has one.",
        difficulty=1,
        minutes=5,
        hints=(
            "Print linear.weight.shape and nn.Conv2d(3, 5, 1).weight.shape. What is missing?",
            "Build the convolution from in_features, out_features and dtype, with "
            "bias=linear.bias is not None. Then copy weight and bias under torch.no_grad(). Two "
            "axes of length 1 make the shapes equal.",
            "conv = nn.Conv2d(linear.in_features, linear.out_features, 1,\n"
            "                 bias=linear.bias is not None, dtype=linear.weight.dtype)\n"
            "with torch.no_grad():\n"
            "    conv.weight.copy_(linear.weight[:, :, None, None])\n"
            "    ...                           # and the bias, if there is one",
        ),
        checker=_check_pointwise_from,
    )
)


# 01.3: find the errors in a forum answer.

#: Which of the statements a to d are false, and what the cell that settles it would show.
FALSE_STATEMENTS = {
    "b": "Statement b is false: a Linear has C_out * C_in weights however many tokens it gets. "
    "Count them: sum(p.numel() for p in nn.Linear(64, 128).parameters()).",
    "d": "Statement d is false: a Linear acts on the last axis only. Change one token and look "
    "which tokens of the output change.",
}
TRUE_STATEMENTS = {
    "a": "Statement a is true: (C_out, C_in, 1) and (C_out, C_in) have room for the same numbers.",
    "c": "Statement c is true: Conv1d wants (B, C, L) and Linear (B, L, C), so one of them needs a "
    "transpose.",
}


def _check_find_the_errors(false_ones: Any) -> str:
    more = (
        "What you named is false, but there is more. Test each statement in a cell: count "
        "parameters, or change one token and see what moves."
    )
    false_statements(false_ones, FALSE_STATEMENTS, TRUE_STATEMENTS, more)
    return "b and d. One Linear serves every token: it neither grows with them nor mixes them."


register(
    Exercise(
        id="01.3",
        goal="Find the errors: name the false statements among a to d, as a set of letters.",
        difficulty=2,
        minutes=8,
        hints=(
            "How many tokens does nn.Linear(64, 128) expect? Where would it keep a second token's "
            "weights?",
            "For b, print the number of parameters of nn.Linear(64, 128) and ask where the number "
            "of tokens would come in. For d, run the Linear twice, the second time with token 0 "
            "changed, and compare token 1.",
            "x = torch.randn(1, 10, 64)\n"
            "y = x.clone(); y[:, 0] += 1\n"
            "linear = nn.Linear(64, 128)\n"
            "print((linear(x) - linear(y)).abs().amax(-1))   # one number for each token",
        ),
        checker=_check_find_the_errors,
    )
)


# 01.4: the tail, channels first.


class _Watch(TorchFunctionMode):
    """Notes which layers run: what a module calls counts, not what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.linears = 0
        self.kernels: list[tuple[int, ...]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is nn.functional.linear:
            self.linears += 1
        if func is nn.functional.conv2d:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            self.kernels.append(tuple(weight.shape[2:]))
        return func(*args, **(kwargs or {}))


def _check_tail_as_convs(tail_as_convs: Any) -> str:
    # In float32, as a reader's own layers are.
    tail = ConvNeXtTail(6, layer_scale=0.5)
    with torch.no_grad():
        for seed, parameter in enumerate(tail.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=seed))
    theirs = copy.deepcopy(tail)
    image = noise(2, 6, 4, 5, seed=99).float()
    answer = call(tail_as_convs, theirs)
    if not isinstance(answer, nn.Module):
        raise Wrong(f"Expected an nn.Module; yours is a {type(answer).__name__}.")
    with torch.no_grad(), _Watch() as watch:
        output = answer(image.clone())
    require_tensor(output, tuple(image.shape), "Its output on an image")
    _require_two_convolutions(watch)
    if not same_parameters(theirs, tail):
        raise Wrong("You changed the tail: build your module from copies of its weights.")
    with torch.no_grad():
        if differ(output, tail(image), CLOSE_IN_FLOAT32):
            raise Wrong(_why_the_tail_differs(output, tail, image))
    return "The tail from two 1x1 convolutions and a GELU: ConvNeXt's code could be written so."


def _require_two_convolutions(watch: _Watch) -> None:
    if watch.linears:
        raise Wrong("An nn.Linear runs in it: the exercise asks for convolutions alone.")
    if len(watch.kernels) != 2:
        raise Wrong(f"Expected two nn.Conv2d to run, and {len(watch.kernels)} did.")
    for kernel in watch.kernels:
        if kernel != (1, 1):
            raise Wrong(f"One convolution has kernel size {kernel}, expected (1, 1).")


def _why_the_tail_differs(output: Tensor, tail: ConvNeXtTail, image: Tensor) -> str:
    """Try the usual slips, and name the one that gives what the reader got."""
    x = image.permute(0, 2, 3, 1)
    for sentence, slip in [*_slips_after_the_norm(tail, x), *_slips_in_the_norm(tail, x)]:
        if not differ(output, slip.permute(0, 3, 1, 2), CLOSE_IN_FLOAT32):
            return sentence
    return (
        "The outputs differ. Compare step by step: your normed image with "
        "tail.norm(image.permute(0, 2, 3, 1)), then each convolution with its Linear."
    )


def _slips_after_the_norm(tail: ConvNeXtTail, x: Tensor) -> list[tuple[str, Tensor]]:
    gelu, second, gamma = nn.functional.gelu, tail.pwconv2, tail.gamma
    hidden = tail.pwconv1(tail.norm(x))
    without_bias = second(gelu(hidden)) - second.bias
    return [
        (
            "Layer scale is missing: the result still has to be multiplied by tail.gamma, one "
            "factor for each output channel.",
            second(gelu(hidden)),
        ),
        (
            "There is no GELU between the two convolutions: without it they are one linear map.",
            gamma * second(hidden),
        ),
        (
            "Two things are missing: the GELU between the convolutions, and layer scale.",
            second(hidden),
        ),
        (
            "The bias of the second convolution is not scaled: gamma multiplies all that comes "
            "out, gamma * (W x + b).",
            gamma * without_bias + second.bias,
        ),
        (
            "This is the tanh approximation of GELU; the tail has the exact one.",
            gamma * second(gelu(hidden, approximate="tanh")),
        ),
        ("This is ReLU; the tail has GELU.", gamma * second(torch.relu(hidden))),
    ]


def _slips_in_the_norm(tail: ConvNeXtTail, x: Tensor) -> list[tuple[str, Tensor]]:
    def rest(normed: Tensor) -> Tensor:
        hidden = tail.pwconv1(normed * tail.norm.weight + tail.norm.bias)
        return tail.gamma * tail.pwconv2(nn.functional.gelu(hidden))

    eps = tail.norm.eps
    centred = x - x.mean(-1, keepdim=True)
    plain = nn.functional.layer_norm(x, x.shape[-1:], eps=eps)
    hidden = tail.pwconv1(plain)
    return [
        (
            "The norm is missing: tail.norm comes before the first convolution.",
            tail.gamma * tail.pwconv2(nn.functional.gelu(tail.pwconv1(x))),
        ),
        (
            "Your norm takes mean and variance over channels, height and width together. The tail "
            "norms the channels of each pixel by itself: over dim 1 alone.",
            rest(nn.functional.layer_norm(x, x.shape[1:], eps=eps)),
        ),
        (
            "Your variance divides by C - 1. LayerNorm divides by C: var(..., correction=0).",
            rest(centred / torch.sqrt(x.var(-1, keepdim=True) + eps)),
        ),
        (
            "The norm's own weight and bias are missing: tail.norm.weight and tail.norm.bias.",
            tail.gamma * tail.pwconv2(nn.functional.gelu(hidden)),
        ),
    ]


register(
    Exercise(
        id="01.4",
        goal="Write tail_as_convs(tail): an nn.Module that maps images (B, C, H, W) as the given "
        "ConvNeXtTail does, with two 1x1 nn.Conv2d and no nn.Linear. The tail has tail.norm, "
        "tail.pwconv1, a GELU, tail.pwconv2 and tail.gamma.",
        difficulty=3,
        minutes=15,
        hints=(
            "You have both tools for the second half: a way from Linear to convolution, and a way "
            "to fold a scale into a Linear. For the norm: over which axis does it take its mean "
            "when the channels stand in dim 1?",
            "Norm by hand: mean and variance over dim 1 with keepdim=True, eps under the root, "
            "then the norm's weight and bias as (C, 1, 1). Then pwconv1 as a convolution, GELU, "
            "and pwconv2 with gamma folded in as a convolution.",
            "class ChannelsFirstTail(nn.Module):\n"
            "    def __init__(self, tail):\n"
            "        super().__init__()\n"
            "        self.norm = tail.norm\n"
            "        self.expand = pointwise_from_linear(tail.pwconv1)\n"
            "        self.shrink = ...         # fold gamma in, then convert\n"
            "\n"
            "    def forward(self, image):\n"
            "        mean = image.mean(1, keepdim=True)\n"
            "        variance = image.var(1, keepdim=True, correction=0)\n"
            "        ...                       # norm, scale and shift: (C, 1, 1)\n"
            "        return self.shrink(F.gelu(self.expand(x)))",
        ),
        checker=_check_tail_as_convs,
    )
)
