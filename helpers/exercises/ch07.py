"""The exercises of notebook 07: count a block, match a budget, find where N² takes over."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from helpers.budget import PRESETS, convnext, convnext_block, transformer_block
from helpers.exercises.answers import false_statements
from helpers.exercises.core import Exercise, Wrong, call, register


def _whole(value: Any, what: str) -> int:
    """Take a whole number, whatever its type, and say so where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Wrong(f"{what} should be a whole number; yours is {value!r}.") from None
    if number != round(number):
        raise Wrong(f"{what} should be a whole number; yours is {value}.")
    return round(number)


def _say_slip(got: int, slips: dict[str, int]) -> str | None:
    """Give the sentence of the usual slip that comes to this number, if one does."""
    return next((sentence for sentence, number in slips.items() if number == got), None)


# 07.1: count a ConvNeXt block.


def _check_block_parameters(block_parameters: Any) -> str:
    if block_parameters is convnext_block:
        raise Wrong("That is the book's own helper. Add the parts up yourself.")
    for c, k, e in ((96, 7, 4), (96, 31, 4), (64, 5, 2), (10, 3, 1), (384, 7, 4)):
        result = call(block_parameters, c, k, e)
        got = _whole(result, f"block_parameters({c}, {k}, {e})")
        right = convnext_block(c, kernel_size=k, expansion=e).parameters
        if got == right:
            continue
        where = f"For C = {c}, k = {k} and expansion {e} your count is {got:,}, not {right:,}. "
        raise Wrong(
            where + (_say_slip(got, _block_slips(c, k, e, right)) or _how_far(got - right, c))
        )
    return "2 e C² + (k² + e + 5) C: with e = 4 the 8 C² + (k² + 9) C of the page."


def _block_slips(c: int, k: int, e: int, right: int) -> dict[str, int]:
    biases = (e + 2) * c
    return {
        "All biases are missing: C for the depthwise convolution, e C and C for the two Linear "
        "layers.": right - biases,
        "The bias of the depthwise convolution is missing, or layer scale: either has C numbers.": (
            right - c
        ),
        "Layer scale and one bias of C, or the LayerNorm, are missing: 2 C in all.": right - 2 * c,
        "The depthwise convolution has one filter for each channel: k² C weights, not k² C².": (
            right - k**2 * c + k**2 * c**2
        ),
        "The filter has k x k weights for each channel, not k.": right - k**2 * c + k * c,
        "Only the first Linear is counted: there is one from C to e C, and one back.": (
            right - e * c**2 - c
        ),
        "This is right for an expansion of 4 only: the hidden layer has expansion * C channels.": (
            8 * c**2 + (k**2 + 9) * c
        ),
        "This is right for a 7 x 7 kernel only.": right - k**2 * c + 49 * c,
    }


def _how_far(difference: int, c: int) -> str:
    squares, rest = divmod(difference, c**2)
    if difference % c == 0 and abs(difference) < c**2:
        return f"The difference is {difference // c:+d} C: look at biases, norm and layer scale."
    if rest == 0:
        return f"The difference is {squares:+d} C²: look at the two Linear layers."
    return "Go through the parts: filter, its bias, norm, two Linear layers with bias, layer scale."


register(
    Exercise(
        id="07.1",
        goal="Write block_parameters(channels, kernel_size, expansion): the parameters of a "
        "ConvNeXt block with any odd kernel and any expansion, biases and layer scale included.",
        difficulty=1,
        minutes=8,
        hints=(
            "List the parts of the block. Which of them knows the kernel size, and which the "
            "expansion?",
            "Depthwise convolution: k² weights and a bias for each channel. LayerNorm: two numbers "
            "for each channel. Linear C to eC and back, each with its bias. Layer scale: one "
            "number for each channel.",
            "def block_parameters(channels, kernel_size, expansion):\n"
            "    hidden = expansion * channels\n"
            "    depthwise = kernel_size**2 * channels + ...\n"
            "    expand = channels * hidden + ...\n"
            "    ...",
        ),
        checker=_check_block_parameters,
    )
)


# 07.2: how many ConvNeXt blocks for some Transformer blocks.


def _nearest_depth(blocks: int, c: int, e: int) -> int:
    ours = convnext_block(c, expansion=e).parameters
    return round(blocks * transformer_block(c, expansion=e).parameters / ours)


