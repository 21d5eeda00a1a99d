"""Tokens and layouts: an image is a list of pixels, and a layer's layout says where channels are.

The mixing equation reads an image as tokens, the rows of X: pixels row by row, channels last. Here
is the way there and back, and what every example input must satisfy before a layer is looked at.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Where a tensor keeps its channels: on axis 1 (``B, C, H, W``) or on the last axis (``B, N, C``).
LAYOUTS = ("channels_first", "channels_last")

#: What one lifted layer or dense matrix may take.
LIMIT_BYTES = 256 * 2**20


def check_layout(layout: str) -> None:
    """Raise a `ValueError` unless `layout` is one of `LAYOUTS`."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r}: expected 'channels_first' or 'channels_last'.")


def channel_axis(layout: str) -> int:
    """Give the axis that holds the channels: 1 or -1."""
    return 1 if layout == "channels_first" else -1


def grid_of(x: Tensor, layout: str) -> tuple[int, ...]:
    """Give the sizes of all axes but batch and channels: ``(H, W)`` for an image, ``()`` for none.

    Examples
    --------
    >>> grid_of(torch.zeros(2, 3, 4, 5), "channels_first")
    (4, 5)
    >>> grid_of(torch.zeros(2, 20, 3), "channels_last")
    (20,)
    """
    sizes = list(x.shape[1:])
    sizes.pop(0 if layout == "channels_first" else -1)
    return tuple(sizes)


def to_tokens(x: Tensor, layout: str = "channels_first") -> Tensor:
    """Lay out an image as tokens: pixels row by row, channels last.

    Parameters
    ----------
    x
        ``(B, C, *grid)`` if channels first, ``(B, *grid, C)`` if channels last. The grid may have
        any number of axes; with none, ``(B, C)``, the sample is one token.
    layout
        ``"channels_first"`` or ``"channels_last"``.

    Returns
    -------
    Tensor
        ``(B, N, C)`` with ``N`` the number of grid positions. For a channels-first image this is
        ``x.flatten(2).transpose(1, 2)``.

    Raises
    ------
    ValueError
        If the layout has another name, or `x` has fewer than two axes.

    Examples
    --------
    >>> image = torch.arange(12.0).view(1, 3, 2, 2)
    >>> to_tokens(image)[0, 0].tolist()
    [0.0, 4.0, 8.0]
    """
    check_layout(layout)
    if x.dim() < 2:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: expected at least two axes, batch and channels."
        )
    if layout == "channels_first":
        x = x.movedim(1, -1)
    return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])


def from_tokens(tokens: Tensor, grid: tuple[int, ...], layout: str = "channels_first") -> Tensor:
    """Lay tokens back over their grid: the inverse of `to_tokens`.

    Parameters
    ----------
    tokens
        ``(B, N, C)``.
    grid
        The sizes of the grid, with product ``N``: ``(H, W)`` for an image.
    layout
        Where the result has its channels.

    Returns
    -------
    Tensor
        ``(B, C, *grid)`` or ``(B, *grid, C)``.

    Raises
    ------
    ValueError
        If the layout has another name, or the grid has not ``N`` positions.

    Examples
    --------
    >>> image = torch.randn(2, 3, 4, 5)
    >>> torch.equal(from_tokens(to_tokens(image), (4, 5)), image)
    True
    """
    check_layout(layout)
    if tokens.dim() != 3 or tokens.shape[1] != math.prod(grid):
        raise ValueError(
            f"tokens have shape {tuple(tokens.shape)} and the grid is {tuple(grid)}: expected "
            f"(batch, {math.prod(grid)}, channels), one token for each position of the grid."
        )
    x = tokens.reshape(tokens.shape[0], *grid, tokens.shape[2])
    return x.movedim(-1, 1) if layout == "channels_first" else x


def check_example(x: Tensor) -> None:
    """Check what every example input must be: a batch of real, finite numbers.

    Raises
    ------
    TypeError
        If `x` is no tensor, or holds integers, booleans or complex numbers.
    ValueError
        If `x` has no batch and channel axis, an axis of size 0, or a NaN or infinity.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x has type {type(x).__name__}: expected a torch.Tensor, batch included.")
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}: expected real numbers, for example x.double().")
    shape = tuple(x.shape)
    if x.dim() < 2:
        raise ValueError(f"x has shape {shape}: expected at least two axes, batch and channels.")
    if 0 in shape:
        raise ValueError(f"x has shape {shape}: axis {shape.index(0)} is empty.")
    if not x.isfinite().all():
        raise ValueError("x holds a NaN or an infinity: expected finite numbers.")


def refuse_above_limit(what: str, entries: int, dtype: torch.dtype, smaller: str) -> None:
    """Raise a `ValueError` where `entries` numbers of `dtype` take more than `LIMIT_BYTES`.

    Called before anything is allocated.

    Parameters
    ----------
    what
        What would be built, with its shape.
    entries, dtype
        How many numbers, and of which dtype.
    smaller
        What the caller can make smaller.
    """
    size = entries * dtype.itemsize
    if size > LIMIT_BYTES:
        raise ValueError(
            f"{what} would take {math.ceil(size / 2**20):,} MiB, more than the "
            f"{LIMIT_BYTES // 2**20} MiB allowed: make {smaller} smaller."
        )
