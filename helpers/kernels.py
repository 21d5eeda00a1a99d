"""A kernel for each position: the same numbers as rows of A, and as a depthwise convolution.

A token mixing that looks no further than k x k pixels has at most k² numbers in each row of A.
Laid out as ``(B, heads, k, k, H, W)``, one small kernel for each position and head, they are what a
dynamic depthwise convolution applies. The two layouts hold the same numbers, and this module goes
from one to the other. A plain depthwise convolution is the case in which all positions have the
same kernel; local attention the one in which a softmax of scores makes them.

Source: Han et al. (2022), "On the Connection between Local Attention and Dynamic Depth-wise
Convolution", section 2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.tokens import refuse_above_limit

Grid = tuple[int, int]


def odd_pair(kernel_size: int | tuple[int, int]) -> tuple[int, int]:
    """Give the kernel's height and width, both odd, so that it has a middle.

    Raises
    ------
    TypeError
        If it is neither a whole number nor two of them.
    ValueError
        If a size is even or below 1.

    Examples
    --------
    >>> odd_pair(3)
    (3, 3)
    """
    pair = tuple(kernel_size) if isinstance(kernel_size, tuple | list) else (kernel_size,) * 2
    if len(pair) != 2 or any(isinstance(k, bool) or not isinstance(k, int) for k in pair):
        raise TypeError(f"kernel_size={kernel_size!r}: expected a whole number, or two of them.")
    for k in pair:
        if k < 1:
            raise ValueError(f"kernel_size={kernel_size}: expected at least 1.")
        if k % 2 == 0:
            raise ValueError(
                f"kernel_size={kernel_size} is even: no pixel is in the middle of it, so it cannot "
                f"be centred on its output. Take {k - 1} or {k + 1}."
            )
    return pair


def neighbours(grid: Grid, kernel_size: int | tuple[int, int]) -> Tensor:
    """Say which token each position sees at each offset of a centred kernel.

    Returns
    -------
    Tensor
        ``(k², N)`` token numbers, offsets row by row from the upper left; -1 outside the image.

    Examples
    --------
    >>> neighbours((1, 3), (1, 3)).tolist()
    [[-1, 0, 1], [0, 1, 2], [1, 2, -1]]
    """
    kernel = odd_pair(kernel_size)
    numbers = torch.arange(1, math.prod(grid) + 1, dtype=torch.float64).view(1, 1, *grid)
    return unfold(numbers, kernel)[0, 0].long() - 1


def apply_kernels(image: Tensor, kernels: Tensor) -> Tensor:
    """Apply a kernel of its own at each position: dynamic depthwise convolution.

    ``out[c, i] = sum_δ kernels[head of c, δ, i] image[c, i + δ]``, with zeros outside the image.
    Channels are dealt to heads in contiguous blocks: head 0 takes the first C / heads.

    Parameters
    ----------
    image
        ``(B, C, H, W)``.
    kernels
        ``(B or 1, heads, k, k, H, W)``; with ``heads = C`` each channel has its own. ``H = W = 1``
        gives all positions the same kernel.

    Returns
    -------
    Tensor
        ``(B, C, H, W)``.

    Raises
    ------
    ValueError
        If the shapes do not fit, the heads do not divide the channels, or a kernel size is even.

    Examples
    --------
    All positions with one kernel for each channel is a depthwise convolution:

    >>> image, weight = torch.randn(2, 4, 5, 6), torch.randn(4, 1, 3, 3)
    >>> out = apply_kernels(image, weight.view(1, 4, 3, 3, 1, 1))
    >>> torch.allclose(out, F.conv2d(image, weight, padding=1, groups=4), atol=1e-5)
    True
    """
    if image.dim() != 4 or kernels.dim() != 6:
        raise ValueError(
            f"image has shape {tuple(image.shape)} and kernels {tuple(kernels.shape)}: expected "
            "(B, C, H, W) and (B or 1, heads, k, k, H, W)."
        )
    batch, channels, *grid = image.shape
    heads = kernels.shape[1]
    if kernels.shape[0] not in (1, batch) or tuple(kernels.shape[4:]) not in (tuple(grid), (1, 1)):
        raise ValueError(
            f"kernels have shape {tuple(kernels.shape)}: expected 1 or {batch} samples, and "
            f"positions {tuple(grid)} or (1, 1), for an image of shape {tuple(image.shape)}."
        )
    check_heads(channels, heads)
    seen = unfold(image, odd_pair(tuple(kernels.shape[2:4])))  # (B, C, k², N)
    seen = seen.unflatten(1, (heads, -1))
    weights = kernels.flatten(4).flatten(2, 3)[:, :, None]  # (B, heads, 1, k², N)
    return (seen * weights).sum(3).flatten(1, 2).unflatten(-1, grid)


def kernels_to_token(kernels: Tensor, grid: Grid | None = None) -> Tensor:
    """Lay kernels out as token mixing matrices: row i of A holds the kernel of position i.

    Parameters
    ----------
    kernels
        ``(B or 1, heads, k, k, H, W)``, or ``H = W = 1`` with the grid given.
    grid
        The image size ``(H, W)``; by default that of the kernels.

    Returns
    -------
    Tensor
        A, ``(B or 1, heads, N, N)``. What a kernel holds for places outside the image is dropped.

    Examples
    --------
    >>> tap = torch.tensor([0.0, 0.0, 1.0]).view(1, 1, 1, 3, 1, 1)  # the pixel to the right
    >>> kernels_to_token(tap, (1, 3))[0, 0].tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    grid = tuple(kernels.shape[4:]) if grid is None else tuple(grid)
    batch, heads, tokens = kernels.shape[0], kernels.shape[1], math.prod(grid)
    refuse_above_limit(
        f"A of {batch} x {heads} x {tokens:,} x {tokens:,} {kernels.dtype}",
        batch * heads * tokens**2,
        kernels.dtype,
        "the batch, the image or the number of heads",
    )
    seen = neighbours(grid, tuple(kernels.shape[2:4])).to(kernels.device)
    weights = kernels.expand(*kernels.shape[:4], *grid).flatten(4).flatten(2, 3)
    # One column more for what lies outside; dropped at the end.
    token = kernels.new_zeros(batch, heads, tokens, tokens + 1)
    columns = torch.where(seen < 0, tokens, seen).T.expand(batch, heads, -1, -1)
    return token.scatter_add(3, columns, weights.transpose(2, 3))[..., :tokens]


