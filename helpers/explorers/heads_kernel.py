"""Linked figure of notebook 03: k² heads that look at one offset each become a convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import nn

from helpers import theme
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures import image_grid, outline
from helpers.mixers import RelativePositionAttention
from helpers.mixing import as_mixing

__all__ = ["HeadsAsKernel"]

SIDE = 14
SHARPNESS = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12)
SIZES = (3, 5, 7)
BORDERS = ("padded", "unpadded")
# The Difference is coloured by its size in decades: white up to this part of the largest output.
FAINTEST = 0.001


class HeadsAsKernel(LinkedFigure):
    """k² softmax heads over positions, their weighted sum, and the convolution that they approach.

    One channel, so that a head's ``W_V W_O`` is one number: the kernel's weight at the offset that
    the head looks at. Images and kernels are noise.

    Parameters
    ----------
    **start
        Where to start: `sharpness` (one of 0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12), `size` (the kernel
        size: 3, 5 or 7), `border` (``"padded"``: a ring of zero tokens takes part; or
        ``"unpadded"``), `query` (a pixel, counted row by row), `head` (an offset, row by row).

    Attributes
    ----------
    value : dict
        These five.
    image : list
        The image, 14 x 14.
    kernel : list
        The 7 x 7 kernel; a smaller one is its middle.

    Examples
    --------
    >>> figure = HeadsAsKernel(sharpness=4)
    >>> figure.value
    {'sharpness': 4, 'size': 3, 'border': 'padded', 'query': 84, 'head': 5}
    >>> round(figure.outputs()["inside"], 2)
    0.08
    """

    module = "heads_kernel"
    data = ("image", "kernel")

    image = traitlets.List().tag(sync=True)
    kernel = traitlets.List().tag(sync=True)

    def __init__(self, **start: Any) -> None:
        seed = torch.Generator().manual_seed(1)
        image = torch.randn(SIDE, SIDE, generator=seed, dtype=torch.float64)
        kernel = torch.randn(7, 7, generator=seed, dtype=torch.float64)
        defaults = {"sharpness": 2, "size": 3, "border": "padded", "query": 84, "head": 5}
        super().__init__(
            name="heads_kernel",
            title="k² heads become a k × k convolution",
            description="Each head looks at one offset, softly at first. Its weight in the sum is "
            "the kernel's weight there.",
            image=image.round(decimals=3).tolist(),
            kernel=kernel.round(decimals=3).tolist(),
            value={**defaults, **start},
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return {
            "sharpness": SHARPNESS,
            "size": SIZES,
            "border": BORDERS,
            "query": range(SIDE**2),
            "head": lambda value: range(value["size"] ** 2),
        }

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List states with images and kernels: each size and border, soft and sharp."""
        generator = np.random.default_rng(3)
        cases = []
        for size in SIZES:
            for border in BORDERS:
                for sharpness in (0, 2, 12):
                    cases.append(
                        {
                            "image": generator.normal(size=(8, 9)).round(3).tolist(),
                            "weight": generator.normal(size=(size, size)).round(3).tolist(),
                            "sharpness": sharpness,
                            "border": border,
                            "query": int(generator.integers(72)),
                        }
                    )
        return cases

    @classmethod
    def reference(
        cls, image: ArrayLike, weight: ArrayLike, sharpness: float, border: str, query: int
    ) -> dict[str, Any]:
        """Compute heads and convolution in PyTorch, in float64.

        Parameters
        ----------
        image : array_like, shape (H, W)
        weight : array_like, shape (k, k)
        sharpness : float
        border : {"padded", "unpadded"}
        query : int

        Returns
        -------
        dict
            ``maps`` (k², N), the query's row of each head's A; ``sum`` and ``row`` (N,), the row
            of the weighted sum and that of the convolution; ``output`` and ``target`` (N,), both
            applied to the image; ``inside`` and ``whole``, the error relative to the convolution,
            where the kernel stays inside the image and everywhere.
        """
        x = torch.tensor(image, dtype=torch.float64)[None, None]
        kernel = torch.tensor(weight, dtype=torch.float64)
        k = len(kernel)
        conv = nn.Conv2d(1, 1, k, padding=k // 2, bias=False, dtype=torch.float64)
        with torch.no_grad():
            conv.weight.copy_(kernel[None, None])
            heads = RelativePositionAttention.from_conv(
                conv, alpha=sharpness, border="padded" if border == "padded" else "inside"
            )
            maps = heads.token_mixing(x)[0, :, query]  # (k², N)
            target, output = conv(x)[0, 0], heads(x)[0, 0]
            row = as_mixing(conv, x).matrix()[query]
        away = k // 2
        middle = (slice(away, x.shape[2] - away), slice(away, x.shape[3] - away))
        return {
            "maps": maps.tolist(),
            "sum": (kernel.flatten() @ maps).tolist(),
            "row": row.tolist(),
            "output": output.flatten().tolist(),
            "target": target.flatten().tolist(),
            "inside": _error(output[middle], target[middle]),
            "whole": _error(output, target),
        }

    def outputs(self) -> dict[str, Any]:
        """Compute what the figure shows at the moment."""
        return self._at(self.value["sharpness"])

    def _at(self, sharpness: float) -> dict[str, Any]:
        value = self.value
        return self.reference(
            self.image, self._weight(), sharpness, value["border"], value["query"]
        )

    def _weight(self) -> list[list[float]]:
        cut = slice(3 - self.value["size"] // 2, 4 + self.value["size"] // 2)
        return [row[cut] for row in self.kernel[cut]]

    def still(self) -> tuple[Figure, str]:
        """Draw the heads' maps, the two rows, and the error over sharpness."""
        shown, value = self.outputs(), self.value
        k, at = value["size"], divmod(value["query"], SIDE)
        window = tuple(_window(n, k + 4) for n in at)
        here = (at[0] - window[0].start, at[1] - window[1].start)
        fig = theme.figure(7.2, 5.6)
        with theme.style():
            self._heads(fig, np.array(shown["maps"]).reshape(k * k, SIDE, SIDE)[:, *window])
            limit = float(np.abs(self._weight()).max())
            for left, name, title in ((3.45, "sum", "Weighted sum"), (5.4, "row", "Convolution")):
                ax = _place(fig, left, 0.45, 1.65, 1.65)
                grid = np.array(shown[name]).reshape(SIDE, SIDE)[window]
                image_grid(ax, grid, kind="signed", limit=limit)
                outline(ax, here, dashed=True)
                ax.set_title(title)
            ax = _place(fig, 5.4, 3.05, 1.65, 1.65)
            missed = decades(np.array(shown["output"]) - np.array(shown["target"]), shown["target"])
            image_grid(ax, missed.reshape(SIDE, SIDE), kind="signed", limit=1, bar=False)
            outline(ax, at, dashed=True)
            ax.set_title("Difference")
            ax.set_xlabel("log scale: white is\nunder 0.1 % of the\nlargest output")
            self._curve(_place(fig, 0.6, 4.0, 4.3, 1.05))
        return fig, self._sentence(shown)

    def _heads(self, fig: Figure, maps: np.ndarray) -> None:
        """Draw the query's row of each head, laid over the image, in the order of the kernel."""
        k, whole = self.value["size"], 2.95
        step, side = whole / k, maps.shape[1]
        for head, weights in enumerate(maps):
            r, c = divmod(head, k)
            ax = _place(fig, 0.15 + c * step, 0.45 + r * step, step * 0.93, step * 0.93)
            image_grid(ax, weights, kind="weight", limit=1, bar=False)
            if head == self.value["head"]:
                outline(ax, (0, 0), size=(side, side))
        width, height = fig.get_size_inches()
        place, text = (0.15 / width, 1 - 0.32 / height), f"Rows of A of {k * k} heads"
        fig.text(*place, text, size=theme.TITLE, weight="bold", color=theme.TOKEN)

    def _curve(self, ax: Axes) -> None:
        """Draw the error over the sharpness, away from the border and on the whole image."""
        errors = [self._at(sharpness) for sharpness in SHARPNESS]
        for name, label, line in (
            ("inside", "away from the border", "-"),
            ("whole", "whole image", "--"),
        ):
            ax.plot(SHARPNESS, [100 * e[name] for e in errors], line, color=theme.INK, label=label)
        now = SHARPNESS.index(self.value["sharpness"])
        ax.plot(SHARPNESS[now], 100 * errors[now]["inside"], "o", color=theme.INK, ms=8)
        ax.set(xlim=(-0.2, 12.2), ylim=(0, None), xlabel="sharpness")
        ax.set_title("Error in % of the convolution", pad=4)
        ax.legend(loc="upper right")

    def _sentence(self, shown: Mapping[str, Any]) -> str:
        """Say what the state shows, with its numbers."""
        value, k = self.value, self.value["size"]
        most = shown["maps"][value["head"]]
        line, column = divmod(value["query"], SIDE)
        down, right = (n - k // 2 for n in divmod(value["head"], k))
        outside = line + down not in range(SIDE) or column + right not in range(SIDE)
        border = {"padded": "at a zero outside the image"}
        where = border.get(value["border"], "outside the image, where no token is")
        leaves = f": it aims {where}" if outside else ""
        return (
            f"{k * k} heads, sharpness {value['sharpness']}, border {value['border']}. From pixel "
            f"row {line}, column {column}, head {value['head']} looks {_offset(down, right)} and "
            f"puts {_weight(max(most))} of its weight on one pixel{leaves}. The sum "
            f"of all misses the {k} × {k} convolution by {_percent(shown['inside'])} away from "
            f"the border, by {_percent(shown['whole'])} on the whole image."
        )


def decades(difference: ArrayLike, target: ArrayLike) -> np.ndarray:
    """Say how strongly each difference is coloured, from -1 to 1: a third for a factor of ten.

    Parameters
    ----------
    difference : array_like
    target : array_like
        What it is a part of: the largest of these in size counts 1.

    Returns
    -------
    numpy.ndarray
        Of the shape of `difference`; 0 up to a thousandth of the largest.

    Examples
    --------
    >>> decades([1.0, -0.1, 0.01, 0.0], [-1.0, 0.5]).round(2).tolist()
    [1.0, -0.67, 0.33, 0.0]
    """
    share = np.abs(difference) / np.abs(target).max()
    strength = 1 - np.log(np.maximum(share, FAINTEST)) / np.log(FAINTEST)
    return np.sign(difference) * np.minimum(1, strength)


def _error(output: torch.Tensor, target: torch.Tensor) -> float:
    """Give the size of the difference in parts of the target's: root of the sums of squares."""
    return float((output - target).norm() / target.norm())


def _window(place: int, size: int) -> slice:
    """Give the places around one that are shown; they stay inside the image."""
    first = max(0, min(SIDE - size, place - size // 2))
    return slice(first, first + size)


def _place(fig: Figure, left: float, top: float, wide: float, high: float) -> Axes:
    """Place axes by inches from the upper left corner."""
    width, height = fig.get_size_inches()
    return fig.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))


def _percent(part: float) -> str:
    """Write a share in percent as the front end does: two digits below one, and no noise."""
    percent = 100 * part
    if percent < 0.1:
        return "less than 0.1 %"
    return f"{percent:.2f} %" if percent < 0.95 else f"{percent:.0f} %"


def _weight(part: float) -> str:
    """Write a weight of a softmax in percent: never 100, because it never is."""
    percent = 100 * part
    if percent > 99.9:
        return "a little less than 100 %"
    if percent < 0.1:
        return _percent(part)
    return "at most " + (f"{percent:.1f} %" if percent > 99 else _percent(part))


def _offset(down: int, right: int) -> str:
    """Say in words where an offset points."""
    words = [
        f"{abs(n)} {name}"
        for n, name in (
            (down, "down" if down > 0 else "up"),
            (right, "right" if right > 0 else "left"),
        )
        if n
    ]
    return " and ".join(words) or "at the pixel itself"
