"""Small pieces that figures are put together from: a row of panels, a grid of values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike

from helpers import theme

__all__ = ["image_grid", "make_ready", "outline", "panels"]

Kind = Literal["signed", "weight", "picture"]
_NUMBERS_AT_MOST = 256

# Margins in inches, fixed rather than fitted: a layout engine costs more than the drawing, and
# frames of one explorer must not jump.
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 0.15, 0.15, 0.5, 0.6, 0.3
_LINE = 0.22


def panels(
    n: int,
    titles: Sequence[str] | None = None,
    *,
    width: float = 7.2,
    ratios: Sequence[float] | None = None,
    colours: Sequence[str] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Make a figure with a row of square panels.

    Parameters
    ----------
    n : int
        How many panels, 1 to 6.
    titles : sequence of str, optional
        One title for each panel; a line break in a title starts a second line.
    width : float
        Width of the figure in inches.
    ratios : sequence of float, optional
        Relative sizes of the panels, equal by default.
    colours : sequence of str, optional
        The colour of each title: a role, such as ``theme.TOKEN`` for a panel of token mixing.

    Returns
    -------
    fig : Figure
    axes : list of Axes
        The `n` panels, from left to right.

    Raises
    ------
    ValueError
        If `n` is out of range, or the titles or ratios are not `n`.

    Examples
    --------
    >>> fig, axes = panels(2, ["Input", "Output"])
    >>> [ax.get_title(loc="left") for ax in axes]
    ['Input', 'Output']
    """
    if not 1 <= n <= 6:
        raise ValueError(f"n={n} panels do not fit in a row: choose 1 to 6.")
    for name, given in (("titles", titles), ("ratios", ratios), ("colours", colours)):
        if given is not None and len(given) != n:
            raise ValueError(f"{name} has {len(given)} entries for n={n} panels: give {n}.")
    lines = max((title.count("\n") for title in titles), default=0) if titles else 0
    top = _TOP + lines * _LINE if titles else _LEFT
    parts = np.asarray(ratios if ratios is not None else [1.0] * n, dtype=float)
    side = (width - _LEFT - _RIGHT - _GAP * (n - 1)) * parts / parts.sum()
    height = float(side.max()) + top + _BOTTOM
    starts = _LEFT + np.concatenate([[0.0], np.cumsum(side[:-1] + _GAP)])
    boxes = tuple(
        (left / width, (_BOTTOM + side.max() - size) / height, size / width, size / height)
        for left, size in zip(starts.tolist(), side.tolist(), strict=True)
    )
    fig, axes = _take_blank((width, height, boxes))
    with theme.style():
        for index, title in enumerate(titles or ()):
            axes[index].set_title(title, color=colours[index] if colours else theme.INK)
    return fig, axes


_Layout = tuple[float, float, tuple[tuple[float, float, float, float], ...]]

# Empty axes cost a third of a picture. The layout that was asked for last is asked for again when
# an explorer moves on, so one blank figure of it can be made while nobody waits.
_blank: dict[_Layout, tuple[Figure, list[Axes]]] = {}
_last: list[_Layout] = []


def make_ready() -> None:
    """Make the blank figure that `panels` is likely to be asked for next, in an idle moment."""
    for layout in _last:
        if layout not in _blank:
            _blank.clear()
            _blank[layout] = _make_blank(layout)


def _take_blank(layout: _Layout) -> tuple[Figure, list[Axes]]:
    _last[:] = [layout]
    return _blank.pop(layout, None) or _make_blank(layout)


def _make_blank(layout: _Layout) -> tuple[Figure, list[Axes]]:
    """Make a figure with empty panels in the book's style."""
    width, height, boxes = layout
    fig = theme.figure(width, height)
    with theme.style():
        axes = [fig.add_axes(box) for box in boxes]
        for ax in axes:
            ax.set_anchor("NW")
    return fig, axes