def _check_matching_depth(matching_depth: Any) -> str:
    cases = ((2, 96, 4), (12, 768, 4), (12, 768, 2), (12, 384, 8), (12, 768, 1), (12, 96, 2))
    for n, c, e in cases:
        result = call(matching_depth, n, c, e)
        got = _whole(result, f"matching_depth({n}, {c}, {e})")
        right = _nearest_depth(n, c, e)
        if got == right:
            continue
        where = f"For {n} Transformer blocks, C = {c} and expansion {e}, you give {got}. "
        slips = {
            "Three for two holds for an expansion of 4. With another expansion the feed-forward "
            "has 2 e C² in both blocks, and the projections still 4 C².": round(1.5 * n),
            "That is as many blocks, and fewer parameters: a ConvNeXt block has no projections.": n,
            "That is the ratio the wrong way round: a ConvNeXt block is the smaller one, so there "
            "must be more of them.": round(n * n / right),
            "(4 + 2 e) / (2 e) is the ratio of the C² alone. At this width the terms in C change "
            "the answer: use the whole counts.": round(n * (4 + 2 * e) / (2 * e)),
        }
        raise Wrong(where + (_say_slip(got, slips) or "Compare the whole parameter counts."))
    return (
        "Three for two is a fact about an expansion of 4. In general e + 2 blocks match e, nearly."
    )


register(
    Exercise(
        id="07.2",
        goal="Write matching_depth(blocks, channels, expansion): how many ConvNeXt blocks (7x7) "
        "come nearest in parameters to that many Transformer blocks, if all have the given width "
        "and expansion.",
        difficulty=2,
        minutes=10,
        hints=(
            "Is it three for two with an expansion of 2? What do four projections weigh then, "
            "beside the feed-forward?",
            "Count one block of each kind with convnext_block and transformer_block, which both "
            "take expansion=. Divide, multiply by the number of blocks, round.",
            "ours = convnext_block(channels, expansion=expansion).parameters\n"
            "theirs = ...\n"
            "return round(blocks * ...)",
        ),
        checker=_check_matching_depth,
    )
)


# 07.3: where the products of attention are half of a block.


def _first_side(c: int, patch: int, times: int) -> int:
    """Give the smallest side, in whole patches, with at least `times` C tokens."""
    return next(n for n in range(1, 10_000) if n * n >= times * c) * patch


def _check_half_is_products(half_is_products: Any) -> str:
    for c, patch in ((768, 16), (384, 16), (96, 4), (1024, 14), (150, 8)):
        result = call(half_is_products, c, patch)
        got = _whole(result, f"half_is_products({c}, {patch})")
        right = _first_side(c, patch, 6)
        if got == right:
            continue
        where = f"For C = {c} and patches of {patch} you give {got}. "
        slips = {
            "That is a number of patches along a side; the image has patch times as many pixels.": (
                right // patch
            ),
            "There the products cost as much as the four projections, N = 2 C. The block has the "
            "feed-forward as well.": _first_side(c, patch, 2),
            "There the products cost as much as the feed-forward alone, N = 4 C. The block has the "
            "projections as well.": _first_side(c, patch, 4),
            "There one product counts as both: q kᵀ takes C N² multiply-adds, and so does A v.": (
                _first_side(c, patch, 12)
            ),
            "One step too far: at least half is asked for, and it is reached one patch before.": (
                right + patch
            ),
            "That is N, the number of tokens. The side of the image is asked for.": 6 * c,
        }
        slip = _say_slip(got, slips)
        if not slip and got % patch:
            slip = f"The side should be a multiple of {patch}, a whole patch."
        raise Wrong(where + (slip or _share(got, c, patch)))
    return "N = 6 C: 1,088 pixels for ViT-B, and 96 for Swin-T's first stage with all tokens."


