"""Stacked bars: what a block or a model spends, part by part, in the colours of what it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers import theme

__all__ = ["Bar", "Piece", "stacked_bars", "three_for_two"]

_COLOURS = {
    "tokens": theme.TOKEN,
    "channels": theme.CHANNEL,
    "each token": theme.POINTWISE,
    "rest": theme.FIXED,
}
_BAR, _GAP, _HEAD = 0.34, 0.14, 0.34
"""Heights in inches: a bar, what is between two, and a heading above a group of bars."""
_LABEL, _TOTAL = 1.6, 0.95
"""Widths in inches of what stands to the left and to the right of the bars."""
_CHARACTER = 0.098
"""Width in inches of a character of the smallest text, on the wide side."""


@dataclass(frozen=True)
class Piece:
    """One piece of a bar.

    Parameters
    ----------
    value
        How long it is.
    kind
        ``"tokens"``, ``"channels"``, ``"each token"`` or ``"rest"``.
    text
        What stands in it, where it fits.
    computed
        Dashed: it is computed from the input, and is no parameter.
    """

    value: float
    kind: str
    text: str = ""
    computed: bool = False


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its pieces from left to right, and what stands at its end.

    A bar without pieces is a heading.
    """

    label: str
    pieces: Sequence[Piece] = ()
    total: str = ""


def stacked_bars(
    bars: Sequence[Bar],
    *,
    width: float = 7.2,
    label: float = _LABEL,
    limits: Mapping[str, float] | None = None,
) -> Figure:
    """Draw bars below each other, on one scale below each heading.

    Blue pieces mix tokens, orange ones channels, green ones work on one token, grey ones lie
    outside the blocks. A dashed outline is computed from the input.

    Parameters
    ----------
    bars
        From the top; a `Bar` without pieces is a heading, and a new scale begins below it.
    width, label
        Width of the figure, and of the names on its left, in inches.
    limits
        For a heading, a value that the bars below it are to be held against: a dashed line.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no bar, a piece has another kind, or is not above zero.

    Examples
    --------
    >>> fig = stacked_bars([Bar("a block", [Piece(12, "tokens"), Piece(84, "channels")], "96")])
    >>> [text.get_text() for text in fig.axes[0].texts]
    ['a block', '96']
    """
    if not any(bar.pieces for bar in bars):
        raise ValueError("bars has no bar with pieces: there is nothing to draw.")
    for bar in bars:
        for piece in bar.pieces:
            if piece.kind not in _COLOURS:
                raise ValueError(
                    f"kind={piece.kind!r} in the bar {bar.label!r}: expected one of "
                    f"{', '.join(map(repr, _COLOURS))}."
                )
            if piece.value <= 0:
                raise ValueError(
                    f"a piece of the bar {bar.label!r} is {piece.value} long: leave it out, or "
                    "give a length above 0."
                )
    height = sum(_BAR + _GAP if bar.pieces else _HEAD for bar in bars) + 0.1
    fig = theme.figure(width, height)
    with theme.style():
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, width), ylim=(0, height))
        ax.set_axis_off()
        room, limits = width - label - _TOTAL, limits or {}
        y, scale, limit = height - 0.05, _scale(bars, 0, room, 0.0), 0.0
        for at, bar in enumerate(bars):
            if not bar.pieces:
                limit = limits.get(bar.label, 0.0)
                scale = _scale(bars, at + 1, room, limit)
                ax.text(0.02, y - _HEAD / 2, bar.label, va="center", weight="bold")
                y -= _HEAD
                continue
            middle = y - _BAR / 2
            ax.text(0.02, middle, bar.label, va="center", fontsize=theme.SMALL)
            right = _pieces(ax, bar.pieces, label, middle, scale)
            if limit:
                line = label + limit * scale
                ends = (y + _GAP / 2, y - _BAR - _GAP / 2)
                ax.plot((line, line), ends, color=theme.INK, lw=1.6, ls=(0, (4, 2)), zorder=3)
                right = max(right, line)
            ax.text(right + 0.08, middle, bar.total, va="center", fontsize=theme.SMALL)
            y -= _BAR + _GAP
    return fig


def three_for_two() -> Figure:
    """Draw three ConvNeXt blocks above two Transformer blocks: both are 24 C² long.

    Returns
    -------
    Figure

    Examples
    --------
    >>> three_for_two().get_size_inches()[0].item()
    7.2
    """
    convnext = [Piece(8, "channels", "8C²")]
    transformer = [
        Piece(2, "tokens", "2C²"),
        Piece(2, "channels", "2C²"),
        Piece(8, "channels", "8C²"),
    ]
    return stacked_bars(
        [
            Bar("3 ConvNeXt blocks", 3 * convnext, "24 C²"),
            Bar("2 Transformer blocks", 2 * transformer, "24 C²"),
        ],
        label=1.9,
    )


def _scale(bars: Sequence[Bar], start: int, room: float, limit: float) -> float:
    """Give inches for a unit: the longest bar below this heading, or its limit, fills the room."""
    longest, seen = limit, False
    for bar in bars[start:]:
        if not bar.pieces and seen:
            break
        seen = seen or bool(bar.pieces)
        longest = max(longest, sum(piece.value for piece in bar.pieces))
    return room / (longest or 1.0)


def _pieces(ax: Axes, pieces: Sequence[Piece], left: float, middle: float, scale: float) -> float:
    """Draw the pieces of one bar, and give where it ends."""
    for piece in pieces:
        colour, size = _COLOURS[piece.kind], piece.value * scale
        # Half a line is left out on each side, so that neighbours keep their own outlines.
        inset = min(0.012, size / 4)
        ax.add_patch(
            Rectangle(
                (left + inset, middle - _BAR / 2),
                size - 2 * inset,
                _BAR,
                facecolor=to_rgba(colour, 0.2),
                edgecolor=colour,
                linewidth=1.6,
                linestyle=(0, (3, 1.5)) if piece.computed else "solid",
            )
        )
        if piece.text and len(piece.text) * _CHARACTER < size - 0.04:
            ax.text(
                left + size / 2, middle, piece.text, ha="center", va="center", fontsize=theme.SMALL
            )
        left += size
    return left
