"""The exercises of notebook 06: memory, share, collapse, and folding two Linears."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.blocks import ConvNeXtBlock, TransformerBlock
from helpers.collapse import spread
from helpers.exercises.answers import CLOSE, differ, false_statements, noise, require_tensor
from helpers.exercises.core import Exercise, Wrong, call, register


def _linear(inputs: int, outputs: int, seed: int, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(noise(outputs, inputs, seed=seed))
        if bias:
            linear.bias.copy_(noise(outputs, seed=seed + 1))
    return linear


# 06.1: the feed-forward as a lookup.


def _check_memory_of(memory_of: Any) -> str:
    first, second = _linear(3, 7, seed=1), _linear(7, 3, seed=3)
    given = call(memory_of, copy.deepcopy(first), copy.deepcopy(second))
    if not isinstance(given, tuple | list) or len(given) != 4:
        raise Wrong("Return four tensors: keys, key_bias, values, value_bias.")
    keys, key_bias, values, value_bias = given
    keys = require_tensor(keys, (7, 3), "keys, one row for each hidden unit,")
    key_bias = require_tensor(key_bias, (7,), "key_bias")
    values = require_tensor(values, (7, 3), "values, one row for each hidden unit,")
    value_bias = require_tensor(value_bias, (3,), "value_bias")
    x = noise(2, 5, 3, seed=9)
    looked_up = F.gelu(x @ keys.T + key_bias) @ values + value_bias
    expected = second(F.gelu(first(x)))
    if not differ(looked_up, expected):
        return "Key m is row m of the first weight, value m is column m of the second."
    if not torch.equal(keys, first.weight):
        raise Wrong("The keys are not the rows of the first weight, as PyTorch stores it.")
    if not torch.equal(values, second.weight.T):
        raise Wrong(
            "The shape of values is right, and the numbers are not where they belong: reshape and "
            "view move no axis. Value m is column m of the second weight."
        )
    raise Wrong("Keys and values are right; look at the biases. Each Linear has its own.")


register(
    Exercise(
        id="06.1",
        goal="Write memory_of(first, second): from the two Linears of a feed-forward, return "
        "keys (M, C), key_bias (M,), values (M, C) and value_bias (C,), so that "
        "gelu(x @ keys.T + key_bias) @ values + value_bias is the feed-forward's output.",
        difficulty=1,
        minutes=6,
        hints=(
            "PyTorch stores a Linear's weight as (out, in). Which of the two has M rows?",
            "Linear computes x @ weight.T + bias. Lay that beside x @ keys.T + key_bias, and then "
            "beside h @ values + value_bias: only one of the two needs a transpose.",
            "def memory_of(first, second):\n"
            "    return first.weight, first.bias, second.weight..., second.bias",
        ),
        checker=_check_memory_of,
    )
)


# 06.2: count the share.


def _check_share(share: Any) -> str:
    blocks = {
        "TransformerBlock(96, 3)": TransformerBlock(96, 3),
        "TransformerBlock(32, 4, expansion=2)": TransformerBlock(32, 4, expansion=2),
        "ConvNeXtBlock(96)": ConvNeXtBlock(96),
        "ConvNeXtBlock(16, kernel_size=3, layer_scale=None)": ConvNeXtBlock(
            16, kernel_size=3, layer_scale=None
        ),
    }
    for name, block in blocks.items():
        result = call(share, block)
        if isinstance(result, Tensor) and result.numel() == 1:
            result = result.item()
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise Wrong(f"The share should be a number; yours is a {type(result).__name__}.")
        if abs(result - _share(block, _WIDE)) > 1e-9:
            raise Wrong(f"{_why_the_share_is_wrong(result, block)} (Tried on {name}.)")
    return "All four blocks. In both kinds it is the two wide layers, under different names."


_WIDE = ("linear", "pwconv")


def _share(block: nn.Module, counted: tuple[str, ...], *, of: str = "") -> float:
    sizes = {name: p.numel() for name, p in block.named_parameters() if name.endswith(of)}
    return sum(n for name, n in sizes.items() if name.startswith(counted)) / sum(sizes.values())


def _why_the_share_is_wrong(result: float, block: nn.Module) -> str:
    right = _share(block, _WIDE)
    slips = {
        "You counted percent; give a fraction, between 0 and 1.": 100 * right,
        "You counted weights alone. The biases are parameters as well, in both counts.": _share(
            block, _WIDE, of="weight"
        ),
        "The norm in front of the feed-forward is counted with it. Count the two wide layers "
        "alone.": _share(block, (*_WIDE, "norm2" if hasattr(block, "norm2") else "norm")),
        "This is the share of all the rest: one minus it.": 1 - right,
        "This is the ratio to the rest of the block; divide by the whole block.": right
        / (1 - right),
        "One of the two layers is missing.": _share(block, ("linear1", "pwconv1")),
        "Nothing was counted: this block's wide layers have other names. Print "
        "dict(block.named_children()).": 0.0,
    }
    for sentence, slip in slips.items():
        if abs(result - slip) < 1e-9:
            return sentence
    return f"Expected {right:.4f}, and got {result:.4f}."


register(
    Exercise(
        id="06.2",
        goal="Write share_of_wide_layers(block): which fraction of a block's parameters lies in "
        "its two wide layers? They are linear1 and linear2 in a TransformerBlock, pwconv1 and "
        "pwconv2 in a ConvNeXtBlock. Biases count.",
        difficulty=1,
        minutes=6,
        hints=(
            "block.named_parameters() gives names and tensors. How do the names of the wide "
            "layers' parameters begin?",
            "Add up p.numel() over the parameters whose name starts with linear or pwconv, and "
            "divide by the sum over all.",
            "def share_of_wide_layers(block):\n"
            "    sizes = {name: p.numel() for name, p in block.named_parameters()}\n"
            '    wide = sum(n for name, n in sizes.items() if name.startswith(("linear", ...)))\n'
            "    return wide / ...",
        ),
        checker=_check_share,
    )
)


# 06.3: how far from equal.


def _check_spread(distance: Any) -> str:
    cases = [
        ("tokens with a large common part", noise(5, 3, seed=1) + 4),
        ("noise", noise(7, 3, seed=2)),
        ("the same noise times 100", 100 * noise(7, 3, seed=2)),
        ("tokens that are all equal", noise(1, 6).expand(4, 6)),
    ]
    for name, tokens in cases:
        result = call(distance, tokens.clone())
        if isinstance(result, int | float):
            result = torch.tensor(result, dtype=torch.float64)
        result = require_tensor(result, (), f"distance(tokens), for {name},").double()
        if abs(result - spread(tokens)) > CLOSE:
            raise Wrong(f"For {name} it is {_why_the_distance_is_wrong(result, tokens)}")
    return "0 for equal tokens, and the same for tokens a hundred times as large."


def _why_the_distance_is_wrong(result: Tensor, tokens: Tensor) -> str:
    mean = tokens.mean(0, keepdim=True)
    over_channels = tokens - tokens.mean(1, keepdim=True)
    slips = {
        "not relative: divide by the norm of the tokens, or it grows with their size.": (
            tokens - mean
        ).norm(),
        "measured from the mean over the channels. The mean token is the mean over axis 0.": (
            over_channels.norm() / tokens.norm()
        ),
        "measured from one number, the mean of all entries. The mean token has C entries.": (
            (tokens - tokens.mean()).norm() / tokens.norm()
        ),
        "the square of what is asked.": spread(tokens) ** 2,
        "divided by the norm of the mean; divide by that of the tokens.": (tokens - mean).norm()
        / mean.norm(),
    }
    for sentence, slip in slips.items():
        if abs(result - slip) < CLOSE:
            return sentence
    return f"{spread(tokens):.4f}, and yours gives {result:.4f}."


register(
    Exercise(
        id="06.3",
        goal="Write distance(tokens) for one X (N, C): the norm of X minus its mean token, divided "
        "by the norm of X.",
        difficulty=1,
        minutes=5,
        hints=(
            "Over which axis do you average to get one token out of N?",
            "tokens.mean(0, keepdim=True) is the mean token, (1, C). Subtract it from every row, "
            "and take .norm() of the difference and of the tokens.",
            "def distance(tokens):\n"
            "    apart = tokens - tokens.mean(..., keepdim=True)\n"
            "    return apart.norm() / ...",
        ),
        checker=_check_spread,
    )
)


# 06.4: two Linears in one.


def _check_fold(fold: Any) -> str:
    for has_first, has_second in ((True, True), (False, True), (True, False), (False, False)):
        first, second = _linear(3, 8, 1, has_first), _linear(8, 2, 5, has_second)
        theirs = copy.deepcopy(first), copy.deepcopy(second)
        one = call(fold, *theirs)
        if not isinstance(one, nn.Linear):
            raise Wrong(f"Expected an nn.Linear; yours is a {type(one).__name__}.")
        if one.weight.shape != (2, 3):
            raise Wrong(
                f"Its weight has shape {tuple(one.weight.shape)}; from 3 channels to 2 it is "
                "(2, 3), as PyTorch stores it."
            )
        if one.weight.dtype != torch.float64:
            raise Wrong("The Linears are in float64; build yours with dtype=first.weight.dtype.")
        for mine, their in zip((first, second), theirs, strict=True):
            if not torch.equal(mine.weight, their.weight):
                raise Wrong("You changed one of the Linears: build a new one.")
        x = noise(5, 3, seed=9)
        if differ(one(x), second(first(x))):
            raise Wrong(_why_the_fold_is_wrong(one, first, second))
    return "Eight hidden channels, and nothing that 2 x 3 weights could not do."


def _why_the_fold_is_wrong(one: nn.Linear, first: nn.Linear, second: nn.Linear) -> str:
    if differ(one.weight, second.weight @ first.weight):
        return "The weight should be the product of the two, the second's on the left."
    which = "the first Linear has a bias" if first.bias is not None else "the first has no bias"
    own = "the second has one" if second.bias is not None else "the second has none"
    return (
        f"The weight is right, the bias is not (here {which}, {own}). The first bias goes through "
        "the second weight; then the second bias is added."
    )


register(
    Exercise(
        id="06.4",
        goal="Write fold(first, second): one nn.Linear that computes second(first(x)). Either may "
        "lack a bias.",
        difficulty=2,
        minutes=10,
        hints=(
            "Write W2 (W1 x + b1) + b2 without the brackets.",
            "The weight is W2 W1. The bias is W2 b1 + b2: what comes out for x = 0. So send a zero "
            "through both.",
            "def fold(first, second):\n"
            "    inputs, outputs = first.in_features, second.out_features\n"
            "    one = nn.Linear(inputs, outputs, dtype=first.weight.dtype)\n"
            "    with torch.no_grad():\n"
            "        one.weight.copy_(second.weight @ ...)\n"
            "        one.bias.copy_(second(first(torch.zeros(...))))\n"
            "    return one",
        ),
        checker=_check_fold,
    )
)


# 06.5: find the errors.

#: Which of the statements a to e are false, and what the cell that settles it would show.
FALSE_STATEMENTS = {
    "b": "Statement b is false: GELU's outputs may be negative and sum to anything.",
    "d": "Statement d is false: put the feed-forward where the skip is, and after four layers the "
    "tokens are equal to rounding.",
}
TRUE_STATEMENTS = {
    "a": "Statement a is true: the keys and values are parameters, and the same for every input.",
    "c": "Statement c is true: two Linears are one, and its rank is at most C.",
    "e": "Statement e is true: 12 C² and 8 C² to leading order, whatever the number of heads.",
}


def _check_find_the_errors(false_ones: Any) -> str:
    more = "What you named is false, but there is more. Test each in a cell."
    false_statements(false_ones, FALSE_STATEMENTS, TRUE_STATEMENTS, more)
    return "b and d. The scores are not normalised, and the skip is what delays the collapse most."


register(
    Exercise(
        id="06.5",
        goal="Find the errors: name the false statements among a to e, as a set of letters.",
        difficulty=2,
        minutes=6,
        hints=(
            "Two of them carry over to the feed-forward what holds for another part of the block.",
            "For b, print the row sums of gelu(linear1(x)). For d, set skip to no and feed-forward "
            "to yes in the explorer.",
            "block = TransformerBlock(64, 4)\n"
            "scores = block.activation(block.linear1(torch.randn(5, 64)))\n"
            "print(scores.sum(-1), scores.min())",
        ),
        checker=_check_find_the_errors,
    )
)
