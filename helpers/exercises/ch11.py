"""The exercises of notebook 11: give verdicts, doubt proofs, write a break."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from helpers.claims import Verdict
from helpers.equivalence import normwise_difference
from helpers.exercises.answers import letters_in
from helpers.exercises.core import Exercise, NotAttempted, Wrong, call, is_stub, register
from helpers.mixers import DepthwiseConv

# 11.1: five new statements, a verdict for each.

#: The right verdict of each statement, and what settles it.
VERDICTS = {
    "a": (
        Verdict.EXACT,
        "statement a: copy the weights, with an axis of length 1 more, and compare. Nothing has "
        "to be rewritten; only the axes change their places.",
    ),
    "b": (
        Verdict.AFTER_REWRITING,
        "statement b: in evaluation mode BatchNorm multiplies and shifts each channel by fixed "
        "numbers. Can other weights take those numbers in, as they took in layer scale?",
    ),
    "c": (
        Verdict.IN_PART,
        "statement c has two parts. The multiply-adds follow from the formula; the time has to be "
        "measured, and depends on how fast the numbers can be fetched.",
    ),
    "d": (
        Verdict.ANALOGY,
        "statement d: what a head gives each token is a weighted mean of values, for any Q and K. "
        "Is that a detection, or does it only remind one of it?",
    ),
    "e": (
        Verdict.WRONG,
        "statement e: one 3x3 reaches one pixel to each side. Count how far two reach.",
    ),
}


def _check_verdicts(verdicts: Any) -> str:
    if not isinstance(verdicts, Mapping):
        raise Wrong('Give a dict from letter to verdict, for example {"a": "analogy only"}.')
    said = {str(letter).strip(" ().").lower(): word for letter, word in verdicts.items()}
    if all(is_stub(word) for word in said.values()):
        raise NotAttempted
    unknown = sorted(set(said) - set(VERDICTS))
    if unknown:
        raise Wrong(f"There is no statement {', '.join(unknown)}; they are a to e.")
    missing = [letter for letter in VERDICTS if is_stub(said.get(letter))]
    if missing:
        raise Wrong(f"No verdict yet for {', '.join(missing)}.")
    words = {letter: str(word).strip().lower().rstrip(".") for letter, word in said.items()}
    for letter, word in sorted(words.items()):
        if word not in list(Verdict):
            known = ", ".join(map(str, Verdict))
            raise Wrong(f"{word!r}, for {letter}, is none of the verdicts: {known}.")
    off = [letter for letter, (right, _) in VERDICTS.items() if words[letter] != right]
    if off:
        first = VERDICTS[off[0]][1]
        more = f" ({len(off)} of the five are off; this is the first.)" if len(off) > 1 else ""
        raise Wrong(f"Look again at {first}{more}")
    return "All five. Each verdict says what one would have to run to doubt it."


register(
    Exercise(
        id="11.1",
        goal="Give each of the five statements a to e a verdict, as a dict from letter to one of "
        "the book's verdict words. Each word but 'right' is used once.",
        difficulty=2,
        minutes=8,
        hints=(
            "Ask of each: what would I run? If nothing can be run that could come out otherwise, "
            "it is an analogy.",
            "One is the same numbers in another layout. One becomes the same after its numbers "
            "move into another layer. One holds for what it counts, and not for what it "
            "concludes. One has no computation that it could be equal to. One is off by a count.",
            'verdicts = {\n    "a": "exact",\n    "b": ...,\n    "c": "right in part",\n'
            '    "d": ...,\n    "e": ...,\n}',
        ),
        checker=_check_verdicts,
    )
)

# 11.2: which proofs prove too little.

#: Proofs that hold and do not show their claim, and what they leave out.
TOO_LITTLE = {
    "b": "Proof b tries one input, and zero is the one that every bias-free layer sends to zero.",
    "c": "Proof c tries an image of one pixel, where both norms take their mean over the same "
    "numbers.",
}
ENOUGH = {
    "a": "Proof a compares outputs on noise, in float64, with every weight of the convolution "
    "copied: that is its claim. Look for a proof whose example cannot fail.",
    "d": "Proof d counts what its claim says, for the sizes that it names. Look for a proof whose "
    "example cannot fail.",
}


def _check_too_little(letters: Any) -> str:
    named = letters_in(letters, "abcd", example="ad", thing="proof")
    for letter in sorted(named & set(ENOUGH)):
        raise Wrong(ENOUGH[letter])
    missed = sorted(set(TOO_LITTLE) - named)
    if missed:
        raise Wrong(
            "What you named proves too little, but there is another. Run each proof again on "
            "another input of the same kind: which one stops holding?"
        )
    return f"b and c. {TOO_LITTLE['b']} {TOO_LITTLE['c']} On noise both claims are false."


register(
    Exercise(
        id="11.2",
        goal="All four proofs print True, each on one example. Two of the claims are false all the "
        "same. Name the proofs that let them pass, as a set of letters.",
        difficulty=2,
        minutes=8,
        hints=(
            "For each proof, think of a layer for which the claim is false. Would the proof have "
            "noticed?",
            "Change the input of each proof: other numbers, then another size. A proof that holds "
            "for one input only has shown something about that input.",
            "x = torch.randn(1, 6, 8)\n"
            "print(torch.allclose(attention(2 * x), 2 * attention(x)))\n"
            "image = torch.randn(1, 8, 5, 5)            # 5 x 5 pixels in place of one\n"
            "...",
        ),
        checker=_check_too_little,
    )
)

# 11.3: write a break.


def _check_break(sides: Any) -> str:
    image = torch.randn(2, 6, 7, 8, generator=torch.Generator().manual_seed(0)).double()
    free = DepthwiseConv(6, 3).double().requires_grad_(False)
    tied = DepthwiseConv(6, 3).double().requires_grad_(False)
    for conv, seed in ((free, 1), (tied, 2)):
        generator = torch.Generator().manual_seed(seed)
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator))
        conv.bias.copy_(torch.randn(conv.bias.shape, generator=generator))
    tied.weight.copy_(tied.weight[:1].expand_as(tied.weight))
    tied.bias.copy_(tied.bias[:1].expand_as(tied.bias))

    # With one filter for all channels the statement is true, so its two sides must agree.
    agreeing = normwise_difference(*_two_sides(sides, tied, image))
    breaking = normwise_difference(*_two_sides(sides, free, image))
    if breaking < 1e-9:
        raise Wrong(
            "Your two sides are equal, for filters that all differ: nothing is broken. Does your "
            "order move any channel? And is the convolution applied on both sides?"
        )
    if agreeing > 1e-9:
        raise Wrong(
            "Your two sides differ even for a convolution with the same filter in every channel, "
            "where the statement is true. So they are not the statement's two sides: shuffle the "
            "same way on both, once before the convolution and once after it."
        )
    if breaking < 0.1:
        raise Wrong(
            f"They differ by {breaking:.2g} of the largest value only. Move more of the channels."
        )
    return (
        "That breaks it. Each channel has a filter of its own, so a shuffle before the convolution "
        "gives channels to other filters. With one filter for all, your two sides agree: the break "
        "shows what the statement leaves out, and nothing else."
    )


def _two_sides(sides: Any, conv: DepthwiseConv, image: Tensor) -> tuple[Tensor, Tensor]:
    result = call(sides, conv, image.clone())
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Wrong("Return two tensors, the two sides: return left, right.")
    for tensor in result:
        if not isinstance(tensor, Tensor):
            raise Wrong(f"Each side should be a tensor; one is a {type(tensor).__name__}.")
        if tensor.shape != image.shape:
            raise Wrong(
                f"Each side should have the image's shape {tuple(image.shape)}; one has "
                f"{tuple(tensor.shape)}."
            )
    left, right = (tensor.detach().double() for tensor in result)
    return left, right


register(
    Exercise(
        id="11.3",
        goal="Write sides(conv, image) for the false statement 'A depthwise convolution does not "
        "care which channel is which: shuffle the channels before it or after it, the result is "
        "the same.' It returns the two sides that the statement calls equal.",
        difficulty=2,
        minutes=8,
        hints=(
            "The statement names two orders of doing things. Each is one side. Which axis of "
            "(B, C, H, W) are the channels?",
            "Take an order that moves every channel, for example one step around. Left: shuffle "
            "the image, then the convolution. Right: the convolution, then the same shuffle.",
            "def sides(conv, image):\n"
            "    order = torch.arange(image.shape[1]).roll(1)\n"
            "    left = conv(image[:, order])\n"
            "    right = ...\n"
            "    return left, right",
        ),
        checker=_check_break,
    )
)
