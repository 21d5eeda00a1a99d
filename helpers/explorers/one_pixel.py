"""Linked figure of notebook 01: one pixel of an image is one token, one row of X."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch.nn import functional as F

from helpers import theme
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures import image_grid, outline

__all__ = ["OnePixel"]

_MOST_CHANNELS = 4
_IMAGE = [
    [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6], [4, 5, 6, 7]],
    [[0, 6, 6, 0], [6, 9, 9, 6], [6, 9, 9, 6], [0, 6, 6, 0]],
    [[8, 0, 8, 0], [0, 8, 0, 8], [8, 0, 8, 0], [0, 8, 0, 8]],
    [[0, 0, 5, 5], [0, 0, 5, 5], [3, 3, 0, 0], [3, 3, 0, 0]],
]
_WEIGHT = [
    [0.3, 0.7, -0.2, 0.1],
    [-0.6, 0.1, 0.4, 0.9],
    [1.0, 0.0, 0.0, -0.5],
    [0.2, -0.3, 0.6, 0.8],
]


class OnePixel(LinkedFigure):
    """A 1x1 convolution in numbers: image, rows of X, the weights W, rows of Y, output image.

    All views share the selected pixel and output channel. The weights can be edited, the pixels
    shuffled.

    Parameters
    ----------
    image : array_like, shape (C, H, W), optional
        At most four channels of at most 16 pixels.
    weight : array_like, shape (C_out, C_in), optional
        As `torch.nn.Linear` has it: W is its transpose.
    **start
        Where to start: `c_in` and `c_out` (how many channels are used), `pixel` (counted row by
        row), `channel` (of the output).

    Attributes
    ----------
    value : dict
        `c_in`, `c_out`, `pixel`, `channel`.
    weight : list of list of float
        The weights, with the reader's changes.
    order : list of int
        The pixel that stands in each row of X; ``0, 1, 2, ...`` until shuffled.

    Examples
    --------
    >>> figure = OnePixel(c_in=2, pixel=5)
    >>> figure.value
    {'c_in': 2, 'c_out': 2, 'pixel': 5, 'channel': 0}
    >>> figure.outputs()["rows"][5]
    [7.2, -0.9]
    """

    module = "one_pixel"
    data = ("image", "weight", "start_weight", "order")

    image = traitlets.List().tag(sync=True)
    weight = traitlets.List().tag(sync=True)
    start_weight = traitlets.List().tag(sync=True)
    order = traitlets.List().tag(sync=True)

    def __init__(
        self, image: ArrayLike = _IMAGE, weight: ArrayLike = _WEIGHT, **start: int
    ) -> None:
        pixels, weights = _arrays(image, weight)
        defaults = {"c_in": 3, "c_out": 2, "pixel": 5, "channel": 0}
        largest = {"c_in": len(pixels), "c_out": len(weights), "pixel": pixels[0].size - 1}
        for name, most in largest.items():
            defaults[name] = min(defaults[name], most)
        self._image = pixels
        super().__init__(
            name="one_pixel",
            title="One pixel, one token",
            description="A 1 × 1 convolution multiplies every pixel's row of X by the same W.",
            image=pixels.tolist(),
            weight=weights.tolist(),
            start_weight=weights.tolist(),
            order=list(range(pixels[0].size)),
            value={**defaults, **start},
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return {
            "c_in": range(1, len(self.image) + 1),
            "c_out": range(1, len(self.weight) + 1),
            "pixel": range(self._image[0].size),
            "channel": lambda value: range(value["c_out"]),
        }

    @traitlets.validate("weight")
    def _valid_weight(self, proposal: Any) -> list[list[float]]:
        _, weights = _arrays(self._image, proposal["value"])
        if self.weight and np.shape(self.weight) != weights.shape:
            raise ValueError(
                f"weight has the shape {weights.shape}, and this figure {np.shape(self.weight)}: "
                "change the numbers, or make a new OnePixel."
            )
        return weights.tolist()

    @traitlets.validate("order")
    def _valid_order(self, proposal: Any) -> list[int]:
        count = self._image[0].size
        if sorted(proposal["value"]) != list(range(count)):
            raise ValueError(f"order must hold each pixel from 0 to {count - 1} once.")
        return list(proposal["value"])

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List images, weights, biases and orders: every C_in and C_out, shuffled or not."""
        generator = np.random.default_rng(1)
        cases = []
        for c_in, c_out, shuffled in itertools.product((1, 2, 3, 4), (1, 2, 3, 4), (False, True)):
            height, width = (4, 4) if shuffled else (2, 3)
            order = np.arange(height * width)
            if shuffled:
                generator.shuffle(order)
            cases.append(
                {
                    "x": generator.normal(size=(c_in, height, width)).tolist(),
                    "weight": generator.normal(size=(c_out, c_in)).tolist(),
                    "bias": generator.normal(size=c_out).tolist() if shuffled else None,
                    "order": order.tolist(),
                }
            )
        return cases

    @classmethod
    def reference(
        cls,
        x: ArrayLike,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        order: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """Compute both notations in PyTorch, in float64.

        Parameters
        ----------
        x : array_like, shape (C_in, H, W)
        weight : array_like, shape (C_out, C_in)
        bias : array_like, shape (C_out,), optional
        order : sequence of int, length H * W, optional
            The pixel that stands in each row.

        Returns
        -------
        dict
            ``tokens`` (N, C_in) and ``rows`` (N, C_out) through `torch.nn.functional.linear`,
            ``image`` (C_out, H, W) through `torch.nn.functional.conv2d`.
        """
        pixels = torch.tensor(x, dtype=torch.float64)
        matrix = torch.tensor(weight, dtype=torch.float64)
        shift = None if bias is None else torch.tensor(bias, dtype=torch.float64)
        tokens = pixels.flatten(1).T
        if order is not None:
            tokens = tokens[list(order)]
        shown = tokens.T.reshape(pixels.shape)
        return {
            "tokens": tokens.tolist(),
            "rows": F.linear(tokens, matrix, shift).tolist(),
            "image": F.conv2d(shown[None], matrix[:, :, None, None], shift)[0].tolist(),
        }

    def outputs(self) -> dict[str, Any]:
        """Compute what the figure shows at the moment, rounded to ten decimals."""
        c_in, c_out = self.value["c_in"], self.value["c_out"]
        exact = self.reference(
            self.image[:c_in], [row[:c_in] for row in self.weight[:c_out]], order=self.order
        )
        return {name: np.round(numbers, 10).tolist() for name, numbers in exact.items()}

    def still(self) -> tuple[Figure, str]:
        """Draw the five views for the selected pixel and output channel."""
        shown, value = self.outputs(), self.value
        row, channel = self.order.index(value["pixel"]), value["channel"]
        size = self._image.shape[1:]
        tokens, rows = np.array(shown["tokens"]), np.array(shown["rows"])
        weight = np.array(self.weight)[: value["c_out"], : value["c_in"]].T
        fig = theme.figure(7.2, 4.5)
        views = _Views(fig, at=divmod(row, size[1]), row=row, channel=channel)
        views.planes("Image", 0.1, tokens.T.reshape(-1, *size), kind="picture")
        views.table("X", 1.35, tokens, kind="picture")
        views.weights(3.15, weight)
        views.table("= Y", 4.6, rows, kind="signed")
        views.planes("Output", 6.2, np.array(shown["image"]), kind="signed")
        return fig, self._sentence(tokens[row], weight[:, channel], rows[row, channel], row)

    def _sentence(self, x: Any, w: Any, y: float, row: int) -> str:
        """Say what the selection shows, with its numbers."""
        line, column = divmod(self.value["pixel"], self._image.shape[2])
        terms = " + ".join(f"{_text(a)} · {_bracket(b)}" for a, b in zip(x, w, strict=True))
        outputs = self._image[0].size * self.value["c_out"]
        return (
            f"Pixel {self.value['pixel']} (row {line}, column {column}) is row {row} of X. Its "
            f"output channel {self.value['channel']} is {terms} = {_text(y)}. The sliding 1 × 1 "
            f"window and the product X W give the same {outputs} numbers, to rounding error."
        )


def _arrays(image: ArrayLike, weight: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Check the image and the weights, and that they go together."""
    pixels, weights = np.asarray(image, dtype=float), np.asarray(weight, dtype=float)
    if pixels.ndim != 3 or not 1 <= len(pixels) <= _MOST_CHANNELS or not 1 <= pixels[0].size <= 16:
        raise ValueError(
            f"image has the shape {pixels.shape}: give (C, H, W) with at most {_MOST_CHANNELS} "
            "channels and 16 pixels, so that every number can be read."
        )
    if weights.ndim != 2 or not 1 <= len(weights) <= _MOST_CHANNELS:
        raise ValueError(
            f"weight has the shape {weights.shape}: give (C_out, C_in) with at most "
            f"{_MOST_CHANNELS} output channels."
        )
    if weights.shape[1] != len(pixels):
        raise ValueError(
            f"weight has {weights.shape[1]} columns and the image {len(pixels)} channels: weight "
            "is (C_out, C_in), one column for each channel of the image."
        )
    return pixels, weights


class _Views:
    """Draws the views of the still into a figure, all with the same selection."""

    top, cell, line = 0.5, 0.42, 0.24

    def __init__(self, fig: Figure, at: tuple[int, int], row: int, channel: int) -> None:
        self.fig, self.at, self.row, self.channel = fig, at, row, channel

    def planes(self, head: str, left: float, planes: np.ndarray, kind: str) -> None:
        """Draw the channels of an image below each other."""
        self._head(head, left)
        limit = _limit(planes)
        for index, plane in enumerate(planes):
            ax = self._axes(left, self.top + index * 1.0, 0.88, 0.88)
            chosen = kind == "picture" or index == self.channel
            mark = self.at if chosen else None
            image = image_grid(ax, plane, kind=kind, limit=limit, highlight=mark, bar=False)
            image.set_clim(-limit, limit)

    def table(self, head: str, left: float, numbers: np.ndarray, kind: str) -> None:
        """Draw rows with their numbers, and the selected row."""
        # The scale of signed numbers is widened, so that dark ink reads on every cell.
        limit = _limit(numbers) * (2.5 if kind == "signed" else 1)
        self._head(head, left)
        ax = self._numbers(left, numbers, kind, limit)
        outline(ax, (self.row, 0), size=(1, numbers.shape[1]))

    def weights(self, left: float, weight: np.ndarray) -> None:
        """Draw W with the outline of a parameter, and the selected output channel."""
        self._head("× W", left)
        ax = self._numbers(left, weight, "signed", _limit(weight) * 2.5)
        outline(ax, (0, 0), size=weight.shape, colour=theme.CHANNEL)
        outline(ax, (0, self.channel), size=(len(weight), 1))

    def _numbers(self, left: float, numbers: np.ndarray, kind: str, limit: float) -> Axes:
        rows, columns = numbers.shape
        ax = self._axes(left, self.top, self.cell * columns, self.line * rows)
        image = image_grid(ax, numbers, kind=kind, limit=limit, bar=False)
        # Pictures too: zero is then a middle grey, on which dark ink reads.
        image.set_clim(-limit, limit)
        ax.set_aspect("auto")
        colours = image.cmap(image.norm(numbers))
        for (row, column), value in np.ndenumerate(numbers):
            ink, text = theme.ink_on(tuple(colours[row, column])), _text(value)
            ax.text(column, row, text, ha="center", va="center", size=theme.SMALL, color=ink)
        return ax

    def _head(self, text: str, left: float) -> None:
        width, height = self.fig.get_size_inches()
        place = (left / width, 1 - (self.top - 0.12) / height)
        self.fig.text(*place, text, size=theme.TITLE, weight="bold", color=theme.INK)

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Place axes by inches from the upper left corner."""
        full_width, full_height = self.fig.get_size_inches()
        box = (left / full_width, 1 - (top + height) / full_height)
        return self.fig.add_axes((*box, width / full_width, height / full_height))


def _limit(values: np.ndarray) -> float:
    return float(np.abs(values).max()) or 1.0


def _text(value: float) -> str:
    """Write a number as the front end does: two decimals at most, a true minus sign."""
    return f"{round(float(value), 2) + 0.0:.6g}".replace("-", "\N{MINUS SIGN}")


def _bracket(value: float) -> str:
    return f"({_text(value)})" if value < 0 else _text(value)
