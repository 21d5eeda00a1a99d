"""The exercises of notebook 07: typical wrong answers, and what each is told."""

from __future__ import annotations

import math
from typing import Any

from helpers.budget import PRESETS, convnext, convnext_block, transformer_block
from helpers.exercises import Status, check


def _block(c: int, k: int, e: int, **slip: int) -> int:
    """Count the right answer to 07.1, with slips where asked."""
    filters = slip.get("filters", k**2 * c)
    biases = slip.get("biases", c + e * c + c)
    linears = slip.get("linears", 2 * e * c**2)
    return filters + linears + biases + slip.get("norm", 2 * c) + slip.get("scale", c)


def _depth(n: int, c: int, e: int) -> int:
    ours = convnext_block(c, expansion=e).parameters
    return round(n * transformer_block(c, expansion=e).parameters / ours)


def _side(c: int, patch: int, times: int = 6) -> int:
    return math.ceil(math.sqrt(times * c)) * patch


def _width(k: int, gap: Any = abs, widths: Any = range(60, 100), **options: int) -> int:
    target = PRESETS["Swin-T"].published
    settings = {"kernel_size": k, **options}
    return min(
        widths,
        key=lambda w: gap(
            convnext(dims=[w * 2**i for i in range(4)], **settings).parameters - target
        ),
    )


WRONG = {
    "07.1": [
        (lambda c, k, e: _block(c, k, e, biases=0), "All biases are missing"),
        (lambda c, k, e: _block(c, k, e, scale=0), r"or layer scale: either has C numbers"),
        (lambda c, k, e: _block(c, k, e, norm=0), "or the LayerNorm, are missing"),
        (lambda c, k, e: _block(c, k, e, filters=k**2 * c**2), "one filter for each channel"),
        (lambda c, k, e: _block(c, k, e, filters=k * c), "k x k weights for each channel"),
        (lambda c, k, e: _block(c, k, e, linears=e * c**2) - c, "Only the first Linear"),
        (lambda c, k, e: 8 * c**2 + (k**2 + 9) * c, "for an expansion of 4 only"),
        (lambda c, k, e: 8 * c**2 + 58 * c, "for a 7 x 7 kernel only"),
        (lambda c, k, e: 12 * c**2 + 13 * c, "Go through the parts"),
        (lambda c, k, e: _block(c, k, e) + 2 * c, r"The difference is \+2 C"),
        (lambda c, k, e: _block(c, k, e) - c**2, r"The difference is -1 C²"),
        (lambda c, k, e: "many", "should be a whole number; yours is 'many'"),
        (lambda c, k, e: 0.5, "should be a whole number; yours is 0.5"),
        (convnext_block, "the book's own helper"),
    ],
    "07.2": [
        (lambda n, c, e: 3 * n // 2, "Three for two holds for an expansion of 4"),
        (lambda n, c, e: n, "as many blocks, and fewer parameters"),
        (lambda n, c, e: round(n * 8 / 12), "wrong way round"),
        (lambda n, c, e: round(n * n / _depth(n, c, e)), "the wrong way round"),
        (lambda n, c, e: round(n * (4 + 2 * e) / (2 * e)), "the ratio of the C² alone"),
        (lambda n, c, e: 99, "Compare the whole parameter counts"),
        (lambda n, c, e: n * 1.55, "should be a whole number"),
    ],
    "07.3": [
        (lambda c, p: _side(c, p) // p, "a number of patches along a side"),
        (lambda c, p: _side(c, p, 2), "as much as the four projections, N = 2 C"),
        (lambda c, p: _side(c, p, 4), "as much as the feed-forward alone"),
        (lambda c, p: _side(c, p, 12), "one product counts as both"),
        (lambda c, p: (math.isqrt(6 * c) + 1) * p, "One step too far"),
        (lambda c, p: 6 * c, "That is N, the number of tokens"),
        (lambda c, p: p * math.sqrt(6 * c), "should be a whole number"),
        (lambda c, p: _side(c, p) - 1, "should be a multiple of 16"),
        (lambda c, p: 1024, "There the products take 47.1%"),
        (lambda c, p: 0, "no image"),
    ],
    "07.4": [
        ({"a", "b"}, "Statement b is true"),
        ({"a"}, "there is more"),
        ("ce", "Statement e is true"),
        ({"f"}, "no statement f"),
        (3, "as a set"),
    ],
    "07.5": [
        (lambda k: 96, "1.1 % above Swin-T"),
        (lambda k: _width(7), "pass kernel_size on"),
        (lambda k: 8 * _width(k), "the width of the last stage"),
        (
            lambda k: _width(k, lambda d: -d if d <= 0 else 10**12),
            "the widest net that is no larger",
        ),
        (lambda k: _width(k) + 1, "one off|1.1 % above"),
        (lambda k: _width(k) + (k != 7), "one off"),
        (lambda k: _width(k, widths=range(60, 100, 10)), r"That net has \d\.\d+ times"),
        (lambda k: 0, "no width for a net of this size"),
    ],
}

RIGHT = {
    "07.1": [_block, lambda c, k, e: float(_block(c, k, e))],
    "07.2": [_depth],
    "07.3": [_side],
    "07.4": [{"a", "c", "d"}, "acd", "a, c and d", ["(A)", "C.", "d"]],
    "07.5": [_width],
}


def test_no_letter_is_no_attempt() -> None:
    assert check("07.4", set()).status is Status.NOT_ATTEMPTED
