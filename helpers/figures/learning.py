"""Figures of notebook 09: accuracies of several runs, and all kernels of a layer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from helpers import theme

__all__ = ["accuracy_curves", "contact_sheet"]

# A marker for each series, so that colour is not the only cue; hollow ones for the paler half.
_MARKERS = ("o", "s", "^", "D", "v", "P")
_COLOURS = (theme.INK, theme.NEGATIVE, theme.POSITIVE, theme.FIXED, theme.MUTED, "#B192C1")


def accuracy_curves(
    x: Sequence[float],
    series: Mapping[str, ArrayLike],
    xlabel: str,
    *,
    hollow: Sequence[str] = (),
    width: float = 7.2,
) -> Figure:
    """Draw accuracies: a line through the means, a mark for each seed.

    Parameters
    ----------
    x : sequence of float
        Where the accuracies were measured; drawn evenly spaced, with their numbers.
    series : mapping of str to array_like, shape (seeds, len(x))
        The accuracies of each kind of run, by its name; at most six.
    xlabel : str
        What `x` counts.
    hollow : sequence of str
        The names whose marks are hollow and whose lines are thinner: the controls.
    width : float
        In inches.

    Returns
    -------
    Figure
        One panel, each line named at its right end.

    Raises
    ------
    ValueError
        If there are no series or more than six, or one has not an accuracy for each `x`.

    Examples
    --------
    >>> fig = accuracy_curves([100, 500], {"ViT": [[0.4, 0.7], [0.5, 0.8]]}, "images")
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['ViT']
    """
    if not 1 <= len(series) <= len(_MARKERS):
        raise ValueError(f"{len(series)} series: expected 1 to {len(_MARKERS)}.")
    places = np.arange(len(x))
    fig = theme.figure(width, 3.6)
    with theme.style():
        ax = fig.add_axes((0.09, 0.16, 0.62, 0.74))
        ends = {}
        for number, (name, values) in enumerate(series.items()):
            runs = np.atleast_2d(np.asarray(values, dtype=float))
            if runs.shape[1] != len(x):
                raise ValueError(
                    f"{name!r} has the shape {runs.shape}: expected (seeds, {len(x)}), one "
                    f"accuracy for each of {list(x)}."
                )
            colour, pale = _COLOURS[number], name in hollow
            ax.plot(places, runs.mean(0), color=colour, lw=1.2 if pale else 2.4)
            ax.plot(
                np.tile(places, len(runs)),
                runs.flatten(),
                ls="",
                marker=_MARKERS[number],
                ms=6,
                mec=colour,
                mfc=theme.CARD if pale else colour,
                alpha=0.9,
            )
            ends[name] = (float(runs.mean(0)[-1]), colour)
        ax.set_xticks(places, [f"{value:,}" for value in x])
        ax.set_xlabel(xlabel)
        ax.set_title("share of test images named right", size=theme.TEXT, weight="normal")
        ax.grid(axis="y", color=theme.FIXED, alpha=0.35, lw=0.8)
        low, high = ax.get_ylim()
        for (name, (_, colour)), y in zip(ends.items(), _spread(ends, high - low), strict=True):
            ax.text(places[-1] + 0.03 * len(x), y, name, color=colour, va="center")
    return fig


def _spread(ends: Mapping[str, tuple[float, str]], span: float) -> list[float]:
    """Move labels apart that would overlap, keeping their order."""
    least = 0.075 * span
    heights = [height for height, _ in ends.values()]
    order = np.argsort(heights)
    placed = np.array(heights)
    for lower, upper in itertools.pairwise(order):
        placed[upper] = max(placed[upper], placed[lower] + least)
    # What was pushed up is brought back by half, so that the labels stay around their lines.
    return list(placed - (placed - np.array(heights)).mean())


def contact_sheet(sheets: Mapping[str, ArrayLike], *, columns: int = 16) -> Figure:
    """Draw all kernels of some layers, each kernel on a scale of its own.

    Parameters
    ----------
    sheets : mapping of str to array_like, shape (C, k, k)
        The kernels of each layer, by what stands above them.
    columns : int
        How many kernels stand beside each other.

    Returns
    -------
    Figure
        A panel for each layer, one below the other. Zero is white; the colours of each kernel end
        at its largest weight.

    Raises
    ------
    ValueError
        If there are no layers or more than four, or one does not hold square kernels.

    Examples
    --------
    >>> fig = contact_sheet({"layer 1": np.ones((4, 3, 3))}, columns=2)
    >>> [ax.get_title(loc="left") for ax in fig.axes]
    ['layer 1']
    """
    if not 1 <= len(sheets) <= 4:
        raise ValueError(f"{len(sheets)} layers: expected 1 to 4.")
    drawn = {name: _sheet(name, kernels, columns) for name, kernels in sheets.items()}
    width, title, gap = 7.2, 0.32, 0.12
    heights = [width * sheet.shape[0] / sheet.shape[1] for sheet in drawn.values()]
    full = sum(heights) + len(heights) * (title + gap)
    fig, top = theme.figure(width, full), full
    with theme.style():
        for (name, sheet), height in zip(drawn.items(), heights, strict=True):
            top -= title + height
            ax = fig.add_axes((0.005, top / full, 0.99, height / full))
            ax.imshow(sheet, cmap=theme.SIGNED, vmin=-1, vmax=1, aspect="auto")
            ax.set_title(name, pad=5)
            ax.set_axis_off()
            top -= gap
    return fig


def _sheet(name: str, values: ArrayLike, columns: int) -> np.ndarray:
    """Lay kernels side by side with a gap between them, each over its largest weight."""
    kernels = np.asarray(values, dtype=float)
    if kernels.ndim != 3 or kernels.shape[1] != kernels.shape[2]:
        raise ValueError(f"{name!r} has the shape {kernels.shape}: expected (C, k, k).")
    size = kernels.shape[1]
    step = size + 1
    sheet = np.full((-(-len(kernels) // columns) * step - 1, columns * step - 1), np.nan)
    for number, kernel in enumerate(kernels):
        row, column = (step * at for at in divmod(number, columns))
        largest = np.abs(kernel).max() or 1.0
        sheet[row : row + size, column : column + size] = kernel / largest
    return sheet
