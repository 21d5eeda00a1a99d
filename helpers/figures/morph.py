"""A step of the morph as a picture: its boxes and skips, read off the step's parts and its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle, FancyBboxPatch

from helpers import theme
from helpers.figures.blocks import arrow
from helpers.morph import MORPH, Step

__all__ = ["PLACES", "SIZE", "Box", "Skip", "diagram", "draw_step"]

SIZE = (300, 474)
"""Width and height of the drawing, in pixels of a page."""
_BOX_WIDTH, _MIDDLE = 240, 172

#: Where everything stands: the middle of a box from the top, and its height. A line has height 0.
PLACES: Mapping[str, tuple[int, int]] = {
    "top": (4, 0),
    "norm1": (44, 30),
    "mixer": (106, 54),
    "mixer channels": (147, 28),
    "sum1": (188, 24),
    "between": (209, 0),
    "norm2": (234, 30),
    "linear1": (280, 32),
    "gelu": (325, 30),
    "linear2": (370, 32),
    "gamma": (412, 26),
    "sum2": (448, 24),
    "bottom": (474, 0),
}
_COLOURS = {"token": theme.TOKEN, "channel": theme.CHANNEL, "pointwise": theme.POINTWISE}


@dataclass(frozen=True)
class Box:
    """One box.

    Parameters
    ----------
    place
        A key of `PLACES`.
    text, note
        What it says; ``{kernel}``, ``{heads}`` and ``{channels}`` stand for their numbers.
    role
        ``"token"``, ``"channel"`` or ``"pointwise"``: its colour.
    computed
        Whether its weights are computed from the input: a dashed outline.
    change
        ``""``, ``"new"`` since the step before, or ``"gone"``: only where it stood.
    """

    place: str
    text: str
    role: str
    note: str = ""
    computed: bool = False
    change: str = ""


@dataclass(frozen=True)
class Skip:
    """A skip connection, from one place to a sum; `change` as in `Box`."""

    start: str
    end: str
    change: str = ""


def diagram(step: Step) -> tuple[tuple[Box, ...], tuple[Skip, ...]]:
    """Give the boxes and skips of a step, with what has changed since the step before.

    Examples
    --------
    >>> boxes, skips = diagram(MORPH[-1])
    >>> [box.text for box in boxes][:2]
    ['Depthwise conv {kernel}×{kernel}', 'LayerNorm']
    >>> skips
    (Skip(start='top', end='sum2', change=''),)
    """
    boxes, skips = _boxes(step), _skips(step)
    if step.number == 0:
        return tuple(boxes), tuple(skips)
    before = MORPH[step.number - 1]
    old, old_skips = {box.place: box for box in _boxes(before)}, _skips(before)
    shown = [box if old.get(box.place) == box else replace(box, change="new") for box in boxes]
    gone = set(old) - {box.place for box in boxes}
    shown += [replace(old[place], change="gone") for place in gone]
    wires = [skip if skip in old_skips else replace(skip, change="new") for skip in skips]
    wires += [replace(skip, change="gone") for skip in old_skips if skip not in skips]
    return tuple(sorted(shown, key=lambda box: PLACES[box.place])), tuple(wires)


def _boxes(step: Step) -> list[Box]:
    found = []
    if "norm1" in step.parts:
        found.append(Box("norm1", "LayerNorm", "pointwise"))
    found.append(_mixer(step))
    channels = [letter for letter, part in (("V", "value"), ("O", "output")) if part in step.parts]
    if channels:
        found.append(Box("mixer channels", f"W from {' and '.join(channels)}", "channel"))
    found += [
        Box("norm2", "LayerNorm", "pointwise"),
        Box("linear1", "Linear C → 4C", "channel"),
        Box("gelu", "GELU", "pointwise"),
        Box("linear2", "Linear 4C → C", "channel"),
    ]
    if "gamma" in step.parts:
        found.append(Box("gamma", "Layer scale", "pointwise"))
    return found


def _mixer(step: Step) -> Box:
    computed = "query" in step.parts
    if step.reach == "filter":
        softmax = any("softmax" in line for line in step.code)
        note = "{channels} kernels, any sign"
        if "kernel of heads" in step.parts:
            note = "{heads} kernels, softmax" if softmax else "{heads} kernels, any sign"
        if "bias" in step.parts:
            note = "{channels} kernels, {channels} biases"
        return Box("mixer", "Depthwise conv {kernel}×{kernel}", "token", note)
    sources = ["Q, K"] * computed + ["table"] * ("table" in step.parts)
    what = "attention" if computed else "mixing"
    text = what.capitalize() if step.reach == "image" else f"{{kernel}}×{{kernel}} {what}"
    return Box("mixer", text, "token", f"{{heads}} heads, A: {', '.join(sources)}", computed)


def _skips(step: Step) -> list[Skip]:
    """Read the skips off the code that runs: ``x = x + ...``, and what the last line adds x to."""
    *lines, last = step.code
    inner = any(line.startswith("x = x + ") for line in lines)
    # The last line adds x. It is still the block's input if no line before has changed it.
    changed = any(line.startswith("x = ") for line in lines)
    assert last.startswith("return x + ")
    found = [Skip("top", "sum1")] if inner else []
    return [*found, Skip("between" if changed else "top", "sum2")]


def draw_step(
    ax: Axes, step: Step, channels: int = 96, kernel_size: int = 7, heads: int = 3
) -> None:
    """Draw a step into axes of `SIZE`.

    Parameters
    ----------
    ax
        Axes of 300 by 474 pixels, in whose place the drawing goes.
    step
        An item of `MORPH`.
    channels, kernel_size, heads
        The numbers that the boxes name.

    Examples
    --------
    >>> fig = theme.figure(SIZE[0] / 96, SIZE[1] / 96)
    >>> draw_step(fig.add_axes((0, 0, 1, 1)), MORPH[0])
    """
    numbers = {"channels": channels, "kernel": kernel_size, "heads": heads}
    boxes, skips = diagram(step)
    ax.set(xlim=(0, SIZE[0]), ylim=(SIZE[1], 0))
    ax.set_axis_off()
    stops = [box.place for box in boxes if box.change != "gone"] + ["sum2", "bottom"]
    if any(skip.end == "sum1" and skip.change != "gone" for skip in skips):
        stops.append("sum1")
    above = PLACES["top"][0]
    for place in sorted(stops, key=lambda place: PLACES[place]):
        middle, height = PLACES[place]
        if place != "mixer channels":  # the mixer's second half
            arrow(ax, (_MIDDLE, above), (_MIDDLE, middle - height / 2), head=11)
        above = middle + height / 2
        if place.startswith("sum"):
            ax.add_patch(Circle((_MIDDLE, middle), 12, fc=theme.CARD, ec=theme.SKIP, lw=1.4))
            ax.text(_MIDDLE, middle, "+", ha="center", va="center_baseline", weight="bold")
    for box in boxes:
        _box(ax, box, numbers)
    for skip in skips:
        _skip(ax, skip)


def _box(ax: Axes, box: Box, numbers: dict[str, int]) -> None:
    middle, height = PLACES[box.place]
    gone, colour = box.change == "gone", _COLOURS[box.role]
    ax.add_patch(
        FancyBboxPatch(
            (_MIDDLE - _BOX_WIDTH / 2, middle - height / 2),
            _BOX_WIDTH,
            height,
            boxstyle="round,pad=0,rounding_size=5",
            facecolor="none" if gone else to_rgba(colour, 0.13),
            edgecolor=theme.FIXED if gone else colour,
            linewidth=1 if gone else 2.2,
            linestyle=":" if gone else (0, (4, 2)) if box.computed else "solid",
        )
    )
    style = {"ha": "center", "va": "center", "color": theme.MUTED if gone else theme.INK}
    text = f"gone: {box.text}" if gone else box.text.format(**numbers)
    lift = 11 if box.note else 0
    ax.text(_MIDDLE, middle - lift, text, weight="normal" if gone else "bold", **style)
    if box.note:
        note = box.note.format(**numbers)
        ax.text(_MIDDLE, middle + 12, note, fontsize=theme.SMALL, **style)
    if box.change == "new":
        side = _MIDDLE + _BOX_WIDTH / 2 + 5
        ax.plot((side, side), (middle - height / 2, middle + height / 2), color=theme.INK, lw=4)


def _skip(ax: Axes, skip: Skip) -> None:
    gone = skip.change == "gone"
    top, end = PLACES[skip.start][0] + 6, PLACES[skip.end][0]
    away = 16 if skip.start == "top" and skip.end == "sum2" else 34
    edge = _MIDDLE - (2 if gone and skip.end == "sum1" else 14)
    style = {
        "color": theme.FIXED if gone else theme.SKIP,
        "linewidth": 3 if skip.change == "new" else 1.4,
        "linestyle": ":" if gone else "-",
    }
    ax.plot((_MIDDLE, away, away, edge), (top, top, end, end), **style)
    if not gone:
        arrow(ax, (edge - 6, end), (_MIDDLE - 12, end), head=11)
