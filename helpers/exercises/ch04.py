"""The exercises of notebook 04: A read off a filter, filters for each pixel, what is linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from helpers.exercises.answers import helpers_called, letters_in, noise, require_tensor, same
from helpers.exercises.core import Exercise, Wrong, call, register
from helpers.kernels import apply_kernels, kernels_to_token
from helpers.mixers import DepthwiseConv, MultiHeadAttention, SlidingAttention
from helpers.mixing import as_mixing


def _redrawn(layer: nn.Module, seed: int, scale: float = 1.0) -> nn.Module:
    """Redraw every parameter in float64, so that no initialisation hides a mistake."""
    with torch.no_grad():
        for number, parameter in enumerate(layer.double().parameters()):
            parameter.copy_(scale * noise(*parameter.shape, seed=100 * seed + number))
    return layer


# 04.1: A of a depthwise convolution.


def _check_read_off(read_off: Any) -> str:
    for channels, kernel_size, height, width in ((3, 3, 4, 5), (2, 5, 5, 3), (1, 1, 2, 3)):
        conv = _redrawn(DepthwiseConv(channels, kernel_size, bias=False), kernel_size)
        count = height * width
        with helpers_called(as_mixing, kernels_to_token) as called:
            read = call(read_off, conv, height, width)
        answer = require_tensor(
            read,
            (channels, count, count),
            f"read_off(conv, {height}, {width})",
            "(C, N, N)",
        )
        kernels = conv.weight.detach()[:, 0]
        if not same(answer, _token(kernels, height, width)):
            raise Wrong(_why_a_is_wrong(answer, kernels, height, width))
        if called:
            raise Wrong(
                f"The numbers are right, and the book's own {' and '.join(sorted(called))} made "
                "them. The exercise asks where each number of the filter goes: fill A from "
                "conv.weight, or run conv on images that are 1 at a single pixel."
            )
        image = noise(2, channels, height, width, seed=9)
        right = _token(kernels, height, width)
        mixed = (right @ image.flatten(2)[..., None])[..., 0].view_as(image)
        assert same(mixed, conv(image).detach())
    return "A applied to each channel is the convolution: the filter is a row of A."


def _token(kernels: Tensor, height: int, width: int) -> Tensor:
    return kernels_to_token(kernels[None, ..., None, None], (height, width))[0]


def _why_a_is_wrong(answer: Tensor, kernels: Tensor, height: int, width: int) -> str:
    """Try the usual slips, and name the one that gives what the reader got."""
    right = _token(kernels, height, width)
    if same(answer, right.mT):
        return (
            "Your A is transposed, or the filter flipped: row n says what pixel n *reads*. "
            "PyTorch's convolution does not flip its kernel."
        )
    if same(answer, _token(kernels.mT, height, width)):
        return "Rows and columns of the filter have changed places: weight[c, 0, row, column]."
    if same(answer, _token(kernels[:1].expand_as(kernels), height, width)):
        return "All channels have the filter of channel 0. Each channel has its own."
    if same(answer * (right != 0), right):
        return (
            "The right numbers stand in the right places, and others beside them. Where the "
            "filter hangs over the border there are zeros: nothing comes in from the other side."
        )
    if answer.count_nonzero() == 0:
        return "Your A is all zeros."
    return (
        "The shape is right, the numbers are not. Look at one row, laid over the image: "
        "A[0, n].view(height, width) should show the filter around pixel n."
    )


register(
    Exercise(
        id="04.1",
        goal="Write read_off(conv, height, width): the matrices A, (C, N, N), of a depthwise "
        "nn.Conv2d with an odd kernel, stride 1, zero padding k // 2 and no bias, for an image of "
        "that size. Without as_mixing: your own lines place the numbers.",
        difficulty=2,
        minutes=12,
        hints=(
            "Take pixel (i, j) of the output. Which pixels does it read, and with which entry of "
            "the filter? Those entries are row i * W + j of A.",
            "Start with zeros of shape (C, H, W, H, W): output row, output column, input row, "
            "input column. Entry (a, b) of the filter looks at row i + a - k // 2 and column "
            "j + b - k // 2. Skip what lies outside. Flatten the two pairs of axes at the end.",
            "A = torch.zeros(C, height, width, height, width, dtype=conv.weight.dtype)\n"
            "for i in range(height):\n"
            "    for j in range(width):\n"
            "        for a in range(k):\n"
            "            for b in range(k):\n"
            "                r, s = i + a - k // 2, j + b - k // 2\n"
            "                if ...:                       # inside the image\n"
            "                    A[:, i, j, r, s] = ...    # one entry of each channel's filter\n"
            "return A.flatten(3).flatten(1, 2)",
        ),
        checker=_check_read_off,
    )
)


# 04.2: a filter for each pixel.


def _check_apply_filters(apply_filters: Any) -> str:
    for batch, heads, width_of_head, k, height, width in ((2, 2, 3, 3, 4, 5), (1, 3, 1, 5, 3, 6)):
        image = noise(batch, heads * width_of_head, height, width, seed=k)
        filters = noise(batch, heads, k, k, height, width, seed=k + 1)
        with helpers_called(apply_kernels) as called:
            mixed = call(apply_filters, image.clone(), filters.clone())
        answer = require_tensor(
            mixed,
            tuple(image.shape),
            "apply_filters(image, filters)",
            "(B, C, H, W)",
        )
        if not same(answer, apply_kernels(image, filters)):
            raise Wrong(_why_the_mix_is_wrong(answer, image, filters))
        if called:
            raise Wrong(
                "The numbers are right, and the book's own apply_kernels made them. Gather the "
                "neighbours and weigh them yourself: F.unfold does most of it."
            )
    return "A dynamic depthwise convolution: with softmax(q k) as its filters it is attention."


def _why_the_mix_is_wrong(answer: Tensor, image: Tensor, filters: Tensor) -> str:
    heads, k = filters.shape[1], filters.shape[2]
    dealt = image.unflatten(1, (-1, heads)).transpose(1, 2).flatten(1, 2)
    taken = apply_kernels(dealt, filters).unflatten(1, (heads, -1)).transpose(1, 2).flatten(1, 2)
    # The filter of the neighbour in place of the pixel's own: pixels scatter, and do not gather.
    flat = filters.flatten(4).flatten(2, 3)
    columns = nn.functional.unfold(flat.flatten(1, 2).unflatten(-1, image.shape[2:]), k, 1, k // 2)
    columns = columns.unflatten(1, (flat.shape[1], k * k, k * k))
    neighbours = columns.diagonal(dim1=2, dim2=3).movedim(-1, 2)
    theirs = neighbours.unflatten(2, (k, k)).unflatten(4, image.shape[2:])
    slips = (
        (
            "The channels are dealt in turn, c to head c mod heads. Here, as in "
            "nn.MultiheadAttention, a head has a block of neighbouring channels.",
            taken,
        ),
        (
            "Every pixel is mixed with the filter of pixel 0. Each has its own.",
            apply_kernels(image, filters[..., :1, :1].expand_as(filters)),
        ),
        (
            "The filters are flipped: entry (0, 0) weighs the neighbour above and to the left.",
            apply_kernels(image, filters.flip(2, 3)),
        ),
        (
            "Rows and columns of the filters have changed places.",
            apply_kernels(image, filters.transpose(2, 3)),
        ),
        (
            "Each neighbour brings its own filter. It is the pixel in the middle whose filter "
            "weighs all of its neighbours.",
            apply_kernels(image, theirs),
        ),
        (
            "That is the mean over the neighbourhood; the exercise asks for the sum. The filters "
            "are weights already.",
            apply_kernels(image, filters) / (k * k),
        ),
        (
            "Your filters went through a softmax. Take them as they come.",
            apply_kernels(image, filters.flatten(2, 3).softmax(2).view_as(filters)),
        ),
    )
    for sentence, slip in slips:
        if same(answer, slip):
            return sentence
    return (
        "The shape is right, the numbers are not. Try filters that are 1 in the middle and 0 "
        "elsewhere: the image should come back."
    )


register(
    Exercise(
        id="04.2",
        goal="Write apply_filters(image, filters): mix the image (B, C, H, W) with a filter of its "
        "own for each pixel and head, filters (B, heads, k, k, H, W), k odd. The channels of a "
        "head, a block of C / heads neighbours, share its filters. Zeros lie outside the image.",
        difficulty=3,
        minutes=15,
        hints=(
            "F.unfold gives every pixel its neighbourhood. What is left is one product and one "
            "sum over k².",
            "F.unfold(image, k, padding=k // 2) is (B, C k², N). Split its middle axis into "
            "(heads, C / heads, k²). Bring the filters into (B, heads, 1, k², N). Multiply, sum "
            "over k², give the result the image's shape.",
            "seen = F.unfold(image, k, padding=k // 2)\n"
            "seen = seen.view(batch, heads, channels // heads, k * k, -1)\n"
            "weights = filters.reshape(...)\n"
            "return (seen * weights).sum(...).reshape(image.shape)",
        ),
        checker=_check_apply_filters,
    )
)


# 04.3: a test for linearity.


def _check_is_additive(is_additive: Any) -> str:
    x, y = noise(1, 4, 5, 6), noise(1, 4, 5, 6, seed=1)
    conv = _redrawn(DepthwiseConv(4, 3, bias=False), 1)
    cases: tuple[tuple[str, Callable[[Tensor], Tensor], bool], ...] = (
        ("a depthwise convolution without bias", conv, True),
        ("attention", _redrawn(MultiHeadAttention(4, 2, bias=False), 2), False),
        ("a depthwise convolution with a bias", _redrawn(DepthwiseConv(4, 3), 3), False),
        ("a ReLU", torch.relu, False),
        ("1e-12 times a convolution, plus a tiny bend", lambda t: 1e-12 * (conv(t) + t**3), False),
        ("1,000,000 times a convolution", lambda t: 1e6 * conv(t), True),
        ("a convolution with a bend of a ten-millionth", lambda t: conv(t) + 1e-7 * t**3, False),
    )
    said = []
    for name, f, expected in cases:
        with torch.no_grad():
            verdict = call(is_additive, f, x.clone(), y.clone())
        if getattr(verdict, "size", None) == 1 or (
            isinstance(verdict, Tensor) and verdict.numel() == 1
        ):
            verdict = verdict.item()  # one value, of NumPy or PyTorch
        if not isinstance(verdict, bool):
            raise Wrong(f"Return True or False; yours is a {type(verdict).__name__}.")
        said.append((name, verdict, expected))
    wrong = {name: verdict for name, verdict, expected in said if verdict != expected}
    if wrong:
        raise Wrong(_why_the_test_is_wrong(wrong))
    return "Convolution without bias passes, attention does not: no fixed filter is attention."


def _why_the_test_is_wrong(wrong: dict[str, bool]) -> str:
    small, large = "1e-12 times a convolution, plus a tiny bend", "1,000,000 times a convolution"
    bent = "a convolution with a bend of a ten-millionth"
    if "a depthwise convolution without bias" in wrong:
        return (
            "A convolution without bias is additive, and your test says it is not. Is the test "
            "bit by bit? Rounding needs a tolerance, such as 1e-9 of the output's size."
        )
    if set(wrong) == {bent}:
        return (
            "Your tolerance is a share of the output, as it should be, and too large: a bend of a "
            "ten-millionth passes. Rounding in float64 stays below 1e-12; ask for a billionth, "
            "1e-9."
        )
    if large in wrong and set(wrong) <= {small, large, bent}:
        return (
            "Your tolerance is a fixed number: for an output of a million, rounding is larger. "
            "Measure the gap against the size of f(x + y)."
        )
    if small in wrong and set(wrong) <= {small, bent}:
        return (
            "Your tolerance does not go with the output's size: an output of 1e-12 passes "
            "whatever it does. Measure the gap against the size of f(x + y) (torch.allclose has an "
            "atol of 1e-8)."
        )
    if set(wrong) == {"a depthwise convolution with a bias"}:
        return (
            "With a bias, f(x) + f(y) holds it twice and f(x + y) once: that is not additive. "
            "Compare the outputs as they are, and do not take a mean or f(0) away."
        )
    names = ", ".join(f"{name}: {verdict}" for name, verdict in wrong.items())
    return f"Not right for {names}. Compare f(x + y) with f(x) + f(y)."


register(
    Exercise(
        id="04.3",
        goal="Write is_additive(f, x, y): True if f(x + y) = f(x) + f(y) up to rounding, that is "
        "to a billionth (1e-9) of the output's size, however large or small that is, and False "
        "otherwise. All is in float64.",
        difficulty=1,
        minutes=6,
        hints=(
            "Rounding is relative: an output of a million has larger rounding errors than one of "
            "a millionth. What do you compare the gap with?",
            "Take the norm of f(x + y) - f(x) - f(y), and compare it with a small share, say "
            "1e-9, of the norm of f(x + y). Return a bool.",
            "together = f(x + y)\ngap = (together - ...).norm()\nreturn bool(gap <= 1e-9 * ...)",
        ),
        checker=_check_is_additive,
    )
)


# 04.4: find the errors.

#: Which of the statements a to e are false, and what settles it.
FALSE_STATEMENTS = {
    "b": "b: compare the shapes, (B, C, H, W) and (B, heads, N, N).",
    "c": "c: give the head two images and compare its A.",
    "e": "e: can a sum of pixels with positive weights be negative, if no pixel is?",
}
TRUE_STATEMENTS = {
    "a": "Statement a is true: row n of A is the filter, laid around pixel n.",
    "d": "Statement d is true: linear1.weight has one row for each of the 4C keys.",
}


def _check_find_the_errors(false_ones: Any) -> str:
    letters = letters_in(false_ones, "abcde", example="ad")
    accused = [TRUE_STATEMENTS[letter] for letter in sorted(letters & set(TRUE_STATEMENTS))]
    if accused:
        raise Wrong(" ".join(accused))
    missed = len(set(FALSE_STATEMENTS) - letters)
    if missed:
        raise Wrong(
            f"What you named is false, but there {'is' if missed == 1 else 'are'} {missed} more. "
            "Ask of each statement what shape it speaks of, and whether it is the same for two "
            "images."
        )
    return "b, c and e. The output is A V; a head weighs positions anew; a softmax only averages."


register(
    Exercise(
        id="04.4",
        goal="Find the errors: name the three false statements among a to e, as a set of letters.",
        difficulty=2,
        minutes=8,
        hints=(
            "For each statement: which shape does it speak of, is it a parameter or computed, and "
            "may it be negative?",
            "For b, print the shapes of conv(image) and of attention.token_mixing(image). For c, "
            "compare token_mixing of two images. For e, look at the figure with the edge again.",
            "attention, conv = MultiHeadAttention(8, 2), DepthwiseConv(8, 3)\n"
            "one, other = torch.randn(2, 1, 8, 6, 6)\n"
            "print(conv(one).shape, attention.token_mixing(one).shape)\n"
            "print(torch.equal(attention.token_mixing(one), attention.token_mixing(other)))\n"
            "print(attention.token_mixing(one).min())",
        ),
        checker=_check_find_the_errors,
    )
)


# 04.5: which layer is it?

NAMES = ("depthwise", "local", "global")


def _mystery(name: str, seed: int) -> Callable[[Tensor], Tensor]:
    makers: dict[str, Callable[[], nn.Module]] = {
        "depthwise": lambda: DepthwiseConv(6, 3 + 2 * (seed % 2), bias=False),
        "local": lambda: SlidingAttention(6, 2, 3 + 2 * (seed % 2), bias=False),
        "global": lambda: MultiHeadAttention(6, 2 + seed % 2, bias=False),
    }
    layer = _redrawn(makers[name](), seed, scale=0.5)

    def f(image: Tensor) -> Tensor:
        with torch.no_grad():
            return layer(image)

    return f


def _check_name_the_layer(name_the_layer: Any) -> str:
    confused: list[tuple[str, str]] = []
    for seed in range(4):
        image = noise(2, 6, 6, 7, seed=50 + seed)
        for name in NAMES:
            said = call(name_the_layer, _mystery(name, seed), image.clone())
            if said not in NAMES:
                choices = ", ".join(f'"{one}"' for one in NAMES)
                raise Wrong(f"Return one of {choices}; yours is {said!r}.")
            if said != name:
                confused.append((name, said))
    if confused:
        raise Wrong(_why_the_name_is_wrong(confused[0]))
    return "Two experiments tell them apart: a doubled image, and shuffled pixels."


def _why_the_name_is_wrong(pair: tuple[str, str]) -> str:
    name, said = pair
    if "depthwise" in pair:
        return (
            f"You called a layer {said} that is {name}. What does a layer with fixed weights do "
            "with a doubled image, or with the sum of two, that attention does not?"
        )
    return (
        f"You called attention {said} that is {name}. Which of the two notices a shuffle of the "
        "pixels? Shuffle at random: a shift or a flip leaves neighbours beside each other."
    )


register(
    Exercise(
        id="04.5",
        goal='Write name_the_layer(f, image): say whether f is a "depthwise" convolution, "local" '
        'attention (3x3 or 5x5) or "global" attention. You may only run f, on any images. No f '
        "has a bias or a position embedding.",
        difficulty=3,
        minutes=15,
        hints=(
            "Two properties of this notebook are enough: which of the three is linear, and which "
            "of the three does not notice a shuffle?",
            "If f(2 * image) = 2 * f(image) up to rounding, it is the convolution. Otherwise "
            "shuffle the pixels at random, before f and after it: if both agree, it looks at all "
            "pixels alike.",
            "order = torch.randperm(image[0, 0].numel())\n"
            "def shuffle(x):\n"
            "    return x.flatten(2)[..., order].view_as(x)\n"
            "\n"
            "linear = ...                 # f(2 * image) against 2 * f(image)\n"
            "blind = ...                  # f(shuffle(image)) against shuffle(f(image))",
        ),
        checker=_check_name_the_layer,
    )
)
