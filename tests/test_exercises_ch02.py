"""Notebook 02's exercises: what each typical wrong answer is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.exercises import Status, check


def _patches(image: Tensor, weight: Tensor, stride: int) -> Tensor:
    k = weight.shape[-1]
    return F.unfold(image, k, padding=k // 2, stride=stride).transpose(1, 2)


def _size(image: Tensor, stride: int) -> list[int]:
    return [len(range(0, side, stride)) for side in image.shape[2:]]


def _by_linear(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    flat: Callable[[Tensor], Tensor] = lambda weight: weight.flatten(1),
) -> Tensor:
    out = F.linear(_patches(image, weight, stride), flat(weight), bias)
    return out.transpose(1, 2).unflatten(2, _size(image, stride))


def _tokens(image: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    return F.linear(_patches(image, weight, stride), weight.flatten(1), bias)


def _channels_last(weight: Tensor) -> Tensor:
    return weight.permute(0, 2, 3, 1).flatten(1)


def _by_columns(image: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    tokens = _tokens(image, weight, bias, stride).transpose(1, 2)
    return tokens.unflatten(2, _size(image, stride)[::-1]).transpose(2, 3)


def _cut_anew(image: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    tokens = _tokens(image, weight, bias, stride)
    return tokens.reshape(len(image), len(weight), *_size(image, stride))


def _unpadded(image: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    k, (height, width) = weight.shape[-1], image.shape[2:]
    patches = F.unfold(image, k).transpose(1, 2)
    tokens = F.linear(patches, weight.flatten(1), bias).transpose(1, 2)
    return tokens.unflatten(2, (height - k + 1, width - k + 1))


def _rounded_down(image: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    tokens = _tokens(image, weight, bias, stride).transpose(1, 2)
    return tokens.unflatten(2, [side // stride for side in image.shape[2:]])


def _toeplitz(kernel: Tensor, length: int, first: int | None = None, ring: bool = False) -> Tensor:
    matrix = kernel.new_zeros(length, length)
    for at, weight in enumerate(kernel):
        offset = at - (len(kernel) // 2 if first is None else first)
        for row in range(length):
            column = (row + offset) % length if ring else row + offset
            if 0 <= column < length:
                matrix[row, column] += weight
    return matrix


def _count(c_in: int, c_out: int, k: int, height: int, width: int, **wrong: int) -> tuple[int, ...]:
    def pairs(size: int) -> int:
        return sum(max(0, size - abs(d)) for d in range(-(k // 2), k // 2 + 1))

    right = {
        "distinct": c_in * c_out * k * k,
        "nonzeros": c_in * c_out * pairs(height) * pairs(width),
        "entries": c_in * c_out * (height * width) ** 2,
    }
    return tuple({**right, **wrong}.values())


def _composed(first: Tensor, slides: Tensor) -> Tensor:
    padding = slides.shape[-1] - 1
    return F.conv2d(first.transpose(0, 1), slides, padding=padding).transpose(0, 1)


def _by_probing(first: Tensor, second: Tensor) -> Tensor:
    """Feed an impulse to each input channel; what comes out is the kernel, turned."""
    size = first.shape[-1] + second.shape[-1] - 1
    impulse = torch.zeros(first.shape[1], first.shape[1], 2 * size - 1, 2 * size - 1).double()
    for channel in range(first.shape[1]):
        impulse[channel, channel, size - 1, size - 1] = 1
    return F.conv2d(F.conv2d(impulse, first), second).transpose(0, 1).flip(2, 3)


WRONG: dict[str, list[tuple[Any, str]]] = {
    "02.1": [
        (lambda x, w, b, s: F.conv2d(x, w, b, s, w.shape[-1] // 2), "A convolution runs in it"),
        (lambda x, w, b, s: _by_linear(x, w, None, s), "The bias is missing"),
        (lambda x, w, b, s: _by_linear(x, w, b, s, _channels_last), "channels last"),
        (lambda x, w, b, s: _by_linear(x, w.flip(2, 3), b, s), "do not flip"),
        (_tokens, "These are tokens"),
        (lambda *given: _tokens(*given).transpose(1, 2), "still counts pixels"),
        (_cut_anew, "cut anew"),
        (_by_columns, "column by column"),
        (_unpadded, r"should have shape \(2, 5, 4, 6\); yours has \(2, 5, 2, 4\)"),
        (lambda x, w, b, s: _by_linear(x, w, b, 1), "as large as the image"),
        (_rounded_down, "raised RuntimeError"),
        (lambda x, w, b, s: _by_linear(x, 2 * w, b, s), "not conv2d's"),
        (lambda x, w, b, s: x.numpy(), "should be a tensor; yours is a ndarray"),
        (lambda x, w, b, s: F.linear(F.unfold(x, 3, padding=1), w), "raised RuntimeError"),
    ],
    "02.2": [
        (lambda k, n: _toeplitz(k, n).T, "flipped, or your matrix transposed"),
        (lambda k, n: _toeplitz(k.flip(0), n), "flipped, or your matrix transposed"),
        (lambda k, n: _toeplitz(k, n, ring=True), "circular padding"),
        (lambda k, n: _toeplitz(k, n, first=0), "starts at the diagonal"),
        (lambda k, n: _toeplitz(k, n) + 1, "The matrix is not conv1d's"),
        (lambda k, n: _toeplitz(k, n)[1:-1], r"should have shape \(5, 5\); yours has \(3, 5\)"),
        (lambda k, n: None, "returned None"),
    ],
    "02.3": [
        (lambda *s: _count(*s, nonzeros=s[0] * s[1] * s[2] ** 2 * s[3] * s[4]), "whole window"),
        (lambda *s: _count(*s, distinct=s[1] * s[2] ** 2), "a kernel of its own"),
        (lambda *s: _count(*s, entries=(s[3] * s[4]) ** 2), "times output channels"),
        (lambda *s: _count(*s, nonzeros=1), "Count with the helper"),
        (lambda *s: _count(*s, distinct=None), "Count with the helper"),
        (lambda *s: _count(*s)[:2], "Expected three numbers"),
        (lambda *s: 3456, "Expected three numbers"),
    ],
    "02.4": [
        ({"a", "c"}, "three are"),
        ({"a", "b", "c", "d"}, "Statement b is true"),
        ("ae", "Statement e is true"),
        ({"f"}, "no statement f"),
        (3, "as a set"),
    ],
    "02.5": [
        (_composed, "Neither kernel is flipped"),
        (lambda u, v: _composed(u, v.flip(2, 3)).flip(2, 3), "turned by half a turn"),
        (lambda u, v: _composed(u.flip(2, 3), v), "turned by half a turn"),
        (lambda u, v: _composed(u, v.flip(2)), "one direction only"),
        (lambda u, v: _composed(u, v.flip(3)), "one direction only"),
        (lambda u, v: _composed(u, v.mT), "You transposed"),
        (lambda u, v: _composed(u, v.flip(2, 3)).transpose(0, 1), "exchange the first two axes"),
        (lambda u, v: 2 * _composed(u, v.flip(2, 3)), "the numbers are not"),
        (lambda u, v: F.conv2d(u, v), r"should have shape \(1, 1, 5, 5\)"),
    ],
}


def _diagonals(kernel: Tensor, length: int) -> Tensor:
    found = torch.zeros(length, length, dtype=kernel.dtype)
    for at, weight in enumerate(kernel):
        offset = at - len(kernel) // 2
        if abs(offset) < length:
            found += weight * torch.ones(length - abs(offset), dtype=kernel.dtype).diag(offset)
    return found


RIGHT = {
    "02.1": [
        lambda x, w, b, s: _by_linear(x, w, b, 1)[..., ::s, ::s],
        lambda *given: _by_linear(*given).float(),
    ],
    "02.2": [_diagonals, lambda kernel, length: _diagonals(kernel.float(), length)],
    "02.4": ["acd"],
    "02.5": [
        _by_probing,
        lambda u, v: F.conv_transpose2d(v, u).float(),
    ],
}


def test_nothing_named_is_not_attempted() -> None:
    assert check("02.4", set()).status is Status.NOT_ATTEMPTED
