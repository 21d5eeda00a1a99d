"""Notebook 01's exercises: typical wrong answers, and other right ones."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from helpers.equivalence import OnPixels, fold_scale, pointwise_from_linear


def _conv(linear: nn.Linear, weight: bool = True, bias: bool = True, **options: Any) -> nn.Conv2d:
    options = {"bias": linear.bias is not None, "dtype": linear.weight.dtype} | options
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1, **options)
    with torch.no_grad():
        if weight:
            conv.weight.copy_(linear.weight[:, :, None, None])
        if bias and linear.bias is not None and conv.bias is not None:
            conv.bias.copy_(linear.bias)
    return conv


def _transposed(linear: nn.Linear) -> nn.Conv2d:
    return nn.Conv2d(linear.out_features, linear.in_features, 1, dtype=linear.weight.dtype)


def _always_biased(linear: nn.Linear) -> nn.Conv2d:
    if linear.bias is not None:
        return _conv(linear)
    return nn.Conv2d(3, 5, 1, dtype=torch.float64)


def _assigned(linear: nn.Linear) -> nn.Conv2d:
    conv = _conv(linear)
    conv.weight = linear.weight
    return conv


def _wrong_way(linear: nn.Linear) -> nn.Conv2d:
    conv = _conv(linear, weight=False)
    with torch.no_grad():
        linear.weight.copy_(conv.weight[:, :, 0, 0])
    return conv


def _for_one_size(linear: nn.Linear) -> nn.Conv2d:
    conv = nn.Conv2d(3, 5, 1, bias=linear.bias is not None, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(linear.weight[:, :, None, None])
        if linear.bias is not None:
            conv.bias.copy_(linear.bias)
    return conv


class _Tail(nn.Module):
    """The right answer to 01.4, with slips where asked."""

    def __init__(self, tail: Any, scale: bool = True, act: Any = F.gelu, norm: Any = None) -> None:
        super().__init__()
        shrink = fold_scale(tail.pwconv2, tail.gamma) if scale else tail.pwconv2
        self.expand = pointwise_from_linear(tail.pwconv1)
        self.shrink = pointwise_from_linear(shrink)
        self.scale, self.shift, self.act = tail.norm.weight, tail.norm.bias, act
        self.normed = norm or (lambda x: _over_channels(x, correction=0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.normed(image)
        x = self.scale[:, None, None] * x + self.shift[:, None, None]
        return self.shrink(self.act(self.expand(x)))


def _over_channels(x: torch.Tensor, correction: int) -> torch.Tensor:
    variance = x.var(1, keepdim=True, correction=correction)
    return (x - x.mean(1, keepdim=True)) / torch.sqrt(variance + 1e-6)


def _group_norm(x: torch.Tensor) -> torch.Tensor:
    return F.group_norm(x, 1, eps=1e-6)


def _unscaled_bias(tail: Any) -> nn.Module:
    net = _Tail(tail)
    with torch.no_grad():
        net.shrink.bias.copy_(tail.pwconv2.bias)
    return net


def _no_affine(tail: Any) -> nn.Module:
    net = _Tail(tail)
    net.scale = nn.Parameter(torch.ones_like(net.scale))
    net.shift = nn.Parameter(torch.zeros_like(net.shift))
    return net


def _in_place(tail: Any) -> nn.Module:
    with torch.no_grad():
        tail.gamma.fill_(1)
    return _Tail(tail, scale=False)


class _Wide(_Tail):
    """Right values from 3x3 kernels that are zero but for their centres."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.scale[:, None, None] * self.normed(image) + self.shift[:, None, None]
        for conv in (self.expand, self.shrink):
            x = F.conv2d(x, F.pad(conv.weight, (1, 1, 1, 1)), conv.bias, padding=1)
            x = F.gelu(x) if conv is self.expand else x
        return x


def _unnormed(tail: Any) -> nn.Module:
    return nn.Sequential(_Tail(tail).expand, nn.GELU(), _Tail(tail).shrink)


class _Kept(_Tail):
    """A right answer that keeps the tail, with convolutions of a subclass."""

    def __init__(self, tail: Any) -> None:
        super().__init__(tail)
        self.tail = tail
        self.expand.__class__ = type("MyConv2d", (nn.Conv2d,), {})


