"""Exercises of notebook 03: typical wrong answers are told what is wrong, other right ones pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.exercises import Status, check
from helpers.mixing import as_mixing


def _dense(weight: Tensor, groups: int, **how: Any) -> Tensor:
    """The right answer to 03.1, with slips where asked."""
    n, c = len(weight) // groups, weight.shape[1]
    dense = torch.zeros(len(weight), groups * c, *weight.shape[2:], dtype=weight.dtype)
    for g in range(groups):
        out, into = slice(g * n, g * n + n), slice(g * c, g * c + c)
        source = weight[:n] if how.get("shared") else weight[out]
        if how.get("turns"):
            into = slice(g, None, groups)
        if how.get("filters_turn"):
            out = slice(g, None, groups)
            source = weight[out]
        if how.get("first"):
            into = slice(0, c)
        if how.get("backwards"):
            into = slice((groups - 1 - g) * c, (groups - g) * c)
        dense[out, into] = source
    return dense


def _by_block_diag(weight: Tensor, groups: int) -> Tensor:
    places = weight.permute(2, 3, 0, 1).flatten(0, 1)
    blocks = [torch.block_diag(*place.chunk(groups)) for place in places]
    return torch.stack(blocks, -1).unflatten(-1, weight.shape[2:])


def _heads(
    x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, w_o: Tensor, h: int, **how: Any
) -> Any:
    """The right answer to 03.2, with slips where asked."""
    d = x.shape[-1] // h

    def project(w: Tensor) -> Tensor:
        if how.get("split_first"):
            parts = [x[..., n * d : n * d + d] @ w[n * d : n * d + d, n * d : n * d + d].T
                     for n in range(h)]  # fmt: skip
            return torch.stack(parts, 1)
        projected = x @ (w if how.get("untransposed") else w.T)
        if how.get("turns"):
            return projected.unflatten(-1, (d, h)).movedim(-1, 1)
        if how.get("viewed"):
            return projected.view(len(x), h, -1, d)
        return projected.unflatten(-1, (h, d)).transpose(1, 2)

    q, k, v = project(w_q), project(w_k), project(w_v)
    a = (q @ k.mT * how.get("scale", lambda d, c: d**-0.5)(d, h * d)).softmax(how.get("over", -1))
    mixed = a @ v
    if how.get("turns"):
        merged = mixed.permute(0, 2, 3, 1).flatten(2)
    elif how.get("unmoved"):
        merged = mixed.reshape(x.shape)
    else:
        merged = mixed.transpose(1, 2).flatten(2)
    if how.get("no_output"):
        return merged
    return merged @ (w_o if how.get("untransposed") else w_o.T)


def _torchs_own(x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, w_o: Tensor, h: int) -> Tensor:
    layer = nn.MultiheadAttention(x.shape[-1], h, bias=False, batch_first=True).double()
    layer.in_proj_weight.data.copy_(torch.cat([w_q, w_k, w_v]))
    layer.out_proj.weight.data.copy_(w_o)
    with torch.enable_grad():
        return layer(x, x, x)[0]


def _slip(answer: Any, **how: Any) -> Any:
    return lambda *given: answer(*given, **how)


def _count(c: int, k: int, g: int, h: int) -> tuple[int, int]:
    return k * k * c * c // g + c, 4 * c * c + 4 * c


def _offsets(conv: nn.Conv2d) -> Tensor:
    example = torch.zeros(1, conv.in_channels, 1, 1).to(conv.weight)
    return as_mixing(conv, example, view="shifts").channel


WRONG = {
    "03.1": [
        (_slip(_dense, shared=True), "filters of the first"),
        (_slip(_dense, turns=True), "channels in turn"),
        (_slip(_dense, filters_turn=True), "filters in turn"),
        (_slip(_dense, backwards=True), "in the wrong order"),
        (_slip(_dense, first=True), "read the channels of the first"),
        (lambda w, g: w.repeat(1, g, 1, 1), "reads all input channels"),
        (lambda w, g: w, "still has 3 input channels"),
        (lambda w, g: _dense(w, g).transpose(0, 1), r"should have shape \(4, 6, 3, 3\)"),
        (lambda w, g: -_dense(w, g), "numbers differ"),
        (lambda w, g: [w], "should be a tensor"),
        (lambda w, g: torch.cat([w, w], 7), "raised IndexError"),
    ],
    "03.2": [
        (_slip(_heads, split_first=True), "split x first"),
        (_slip(_heads, no_output=True), "W_O is missing"),
        (_slip(_heads, scale=lambda d, c: 1), "not scaled"),
        (_slip(_heads, scale=lambda d, c: c**-0.5), r"by sqrt\(C\)"),
        (_slip(_heads, over=-2), "over the queries"),
        (_slip(_heads, untransposed=True), "by its transpose"),
        (_slip(_heads, turns=True), "in turn"),
        (_slip(_heads, unmoved=True), "without moving their axis"),
        (_slip(_heads, viewed=True), r"view\(B, heads, N, d\): a head then gets whole tokens"),
        (_slip(_heads, viewed=True, unmoved=True), r"view\(B, heads, N, d\)"),
        (_slip(_heads, scale=lambda d, c: 3), "Compare step by step"),
        (_torchs_own, "whole layer runs"),
        (lambda x, *_: x[0], "should have shape"),
    ],
    "03.3": [
        (lambda c, k, g, h: (_count(c, k, g, h)[0] - c, 0), "bias is missing"),
        (lambda c, k, g, h: (_count(c, k, 1, h)[0], 0), "do not fall with the groups"),
        (lambda c, k, g, h: ((k * k * c * c + c) // g, 0), "bias too"),
        (lambda c, k, g, h: (k * k * c * c // g**2 + c, 0), "groups twice"),
        (lambda c, k, g, h: (0, 0), "Its weight has the shape"),
        (lambda c, k, g, h: (_count(c, k, g, h)[0], 4 * c * c), "biases are missing"),
        (lambda c, k, g, h: (_count(c, k, g, h)[0], 3 * c * c + 3 * c), "output projection"),
        (lambda c, k, g, h: (_count(c, k, g, h)[0], h * (4 * c * c + 4 * c)), "row blocks"),
        (lambda c, k, g, h: (_count(c, k, g, h)[0], 4 * c * c // h + 4 * c), "do not fall"),
        (lambda c, k, g, h: (_count(c, k, g, h)[0], 1), "four C x C matrices"),
        (lambda c, k, g, h: 3, "Return two numbers"),
    ],
    "03.4": [
        ({"a", "b"}, "Statement b is true"),
        ("acd", "Statement d is true"),
        ({"a", "c"}, "there is more"),
        ({"x"}, "no statement x"),
        (3, "as a set"),
    ],
    "03.5": [
        (lambda conv: conv.in_channels // 9, "too narrow"),
        (lambda conv: min(conv.in_channels, conv.out_channels), "not only at the shape"),
        (lambda conv: int(torch.linalg.matrix_rank(_offsets(conv)).min()), "largest rank decides"),
        (
            lambda conv: int(torch.linalg.matrix_rank(conv.weight.permute(2, 3, 0, 1)).max()),
            "diagonal",
        ),
        (lambda conv: 9, "For a dense 3x3"),
        (lambda conv: "wide", "one whole number"),
    ],
}  # fmt: skip

RIGHT = {
    "03.1": [_dense, _by_block_diag, lambda *given: _dense(*given).float()],
    "03.2": [
        _heads,
        lambda *given: _heads(*given).float(),
        lambda x, q, k, v, o, h: F.scaled_dot_product_attention(
            *((x @ w.T).unflatten(-1, (h, -1)).transpose(1, 2) for w in (q, k, v))
        ).transpose(1, 2).flatten(2) @ o.T,
    ],
    "03.3": [_count, lambda c, k, g, h: [float(n) for n in _count(c, k, g, h)]],
    "03.4": [{"a", "c", "e"}, "ACE", "a, c and e", ["(e)", "a.", "c"]],
    "03.5": [
        lambda conv: torch.linalg.matrix_rank(_offsets(conv)).max(),
        lambda conv: np.linalg.matrix_rank(_offsets(conv).detach().numpy()).max(),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("id", "answer"), [("03.3", lambda *_: (..., ...)), ("03.4", []), ("03.4", "and so on")]
)
def test_nothing_said_yet_is_not_attempted(id: str, answer: Any) -> None:
    assert check(id, answer).status is Status.NOT_ATTEMPTED
