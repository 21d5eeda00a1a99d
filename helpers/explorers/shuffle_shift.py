"""Linked figure of notebook 04: what a layer notices when the pixels are shifted or shuffled."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from helpers import theme
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures import image_grid, outline
from helpers.mixers import DepthwiseConv, MultiHeadAttention

__all__ = ["ShuffleShift"]

_CHANNELS, _SIDE, _KERNELS = 4, 8, (3, 7)
_SHUFFLES = 99
_ROUNDING = 1e-9
# An arrow that points to the right: a shift and a shuffle show on it at once.
_ARROW = """
........
....#...
....##..
.######.
.#######
.######.
....##..
....#...
"""


class ShuffleShift(LinkedFigure):
    """Move the pixels before a layer or after it: one attention head beside a depthwise conv.

    Parameters
    ----------
    **start
        Where to start: `move` (``"shuffle"`` or ``"shift"``), `times` (which shuffle, 1 to 99, or
        how many pixels to the right, 0 to 7), `positions` (whether attention's input has a
        position embedding), `filter_size` (3 or 7), `padding` (``"circular"`` or ``"zeros"``),
        `spot` (the pixel that is followed, counted row by row).

    Attributes
    ----------
    value : dict
        The same six.

    Raises
    ------
    ValueError
        If a name or a value does not exist; the message says which there are.

    Examples
    --------
    >>> figure = ShuffleShift(move="shift", times=1)
    >>> shown = figure.outputs()
    >>> shown["attention_error"] < 1e-9, shown["depthwise_error"] < 1e-9
    (True, True)
    >>> ShuffleShift(move="shift", times=1, padding="zeros").outputs()["depthwise_pixels"]
    24

    Notes
    -----
    Attention has one head and no biases, and its W_O is the identity.
    """

    module = "shuffle_shift"
    data = ("x", "kernels", "query", "key", "values", "position")

    x = traitlets.List().tag(sync=True)
    kernels = traitlets.Dict().tag(sync=True)
    query = traitlets.List().tag(sync=True)
    key = traitlets.List().tag(sync=True)
    values = traitlets.List().tag(sync=True)
    position = traitlets.List().tag(sync=True)

    def __init__(self, **start: Any) -> None:
        super().__init__(
            name="shuffle_shift",
            title="Shuffle and shift",
            description="Does a layer notice where the pixels stand? Move them before it, and "
            "after it.",
            value={
                "move": "shuffle",
                "times": 1,
                "positions": False,
                "filter_size": 3,
                "padding": "circular",
                "spot": 36,
                **start,
            },
            **_numbers(),
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be: shuffles have numbers from 1, a shift may be by 0."""
        times = {"shift": range(_SIDE), "shuffle": range(1, _SHUFFLES + 1)}
        return {
            "move": tuple(times),
            "times": lambda value: times[value["move"]],
            "positions": (False, True),
            "filter_size": _KERNELS,
            "padding": ("circular", "zeros"),
            "spot": range(_SIDE**2),
        }

    @staticmethod
    def order(move: str, times: int, height: int = _SIDE, width: int = _SIDE) -> list[int]:
        """List which pixel stands at each place after a move.

        The shuffle is that of the front end, so that a shared address shows the same everywhere.

        Parameters
        ----------
        move : {"shift", "shuffle"}
        times : int
            By how many pixels to the right, around the edge; or which shuffle.
        height, width : int

        Examples
        --------
        >>> ShuffleShift.order("shift", 1, 1, 4)
        [3, 0, 1, 2]
        """
        order = np.arange(height * width)
        if move == "shift":
            return np.roll(order.reshape(height, width), times, 1).flatten().tolist()
        state = (times * 2654435761 + 12345) % 2**32
        for last in range(height * width - 1, 0, -1):
            state = (state * 1664525 + 1013904223) % 2**32
            other = state * (last + 1) // 2**32
            order[[last, other]] = order[[other, last]]
        return order.tolist()

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List both moves, both paddings, both kernels, with and without positions."""
        generator = np.random.default_rng(4)
        cases = []
        for move, padding, kernel, positions in itertools.product(
            ("shift", "shuffle"), ("zeros", "circular"), (1, 3, 7), (False, True)
        ):
            channels, height, width = (2, 7, 9) if kernel < 7 else (3, 8, 7)
            shape = (channels, height, width)
            square = (channels, channels)
            cases.append(
                {
                    "x": generator.normal(size=shape).tolist(),
                    "kernels": generator.normal(size=(channels, kernel, kernel)).tolist(),
                    "query": generator.normal(size=square).tolist(),
                    "key": generator.normal(size=square).tolist(),
                    "value": generator.normal(size=square).tolist(),
                    "position": generator.normal(size=shape).tolist() if positions else None,
                    "order": cls.order(move, 2, height, width),
                    "padding": padding,
                }
            )
        return cases

    @classmethod
    def reference(
        cls,
        x: ArrayLike,
        kernels: ArrayLike,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        position: ArrayLike | None,
        order: Sequence[int],
        padding: str,
    ) -> dict[str, Any]:
        """Compute both orders of moving and mixing with the book's mixers, in float64.

        Parameters
        ----------
        x : array_like, shape (C, H, W)
        kernels : array_like, shape (C, k, k)
        query, key, value : array_like, shape (C, C)
            As rows of tokens are multiplied by them.
        position : array_like, shape (C, H, W), or None
        order : sequence of int, length H * W
            The pixel that stands at each place after the move.
        padding : {"zeros", "circular"}

        Returns
        -------
        dict
            ``moved`` (C, N); for ``attention`` and ``depthwise`` ``_moved_first`` and
            ``_mixed_first`` (C, N), ``_error`` and ``_pixels``.
        """
        image = torch.tensor(x, dtype=torch.float64)[None]
        attention = _attention(query, key, value)
        conv = _depthwise(kernels, padding)
        places = 0.0 if position is None else torch.tensor(position, dtype=torch.float64)

        def move(planes: Tensor) -> Tensor:
            return planes.flatten(2)[..., list(order)].view_as(planes)

        found: dict[str, Any] = {"moved": move(image)[0].flatten(1).tolist()}
        layers = {"attention": lambda t: attention(t + places), "depthwise": conv}
        for name, layer in layers.items():
            with torch.no_grad():
                first, after = layer(move(image)), move(layer(image))
            off = first - after
            found[f"{name}_moved_first"] = first[0].flatten(1).tolist()
            found[f"{name}_mixed_first"] = after[0].flatten(1).tolist()
            found[f"{name}_error"] = float(off.norm() / after.norm())
            found[f"{name}_pixels"] = int((off.abs() > _ROUNDING).any(1).sum())
        return found

    def outputs(self) -> dict[str, Any]:
        """Compute what the figure shows at the moment."""
        return self.reference(
            self.x,
            self.kernels[str(self.value["filter_size"])],
            self.query,
            self.key,
            self.values,
            self.position if self.value["positions"] else None,
            self.order(self.value["move"], self.value["times"]),
            self.value["padding"],
        )

    def still(self) -> tuple[Figure, str]:
        """Draw the image, the moved image, and for each layer both orders and the difference."""
        shown = self.outputs()
        side = (_SIDE, _SIDE)
        now = self.order(self.value["move"], self.value["times"]).index(self.value["spot"])
        fig = theme.figure(7.2, 4.1)
        inputs = {"x": np.array(self.x[0]), "P x": np.reshape(shown["moved"][0], side)}
        for row, (title, plane) in enumerate(inputs.items()):
            spot = self.value["spot"] if row == 0 else now
            self._panel(fig, title, (0.15, row), plane + 1, "picture", 2.0, spot)
        for row, layer in enumerate(("attention", "depthwise")):
            first = np.reshape(shown[f"{layer}_moved_first"][0], side)
            after = np.reshape(shown[f"{layer}_mixed_first"][0], side)
            end = float(np.abs([first, after]).max())
            top = 1 - (0.22 + row * 2.0) / 4.1
            words = f"{self._name(layer)}: error {_short(shown[f'{layer}_error'])}"
            fig.text(2.05 / 7.2, top, words, size=theme.TEXT, weight="bold", color=theme.INK)
            maps = {"f(P x)": first, "P f(x)": after, "difference": first - after}
            for column, (title, plane) in enumerate(maps.items()):
                left = 2.05 + column * 1.7
                self._panel(fig, title, (left, row), plane, "signed", end, now)
        return fig, self._sentence(shown, now)

    def _panel(
        self,
        fig: Figure,
        title: str,
        at: tuple[float, int],
        plane: np.ndarray,
        kind: str,
        limit: float,
        spot: int,
    ) -> None:
        """Place one 8 x 8 map, its title above it and the followed pixel outlined."""
        size, (left, row) = 1.38, at
        bottom = 4.1 - 0.58 - row * 2.0 - size
        ax = fig.add_axes((left / 7.2, bottom / 4.1, size / 7.2, size / 4.1))
        image = image_grid(ax, plane, kind=kind, limit=limit, bar=False)
        if kind == "picture":
            image.set_clim(0, limit)
        outline(ax, divmod(spot, _SIDE))
        ax.set_title(title, fontsize=theme.SMALL, loc="left", pad=3, color=theme.INK)

    def _name(self, layer: str) -> str:
        if layer == "attention":
            return f"Attention {'with' if self.value['positions'] else 'without'} positions"
        k, padding = self.value["filter_size"], self.value["padding"]
        return f"Depthwise {k} × {k}, {'zero' if padding == 'zeros' else 'circular'} padding"

    def _sentence(self, shown: Mapping[str, Any], now: int) -> str:
        """Say what the state shows, with its numbers, as the front end does."""
        times = self.value["times"]
        if self.value["move"] == "shuffle":
            said = ["Shuffled."]
        elif times:
            said = [f"Shifted by {times} {'pixel' if times == 1 else 'pixels'} to the right."]
        else:
            said = ["Not moved."]
        moved = []
        for layer in ("attention", "depthwise"):
            error, pixels = shown[f"{layer}_error"], shown[f"{layer}_pixels"]
            said.append(
                f"{self._name(layer)}: move then mix is mix then move, up to rounding."
                if error < _ROUNDING
                else f"{self._name(layer)}: off by {_text(error)} times the size of its output, "
                f"in {pixels} of {_SIDE**2} pixels."
            )
            one, other = (shown[f"{layer}_{way}_first"][0][now] for way in ("mixed", "moved"))
            moved.append(f"{layer} gave it {_text(one)} and gives it {_text(other)} now")
        pixel = "({}, {})".format(*divmod(self.value["spot"], _SIDE))
        place = "({}, {})".format(*divmod(now, _SIDE))
        return f"{' '.join(said)} Pixel {pixel} stands at {place}: {'; '.join(moved)}."


def _numbers() -> dict[str, Any]:
    """Make the image, the kernels, the attention weights and the position embedding."""
    generator = np.random.default_rng(0)
    arrow = np.array([[1.0 if c == "#" else -1.0 for c in line] for line in _ARROW.split()])
    shape = (_CHANNELS, _SIDE, _SIDE)
    x = generator.normal(size=shape)
    x[0] = arrow
    square = (_CHANNELS, _CHANNELS)
    query, key, values = (0.7 * generator.normal(size=square) for _ in range(3))
    kernels = {
        str(k): (generator.normal(size=(_CHANNELS, k, k)) / k).round(2).tolist() for k in _KERNELS
    }
    return {
        "x": x.round(2).tolist(),
        "kernels": kernels,
        "query": query.round(2).tolist(),
        "key": key.round(2).tolist(),
        "values": values.round(2).tolist(),
        "position": generator.normal(size=shape).round(2).tolist(),
    }


def _attention(query: ArrayLike, key: ArrayLike, value: ArrayLike) -> MultiHeadAttention:
    matrices = [torch.tensor(m, dtype=torch.float64) for m in (query, key, value)]
    channels = len(matrices[0])
    attention = MultiHeadAttention(channels, heads=1, bias=False).double()
    layers = (attention.query, attention.key, attention.value, attention.output)
    with torch.no_grad():
        for layer, matrix in zip(layers, [*matrices, torch.eye(channels)], strict=True):
            layer.weight.copy_(matrix.T)
    return attention


def _depthwise(kernels: ArrayLike, padding: str) -> DepthwiseConv:
    weight = torch.tensor(kernels, dtype=torch.float64)
    conv = DepthwiseConv(len(weight), weight.shape[-1], bias=False, padding_mode=padding).double()
    with torch.no_grad():
        conv.weight.copy_(weight[:, None])
    return conv


def _short(error: float) -> str:
    return "0, to rounding" if error < _ROUNDING else _text(error)


def _text(value: float) -> str:
    """Write a number as the front end does: two decimals at most, a true minus sign."""
    return f"{round(float(value), 2) + 0.0:.6g}".replace("-", "\N{MINUS SIGN}")
