"""The exercises of notebook 06: memory, share, relative distance, and folding Linears."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


# 06.1: a memory by hand.

_TRUTH = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
_GATES = {
    "and: it fires where both are 1": (0, 0, 0, 1),
    "or: it fires where both are 1 as well": (0, 1, 1, 1),
    "the opposite: it fires where both are equal": (1, 0, 0, 1),
    "'first and not second' alone; the other unit is missing": (0, 0, 1, 0),
    "'second and not first' alone; the other unit is missing": (0, 1, 0, 0),
}


def _check_odd_one(memory: Any) -> str:
    given = call(memory)
    if not isinstance(given, tuple | list) or len(given) != 3:
        raise Wrong("Return three tensors: keys (M, 2), bias (M,), values (M, 1).")
    if not all(isinstance(tensor, Tensor) for tensor in given) or given[0].ndim != 2:
        raise Wrong("keys, bias and values should be tensors; keys has a row for each unit.")
    units = len(given[0])
    names = ("keys, one row for each unit,", "bias", "values, one row for each unit,")
    shapes = ((units, 2), (units,), (units, 1))
    keys, bias, values = (
        require_tensor(tensor, shape, name).double()
        for tensor, shape, name in zip(given, shapes, names, strict=True)
    )
    added = (F.gelu(_TRUTH @ keys.T + bias) @ values)[:, 0]
    if not _near(added, (0, 1, 1, 0)):
        raise Wrong(_why_it_is_not_odd(added))
    count = "one unit" if units == 1 else f"{units} units"
    return f"1 where exactly one channel is 1, with {count}. No Linear can do that."


def _near(added: Tensor, wanted: tuple[int, ...]) -> bool:
    return bool((added - torch.tensor(wanted)).abs().max() < 0.01)


def _why_it_is_not_odd(added: Tensor) -> str:
    for name, wanted in _GATES.items():
        if _near(added, wanted):
            return f"That is {name}."
    rows = ", ".join(
        f"{tuple(int(x) for x in token)} gives {value:.2f}"
        for token, value in zip(_TRUTH, added.tolist(), strict=True)
    )
    return f"Wanted 0, 1, 1, 0 to within 0.01; {rows}."


register(
    Exercise(
        id="06.1",
        goal="By hand: a token has two channels, each 0 or 1. Write memory(), which returns keys "
        "(M, 2), bias (M,) and values (M, 1), so that gelu(x @ keys.T + bias) @ values is 1 where "
        "exactly one of the two is 1, and 0 where none or both are (to within 0.01). M is up to "
        "you.",
        difficulty=2,
        minutes=10,
        hints=(
            "In words: first and not second, or second and not first. Key 2 of the page's memory "
            "is one of the two.",
            "A score of 5 where a key is to fire, and of -5 or less elsewhere, leaves GELU with 5 "
            "and with next to 0. The value turns 5 into 1.",
            "def memory():\n"
            "    keys = torch.tensor([[10.0, -10.0], [..., ...]])\n"
            "    bias = torch.tensor([-5.0, ...])\n"
            "    values = torch.tensor([[0.2], [...]])\n"
            "    return keys, bias, values",
        ),
        checker=_check_odd_one,
    )
)


# 06.2: which expansion has which share.


def _check_expansion(expansion_for: Any) -> str:
    for share in (1 / 2, 2 / 3, 0.8, 1 / 3):
        result = call(expansion_for, share)
        if isinstance(result, Tensor) and result.numel() == 1:
            result = result.item()
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise Wrong(f"The expansion should be a number; yours is a {type(result).__name__}.")
        right = 2 * share / (1 - share)
        if abs(result - right) > 1e-9 * right:
            raise Wrong(_why_the_expansion_is_wrong(result, share, right))
    return "Half takes 2, two thirds take 4, four fifths take 8."


def _why_the_expansion_is_wrong(result: float, share: float, right: float) -> str:
    slips = {
        "The feed-forward has two matrices: C to E C, and E C to C.": 2 * right,
        "Attention has four matrices of C x C: queries, keys, values and the output.": right / 2,
        "This is for the share of attention.": 2 * (1 - share) / share,
        "This is the share that an expansion of that size has: turn it round.": share / (2 + share),
    }
    for sentence, slip in slips.items():
        if abs(result - slip) < 1e-9:
            return f"{sentence} (Tried with a share of {share:.3g}.)"
    held = 2 * result / (2 * result + 4) if result > 0 else 0.0
    return (
        f"With an expansion of {result:.3g} the feed-forward holds {held:.1%} of the weights; "
        f"{share:.1%} was asked."
    )


register(
    Exercise(
        id="06.2",
        goal="Write expansion_for(share): how many times wider than C must the middle of the "
        "feed-forward be, so that it holds this share of the weights of a Transformer block? "
        "Count the matrices of attention and of the feed-forward, no biases and no norms. 2/3 "
        "gives 4.",
        difficulty=2,
        minutes=8,
        hints=(
            "Attention has 4 C^2 weights, whatever the expansion E. How many has the feed-forward?",
            "share = 2E / (2E + 4). Solve for E.",
            "def expansion_for(share):\n    return 2 * share / ...",
        ),
        checker=_check_expansion,
    )
)


# 06.3: closer without moving.


def _check_closer(closer: Any) -> str:
    cases = [
        ("noise", noise(7, 3, seed=2), 0.5),
        ("tokens with a large common part", noise(5, 3, seed=1) + 4, 0.1),
        ("the same tokens", noise(5, 3, seed=1) + 4, 0.9),
        ("a hundred times the noise", 100 * noise(7, 3, seed=2), 0.01),
    ]
    for name, tokens, distance in cases:
        result = call(closer, tokens.clone(), distance)
        result = require_tensor(result, tuple(tokens.shape), f"closer(tokens, {distance})")
        result = result.double()
        before, after = tokens - tokens.mean(0), result - result.mean(0)
        if differ(after, before):
            raise Wrong(
                f"For {name} the differences between the tokens changed: their length was "
                f"{before.norm():.3g} and is {after.norm():.3g}. Add one vector to all of them."
            )
        if abs(spread(result) - distance) > CLOSE:
            raise Wrong(f"For {name}, {_why_it_is_not_that_close(result, distance)}")
    return (
        "As close as one likes, and no difference has moved. With a skip, that is what happens "
        "layer by layer."
    )


def _why_it_is_not_that_close(result: Tensor, distance: float) -> str:
    tokens, mean = len(result), result.mean(0)
    apart = (result - mean).norm()
    slips = {
        "the mean token is as long as the whole common part should be: N equal tokens of length m "
        "have a norm of sqrt(N) m.": apart * (1 / distance**2 - 1) ** 0.5,
        "the common part is as long as X should be. By Pythagoras, the norm of X squared is that "
        "of the differences squared plus that of the common part squared.": apart
        / distance
        / tokens**0.5,
    }
    for sentence, slip in slips.items():
        if abs(mean.norm() - slip) < CLOSE * slip:
            return sentence
    return (
        f"the relative distance is {spread(result):.4f}, and {distance} was asked. Have the tokens "
        "a mean of their own, before you add one?"
    )


register(
    Exercise(
        id="06.3",
        goal="Write closer(tokens, distance): for X (N, C), move all tokens by one and the same "
        "vector, so that their relative distance becomes the one that is asked. No difference "
        "between two tokens may change.",
        difficulty=2,
        minutes=12,
        hints=(
            "Take the mean token away first; then only the differences are left. How long must "
            "the common part be?",
            "With a for the norm of the differences and m for the norm of the common part, the "
            "distance is a / sqrt(a^2 + m^2). So m = a sqrt(1 / distance^2 - 1), and it is spread "
            "over N tokens of C channels: any direction will do.",
            "def closer(tokens, distance):\n"
            "    apart = tokens - tokens.mean(0)\n"
            "    common = apart.norm() * (1 / distance**2 - 1) ** 0.5\n"
            "    return apart + common / ...",
        ),
        checker=_check_closer,
    )
)


# 06.4: any number of Linears in one.


def _check_fold(fold: Any) -> str:
    for biases in ((True, True), (False, True, False), (False, False), (True, False, True, True)):
        sizes = (3, *(8, 5, 6)[: len(biases) - 1], 2)
        linears = [
            _linear(sizes[i], sizes[i + 1], seed=1 + 2 * i, bias=bias)
            for i, bias in enumerate(biases)
        ]
        theirs = copy.deepcopy(linears)
        one = call(fold, theirs)
        _require_one_linear(one, len(linears))
        if len(theirs) != len(linears) or any(
            not torch.equal(mine.weight, their.weight)
            for mine, their in zip(linears, theirs, strict=True)
        ):
            raise Wrong("You changed the list or one of its Linears: build a new one.")
        x, expected = noise(5, 3, seed=9), nn.Sequential(*linears)(noise(5, 3, seed=9))
        # Not one(x): a class of one's own may do anything there.
        if differ(F.linear(x, one.weight, one.bias), expected):
            raise Wrong(_why_the_fold_is_wrong(one, linears))
    return "Two, three or four Linears, and nothing that 2 x 3 weights and a bias could not do."


def _require_one_linear(one: Any, count: int) -> None:
    if not isinstance(one, nn.Linear):
        raise Wrong(f"Expected an nn.Linear; yours is a {type(one).__name__}.")
    if one.weight.shape != (2, 3):
        raise Wrong(
            f"For {count} Linears, from 3 channels to 2, its weight has shape "
            f"{tuple(one.weight.shape)}; it should be (2, 3), as PyTorch stores it."
        )
    if one.weight.dtype != torch.float64:
        raise Wrong("The Linears are in float64; build yours with dtype=linears[0].weight.dtype.")


def _why_the_fold_is_wrong(one: nn.Linear, linears: list[nn.Linear]) -> str:
    product = linears[0].weight
    for linear in linears[1:]:
        product = linear.weight @ product
    if differ(one.weight, product):
        return "The weight should be the product of all, the last one's on the left."
    which = ", ".join("a bias" if linear.bias is not None else "none" for linear in linears)
    return (
        f"The weight is right, the bias is not (here the Linears have, in order: {which}). Each "
        "bias goes through the weights that follow it."
    )


register(
    Exercise(
        id="06.4",
        goal="Write fold(linears): one nn.Linear that computes what a list of two or more computes "
        "one after the other. Any of them may lack a bias. They are in float64, and yours is to "
        "be as well.",
        difficulty=2,
        minutes=10,
        hints=(
            "Two at a time: W2 (W1 x + b1) + b2 without the brackets. The third takes what comes "
            "out of the second.",
            "The weight is the product, the last Linear's on the left. The bias is what comes out "
            "for x = 0. So send a zero through all of them.",
            "def fold(linears):\n"
            "    weight = linears[0].weight\n"
            "    for linear in linears[1:]:\n"
            "        weight = linear.weight @ ...\n"
            "    zero = torch.zeros(weight.shape[1], dtype=weight.dtype)\n"
            "    one = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)\n"
            "    with torch.no_grad():\n"
            "        one.weight.copy_(weight)\n"
            "        one.bias.copy_(nn.Sequential(*linears)(...))\n"
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
    "c": "Statement c is true: two Linears without a bend are one, of rank at most C.",
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
            "weights = block.activation(block.linear1(torch.randn(5, 64)))\n"
            "print(weights.sum(-1), weights.min())",
        ),
        checker=_check_find_the_errors,
    )
)