def token_to_kernels(token: Tensor, grid: Grid, kernel_size: int | tuple[int, int]) -> Tensor:
    """Read the kernel of each position off token mixing matrices: the way back.

    Parameters
    ----------
    token
        A, ``(B or 1, heads, N, N)``.
    grid
        The image size ``(H, W)``, with ``H W = N``.
    kernel_size
        Odd; large enough for all that A holds. ``(2 H - 1, 2 W - 1)`` always is.

    Returns
    -------
    Tensor
        ``(B or 1, heads, k, k, H, W)``, 0 for places outside the image.

    Raises
    ------
    ValueError
        If `grid` has not N positions, or A reaches further than the kernel.

    Examples
    --------
    >>> token_to_kernels(torch.eye(6)[None, None], (2, 3), 1).flatten().tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    kernel = odd_pair(kernel_size)
    if token.dim() != 4 or token.shape[2] != token.shape[3] or token.shape[3] != math.prod(grid):
        raise ValueError(
            f"token has shape {tuple(token.shape)}: expected (B or 1, heads, N, N) with N = "
            f"{math.prod(grid)}, the positions of the grid {tuple(grid)}."
        )
    seen = neighbours(grid, kernel).to(token.device)
    columns = seen.clamp(min=0).T.expand(*token.shape[:2], -1, -1)
    weights = token.gather(3, columns) * (seen >= 0).T.to(token.dtype)  # (B, heads, N, k²)
    lost = int(token.count_nonzero() - weights.count_nonzero())
    if lost:
        raise ValueError(
            f"kernel_size={kernel_size}: {lost:,} weights of A reach further than this kernel. "
            f"{(2 * grid[0] - 1, 2 * grid[1] - 1)} reaches everywhere on this grid."
        )
    return weights.transpose(2, 3).unflatten(2, kernel).unflatten(4, tuple(grid))


def check_heads(channels: int, heads: int) -> None:
    """Raise a `ValueError` unless the heads deal out the channels evenly.

    Examples
    --------
    >>> check_heads(96, 3)
    >>> check_heads(96, 5)
    Traceback (most recent call last):
    ValueError: heads=5 does not divide channels=96: ... Divisors: 1, 2, 3, 4, 6, 8, 12, 16, ...
    """
    for name, value in (("channels", channels), ("heads", heads)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}={value!r}: expected a whole number.")
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1.")
    if channels % heads:
        divisors = ", ".join(str(n) for n in range(1, channels + 1) if channels % n == 0)
        raise ValueError(
            f"heads={heads} does not divide channels={channels}: each head takes channels / heads "
            f"of them. Divisors: {divisors}."
        )


def unfold(image: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Give what each position sees: ``(B, C, H, W)`` to ``(B, C, k², N)``, zeros outside."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    columns = F.unfold(image, kernel, padding=padding)
    return columns.unflatten(1, (image.shape[1], math.prod(kernel)))
