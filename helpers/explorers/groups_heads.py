"""Linked figure of notebook 03: what `groups` divides and what `num_heads` divides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from helpers import theme
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures import image_grid
from helpers.kernels import kernels_to_token

__all__ = ["GroupsAndHeads"]

_CHANNELS = (8, 96)
_KERNELS = (1, 3, 5, 7)
_GRID = (6, 6)
_SHOWN = 8
"""At most so many token mixing patterns are drawn on a side."""
# Channel mixing's orange, mixed with the card's white: see-through lines would need more colours
# than a small picture has.
_PALE, _PALER = "#EEBF99", "#F8E2D3"
_SEEDS = {"tokens": 1, "query": 2, "key": 3, "value": 4, "kernel": 5}


class GroupsAndHeads(LinkedFigure):
    """`Conv2d(C, C, k, groups=G)` beside attention with H heads, and what one channel reads.

    The left half draws the wires from the input channels to the output channels, and the N x N
    pattern of each wire into the channel that is followed. The right half draws the wires from the
    input channels to the values, the heads that the values are dealt to, and the pattern of each
    head. The bars count weights, without biases, for every number of groups and heads, on one
    scale.

    Parameters
    ----------
    **start
        Where to start: `channels` (8 or 96), `kernel_size` (1, 3, 5 or 7), `groups` and `heads`
        (divisors of `channels`), `channel` (the one that is followed).

    Attributes
    ----------
    value : dict
        These five.

    Examples
    --------
    >>> figure = GroupsAndHeads(channels=96, groups=96)
    >>> figure.value
    {'channels': 96, 'kernel_size': 7, 'groups': 96, 'heads': 2, 'channel': 0}
    >>> shown = figure.outputs()
    >>> shown["conv_weights"][0], shown["conv_weights"][-1], shown["attention_weights"][0]
    (451584, 4704, 36864)
    """

    module = "groups_heads"

    def __init__(self, **start: int) -> None:
        defaults = {"channels": 8, "kernel_size": 7, "groups": 2, "heads": 2, "channel": 0}
        super().__init__(
            name="groups_heads",
            title="Groups beside heads",
            description="Groups cut the wires. Heads deal out channels that have read all the "
            "others.",
            value={**defaults, **start},
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be; what deals the channels out divides their number."""
        return {
            "channels": _CHANNELS,
            "kernel_size": _KERNELS,
            "groups": lambda value: divisors(value["channels"]),
            "heads": lambda value: divisors(value["channels"]),
            "channel": lambda value: range(value["channels"]),
        }

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List states: small and large, from one group to one channel in each."""
        small = [
            (8, k, groups, heads, channel)
            for k, groups, heads, channel in (
                (1, 1, 1, 0), (3, 1, 2, 7), (3, 2, 1, 3), (5, 4, 4, 5), (7, 2, 8, 1), (7, 8, 2, 6),
            )
        ]  # fmt: skip
        large = [(96, 7, 1, 96, 95), (96, 3, 96, 1, 40), (96, 5, 12, 32, 50)]
        names = ("channels", "kernel_size", "groups", "heads", "channel")
        return [dict(zip(names, case, strict=True)) for case in small + large]

    @classmethod
    def reference(
        cls, channels: int, kernel_size: int, groups: int, heads: int, channel: int
    ) -> dict[str, Any]:
        """Measure the two layers in PyTorch, in float64.

        Parameters
        ----------
        channels, kernel_size, groups, heads, channel : int
            A state of the figure.

        Returns
        -------
        dict
            ``conv_weights`` and ``attention_weights``, one number for each divisor of C, biases
            not counted; ``group_reads`` and ``head_reads``, for each input channel whether a
            gradient reaches it; ``kernels`` (at most 8, N, N), the patterns of the wires into the
            channel; ``attention`` (at most 8, N, N), those of the heads around its own.
        """
        conv, attention, tokens = _layers(channels, kernel_size, groups, heads)
        image = torch.ones(1, channels, *_GRID, dtype=torch.float64, requires_grad=True)
        (into_group,) = torch.autograd.grad(conv(image)[:, channel].sum(), image)
        probe = torch.ones(1, channels, dtype=torch.float64, requires_grad=True)
        to_values = attention.in_proj_weight[2 * channels :]
        (into_head,) = torch.autograd.grad((probe @ to_values.T)[:, channel].sum(), probe)
        _, weights = attention(tokens, tokens, tokens, average_attn_weights=False)
        first = _first_shown(channel // (channels // heads), heads)
        wires = conv.weight[channel].detach()
        at = _first_shown(channel % len(wires), len(wires))
        patterns = kernels_to_token(wires[at : at + _SHOWN][None, ..., None, None], _GRID)
        with torch.device("meta"):
            convs = [
                nn.Conv2d(channels, channels, kernel_size, groups=n, bias=False)
                for n in divisors(channels)
            ]
            attentions = [
                nn.MultiheadAttention(channels, n, bias=False) for n in divisors(channels)
            ]
        return {
            "conv_weights": [_weights(layer) for layer in convs],
            "attention_weights": [_weights(layer) for layer in attentions],
            "group_reads": into_group[0].abs().sum((1, 2)).gt(0).int().tolist(),
            "head_reads": into_head[0].abs().gt(0).int().tolist(),
            "kernels": patterns[0].tolist(),
            "attention": weights[0, first : first + _SHOWN].detach().tolist(),
        }

    def outputs(self) -> dict[str, Any]:
        """Compute what the figure shows at the moment."""
        return self.reference(**self.value)

    def still(self) -> tuple[Figure, str]:
        """Draw wires, patterns and bars for the current state."""
        shown, value = self.outputs(), self.value
        two_rows = max(len(shown["kernels"]), len(shown["attention"])) > 4
        fig = theme.figure(7.2, 5.8 if two_rows else 5.1)
        with theme.style():
            _Wires(fig, value, shown).draw()
            _patterns(fig, "left", np.array(shown["kernels"]), value)
            _patterns(fig, "right", np.array(shown["attention"]), value)
            _bars(fig, shown, value)
        return fig, self._sentence(shown)

    def _sentence(self, shown: Mapping[str, Any]) -> str:
        """Say what the state shows, with its numbers."""
        channels, groups, heads = (self.value[n] for n in ("channels", "groups", "heads"))
        channel = self.value["channel"]
        here = divisors(channels).index
        conv = shown["conv_weights"][here(groups)]
        attention = shown["attention_weights"][here(heads)]
        head = channel // (channels // heads)
        return (
            f"Output channel {channel} of the convolution reads {sum(shown['group_reads'])} of "
            f"{channels} input channels: those of its group, {_count(groups, 'group')} in all. "
            f"Head {head} reads {sum(shown['head_reads'])} of {channels}: its values are made of "
            f"all of them, {_count(heads, 'head')} in all. Weights without biases: convolution "
            f"{conv:,}, attention {attention:,} whatever the number of heads."
        )


def divisors(number: int) -> list[int]:
    """List the divisors of a number, from 1 up.

    Examples
    --------
    >>> divisors(8)
    [1, 2, 4, 8]
    """
    return [n for n in range(1, number + 1) if number % n == 0]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _weights(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def _first_shown(at: int, count: int) -> int:
    """Say where the shown patterns begin, so that number `at` of `count` is among them."""
    return max(0, min(at // _SHOWN * _SHOWN, count - _SHOWN))


def scattered(seed: int, *sizes: int) -> np.ndarray:
    """Give numbers from -1 to 1 without order, the same here and in the front end.

    An integer hash of seed, row and column: the front end makes the same layers from nothing, and
    no weights need to be sent to it.

    Examples
    --------
    >>> scattered(1, 2, 2).round(3).shape
    (2, 2)
    """
    with np.errstate(over="ignore"):
        row, column = (np.arange(n, dtype=np.uint32) for n in sizes)
        start = np.uint32(seed) * np.uint32(2654435761)
        h = start ^ ((row[:, None] + 1) * np.uint32(2246822519))
        h = h ^ ((column[None] + 1) * np.uint32(3266489917))
        h = (h ^ (h >> np.uint32(15))) * np.uint32(2246822519)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(3266489917)
        h = h ^ (h >> np.uint32(16))
    return h / 2.0**31 - 1


def _layers(
    channels: int, kernel_size: int, groups: int, heads: int
) -> tuple[nn.Conv2d, nn.MultiheadAttention, Tensor]:
    """Build both layers and the tokens, of the numbers that the front end uses too."""
    conv = nn.Conv2d(
        channels,
        channels,
        kernel_size,
        padding=kernel_size // 2,
        groups=groups,
        bias=False,
        dtype=torch.float64,
    )
    width = channels // groups
    # The wire from input i to output o has the same 7 x 7 numbers in every state; a smaller kernel
    # is their middle.
    full = scattered(_SEEDS["kernel"], channels * channels, 64)
    full = full.reshape(channels, channels, 8, 8)[..., :7, :7]
    cut = slice(3 - kernel_size // 2, 4 + kernel_size // 2)
    attention = nn.MultiheadAttention(
        channels, heads, bias=False, batch_first=True, dtype=torch.float64
    )
    with torch.no_grad():
        for o in range(channels):
            mine = o // width * width
            conv.weight[o] = torch.from_numpy(full[o, mine : mine + width, cut, cut])
        projections = [scattered(_SEEDS[n], channels, channels) for n in ("query", "key", "value")]
        scale = 3 / channels**0.5
        attention.in_proj_weight.copy_(torch.from_numpy(scale * np.concatenate(projections)))
    tokens = torch.from_numpy(scattered(_SEEDS["tokens"], _GRID[0] * _GRID[1], channels))[None]
    return conv, attention, tokens


class _Wires:
    """Draws the channels as dots, and who reads whom as lines, both halves alike."""

    top, high = 0.45, 1.75

    def __init__(self, fig: Figure, value: Mapping[str, int], shown: Mapping[str, Any]) -> None:
        self.fig, self.value, self.shown = fig, value, shown
        self.channels = value["channels"]

    def draw(self) -> None:
        """Draw both halves."""
        channel, channels = self.value["channel"], self.channels
        ax = self._axes(0.15, f"groups = {self.value['groups']}")
        self._columns(ax, {"input": 0.12, "output": 0.88}, "output", self.value["groups"])
        width = channels // self.value["groups"]
        for block in range(self.value["groups"]):
            first = block * width
            self._all_to_all(ax, (0.12, 0.88), first, first + width)
        self._into(ax, (0.12, 0.88), np.flatnonzero(self.shown["group_reads"]), channel)
        ax = self._axes(3.75, f"heads = {self.value['heads']}")
        columns = {"input": 0.06, "values": 0.5, "output": 0.94}
        self._columns(ax, columns, "values", self.value["heads"])
        for name, x in (("W_V", 0.28), ("W_O", 0.72)):
            style = {"size": theme.SMALL, "color": theme.CHANNEL, "weight": "bold"}
            ax.text(x, -0.05 * channels, f"${name}$", ha="center", **style)
        self._all_to_all(ax, (0.06, 0.5), 0, channels)
        self._all_to_all(ax, (0.5, 0.94), 0, channels)
        self._into(ax, (0.06, 0.5), np.flatnonzero(self.shown["head_reads"]), channel)

    def _axes(self, left: float, title: str) -> Axes:
        width, height = self.fig.get_size_inches()
        box = (left / width, 1 - (self.top + self.high) / height, 3.3 / width, self.high / height)
        ax = self.fig.add_axes(box)
        ax.set(xlim=(0, 1), ylim=(self.channels, -0.18 * self.channels))
        ax.axis("off")
        ax.set_title(title, pad=2)
        return ax

    def _columns(self, ax: Axes, columns: Mapping[str, float], blocks_at: str, blocks: int) -> None:
        """Draw the columns of channels; a box around each group or head."""
        size = self.channels // blocks
        for name, x in columns.items():
            ax.text(x, -0.05 * self.channels, name, ha="center", size=theme.SMALL)
            marks = {"ms": 5 if self.channels <= 8 else 1.2, "color": theme.INK, "ls": "none"}
            y = np.arange(self.channels) + 0.5
            ax.plot(np.full(self.channels, x), y, marker="o", zorder=4, **marks)
            if name not in (blocks_at, "input") or (name == "input" and blocks_at == "values"):
                continue
            if blocks > 16:  # more boxes than one can tell apart: the wires show them
                continue
            for block in range(blocks):
                box = (x - 0.04, block * size + 0.08), 0.08, size - 0.16
                dashed = "--" if blocks_at == "values" else "-"
                edge = theme.TOKEN if blocks_at == "values" else theme.INK
                ax.add_patch(Rectangle(*box, fill=False, ec=edge, lw=1.2, ls=dashed))

    def _all_to_all(self, ax: Axes, x: tuple[float, float], first: int, end: int) -> None:
        """Draw all wires between two blocks of channels, thin; a band where there are many."""
        if end - first > 8:
            box = (x[0], first), x[1] - x[0], end - first
            ax.add_patch(Rectangle(*box, fc=_PALER, lw=0))
            return
        for i in range(first, end):
            for o in range(first, end):
                ax.plot(x, (i + 0.5, o + 0.5), color=_PALE, lw=0.6, aa=False)

    def _into(self, ax: Axes, x: tuple[float, float], inputs: np.ndarray, channel: int) -> None:
        """Draw the wires into the channel that is followed."""
        width = 2.2 if self.channels <= 8 else 0.9
        for i in inputs:
            ax.plot(x, (i + 0.5, channel + 0.5), color=theme.CHANNEL, lw=width)
        ax.plot(x[1], channel + 0.5, "s", ms=9, mfc="none", mec=theme.INK, mew=2, zorder=5)


def _patterns(fig: Figure, side: str, token: np.ndarray, value: Mapping[str, int]) -> None:
    """Draw up to eight N x N patterns: signed and solid on the left, weights on the right."""
    left, (width, height) = (0.15 if side == "left" else 3.75), fig.get_size_inches()
    per_channel = value["channels"] // value["groups"]
    texts = {
        "left": f"A of each wire: {per_channel} for this channel",
        "right": f"A of each head: {value['heads']} in all",
    }
    fig.text(left / width, 1 - 2.52 / height, texts[side], size=theme.SMALL, color=theme.TOKEN)
    limit = 1.0 if side == "left" else float(token.max())
    for index, matrix in enumerate(token):
        row, column = divmod(index, 4)
        box = (left + column * 0.74) / width, 1 - (3.28 + row * 0.72) / height
        ax = fig.add_axes((*box, 0.66 / width, 0.66 / height))
        kind = "signed" if side == "left" else "weight"
        # Few steps of colour: a small picture has 256, and the wires need most of them.
        image_grid(ax, np.round(matrix * 8 / limit) * limit / 8, kind=kind, limit=limit, bar=False)
        style = {"fill": False, "ec": theme.TOKEN, "lw": 1.6, "clip_on": False}
        line = "-" if side == "left" else "--"
        ax.add_patch(Rectangle((-0.5, -0.5), *matrix.shape, ls=line, **style))


def _bars(fig: Figure, shown: Mapping[str, Any], value: Mapping[str, int]) -> None:
    """Draw the weights for every number of groups and of heads, on one scale."""
    width, height = fig.get_size_inches()
    numbers = divisors(value["channels"])
    most = max(shown["conv_weights"] + shown["attention_weights"])
    sides = ((0.15, "conv_weights", "groups"), (3.75, "attention_weights", "heads"))
    for left, name, what in sides:
        ax = fig.add_axes((left / width, 0.5 / height, 3.3 / width, 1.05 / height))
        at = numbers.index(value[what])
        colours = [theme.INK if n == at else "#C9CED4" for n in range(len(numbers))]
        ax.bar(range(len(numbers)), shown[name], color=colours, width=0.7)
        ax.set(ylim=(0, most * 1.3), xlim=(-0.6, len(numbers) - 0.4))
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xticks(range(len(numbers)), [str(n) for n in numbers])
        ax.set_xlabel(f"{what} (bars: weights)", size=theme.SMALL, labelpad=2)
        place = {0: "left", len(numbers) - 1: "right"}.get(at, "center")
        x = {"left": at - 0.4, "right": at + 0.4}.get(place, at)
        text = f"{shown[name][at]:,}"
        ax.text(x, shown[name][at] + 0.04 * most, text, ha=place, size=theme.TEXT, weight="bold")
