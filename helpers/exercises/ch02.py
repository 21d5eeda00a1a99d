"""The exercises of notebook 02: a convolution as a matrix, its counts, and composed kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from helpers.exercises.answers import false_statements, noise, require_tensor, same
from helpers.exercises.core import Exercise, Wrong, call, register

Slips = list[tuple[str, Callable[[], Tensor]]]


def _named(result: Tensor, slips: Slips, otherwise: str) -> str:
    """Name the slip that gives what the reader got."""
    for sentence, slip in slips:
        if same(result, slip()):
            return sentence
    return otherwise


# 02.1: a convolution from unfold and one Linear.


class _Watch(TorchFunctionMode):
    """Notes whether a convolution runs."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.convolutions += "conv" in getattr(func, "__name__", "")
        return func(*args, **(kwargs or {}))


def _check_conv_by_linear(conv_by_linear: Any) -> str:
    for batch, c_in, c_out, k, height, width, stride in (
        (2, 3, 5, 3, 4, 6, 1), (1, 2, 3, 5, 6, 5, 2), (2, 2, 4, 1, 3, 4, 2), (1, 3, 2, 3, 7, 8, 3),
    ):  # fmt: skip
        image, weight = noise(batch, c_in, height, width), noise(c_out, c_in, k, k, seed=1)
        bias = noise(c_out, seed=2)
        with _Watch() as watch:
            result = call(conv_by_linear, image.clone(), weight.clone(), bias.clone(), stride)
        if watch.convolutions:
            raise Wrong("A convolution runs in it: the exercise asks for unfold and a Linear.")
        expected = F.conv2d(image, weight, bias, stride, padding=k // 2)
        what = f"The output for a {k} x {k} kernel and stride {stride}"
        pixels = expected.shape[2] * expected.shape[3]
        if isinstance(result, Tensor) and result.shape == (batch, pixels, c_out):
            raise Wrong("These are tokens (B, H*W, C_out): lay them back into an image.")
        if isinstance(result, Tensor) and result.shape == (*expected.shape[:2], pixels):
            raise Wrong("Nearly: the last axis still counts pixels, H*W. Make height and width.")
        if isinstance(result, Tensor) and result.shape == (batch, c_out, height, width) != (
            expected.shape
        ):
            raise Wrong(
                f"For stride {stride} your output is as large as the image. The stride says which "
                "patches unfold cuts out."
            )
        require_tensor(result, tuple(expected.shape), what)
        if not same(result, expected):
            raise Wrong(_why_the_conv_is_wrong(result, image, weight, bias, stride))
    return "unfold, one Linear, and back: a convolution in which nothing slides."


def _why_the_conv_is_wrong(
    result: Tensor, image: Tensor, weight: Tensor, bias: Tensor, stride: int
) -> str:
    k = weight.shape[-1]
    expected = F.conv2d(image, weight, bias, stride, padding=k // 2)
    patches = F.unfold(image, k, padding=k // 2, stride=stride).transpose(1, 2)
    size = expected.shape[2:]

    def by(flat: Tensor) -> Tensor:
        return F.linear(patches, flat, bias).transpose(1, 2).unflatten(2, size)

    slips: Slips = [
        (
            "The bias is missing: it is added to every pixel of its output channel.",
            lambda: F.conv2d(image, weight, None, stride, padding=k // 2),
        ),
        (
            "Your kernel is turned by half a turn. conv2d is a cross-correlation: do not flip.",
            lambda: F.conv2d(image, weight.flip(2, 3), bias, stride, padding=k // 2),
        ),
        (
            "Your weight is flattened with the channels last. unfold lists a patch channel by "
            "channel, so weight.flatten(1) is in the right order.",
            lambda: by(weight.permute(0, 2, 3, 1).flatten(1)),
        ),
        (
            "The tokens were cut anew as they lie in memory. First bring the channels to axis 1, "
            "then make height and width of the pixels.",
            lambda: F.linear(patches, weight.flatten(1), bias).reshape(expected.shape),
        ),
        (
            "You read the pixels column by column. unfold lists them row by row: the last axis, "
            "the width, changes fastest.",
            lambda: expected.flatten(2).unflatten(2, (size[1], size[0])).transpose(2, 3),
        ),
    ]
    return _named(result, slips, "The shape is right, but the numbers are not conv2d's.")


register(
    Exercise(
        id="02.1",
        goal="Write conv_by_linear(image, weight, bias, stride): what F.conv2d(image, weight, "
        "bias, stride, padding=k // 2) gives, k odd, from F.unfold and one Linear. The image is "
        "(B, C, H, W), the weight (C_out, C, k, k); neither H nor W need be a multiple of the "
        "stride.",
        difficulty=2,
        minutes=10,
        hints=(
            "Print F.unfold(image, kernel_size=3, padding=1, stride=2).shape for images of 6 and "
            "of 7 rows. Which axis counts the patches, and how many are there along one side?",
            "The page does it for stride 1. With a stride the patches begin at rows 0, stride, "
            "2 stride, ... of the padded image, so one side of H pixels has as many as there are "
            "multiples of the stride below H.",
            "k = weight.shape[-1]\n"
            "patches = F.unfold(image, k, padding=k // 2, stride=stride)  # (B, C*k*k, patches)\n"
            "tokens = F.linear(patches.transpose(1, 2), ..., bias)        # (B, patches, C_out)\n"
            "size = [... for side in image.shape[2:]]\n"
            "return tokens.transpose(1, 2).unflatten(2, size)",
        ),
        checker=_check_conv_by_linear,
    )
)


# 02.2: the Toeplitz matrix.


def _check_toeplitz(toeplitz: Any) -> str:
    for size, length in ((3, 5), (5, 7), (1, 4), (5, 2)):
        kernel = noise(size, seed=size)
        result = call(toeplitz, kernel.clone(), length)
        what = f"toeplitz(kernel of {size}, {length})"
        require_tensor(result, (length, length), what)
        expected = _toeplitz(kernel, length)
        if not same(result, expected):
            raise Wrong(_why_the_matrix_is_wrong(result, kernel, length))
    return "Row i holds the kernel around column i, and what hangs over the ends is cut off."


def _toeplitz(kernel: Tensor, length: int) -> Tensor:
    """Give the matrix of the padded correlation, from conv1d on unit vectors."""
    columns = torch.eye(length, dtype=kernel.dtype)[:, None]
    return F.conv1d(columns, kernel[None, None], padding=len(kernel) // 2)[:, 0].T


def _why_the_matrix_is_wrong(result: Tensor, kernel: Tensor, length: int) -> str:
    right, reach = _toeplitz(kernel, length), len(kernel) // 2
    unit = torch.eye(length, dtype=kernel.dtype)

    def wrapped() -> Tensor:
        shifted = [w * unit.roll(n - reach, 1) for n, w in enumerate(kernel)]
        return torch.stack(shifted).sum(0)

    slips: Slips = [
        (
            "Your kernel is flipped, or your matrix transposed. A row says what one output reads: "
            "there the kernel stands as it is, since conv1d does not flip.",
            lambda: right.T,
        ),
        (
            "Your rows go on around the corner: that is circular padding. With zeros, what hangs "
            "over an end is cut off.",
            wrapped,
        ),
        (
            "Your kernel starts at the diagonal. Its middle belongs there: number "
            "len(kernel) // 2.",
            lambda: _toeplitz(F.pad(kernel, (2 * reach, 0)), length),
        ),
    ]
    otherwise = (
        "The matrix is not conv1d's. Compare yours with matrix_by_probing(conv, torch.zeros(1, 1, "
        "length)) for an nn.Conv1d(1, 1, 3, padding=1, bias=False) that has your kernel."
    )
    return _named(result, slips, otherwise)


register(
    Exercise(
        id="02.2",
        goal="Write toeplitz(kernel, length): the matrix (length, length) of a Conv1d with one "
        "channel, stride 1 and padding len(kernel) // 2, for a kernel of odd length, from a loop "
        "or from diagonals.",
        difficulty=2,
        minutes=10,
        hints=(
            "Write the 5 x 5 matrix of the kernel [a, b, c] on paper. In which column of row 0 "
            "does b stand? In which column of row 3?",
            "Number n of the kernel stands n - len(kernel) // 2 columns to the right of the "
            "diagonal, in every row; where that is outside the matrix it stands nowhere.",
            "matrix = kernel.new_zeros(length, length)\n"
            "for at, weight in enumerate(kernel):\n"
            "    offset = at - len(kernel) // 2\n"
            "    for row in range(length):\n"
            "        if 0 <= row + offset < length:\n"
            "            matrix[row, ...] = weight\n"
            "return matrix",
        ),
        checker=_check_toeplitz,
    )
)


# 02.3: counting.


def _check_count(count: Any) -> str:
    names = ("distinct weights", "non-zero entries", "entries")
    for case in ((16, 24, 3, 14, 14), (2, 3, 5, 7, 6), (4, 4, 1, 4, 4), (1, 2, 3, 1, 5)):
        c_in, c_out, k, height, width = case
        result = call(count, *case)
        if not isinstance(result, tuple | list) or len(result) != 3:
            raise Wrong("Expected three numbers: (distinct weights, non-zero entries, entries).")
        along = [
            sum(max(0, n - abs(d)) for d in range(-(k // 2), k // 2 + 1)) for n in (height, width)
        ]
        pixels, pairs = height * width, c_in * c_out
        expected = (pairs * k**2, pairs * along[0] * along[1], pairs * pixels**2)
        for name, got, wanted in zip(names, result, expected, strict=True):
            if got != wanted:
                full = pairs * k**2 * pixels
                raise Wrong(_why_the_count_is_wrong(name, got, case, full))
    return "Few numbers, in many places, in a matrix that is mostly empty."


def _why_the_count_is_wrong(name: str, got: Any, case: tuple[int, ...], full: int) -> str:
    c_in, c_out, k, height, width = case
    where = f"count{case}: {name} should not be {got:,}. " if isinstance(got, int) else ""
    if name == "non-zero entries" and got == full:
        return (
            f"{where}You gave every output pixel a whole window. At the border a part of the "
            "window hangs over the image, and reads nothing."
        )
    if name == "distinct weights" and got == c_out * k**2:
        return f"{where}Every pair of an input and an output channel has a kernel of its own."
    if name == "entries" and got == (height * width) ** 2:
        return (
            f"{where}Rows are output pixels times output channels, columns the same of the input."
        )
    return (
        f"{where}Count with the helper: as_mixing(nn.Conv2d({c_in}, {c_out}, {k}, "
        f"padding={k // 2}), torch.zeros(1, {c_in}, {height}, {width})), then its "
        "learned_weights and matrix()."
    )


register(
    Exercise(
        id="02.3",
        goal="Write count(c_in, c_out, k, height, width): how many distinct weights, non-zero "
        "entries and entries the matrix of a k x k convolution has, at stride 1 and padding "
        "k // 2, k odd, without a bias. Do not build the matrix.",
        difficulty=2,
        minutes=12,
        hints=(
            "In one dimension: how many pairs (output, input) of 14 positions are at most one "
            "apart? Count them for each offset by itself.",
            "Offset d along an axis of n positions has n - |d| pairs, and none if |d| >= n. Add "
            "up over the offsets of one axis; the window is a square, so the two axes multiply. "
            "Each pair of pixels stands for c_in * c_out entries.",
            "def pairs(size):\n"
            "    return sum(max(0, size - abs(d)) for d in range(-(k // 2), k // 2 + 1))\n"
            "\n"
            "nonzeros = c_in * c_out * pairs(height) * ...\n"
            "return c_in * c_out * k**2, nonzeros, ...",
        ),
        checker=_check_count,
    )
)


# 02.4: find the errors.

FALSE_STATEMENTS = {
    "a": "Statement a is false: compare matrix[1:, 1:] with matrix[:-1, :-1] where an image row "
    "ends.",
    "c": "Statement c is false: feed conv2d an impulse.",
    "d": "Statement d is false: a random matrix has the form too.",
}
TRUE_STATEMENTS = {
    "b": "Statement b is true: by_patches does it, and assert_equivalent has checked it.",
    "e": "Statement e is true: the weights are 24 * 16 * 9 = 3,456; a larger image repeats them "
    "more often.",
}


def _check_find_the_errors(false_ones: Any) -> str:
    more = (
        "What you named is false, but there is more: three are. Each can be settled by a cell "
        "of this page."
    )
    false_statements(false_ones, FALSE_STATEMENTS, TRUE_STATEMENTS, more, example="be")
    return (
        "a, c and d. Toeplitz holds inside the blocks; conv2d correlates; a form is no structure."
    )


register(
    Exercise(
        id="02.4",
        goal="Find the errors: name the false statements among a to e, as a set of letters.",
        difficulty=2,
        minutes=8,
        hints=(
            "One is about the end of an image row, one about a flip, one about what a form proves.",
            "For a, look at the cell that prints is_toeplitz; for c, at the impulse; for d, at the "
            "first caution. For b and e, look for the cell that says the same.",
            "conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)\n"
            "matrix = as_mixing(conv, torch.zeros(1, 1, 4, 5)).matrix()\n"
            "print(is_toeplitz(matrix))",
        ),
        checker=_check_find_the_errors,
    )
)


# 02.5: two kernels in one.


def _check_compose(compose: Any) -> str:
    for one, other, c_in, c_mid, c_out in ((3, 3, 1, 1, 1), (3, 3, 2, 3, 4), (3, 5, 4, 2, 3),
                                           (2, 3, 3, 3, 3)):  # fmt: skip
        first = noise(c_mid, c_in, one, one, seed=one)
        second = noise(c_out, c_mid, other, other, seed=10 + other)
        result = call(compose, first.clone(), second.clone())
        size = one + other - 1
        what = f"The weight made of {one} x {one} and {other} x {other}"
        if isinstance(result, Tensor) and result.shape == (c_in, c_out, size, size) != (
            c_out, c_in, size, size,
        ):  # fmt: skip
            raise Wrong("The output channels come first in a weight: exchange the first two axes.")
        require_tensor(result, (c_out, c_in, size, size), what)
        if not same(result, _composed(first, second.flip(2, 3))):
            raise Wrong(_why_the_kernel_is_wrong(result, first, second))
    return "Two correlations are one, and its kernel is the convolution of the two: one flip."


def _composed(first: Tensor, slides: Tensor) -> Tensor:
    """Slide one weight over the other; the input channels of the first are the batch."""
    padding = slides.shape[-1] - 1
    return F.conv2d(first.transpose(0, 1), slides, padding=padding).transpose(0, 1)


def _why_the_kernel_is_wrong(result: Tensor, first: Tensor, second: Tensor) -> str:
    right = _composed(first, second.flip(2, 3))
    slips: Slips = [
        (
            "Neither kernel is flipped: this is the correlation of the two. Flip one of them, in "
            "both directions, before conv2d.",
            lambda: _composed(first, second),
        ),
        (
            "The result is turned by half a turn. Flip the second kernel, which slides, in both "
            "directions; not the first, and not the result.",
            lambda: right.flip(2, 3),
        ),
        (
            "You flipped one direction only; both belong to it: flip(2, 3).",
            lambda: _composed(first, second.flip(2)),
        ),
        (
            "You flipped one direction only; both belong to it: flip(2, 3).",
            lambda: _composed(first, second.flip(3)),
        ),
        (
            "You transposed the kernel. A flip reverses the rows and the columns: flip(2, 3).",
            lambda: _composed(first, second.mT),
        ),
    ]
    otherwise = (
        "The shape is right, the numbers are not. Test it on noise without padding: "
        "F.conv2d(F.conv2d(x, u), v) against F.conv2d(x, composed)."
    )
    return _named(result, slips, otherwise)


register(
    Exercise(
        id="02.5",
        goal="Write compose(first, second): from the weights of two convolutions, (C_mid, C_in, "
        "k, k) and (C_out, C_mid, m, m), the one weight (C_out, C_in, k + m - 1, k + m - 1) with "
        "which a single conv2d without padding gives what the two give one after the other.",
        difficulty=3,
        minutes=15,
        hints=(
            "The page does it for one channel. With several, what goes from input channel i to "
            "output channel o goes through every middle channel. What happens to these parts?",
            "They are added, as conv2d adds its input channels. So let conv2d slide the second, "
            "flipped, over the first: the middle channels are what it adds up, and the input "
            "channels have to stand where it expects a batch.",
            "padding = second.shape[-1] - 1\n"
            "flipped = ...                       # in both directions of the image\n"
            "as_batch = first.transpose(0, 1)    # (C_in, C_mid, k, k)\n"
            "return F.conv2d(as_batch, flipped, padding=padding)...",
        ),
        checker=_check_compose,
    )
)
