"""The picture of the whole book: the two blocks side by side, counterparts at the same height."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from helpers import theme

__all__ = ["arrow", "two_blocks"]

_WIDTH, _HEIGHT = 7.2, 4.5
_BOX = 2.2
"""Width of a box in inches, as everything here is in inches."""


@dataclass(frozen=True)
class _Part:
    """One box: where it stands, what it says, and the colours of what it does."""

    middle: float
    height: float
    text: str
    note: str
    colours: tuple[str, ...]
    dashed: bool = False


_NORM = (theme.POINTWISE,)
_WIDEN, _NARROW = (theme.CHANNEL,), (theme.CHANNEL,)
_TRANSFORMER = (
    _Part(3.82, 0.3, "LayerNorm", "", _NORM),
    _Part(
        3.2,
        0.62,
        "Attention, H heads",
        "A from Q, K · W from V, O",
        (theme.TOKEN, theme.CHANNEL),
        True,
    ),
    _Part(2.08, 0.3, "LayerNorm", "", _NORM),
    _Part(1.62, 0.32, "Linear C → 4C", "", _WIDEN),
    _Part(1.17, 0.3, "GELU", "", _NORM),
    _Part(0.72, 0.32, "Linear 4C → C", "", _NARROW),
)
_CONVNEXT = (
    _Part(3.2, 0.62, "Depthwise conv 7×7", "A is the filter", (theme.TOKEN,)),
    _Part(2.08, 0.3, "LayerNorm", "", _NORM),
    _Part(1.62, 0.32, "1×1 conv C → 4C", "", _WIDEN),
    _Part(1.17, 0.3, "GELU", "", _NORM),
    _Part(0.72, 0.32, "1×1 conv 4C → C", "", _NARROW),
)
_TOP, _FIRST_SUM, _LAST_SUM = 4.16, 2.66, 0.3
_BETWEEN = (
    (3.2, "token mixing", theme.TOKEN),
    (2.08, "the same", theme.MUTED),
    (1.62, "channel mixing", theme.CHANNEL),
    (1.17, "the same", theme.MUTED),
    (0.72, "channel mixing", theme.CHANNEL),
)


_LEFT, _RIGHT = 1.75, _WIDTH - 1.75
_WHOLE, _FIRST, _SECOND = (-0.5, 0.5), (-0.5, 0.0), (0.0, 0.5)
#: What is marked for each part: for both columns the height, and the share of the box's width.
_MARKS = {
    "norm1": ((3.82, 0.3, _WHOLE), None),
    "a": ((3.2, 0.62, _FIRST), (3.2, 0.62, _WHOLE)),
    "w": ((3.2, 0.62, _SECOND), None),
    "skip1": ((_FIRST_SUM, 0.24, (-0.055, 0.055)), None),
    "norm2": (2 * ((2.08, 0.3, _WHOLE),)),
    "widen": (2 * ((1.62, 0.32, _WHOLE),)),
    "gelu": (2 * ((1.17, 0.3, _WHOLE),)),
    "narrow": (2 * ((0.72, 0.32, _WHOLE),)),
    "scale": (None, None),
    "skip2": (2 * ((_LAST_SUM, 0.24, (-0.055, 0.055)),)),
}


def two_blocks(mark: str | None = None) -> Figure:
    """Draw the Transformer block beside the ConvNeXt block.

    Blue boxes mix tokens, orange ones channels, green ones work on one token; a dashed outline is
    computed from the input. Attention is both blue and orange: its A is computed, and its V and O,
    which mix channels, are parameters. Layer scale is not drawn.

    Parameters
    ----------
    mark
        The part to mark in both blocks, by its name in `helpers.explorers.TwoBlocks`.

    Returns
    -------
    Figure
        7.2 by 4.5 inches: with its text at 16 pt, it fits a slide.

    Raises
    ------
    ValueError
        If there is no such part.

    Examples
    --------
    >>> two_blocks().get_size_inches().tolist()
    [7.2, 4.5]

    Notes
    -----
    Source: Vaswani et al. (2017), section 3, with the norm first as in ViT (Dosovitskiy et al.
    2021, section 3.1); Liu et al. (2022), figure 4.
    """
    if mark is not None and mark not in _MARKS:
        raise ValueError(f"mark={mark!r} must be one of {', '.join(_MARKS)}.")
    fig = theme.figure(_WIDTH, _HEIGHT)
    with theme.style():
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT), aspect="equal")
        ax.set_axis_off()
        left, right = _LEFT, _RIGHT
        _column(ax, left, "Transformer block", _TRANSFORMER)
        _column(ax, right, "ConvNeXt block", _CONVNEXT)
        _skip(ax, left, _TOP - 0.08, _FIRST_SUM, side=-1)
        _skip(ax, left, _FIRST_SUM - 0.22, _LAST_SUM, side=-1)
        _skip(ax, right, _TOP - 0.08, _LAST_SUM, side=1)
        _sum(ax, left, _FIRST_SUM)
        for middle, words, colour in _BETWEEN:
            ax.plot(
                (left + _BOX / 2 + 0.08, right - _BOX / 2 - 0.08),
                (middle, middle),
                color=theme.FIXED,
                linestyle=":",
                linewidth=1.2,
                zorder=0,
            )
            ax.text(
                _WIDTH / 2,
                middle,
                words,
                ha="center",
                va="center",
                color=colour,
                fontsize=theme.SMALL,
                weight="bold",
                bbox={"facecolor": theme.CARD, "edgecolor": "none", "pad": 2},
            )
        for x, place in zip((left, right), _MARKS.get(mark, (None, None)), strict=True):
            if place is not None:
                _mark(ax, x, *place)
    return fig


def _mark(ax: Axes, x: float, middle: float, height: float, share: tuple[float, float]) -> None:
    """Draw the outline of what is chosen, a little outside the box."""
    away = 0.07
    ax.add_patch(
        Rectangle(
            (x + share[0] * _BOX - away, middle - height / 2 - away),
            (share[1] - share[0]) * _BOX + 2 * away,
            height + 2 * away,
            facecolor="none",
            edgecolor=theme.INK,
            linewidth=2.6,
            zorder=5,
        )
    )


def _column(ax: Axes, x: float, title: str, parts: tuple[_Part, ...]) -> None:
    ax.text(x, _HEIGHT - 0.16, title, ha="center", va="center", fontsize=15, weight="bold")
    above = _TOP
    for part in parts:
        arrow(ax, (x, above), (x, part.middle + part.height / 2))
        _box(ax, x, part)
        above = part.middle - part.height / 2
    arrow(ax, (x, above), (x, _LAST_SUM + 0.12))
    _sum(ax, x, _LAST_SUM)
    arrow(ax, (x, _LAST_SUM - 0.12), (x, 0.0))


def _box(ax: Axes, x: float, part: _Part) -> None:
    bottom, left = part.middle - part.height / 2, x - _BOX / 2
    share = _BOX / len(part.colours)
    for index, colour in enumerate(part.colours):
        start = left + index * share
        ax.add_patch(
            Rectangle((start, bottom), share, part.height, facecolor=to_rgba(colour, 0.13), lw=0)
        )
        # The token mixing of a computed part is dashed; its channel mixing is still a parameter.
        dashed = part.dashed and colour == theme.TOKEN
        outline = FancyBboxPatch(
            (left, bottom),
            _BOX,
            part.height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor="none",
            edgecolor=colour,
            linewidth=2.2,
            linestyle=(0, (4, 2)) if dashed else "solid",
        )
        ax.add_patch(outline)
        # One outline for each colour, each shown on its own share of the box only.
        before, after = 0.1 * (index == 0), 0.1 * (index == len(part.colours) - 1)
        window = Rectangle(
            (start - before, bottom - 0.1), share + before + after, part.height + 0.2
        )
        window.set_transform(ax.transData)
        outline.set_clip_path(window)
    lift = 0.12 if part.note else 0.0
    ax.text(x, part.middle + lift, part.text, ha="center", va="center", weight="bold")
    if part.note:
        ax.text(x, part.middle - 0.14, part.note, ha="center", va="center", fontsize=theme.SMALL)


def arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str = theme.INK,
    head: float = 12,
) -> None:
    """Draw an arrow of the block diagrams; `head` is the size of its tip in points."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=head,
            shrinkA=0,
            shrinkB=0,
            color=colour,
            linewidth=1.4,
        )
    )


def _sum(ax: Axes, x: float, y: float) -> None:
    ax.add_patch(
        Circle((x, y), 0.12, facecolor=theme.CARD, edgecolor=theme.SKIP, linewidth=1.4, zorder=3)
    )
    ax.text(x, y - 0.005, "+", ha="center", va="center", zorder=4, weight="bold")


def _skip(ax: Axes, x: float, top: float, bottom: float, side: int) -> None:
    away = x + side * (_BOX / 2 + 0.45)
    ax.plot(
        (x, away, away, x + side * 0.24),
        (top, top, bottom, bottom),
        color=theme.SKIP,
        linewidth=1.4,
    )
    arrow(ax, (x + side * 0.3, bottom), (x + side * 0.12, bottom), theme.SKIP)