def _share(side: int, c: int, patch: int) -> str:
    tokens = (side // patch) ** 2
    if tokens < 1:
        return "That is no image."
    block = transformer_block(c, tokens)
    share = block.part("q kᵀ, A v").macs / block.macs
    return f"There the products take {share:.1%} of the block's multiply-adds."


register(
    Exercise(
        id="07.3",
        goal="Write half_is_products(channels, patch): the smallest side of a square image, in "
        "pixels and a multiple of patch, at which the two products of attention, q kᵀ and A v, "
        "take at least half of a Transformer block's multiply-adds.",
        difficulty=2,
        minutes=10,
        hints=(
            "The page gives the multiply-adds of the products and of everything else. When are "
            "they equal?",
            "2 C N² = 12 C² N gives N. N is the square of the number of patches along a side: take "
            "the smallest whole number whose square is large enough, then go to pixels.",
            "along = 1                     # patches along a side\n"
            "while along**2 < ...:\n"
            "    along += 1\n"
            "return along * patch",
        ),
        checker=_check_half_is_products,
    )
)


# 07.4: find the errors.

FALSE_STATEMENTS = {
    "a": "a is false: count nn.MultiheadAttention(512, h) for h = 1 and h = 64.",
    "c": "c is false: look at what the paper gives as its reason in section 2.2.",
    "d": "d is false: multiply-adds are not seconds.",
}
TRUE_STATEMENTS = {
    "b": "Statement b is true: no layer of a block has a number for each place in the image. Count "
    "PRESETS['ConvNeXt-T'].budget(image=448).parameters.",
    "e": "Statement e is true: print PRESETS['ConvNeXt-T'].budget().share('depthwise').",
}


def _check_find_the_errors(false_ones: Any) -> str:
    more = (
        "What you named is false, but there is more. Count parameters in a cell, read once "
        "more what the paper says, and ask what a second is made of."
    )
    false_statements(false_ones, FALSE_STATEMENTS, TRUE_STATEMENTS, more, example="ab")
    return (
        "a, c and d: heads share C, the sum is not the paper's reason, multiply-adds are no time."
    )


register(
    Exercise(
        id="07.4",
        goal="Find the errors: name the false statements among a to e, as a set of letters.",
        difficulty=2,
        minutes=8,
        hints=(
            "Two of the sentences can be settled by counting, one by reading, one by thinking "
            "about what a machine does besides multiplying.",
            "For a, count nn.MultiheadAttention(512, h) for several h. For b and e, use "
            "PRESETS['ConvNeXt-T'].budget(...). For c, go back to what the paper says.",
            "for h in (1, 8, 64):\n"
            "    attention = nn.MultiheadAttention(512, h)\n"
            "    print(h, sum(p.numel() for p in attention.parameters()))\n"
            "print(PRESETS['ConvNeXt-T'].budget().share('depthwise'))",
        ),
        checker=_check_find_the_errors,
    )
)


# 07.5: a ConvNeXt of another kernel size for Swin-T's budget.


_TARGET = PRESETS["Swin-T"].published


@cache
def _size(width: int, k: int) -> int:
    return convnext(dims=[width * 2**i for i in range(4)], kernel_size=k).parameters


def _nearest_width(k: int) -> int:
    return min(range(8, 257), key=lambda width: abs(_size(width, k) - _TARGET))


def _check_matching_width(matching_width: Any) -> str:
    for k in (7, 31, 15, 3, 51):
        result = call(matching_width, k)
        got = _whole(result, f"matching_width({k})")
        right = _nearest_width(k)
        if got == right:
            continue
        where = f"For {k}x{k} you give {got}. "
        raise Wrong(where + (next(_width_slips(got, right, k), None) or _off_by(got, k)))
    return (
        "A 31x31 kernel costs ten of 96 channels, a 15x15 two: the kernel is cheap, width is not."
    )


def _width_slips(got: int, right: int, k: int) -> Iterator[str]:
    """Give what explains the number, the likeliest first."""
    if got == 8 * right:
        yield "That is the width of the last stage; that of the first is asked for."
    if k == 7 and got == 96:
        yield "That is ConvNeXt-T, 1.1 % above Swin-T. Any whole number may be a width: go on."
    if k != 7 and got in (95, 96):
        yield "That is the width for a 7x7: pass kernel_size on to convnext."
    if got == max(width for width in range(8, 257) if _size(width, k) <= _TARGET):
        yield (
            "That is the widest net that is no larger than Swin-T. The next width is larger, and "
            "comes nearer."
        )
    if abs(got - right) == 1:
        yield "That is one off: take the least difference of either sign."


def _off_by(width: int, k: int) -> str:
    if not 1 <= width <= 4096:
        return "That is no width for a net of this size."
    return f"That net has {_size(width, k) / _TARGET:.3f} times Swin-T's parameters."


register(
    Exercise(
        id="07.5",
        goal="Write matching_width(kernel_size): the width C, any whole number, for which a "
        "ConvNeXt with depths (3, 3, 9, 3), widths C, 2C, 4C, 8C and this kernel size comes "
        "nearest to Swin-T's 28,288,354 parameters.",
        difficulty=2,
        minutes=10,
        hints=(
            "You need no formula that you can solve: there are only some hundred widths to try.",
            "For each width build dims = (C, 2C, 4C, 8C), count convnext(dims=..., "
            "kernel_size=...).parameters, and take the width with the least absolute difference.",
            "def gap(width):\n"
            "    dims = [width * 2**i for i in range(4)]\n"
            "    return abs(convnext(...).parameters - PRESETS['Swin-T'].published)\n"
            "\n"
            "return min(range(8, 257), key=...)",
        ),
        checker=_check_matching_width,
    )
)