def image_grid(
    ax: Axes,
    values: ArrayLike,
    *,
    kind: Kind = "signed",
    limit: float | None = None,
    numbers: bool | str = False,
    highlight: Sequence[tuple[int, int]] | tuple[int, int] | None = None,
    padding: int = 0,
    bar: bool = True,
) -> AxesImage:
    """Draw a matrix, or one channel of an image, as a grid of coloured cells.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    values : array_like, shape (rows, columns)
        The numbers; a tensor is taken as it is, without its gradient.
    kind : {"signed", "weight", "picture"}
        The colour map: diverging with zero in its middle, sequential from zero, or grey.
    limit : float, optional
        The value at the end of the scale; the largest absolute value by default. Give the same
        limit to panels that are compared.
    numbers : bool or str
        Print the value in each cell; a str is the format, such as ``".2f"``.
    highlight : (row, column), or a sequence of them, optional
        Cells with an outline. They may lie in the padding, at negative indices.
    padding : int
        Cells of zero padding around the values, hatched.
    bar : bool
        Draw the scale below, with its zero labelled; a picture has none.

    Returns
    -------
    AxesImage
        The drawn cells; its array is `values`.

    Raises
    ------
    ValueError
        If the values are not a matrix of finite numbers, `kind` is unknown, weights are negative,
        the limit is not positive, or there are too many cells for numbers.

    Examples
    --------
    >>> fig, (ax,) = panels(1)
    >>> image_grid(ax, [[1.0, -2.0]], numbers=True).get_clim()
    (-2.0, 2.0)
    """
    matrix = _matrix(values)
    cmap, norm = _scale(matrix, kind, limit)
    rows, columns = matrix.shape
    with theme.style():
        image = ax.imshow(
            matrix,
            cmap=cmap,
            norm=norm,
            extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
        )
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        if padding:
            _hatch(ax, rows, columns, padding)
        ax.set_xlim(-0.5 - padding, columns - 0.5 + padding)
        ax.set_ylim(rows - 0.5 + padding, -0.5 - padding)
        ax.add_patch(Rectangle((-0.5, -0.5), columns, rows, fill=False, ec=theme.FIXED, lw=0.8))
        if numbers:
            _print_numbers(ax, image, numbers if isinstance(numbers, str) else ".3g")
        if highlight is not None:
            outline(ax, highlight)
        if bar and kind != "picture":
            _bar(ax, image)
    return image


def outline(
    ax: Axes,
    cells: Sequence[tuple[int, int]] | tuple[int, int],
    *,
    colour: str = theme.INK,
    dashed: bool = False,
    size: tuple[int, int] = (1, 1),
) -> None:
    """Outline cells of a grid, dark on a white rim so that it shows on every colour.

    Parameters
    ----------
    ax : Axes
        A panel drawn by `image_grid`.
    cells : (row, column), or a sequence of them
        The upper left cell of each outlined block.
    colour : str
        A colour of `helpers.theme`.
    dashed : bool
        Dashed is for what is computed from the input.
    size : (rows, columns)
        Size of each block in cells.
    """
    found = np.atleast_2d(np.asarray(cells, dtype=int))
    if found.ndim != 2 or found.shape[1] != 2:
        raise ValueError(f"cells has the shape {found.shape}: give (row, column), or several.")
    for row, column in found:
        corner = (column - 0.5, row - 0.5)
        for edge, line in (("#FFFFFF", 4.5), (colour, 2.5)):
            ax.add_patch(
                Rectangle(
                    corner,
                    size[1],
                    size[0],
                    fill=False,
                    ec=edge,
                    lw=line,
                    ls="--" if dashed and edge == colour else "-",
                    joinstyle="miter",
                    clip_on=False,
                    zorder=5,
                )
            )


def _matrix(values: ArrayLike) -> np.ndarray:
    """Give the values as a matrix of floats, or say what is wrong with them."""
    detached: Any = values.detach() if hasattr(values, "detach") else values
    matrix = np.asarray(detached, dtype=float)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(
            f"values has the shape {matrix.shape}: a grid needs (rows, columns). "
            "Pick one image and one channel first, for example x[0, 0]."
        )
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0].tolist()
        raise ValueError(f"values[{row}, {column}] is {matrix[row, column]}: no colour shows that.")
    return matrix


