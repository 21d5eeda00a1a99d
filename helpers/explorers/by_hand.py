"""Linked figure of notebook 04: one output by hand, by convolution and by attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch.nn import functional as F

from helpers import theme
from helpers.explorers.linked import Choice, LinkedFigure

__all__ = ["ByHand"]

_X = [[2, 1], [1, 0], [-1, 3]]
_FILTER = [[-1, 0, 1], [0.5, 1, 0.5]]
_WEIGHT = [[1, -1], [0.5, 2]]
_LARGEST = 9
_SHAPES = {"x": (3, 2), "filter": (2, 3), "weight": (2, 2)}
#: How many lines each worksheet has.
_LINES = {"depthwise": 6, "attention": 16}
_TITLES = {"depthwise": "Depthwise, then pointwise", "attention": "Attention"}
_ROWS = (
    "score",
    "e^score",
    "weight, ch 0",
    "weight, ch 1",
    "weight × ch 0",
    "weight × ch 1",
    "sums × W, out 0",
)


class ByHand(LinkedFigure):
    """One output done by hand twice: depthwise and pointwise convolution, and attention.

    The output is that of the middle one of three pixels in a row, so a filter of width 3 and
    attention weigh the same three. The reader types number after number, or is shown it.

    Parameters
    ----------
    x : array_like, shape (3, 2), optional
        Three pixels with two channels. Attention's queries, keys and values are these pixels.
    filter : array_like, shape (2, 3), optional
        The depthwise convolution's filter for each channel.
    weight : array_like, shape (2, 2), optional
        W, the channel mixing after both, ``(C_in, C_out)``.
    **start
        Where to start: `sheet` (``"depthwise"`` or ``"attention"``) and `line` (how many of its
        numbers are shown).

    Attributes
    ----------
    value : dict
        `sheet` and `line`.
    x, filter, weight : list of list of float
        The numbers, with the reader's changes; from -9 to 9.

    Raises
    ------
    ValueError
        If a shape, a number, a name or a value does not fit; the message says which.

    Examples
    --------
    >>> figure = ByHand(sheet="attention")
    >>> figure.value
    {'sheet': 'attention', 'line': 0}
    >>> figure.outputs()["depthwise_sums"]
    [-3.0, 2.0]
    """

    module = "by_hand"
    data = ("x", "filter", "weight", "start_x", "start_filter", "start_weight")

    x = traitlets.List().tag(sync=True)
    filter = traitlets.List().tag(sync=True)
    weight = traitlets.List().tag(sync=True)
    start_x = traitlets.List().tag(sync=True)
    start_filter = traitlets.List().tag(sync=True)
    start_weight = traitlets.List().tag(sync=True)

    def __init__(
        self,
        x: ArrayLike = _X,
        filter: ArrayLike = _FILTER,
        weight: ArrayLike = _WEIGHT,
        **start: Any,
    ) -> None:
        given = {"x": x, "filter": filter, "weight": weight}
        numbers = {name: _table(name, table) for name, table in given.items()}
        super().__init__(
            name="by_hand",
            title="One output by hand",
            description="The output of the middle one of three pixels: by a depthwise and a "
            "pointwise convolution, and by one head of attention, whose queries, keys and values "
            "are the pixels themselves.",
            value={"sheet": "depthwise", "line": 0, **start},
            **numbers,
            **{f"start_{name}": table for name, table in numbers.items()},
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return {"sheet": tuple(_LINES), "line": lambda value: range(_LINES[value["sheet"]] + 1)}

    @traitlets.validate("x", "filter", "weight")
    def _valid_table(self, proposal: Any) -> list[list[float]]:
        return _table(proposal["trait"].name, proposal["value"])

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List the default numbers, and random ones."""
        generator = np.random.default_rng(2)
        cases = [{"x": _X, "filter": _FILTER, "weight": _WEIGHT}]
        for _ in range(11):
            cases.append(
                {
                    name: generator.normal(scale=2, size=shape).round(3).tolist()
                    for name, shape in _SHAPES.items()
                }
            )
        return cases

    @classmethod
    def reference(cls, x: ArrayLike, filter: ArrayLike, weight: ArrayLike) -> dict[str, Any]:
        """Compute both worksheets through PyTorch's own layers, in float64.

        Parameters
        ----------
        x : array_like, shape (3, 2)
        filter : array_like, shape (2, 3)
        weight : array_like, shape (2, 2)

        Returns
        -------
        dict
            ``scores``, ``exps``, ``weights`` (3) and ``total``; for ``depthwise`` and
            ``attention`` ``_products`` (2, 3), ``_sums`` (2) and ``_out`` (2).
        """
        pixels, a, w = (torch.tensor(t, dtype=torch.float64) for t in (x, filter, weight))
        scores = pixels @ pixels[1] / math.sqrt(2)
        softmax = torch.softmax(scores, 0)
        conv = F.conv1d(pixels.T[None], a[:, None], padding=1, groups=2)[:, :, 1]
        pointwise = F.conv1d(conv[..., None], w.T[..., None])[0, :, 0]
        attended = F.scaled_dot_product_attention(pixels[1:2], pixels, pixels)[0]
        return {
            "scores": scores.tolist(),
            "exps": scores.exp().tolist(),
            "total": float(scores.exp().sum()),
            "weights": softmax.tolist(),
            "depthwise_products": (a * pixels.T).tolist(),
            "depthwise_sums": conv[0].tolist(),
            "depthwise_out": pointwise.tolist(),
            "attention_products": (softmax * pixels.T).tolist(),
            "attention_sums": attended.tolist(),
            "attention_out": (attended @ w).tolist(),
        }

    def outputs(self) -> dict[str, Any]:
        """Compute the numbers of both worksheets, rounded to ten decimals."""
        exact = self.reference(self.x, self.filter, self.weight)
        return {name: np.round(numbers, 10).tolist() for name, numbers in exact.items()}

    def still(self) -> tuple[Figure, str]:
        """Draw both worksheets with all their numbers."""
        shown = self.outputs()
        fig = theme.figure(7.2, 2.9)
        ax = fig.add_axes((0.01, 0.02, 0.98, 0.96))
        ax.set_axis_off()
        ax.set_xlim(0, 11)
        ax.set_ylim(9, -0.4)
        ax.axhline(5.5, color=theme.INK, lw=1)
        # The rows of both worksheets are the same ones, so they are named once.
        for row, name in enumerate(_ROWS):
            ax.text(1.9, row + 2, name, size=theme.SMALL, ha="right", va="center")
        for left, sheet in ((2.6, "depthwise"), (7.3, "attention")):
            ax.text(left - 0.4, 0, _TITLES[sheet], weight="bold", size=theme.TITLE, va="center")
            for column, text in enumerate(("pixel 0", "1", "2", "sum")):
                ax.text(left + column, 1, text, size=theme.SMALL, ha="center", va="center")
            for row, cells in enumerate(self._cells(sheet, shown)):
                for column, value in enumerate(cells):
                    ax.text(
                        left + column,
                        row + 2,
                        value if isinstance(value, str) else _text(value),
                        ha="center",
                        va="center",
                        size=theme.SMALL,
                        color=theme.TOKEN if row < 4 else theme.INK,
                    )
        return fig, self._sentence(shown)

    def _cells(self, sheet: str, shown: Mapping[str, Any]) -> list[list[Any]]:
        """List the rows of a worksheet: three pixels and, where there is one, the sum."""
        if sheet == "depthwise":
            first: list[list[Any]] = [[], [], *self.filter]
        else:
            weights = shown["weights"]
            first = [shown["scores"], [*shown["exps"], shown["total"]], weights, weights]
        products, sums = shown[f"{sheet}_products"], shown[f"{sheet}_sums"]
        rows = [[*line, total] for line, total in zip(products, sums, strict=True)]
        parts = [y * row[0] for y, row in zip(sums, self.weight, strict=True)]
        return [*first, *rows, [*parts, "", shown[f"{sheet}_out"][0]]]

    def _sentence(self, shown: Mapping[str, Any]) -> str:
        """Say what the two worksheets show, with their numbers."""
        weights = ", ".join(map(_text, shown["weights"]))
        given = ", ".join(map(_text, self.filter[0]))
        out = [_text(shown[f"{sheet}_out"][0]) for sheet in _LINES]
        return (
            f"The filter's weights for channel 0 are given: {given}. Attention's are computed from "
            f"the pixels: {weights}. From there both do the same: weight times pixel, sum, channel "
            f"mixing. Output channel 0 is {out[0]} by convolution and {out[1]} by attention."
        )


def _table(name: str, table: ArrayLike) -> list[list[float]]:
    """Check one table of numbers."""
    numbers = np.asarray(table, dtype=float)
    if numbers.shape != _SHAPES[name]:
        raise ValueError(f"{name} has the shape {numbers.shape}: expected {_SHAPES[name]}.")
    if not (np.abs(numbers) <= _LARGEST).all():
        raise ValueError(
            f"{name} must hold numbers from -{_LARGEST} to {_LARGEST}: by hand, larger ones are no "
            "help."
        )
    return numbers.tolist()


def _text(value: float) -> str:
    """Write a number as the front end does: two decimals at most, a true minus sign."""
    return f"{round(float(value), 2) + 0.0:.6g}".replace("-", "\N{MINUS SIGN}")
