"""Figure of notebook 06: how far the tokens are from being equal, layer by layer."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from helpers import theme

__all__ = ["FLOOR", "spread_over_depth"]

FLOOR = 1e-12
"""Below this, what is left in float64 is rounding; the curves end here."""


def spread_over_depth(spreads: ArrayLike, compared: ArrayLike | None = None) -> Figure:
    """Draw a curve for each start, and their median, on two scales.

    Parameters
    ----------
    spreads : array_like, shape (starts, depth)
        Between 0 and 1, after each layer.
    compared : array_like, shape (starts, depth), optional
        Another wiring, whose median is drawn in grey.

    Returns
    -------
    Figure
        Left from 1 down to 1e-12, each step a factor of ten; right from 0 to 1.

    Raises
    ------
    ValueError
        If the spreads are not a matrix of numbers from 0 to 1.

    Examples
    --------
    >>> fig = spread_over_depth([[0.9, 0.8], [0.7, 0.2]])
    >>> [ax.get_yscale() for ax in fig.axes]
    ['log', 'linear']
    """
    curves = [_curves(spreads)] + ([] if compared is None else [_curves(compared)])
    fig = theme.figure(7.2, 3.3)
    with theme.style():
        left = fig.add_axes((0.1, 0.19, 0.37, 0.66))
        right = fig.add_axes((0.6, 0.19, 0.37, 0.66))
        for ax in (left, right):
            _draw(ax, *curves)
        left.set(yscale="log", ylim=(FLOOR, 3), title="In factors of ten")
        left.set_yticks([1, 1e-4, 1e-8, 1e-12])
        left.minorticks_off()
        right.set(ylim=(0, 1.03), title="From 0 to 1")
        right.set_yticks([0, 0.5, 1])
    return fig


def _draw(ax: Axes, curves: np.ndarray, compared: np.ndarray | None = None) -> None:
    layers = np.arange(1, curves.shape[1] + 1)
    if compared is not None:
        median = np.median(compared, 0)
        ax.plot(np.arange(1, len(median) + 1), median, color=theme.FIXED, linestyle=":", lw=2)
    for curve in curves:
        ax.plot(layers, curve, color=theme.INK, lw=0.6, alpha=0.45)
    ax.plot(layers, np.median(curves, 0), color=theme.INK, lw=2.4)
    ax.set(xlim=(1, max(2, len(layers))), xlabel="layer")
    ax.set_xticks(sorted({1, *range(4, len(layers) + 1, 4)}) if len(layers) > 1 else [1])


def _curves(values: ArrayLike) -> np.ndarray:
    curves = np.asarray(values, dtype=float)
    if curves.ndim != 2 or not curves.size or not ((curves >= 0) & (curves <= 1 + 1e-9)).all():
        raise ValueError(
            f"spreads of the shape {curves.shape}: expected (starts, depth), numbers from 0 to 1."
        )
    return np.maximum(curves, FLOOR)