def _scale(matrix: np.ndarray, kind: str, limit: float | None) -> tuple[Any, Normalize]:
    """Choose the colour map and its ends for a kind of values."""
    if kind not in ("signed", "weight", "picture"):
        raise ValueError(f'kind={kind!r} is unknown: choose "signed", "weight" or "picture".')
    if limit is not None and limit <= 0:
        raise ValueError(f"limit={limit} is not positive: it is the value at the scale's end.")
    largest = float(np.abs(matrix).max())
    end = limit if limit is not None else (largest or 1.0)
    if kind == "signed":
        return theme.SIGNED, Normalize(-end, end)
    if kind == "weight":
        if matrix.min() < 0:
            raise ValueError(
                f'values go down to {matrix.min():.3g}, and kind="weight" starts at zero: '
                'use kind="signed".'
            )
        return theme.WEIGHTS, Normalize(0, end)
    low = min(0.0, float(matrix.min()))
    return mpl.colormaps["gray"], Normalize(low, end)


def _hatch(ax: Axes, rows: int, columns: int, padding: int) -> None:
    """Hatch the ring of zero padding."""
    frame = Rectangle(
        (-0.5 - padding, -0.5 - padding),
        columns + 2 * padding,
        rows + 2 * padding,
        fill=False,
        hatch="///",
        ec=theme.FIXED,
        lw=0.8,
        ls="--",
        zorder=-1,
    )
    ax.add_patch(frame)


def _print_numbers(ax: Axes, image: AxesImage, form: str) -> None:
    """Print each cell's value in the colour that reads best on it."""
    matrix = np.asarray(image.get_array())
    if matrix.size > _NUMBERS_AT_MOST:
        raise ValueError(
            f"numbers in {matrix.size} cells cannot be read: at most {_NUMBERS_AT_MOST}. "
            "Draw without numbers, or a smaller grid."
        )
    colours = image.cmap(image.norm(matrix))
    shapes, inks = [], []
    for at, value in np.ndenumerate(matrix):
        # Adding zero turns the -0.0 that rounding leaves into 0.0.
        text = format(float(format(value, form)) + 0.0, form).replace("-", "\N{MINUS SIGN}")
        shapes.append(_outlines(text))
        inks.append(theme.ink_on(tuple(colours[at])))
    # One collection of outlines: as many texts, each laid out by itself, take twenty times as long.
    numbers = PathCollection(
        shapes,
        offsets=[(column, row) for row, column in np.ndindex(matrix.shape)],
        offset_transform=ax.transData,
        facecolors=inks,
        linewidths=0,
    )
    points_per_inch = 72
    numbers.set_transform(Affine2D().scale(1 / points_per_inch) + ax.get_figure().dpi_scale_trans)
    ax.add_collection(numbers, autolim=False)


@lru_cache(1024)
def _outlines(text: str) -> Path:
    """Give a text as outlines in points, with its middle at (0, 0)."""
    path = TextPath((0, 0), text, size=theme.SMALL, prop=FontProperties(family="DejaVu Sans"))
    box = path.get_extents()
    return path.transformed(Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2))


def _bar(ax: Axes, image: AxesImage) -> None:
    """Draw the scale below a panel, with its ends and its zero labelled.

    Plain artists in the panel's own axes: a colour bar or inset axes cost as much as the rest of
    the panel together.
    """
    low, high = image.get_clim()
    scale = AxesImage(ax, cmap=image.cmap, norm=image.norm, extent=(0, 1, -0.11, -0.065))
    scale.set_data(np.linspace(low, high, 256)[None, :])
    scale.set_transform(ax.transAxes)
    scale.set_clip_on(False)
    ax.add_artist(scale)
    # The labels at the ends stay inside the panel, where a neighbour cannot meet them.
    places = [(low, "left"), (0.0, "center"), (high, "right")] if low < 0 else []
    for value, side in places or [(0.0, "left"), (high, "right")]:
        at = (value - low) / (high - low)
        text = format(value, ".2g").replace("-", "\N{MINUS SIGN}")
        options = {"size": theme.SMALL, "color": theme.INK, "transform": ax.transAxes}
        ax.text(at, -0.125, text, ha=side, va="top", **options)