WRONG = {
    "01.1": [
        (lambda t, h, w: t.reshape(t.shape[0], -1, h, w), "holds whole tokens"),
        (lambda t, h, w: t.unflatten(1, (w, h)).permute(0, 3, 2, 1), "column by column"),
        (lambda t, h, w: t.transpose(1, 2), r"should have shape \(2, 3, 4, 5\)"),
        (lambda t, h, w: t.unflatten(1, (h, w)), r"yours has \(2, 4, 5, 3\)"),
        (lambda t, h, w: t.transpose(1, 2).unflatten(2, (h, w)).flip(1), "not where they belong"),
        (lambda t, h, w: t.numpy(), "should be a tensor; yours is a ndarray"),
        (lambda t, h, w: t.transpose(1, 2).unflatten(2, (h, w)).float(), "your image is"),
        (lambda t, h, w: t.transpose(1, 2).reshape(2, 3, 4, 5), "raised RuntimeError"),
        (lambda t, h, w: t.flatten(9), "Your code raised IndexError"),
        (lambda t: t, "Your code raised TypeError"),
        ("unflatten", "Expected a function, got str"),
    ],
    "01.2": [
        (lambda linear: _conv(linear, bias=False), "the bias is not the Linear's"),
        (lambda linear: _conv(linear, weight=False), "The weights are not the Linear's"),
        (lambda linear: _conv(linear, padding=1), r"should have shape \(2, 5, 4, 6\)"),
        (_wrong_way, "You changed the Linear"),
        (_for_one_size, "Expected|maps|shape|raised"),
        (lambda linear: None, "returned None"),
        (lambda linear: exit(), "SystemExit"),
        (lambda linear: nn.Conv2d(3, 5, 1), "in torch.float32"),
        (_always_biased, "the convolution has one"),
        (lambda linear: nn.Conv2d(3, 5, 3, padding=1), "kernel size is"),
        (lambda linear: nn.Conv2d(3, 5, 1, bias=False), "the convolution has none"),
        (lambda linear: nn.Conv2d(3, 5, 1, bias=linear.bias is not None), "in torch.float32"),
        (_assigned, r"weight has shape \(5, 3\)"),
        (_transposed, "It maps 5 channels to 3"),
        (pointwise_from_linear, "the book's own helper"),
        (lambda linear: linear, "yours is a Linear"),
    ],
    "01.3": [
        ({"a", "b"}, "Statement a is true"),
        ({"b"}, "there is more"),
        ("dc", "Statement c is true"),
        ({"x"}, "no statement x"),
        ("a and b", "Statement a is true"),
        (2, "as a set"),
    ],
    "01.4": [
        (lambda tail: _Tail(tail, scale=False), "Layer scale is missing"),
        (lambda tail: _Tail(tail, act=lambda x: x), "There is no GELU"),
        (lambda tail: _Tail(tail, scale=False, act=lambda x: x), "Two things are missing"),
        (lambda tail: _Tail(tail, act=nn.GELU(approximate="tanh")), "tanh approximation"),
        (lambda tail: _Tail(tail, act=F.relu), "This is ReLU"),
        (lambda tail: _Tail(tail, norm=_group_norm), "channels, height and width together"),
        (lambda tail: _Tail(tail, norm=lambda x: _over_channels(x, 1)), "divides by C - 1"),
        (_no_affine, "own weight and bias are missing"),
        (_unnormed, "The norm is missing"),
        (_unscaled_bias, "The bias of the second convolution is not scaled"),
        (
            lambda tail: OnPixels(nn.Sequential(tail.pwconv1, nn.GELU(), tail.pwconv2)),
            "An nn.Linear runs in it",
        ),
        (lambda tail: tail, "An nn.Linear runs in it"),
        (lambda tail: tail.forward, "Expected an nn.Module; yours is a method"),
        (_in_place, "You changed the tail"),
        (_Wide, "has kernel size"),
        (lambda tail: pointwise_from_linear(tail.pwconv1), "should have shape"),
        (lambda tail: nn.Sequential(_Tail(tail), nn.Conv2d(6, 6, 1)), "and 3 did"),
        (lambda tail: tail.gamma, "Expected an nn.Module; yours is a Parameter"),
        (lambda tail: nn.Sequential(_Tail(tail), nn.Sigmoid()), "Compare step by step"),
    ],
}

RIGHT = {
    "01.1": [
        lambda t, h, w: t.unflatten(1, (h, w)).permute(0, 3, 1, 2),
        lambda t, h, w: t.mT.reshape(len(t), -1, h, w),
        lambda t, h, w: F.fold(t.mT, (h, w), 1),
    ],
    "01.2": [
        _conv,
        lambda linear: _conv(linear).requires_grad_(False),
    ],
    "01.3": [{"b", "d"}, ["B", "D"], "bd", "b, d", "b and d", ("(b)", "d."), frozenset("db")],
    "01.4": [_Tail, _Kept, lambda tail: nn.Sequential(nn.Identity(), _Tail(tail))],
}
