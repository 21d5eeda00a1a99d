"""The exercises of notebook 01: tokens, 1x1 convolution, feed-forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from helpers.blocks import ConvNeXtTail
from helpers.equivalence import OnPixels, normwise_difference
from helpers.exercises.core import Exercise, NotAttempted, Wrong, call, register

#: Rounding in float64 stays far below this; a mistake stays far above it.
CLOSE = 1e-9


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _require_tensor(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise Wrong(f"{what} should be a tensor; yours is a {type(value).__name__}.")
    if tuple(value.shape) != shape:
        raise Wrong(f"{what} should have shape {shape}; yours has {tuple(value.shape)}.")
    return value


def _differ(left: Tensor, right: Tensor) -> bool:
    return normwise_difference(left.detach(), right.detach()) > CLOSE


# 01.1: an image as tokens.


def _check_to_tokens(to_tokens: Any) -> str:
    # Height, width and channels all differ, so that no two orders share a shape by accident.
    image = _noise(2, 3, 4, 5)
    tokens = _require_tensor(call(to_tokens, image), (2, 20, 3), "to_tokens(image)")
    expected = image.flatten(2).transpose(1, 2)
    if torch.equal(tokens, expected):
        _check_one_pixel(to_tokens)
        return (
            "Row n holds the channels of pixel n, row by row: tokens[b, i * W + j] is pixel i, j."
        )
    if torch.equal(tokens, image.reshape(2, 20, 3)):
        raise Wrong(
            "The numbers were cut into rows of 3 as they lie in memory: one of your rows holds "
            "3 pixels of one channel, not 3 channels of one pixel. view and reshape never move "
            "an axis; permute or transpose does."
        )
    if torch.equal(tokens, image.permute(0, 3, 2, 1).reshape(2, 20, 3)):
        raise Wrong(
            "The pixels come column by column. The book's order is row by row: the last spatial "
            "axis, the width, changes fastest."
        )
    raise Wrong("The shape is right, but the numbers are not where they belong.")


def _check_one_pixel(to_tokens: Any) -> None:
    _require_tensor(call(to_tokens, _noise(1, 1, 1, 1)), (1, 1, 1), "for a 1 x 1 image, the result")


register(
    Exercise(
        id="01.1",
        goal="Write to_tokens(image): from an image (B, C, H, W) to its tokens (B, H*W, C), "
        "one row for each pixel, the pixels in reading order.",
        difficulty=1,
        minutes=5,
        hints=(
            "A token is a pixel with all its channels. In (B, C, H, W), do the channels of one "
            "pixel lie side by side?",
            "Two moves: make one axis of the two spatial axes, then bring the channel axis to the "
            "end. Only the second needs an axis to change its place.",
            "def to_tokens(image):\n"
            "    flat = image.flatten(2)       # (B, C, H*W)\n"
            "    return flat.transpose(...)    # which two axes?",
        ),
        checker=_check_to_tokens,
    )
)


# 01.2: a Linear as a convolution.


def _check_pointwise_from(pointwise_from: Any) -> str:
    for bias in (True, False):
        linear = nn.Linear(3, 5, bias=bias).double()
        conv = call(pointwise_from, linear)
        _require_pointwise(conv, bias)
        image = _noise(2, 3, 4, 6)
        expected = OnPixels(linear)(image)
        output = _require_tensor(conv(image), tuple(expected.shape), "Its output on an image")
        if _differ(output, expected):
            raise Wrong(_why_the_copy_is_wrong(conv, linear))
    return (
        "The same numbers, with two axes of length 1 added: (C_out, C_in) to (C_out, C_in, 1, 1)."
    )


def _require_pointwise(conv: Any, bias: bool) -> None:
    if not isinstance(conv, nn.Conv2d):
        raise Wrong(f"Expected an nn.Conv2d; yours is a {type(conv).__name__}.")
    if conv.kernel_size != (1, 1):
        raise Wrong(f"Its kernel size is {conv.kernel_size}; a Linear sees one pixel: (1, 1).")
    if (conv.in_channels, conv.out_channels) != (3, 5):
        raise Wrong(
            f"It maps {conv.in_channels} channels to {conv.out_channels}; the Linear maps "
            "in_features = 3 to out_features = 5."
        )
    if (conv.bias is not None) != bias:
        raise Wrong(
            "The Linear has a bias and the convolution has none."
            if bias
            else "The Linear has no bias, yet the convolution has one: pass bias=False."
        )
    if conv.weight.shape != (5, 3, 1, 1):
        raise Wrong(
            f"Its weight has shape {tuple(conv.weight.shape)}; a 1x1 convolution's is "
            "(C_out, C_in, 1, 1), here (5, 3, 1, 1)."
        )
    for name, parameter in conv.named_parameters():
        if parameter.dtype != torch.float64:
            raise Wrong(
                f"The Linear is in float64 and the convolution's {name} in float32. "
                "Build the convolution with dtype=linear.weight.dtype."
            )


def _why_the_copy_is_wrong(conv: nn.Conv2d, linear: nn.Linear) -> str:
    if _differ(conv.weight.flatten(1), linear.weight):
        return "The weights are not the Linear's. Did you copy them into conv.weight?"
    if linear.bias is not None and _differ(conv.bias, linear.bias):
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
    "a": "Statement a is true: (C_out, C_in, 1) and (C_out, C_in) hold the same numbers.",
    "c": "Statement c is true: Conv1d wants (B, C, L) and Linear (B, L, C), so one of them needs a "
    "transpose.",
}


def _check_find_the_errors(false_ones: Any) -> str:
    if not isinstance(false_ones, set | frozenset | list | tuple | str):
        raise Wrong('Give the letters as a set, for example {"a", "c"}.')
    letters = {str(letter).strip().lower() for letter in false_ones}
    unknown = letters - set("abcd")
    if unknown:
        raise Wrong(f"There is no statement {', '.join(sorted(unknown))}; they are a to d.")
    if not letters:
        raise NotAttempted
    accused = [TRUE_STATEMENTS[letter] for letter in sorted(letters & set(TRUE_STATEMENTS))]
    if accused:
        raise Wrong(" ".join(accused))
    missed = set(FALSE_STATEMENTS) - letters
    if missed:
        raise Wrong(
            "What you named is false, but there is more. Test each statement in a cell: count "
            "parameters, or change one token and see what moves."
        )
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


def _check_tail_as_convs(tail_as_convs: Any) -> str:
    tail = ConvNeXtTail(6, layer_scale=0.5).double()
    with torch.no_grad():
        for seed, parameter in enumerate(tail.parameters()):
            parameter.copy_(_noise(*parameter.shape, seed=seed))
    image = _noise(2, 6, 4, 5, seed=99)
    answer = call(tail_as_convs, tail)
    if not callable(answer):
        raise Wrong(f"Expected an nn.Module; yours is a {type(answer).__name__}.")
    if isinstance(answer, nn.Module):
        _require_convolutions(answer)
    with torch.no_grad():
        output = _require_tensor(answer(image), tuple(image.shape), "Its output on an image")
        if _differ(output, tail(image)):
            raise Wrong(_why_the_tail_differs(output, tail, image))
    return "The tail without a Linear and without a permute: two 1x1 convolutions and a GELU."


def _require_convolutions(module: nn.Module) -> None:
    kinds = [type(part).__name__ for part in module.modules()]
    if "Linear" in kinds:
        raise Wrong("There is still an nn.Linear in it: the exercise asks for convolutions alone.")
    if kinds.count("Conv2d") != 2:
        raise Wrong(f"Expected two nn.Conv2d, found {kinds.count('Conv2d')}.")


def _why_the_tail_differs(output: Tensor, tail: ConvNeXtTail, image: Tensor) -> str:
    """Try the usual slips, and name the one that gives what the reader got."""
    x = image.permute(0, 2, 3, 1)
    for sentence, slip in [*_slips_after_the_norm(tail, x), *_slips_in_the_norm(tail, x)]:
        if not _differ(output, slip.permute(0, 3, 1, 2)):
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
        "ConvNeXtTail does, channels first throughout. No nn.Linear: two 1x1 nn.Conv2d. The "
        "tail has tail.norm, tail.pwconv1, a GELU, tail.pwconv2 and tail.gamma.",
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
