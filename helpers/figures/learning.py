"""Figures of notebook 09: accuracies of several runs, and what one token reads of an image."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from helpers import theme
from helpers.figures.grids import Kind, image_grid, outline

__all__ = ["accuracy_curves", "token_reads"]

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


def token_reads(
    pictures: ArrayLike,
    maps: ArrayLike,
    token: tuple[int, int],
    titles: Sequence[str],
    *,
    kind: Kind = "weight",
    limit: float | None = None,
) -> Figure:
    """Draw, for some images, with which weights one token reads all tokens: rows of A as images.

    Parameters
    ----------
    pictures : array_like, shape (images, height, width)
        What the network saw.
    maps : array_like, shape (images, terms, rows, columns)
        For each image and each term (head or channel), the token's row of A, laid over the grid.
    token : (row, column)
        The token that reads; outlined, and the 3 x 3 window around it more thinly.
    titles : sequence of str
        A name for each term.
    kind : {"weight", "signed"}
        Attention weights start at zero; a filter has both signs.
    limit : float, optional
        The end of the scale, for all maps alike; the largest of them by default.

    Returns
    -------
    Figure
        A row for each image: the image, then its maps.

    Raises
    ------
    ValueError
        If pictures, maps and titles do not go together, or the token lies outside.

    Examples
    --------
    >>> fig = token_reads([[[0.0, 1.0], [1.0, 0.0]]], [[[[0.4, 0.6]]]], (0, 1), ["head 1"])
    >>> [ax.get_title(loc="left") for ax in fig.axes]
    ['image', 'head 1', '']
    """
    seen, rows = np.asarray(pictures, dtype=float), np.asarray(maps, dtype=float)
    if seen.ndim != 3 or rows.ndim != 4 or rows.shape[:2] != (len(seen), len(titles)):
        raise ValueError(
            f"pictures {seen.shape}, maps {rows.shape} and {len(titles)} titles do not go "
            "together: expected (images, height, width), (images, terms, rows, columns), and a "
            "title for each term."
        )
    grid = rows.shape[2:]
    if not all(0 <= at < size for at, size in zip(token, grid, strict=True)):
        raise ValueError(f"token {token} lies outside the grid of {grid}.")
    end = limit or float(np.abs(rows).max()) or 1.0
    side, gap, top, bottom = 1.0, 0.1, 0.36, 0.36
    width = 0.1 + (len(titles) + 1) * (side + gap)
    height = top + len(seen) * (side + gap) + bottom - gap
    fig = theme.figure(width, height)
    patch = tuple(pixels // size for pixels, size in zip(seen.shape[1:], grid, strict=True))
    with theme.style():
        for i, picture in enumerate(seen):
            for j in range(len(titles) + 1):
                low = height - top - (i + 1) * side - i * gap
                place = ((0.1 + j * (side + gap)) / width, low / height)
                ax = fig.add_axes((*place, side / width, side / height))
                if i == 0:
                    ax.set_title("image" if j == 0 else titles[j - 1], color=theme.INK)
                if j == 0:
                    image_grid(ax, picture, kind="picture")
                    corner = (token[0] * patch[0], token[1] * patch[1])
                    outline(ax, corner, size=patch)
                    continue
                values = rows[i, j - 1]
                cells = image_grid(ax, values, kind=kind, limit=end, highlight=token, bar=False)
                _window(ax, token, grid)
        left = 0.1 + side + gap
        box = (left / width, 0.24 / height, (width - left - gap) / width, 0.08 / height)
        _scale(fig.add_axes(box), cells)
    return fig


def _scale(ax: Axes, cells: AxesImage) -> None:
    """Draw the one scale of all maps, with its ends and its zero labelled."""
    low, high = cells.get_clim()
    ends = (low, high, 0, 1)
    ax.imshow(np.linspace(low, high, 256)[None], cmap=cells.cmap, extent=ends, aspect="auto")
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    places = sorted({low, 0.0, high})
    texts = [format(value, ".2g").replace("-", "\N{MINUS SIGN}") for value in places]
    ax.set_xticks(places, texts)
    ax.tick_params(length=0, pad=3)
    for label, side in ((ax.get_xticklabels()[0], "left"), (ax.get_xticklabels()[-1], "right")):
        label.set_horizontalalignment(side)


def _window(ax: Axes, token: tuple[int, int], grid: tuple[int, int]) -> None:
    """Mark the 3 x 3 window around a token, as far as it lies on the grid."""
    first = [max(0, at - 1) for at in token]
    beyond = [min(size, at + 2) for at, size in zip(token, grid, strict=True)]
    size = (beyond[1] - first[1], beyond[0] - first[0])
    corner = (first[1] - 0.5, first[0] - 0.5)
    for colour, line in (("#FFFFFF", 3.0), (theme.INK, 1.4)):
        ax.add_patch(Rectangle(corner, *size, fill=False, ec=colour, lw=line, zorder=4))
