"""Figure of notebook 06: what becomes of the differences between tokens, layer by layer."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from helpers import theme

__all__ = ["TALLEST", "lengths_over_depth"]

TALLEST = 200
"""Where the scale of lengths ends, the same for every figure; what is longer leaves at the top."""


def lengths_over_depth(
    apart: ArrayLike, common: ArrayLike, compared: ArrayLike | None = None
) -> Figure:
    """Draw how far tokens are from equal: relative to their size, and as it is.

    Parameters
    ----------
    apart, common : array_like, shape (starts, layers + 1)
        What differs between the tokens and what they have in common, before the first layer and
        after each.
    compared : array_like, shape (starts, layers + 1), optional
        The relative distance in another wiring, whose median is dotted.

    Returns
    -------
    Figure
        Left ``apart / hypot(apart, common)``, from 0 to 1; right both lengths, up to `TALLEST`. A
        thin line for each start, a thick one for their median.

    Raises
    ------
    ValueError
        If the lengths are no matrices of one shape without negative numbers.

    Examples
    --------
    >>> fig = lengths_over_depth([[3, 3], [3, 4]], [[4, 0], [4, 30]])
    >>> fig.axes[0].lines[0].get_ydata().tolist()
    [0.6, 1.0]
    """
    apart, common = _curves("apart", apart), _curves("common", common)
    if apart.shape != common.shape:
        raise ValueError(f"apart has the shape {apart.shape}, common {common.shape}: expected one.")
    fig = theme.figure(6, 3.1)
    with theme.style():
        left = fig.add_axes((0.115, 0.37, 0.36, 0.53), title="Relative distance", ylim=(0, 1.03))
        right = fig.add_axes((0.615, 0.37, 0.36, 0.53), title="Lengths", ylim=(0, TALLEST))
        _draw(left, apart / np.hypot(apart, common), theme.INK, "median (thin: each start)")
        if compared is not None:
            # On top, so that it is seen where both run together.
            median = np.median(_curves("compared", compared), 0)
            left.plot(median, color=theme.FIXED, linestyle=":", lw=2.6, label="attention alone")
        _draw(right, common, theme.FIXED, "common part")
        _draw(right, apart, theme.INK, "differences")
        left.set_ylabel("0 = all equal")
        left.set_yticks([0, 0.5, 1])
        right.set_yticks(range(0, TALLEST + 1, 50))
        for ax in (left, right):
            _label(ax, apart.shape[1] - 1)
    return fig


def _draw(ax: Axes, curves: np.ndarray, colour: str, label: str) -> None:
    for curve in curves:
        ax.plot(curve, color=colour, lw=0.6, alpha=0.5)
    ax.plot(np.median(curves, 0), color=colour, lw=2.4, label=label)


def _label(ax: Axes, depth: int) -> None:
    step = max(1, depth // 4)
    ax.set(xlim=(0, max(1, depth)), xlabel="layer", xticks=range(0, depth + 1, step))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.26), frameon=False, handlelength=1.6)


def _curves(name: str, values: ArrayLike) -> np.ndarray:
    curves = np.asarray(values, dtype=float)
    if curves.ndim != 2 or not curves.size or not (curves >= 0).all():
        raise ValueError(
            f"{name} has the shape {curves.shape}: expected (starts, layers + 1), none negative."
        )
    return curves
