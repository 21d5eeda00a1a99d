"""How far the tokens are from being all equal, layer by layer, in untrained Transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from helpers.blocks import TransformerBlock

__all__ = [
    "DEPTH",
    "STARTS",
    "Lengths",
    "Wiring",
    "after_each_layer",
    "lengths",
    "over_starts",
    "spread",
]

STARTS = ("PyTorch", "normal")
"""How the weights begin: as PyTorch draws them, or normal with variance ``1 / inputs``."""

DEPTH = 96
"""Layers. At 24 it is open whether a slow fall goes on, and which of two falls is the slower."""


class Wiring(NamedTuple):
    """Which parts of a Transformer block are there: attention always is."""

    skip: bool
    feed_forward: bool
    norm: bool = True


class Lengths(NamedTuple):
    """The two parts of X: what differs between its tokens, and what they have in common.

    With ``mean`` the mean token, ``X = (X - 1 meanᵀ) + 1 meanᵀ``. The two are perpendicular.
    """

    apart: Tensor
    """‖X - 1 meanᵀ‖, ``(...)``: 0 where all tokens are equal."""
    common: Tensor
    """‖1 meanᵀ‖, ``(...)``: the square root of N times the length of the mean token."""

    @property
    def relative(self) -> Tensor:
        """The `spread`, ``(...)``: it falls when `apart` shrinks, and also when `common` grows."""
        return self.apart / torch.hypot(self.apart, self.common)


def lengths(tokens: Tensor) -> Lengths:
    """Measure what differs between tokens, and what they have in common.

    Parameters
    ----------
    tokens
        X, ``(..., N, C)``.

    Returns
    -------
    Lengths
        Two norms, each ``(...)``.

    Examples
    --------
    >>> [part.item() for part in lengths(torch.tensor([[3.0, 1.0], [3.0, -1.0]]))]
    [1.4142135381698608, 4.242640495300293]
    """
    mean = tokens.mean(-2, keepdim=True)
    apart, common = tokens - mean, mean.expand_as(tokens)
    return Lengths(apart.flatten(-2).norm(dim=-1), common.flatten(-2).norm(dim=-1))


def spread(tokens: Tensor) -> Tensor:
    """Measure how far tokens are from being all equal, relative to X: ``‖X - mean‖ / ‖X‖``.

    The mean is over the tokens. 0 says that all are equal, 1 that they cancel in the sum. A common
    part that grows lowers it, though no difference shrinks: `lengths` gives the two apart.

    Parameters
    ----------
    tokens
        X, ``(..., N, C)``.

    Returns
    -------
    Tensor
        ``(...)``, between 0 and 1.

    Examples
    --------
    >>> spread(torch.ones(2, 5, 3))
    tensor([0., 0.])

    Notes
    -----
    Source: Dong, Cordonnier, Loukas (2021), "Attention is not all you need", for the question; the
    measure there is another norm.
    """
    apart = tokens - tokens.mean(-2, keepdim=True)
    return apart.flatten(-2).norm(dim=-1) / tokens.flatten(-2).norm(dim=-1)


def after_each_layer(
    wirings: Sequence[Wiring],
    depth: int = DEPTH,
    seed: int = 0,
    start: str = "PyTorch",
    sharpness: float = 1,
) -> Lengths:
    """Send the same 32 random tokens of 64 channels through untrained layers, in float64.

    All wirings see the same weights; each layer has its own. Attention has 4 heads, the
    feed-forward 256 hidden units, and a norm stands before each of the two.

    Parameters
    ----------
    wirings
        The W wirings to compare.
    depth
        How many layers.
    seed
        For the tokens and the weights.
    start
        One of `STARTS`.
    sharpness
        Multiplies the weights of queries and keys, so the scores by its square.

    Returns
    -------
    Lengths
        Of the tokens, each ``(W, depth + 1)``: index 0 is before the first layer.

    Raises
    ------
    ValueError
        If there is no such start.

    Examples
    --------
    >>> attention_alone = Wiring(skip=False, feed_forward=False)
    >>> bool(after_each_layer([attention_alone], depth=4).relative[0, -1] < 1e-12)
    True
    """
    if start not in STARTS:
        raise ValueError(f"start={start!r}: expected one of {', '.join(map(repr, STARTS))}.")
    seeded = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, 32, 64, generator=seeded, dtype=torch.float64)
    tokens = tokens.expand(len(wirings), -1, -1)
    skip, feed_forward, norm = torch.tensor(wirings).T[:, :, None, None]
    measured = [lengths(tokens)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for _ in range(depth):
            block = TransformerBlock(64, 4).double()
            if start == "normal":
                _redraw(block)
            block.self_attn.in_proj_weight[: 2 * 64] *= sharpness
            mixed = block.attention(torch.where(norm, block.norm1(tokens), tokens))
            tokens = torch.where(skip, tokens + mixed, mixed)
            x = torch.where(norm, block.norm2(tokens), tokens)
            x = block.linear2(block.activation(block.linear1(x)))
            tokens = torch.where(feed_forward, torch.where(skip, tokens + x, x), tokens)
            measured.append(lengths(tokens))
    return Lengths(*(torch.stack(part, 1) for part in zip(*measured, strict=True)))


def _redraw(block: nn.Module) -> None:
    """Draw each weight matrix from a normal distribution of variance ``1 / inputs``."""
    for parameter in block.parameters():
        if parameter.ndim == 2:
            parameter.normal_(0, parameter.shape[1] ** -0.5)


def over_starts(
    skip: bool, feed_forward: bool, norm: bool = True, start: str = "PyTorch"
) -> Lengths:
    """Give the tokens' `Lengths` after each of 96 layers, for 13 seeds.

    The first call with a `start` runs all eight wirings; the others look the answer up.

    Parameters
    ----------
    skip, feed_forward, norm
        The `Wiring`.
    start
        One of `STARTS`.

    Returns
    -------
    Lengths
        Each ``(13, 97)``: index 0 is before the first layer.

    Examples
    --------
    >>> over_starts(skip=True, feed_forward=False).relative.shape
    torch.Size([13, 97])
    """
    wiring = _WIRINGS.index(Wiring(skip, feed_forward, norm))
    return Lengths(*(part[:, wiring] for part in _all_wirings(start)))


_WIRINGS = [Wiring(s, f, n) for s in (False, True) for f in (False, True) for n in (False, True)]


@cache
def _all_wirings(start: str, seeds: int = 13) -> Lengths:
    """Run every wiring from every seed, ``(seeds, 8, DEPTH + 1)``."""
    runs = [after_each_layer(_WIRINGS, seed=seed, start=start) for seed in range(seeds)]
    return Lengths(*(torch.stack(part) for part in zip(*runs, strict=True)))
