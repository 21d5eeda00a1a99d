"""How far the tokens are from being all equal, layer by layer, in untrained Transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from helpers.blocks import TransformerBlock

__all__ = ["STARTS", "Wiring", "after_each_layer", "over_starts", "spread"]

STARTS = ("PyTorch", "normal")
"""How the weights begin: as PyTorch draws them, or normal with variance ``1 / inputs``."""


class Wiring(NamedTuple):
    """Which parts of a Transformer block are there: attention always is."""

    skip: bool
    feed_forward: bool
    norm: bool = True


def spread(tokens: Tensor) -> Tensor:
    """Measure how far tokens are from being all equal: ``‖X - mean‖ / ‖X‖``.

    The mean is over the tokens. 0 says that all are equal, 1 that they cancel in the sum.

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
    wirings: Sequence[Wiring], depth: int = 24, seed: int = 0, start: str = "PyTorch"
) -> Tensor:
    """Send the same 32 random tokens of 64 channels through untrained layers, in float64.

    All wirings see the same weights; each layer has its own.

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

    Returns
    -------
    Tensor
        The tokens' `spread` after each layer, ``(W, depth)``.

    Raises
    ------
    ValueError
        If there is no such start.

    Examples
    --------
    >>> attention_alone = Wiring(skip=False, feed_forward=False)
    >>> bool(after_each_layer([attention_alone], depth=4)[0, -1] < 1e-12)
    True
    """
    if start not in STARTS:
        raise ValueError(f"start={start!r}: expected one of {', '.join(map(repr, STARTS))}.")
    seeded = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, 32, 64, generator=seeded, dtype=torch.float64)
    tokens = tokens.expand(len(wirings), -1, -1)
    skip, feed_forward, norm = torch.tensor(wirings).T[:, :, None, None]
    spreads = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for _ in range(depth):
            block = TransformerBlock(64, 4).double()
            if start == "normal":
                _redraw(block)
            mixed = block.attention(torch.where(norm, block.norm1(tokens), tokens))
            tokens = torch.where(skip, tokens + mixed, mixed)
            x = torch.where(norm, block.norm2(tokens), tokens)
            x = block.linear2(block.activation(block.linear1(x)))
            tokens = torch.where(feed_forward, torch.where(skip, tokens + x, x), tokens)
            spreads.append(spread(tokens))
    return torch.stack(spreads, 1)


def _redraw(block: nn.Module) -> None:
    """Draw each weight matrix from a normal distribution of variance ``1 / inputs``."""
    for parameter in block.parameters():
        if parameter.ndim == 2:
            parameter.normal_(0, parameter.shape[1] ** -0.5)


def over_starts(
    skip: bool, feed_forward: bool, norm: bool = True, start: str = "PyTorch"
) -> Tensor:
    """Give the tokens' `spread` after each of 24 layers, for 13 seeds.

    The first call with a `start` runs all eight wirings; the others look the answer up.

    Parameters
    ----------
    skip, feed_forward, norm
        The `Wiring`.
    start
        One of `STARTS`.

    Returns
    -------
    Tensor
        ``(13, 24)``.

    Examples
    --------
    >>> over_starts(skip=True, feed_forward=False).shape
    torch.Size([13, 24])
    """
    return _all_wirings(start)[:, _WIRINGS.index(Wiring(skip, feed_forward, norm))]


_WIRINGS = [Wiring(s, f, n) for s in (False, True) for f in (False, True) for n in (False, True)]


@cache
def _all_wirings(start: str, seeds: int = 13) -> Tensor:
    """Run every wiring from every seed, ``(seeds, 8, 24)``."""
    return torch.stack([after_each_layer(_WIRINGS, seed=s, start=start) for s in range(seeds)])
