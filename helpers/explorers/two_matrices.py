"""Linked figure of notebook 04: the mixing matrices of a depthwise convolution and of a head."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from torch import Tensor

from helpers import theme
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures import outline
from helpers.mixers import (
    Attention,
    DepthwiseConv,
    MultiHeadAttention,
    SlidingAttention,
    WindowAttention,
)
from helpers.mixing import as_mixing
from helpers.photograph import CREDIT, photograph, photograph_file
from helpers.tokens import from_tokens, to_tokens

__all__ = ["TwoMatrices", "edge_filter", "photograph_tokens", "projection"]

_SIDE, _WINDOW = 14, 7
_KERNELS, _HEADS = (1, 3, 5, 7), (1, 2, 4)
_SUPPORTS = ("full", "window", "sliding")
_IMAGES = ("photograph", "painted")
_CHANNELS = (
    "red against green",
    "yellow against blue",
    "lightness",
    "contrast",
    "row, cosine",
    "row, sine",
    "column, cosine",
    "column, sine",
)
_LIGHTNESS = 2
_GAINS = (6.0, 5.0, 3.0, 3.0, 3.5, 3.5, 3.5, 3.5)
_BRUSHES = {"red": (0.85, 0.10, 0.10), "dark": (0.08, 0.08, 0.10), "white": (1.0, 1.0, 1.0)}
# What a head compares, because of which channels its block of W_Q and W_K reads.
_READS = {
    1: ("look and place",),
    2: ("look", "place"),
    4: ("hue", "light", "row", "column"),
}
_ROUNDING = 1e-9
_EXTENT = (-0.5, _SIDE - 0.5, _SIDE - 0.5, -0.5)


def edge_filter(kernel_size: int) -> np.ndarray:
    """Make the filter of the left-hand matrix: a tilted edge, its largest weight 1 or -1.

    It is made by hand (a Gabor function), not learned. All its weights are different and none is
    zero, so that a count of distinct numbers in A counts its weights.

    Parameters
    ----------
    kernel_size : int
        k, odd.

    Returns
    -------
    numpy.ndarray, shape (k, k)
        Rounded to three decimals.

    Examples
    --------
    >>> len(np.unique(edge_filter(7)))
    49
    """
    if kernel_size == 1:
        return np.array([[0.6]])
    reach = kernel_size // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    tilt, width = math.radians(29), kernel_size / 3.2
    across, along = x * math.cos(tilt) + y * math.sin(tilt), y * math.cos(tilt) - x * math.sin(tilt)
    wave = np.cos(2 * math.pi * across / (0.8 * kernel_size) + 1.3)
    weights = np.exp(-(across**2 + 0.6 * along**2) / (2 * width**2)) * wave
    return np.round(weights / np.abs(weights).max(), 3)


def projection() -> np.ndarray:
    """Give W_Q, which is W_K as well: one gain for each channel of X, set by hand.

    Returns
    -------
    numpy.ndarray, shape (8, 8)
        Diagonal, so that one can say what each block of its columns, that is each head, reads.

    Examples
    --------
    >>> projection().shape
    (8, 8)
    """
    return np.diag(_GAINS)


@cache
def _look_of_photograph() -> np.ndarray:
    picture = photograph()
    light = np.tensordot([0.299, 0.587, 0.114], picture, 1)
    step = picture.shape[1] // _SIDE
    contrast = light.reshape(_SIDE, step, _SIDE, step).std((1, 3))
    return _look(photograph(_SIDE).reshape(3, -1).T, contrast.ravel())


def _look(colours: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Give the first four channels of X, from mean colours ``(N, 3)`` and contrast ``(N,)``."""
    red, green, blue = np.asarray(colours, dtype=float).T
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    channels = (2 * (red - green), red + green - 2 * blue, 2 * light - 1, 4 * contrast - 0.5)
    return np.round(np.stack(channels, 1), 3)


def _brush_look() -> np.ndarray:
    """Give the look of a token painted with each brush: one colour, so no contrast."""
    return _look(np.array(list(_BRUSHES.values())), np.zeros(len(_BRUSHES)))


def photograph_tokens(painted: Sequence[int] | None = None) -> np.ndarray:
    """Give X: 14 x 14 tokens of the photograph, eight channels each.

    Four channels say how a patch of 16 x 16 pixels looks (red against green, yellow against blue,
    lightness, contrast), four say where it is (cosine and sine of its row and of its column). They
    are computed by hand-made formulas; a network would learn an embedding in their place.

    Parameters
    ----------
    painted : sequence of int, length 196, optional
        For each token the number of the brush it is painted with (0 red, 1 dark, 2 white), or -1
        for the photograph. Paint changes the four channels of looks, never those of place.

    Returns
    -------
    numpy.ndarray, shape (196, 8)

    Examples
    --------
    >>> photograph_tokens().shape
    (196, 8)
    """
    look = _look_of_photograph().copy()
    if painted is not None:
        brush = np.asarray(painted)
        look[brush >= 0] = _brush_look()[brush[brush >= 0]]
    angle = math.pi * (np.arange(_SIDE) + 0.5) / _SIDE
    waves = np.stack([np.cos(angle), np.sin(angle)], 1)
    place = np.concatenate([np.repeat(waves, _SIDE, 0), np.tile(waves, (_SIDE, 1))], 1)
    return np.concatenate([look, np.round(place, 6)], 1)


class TwoMatrices(LinkedFigure):
    """One row in two mixing matrices: a depthwise convolution's and an attention head's.

    Image, both A (196 x 196), their rows laid back over the image, and what they make of one
    channel, all with the same query. Paint on the image, and only the right-hand matrix moves.
    X, the filter and the projections are made by hand, nothing is trained; the arithmetic is that
    of the real layers.

    Parameters
    ----------
    **start
        Where to start: `kernel_size` (1, 3, 5, 7), `heads` (1, 2, 4), `head` (from 0), `support` of
        the attention ("full", "window", "sliding"), `image` ("photograph", "painted"), `query`
        (0 to 195, row by row), `key` (the same, or -1 for none).

    Attributes
    ----------
    value : dict
        Those seven.
    painted : list of int
        For each token the brush (0 red, 1 dark, 2 white), or -1 where the photograph shows. Seen
        while `image` is "painted".

    Examples
    --------
    >>> figure = TwoMatrices(kernel_size=3, query=0)
    >>> figure.facts()["depthwise"]["distinct"]
    9
    """

    module = "two_matrices"
    data = ("picture", "tokens", "brushes", "filters", "projection", "reads", "credit", "painted")

    picture = traitlets.Unicode().tag(sync=True)
    tokens = traitlets.List().tag(sync=True)
    brushes = traitlets.List().tag(sync=True)
    filters = traitlets.Dict().tag(sync=True)
    projection = traitlets.List().tag(sync=True)
    reads = traitlets.Dict().tag(sync=True)
    credit = traitlets.Unicode().tag(sync=True)
    painted = traitlets.List().tag(sync=True)

    def __init__(self, **start: int | str) -> None:
        encoded = base64.b64encode(photograph_file().read_bytes()).decode()
        brushes = [
            {"name": name, "colour": [round(255 * part) for part in colour], "look": look.tolist()}
            for (name, colour), look in zip(_BRUSHES.items(), _brush_look(), strict=True)
        ]
        super().__init__(
            name="two_matrices",
            title="Two mixing matrices",
            description="Both layers give every token a row of weights. Who chooses the weights?",
            picture=f"data:image/jpeg;base64,{encoded}",
            tokens=photograph_tokens().tolist(),
            brushes=brushes,
            filters={str(k): edge_filter(k).tolist() for k in _KERNELS},
            projection=projection().tolist(),
            reads={str(heads): list(names) for heads, names in _READS.items()},
            credit=CREDIT,
            painted=[-1] * _SIDE**2,
            value={
                "kernel_size": 7,
                "heads": 2,
                "head": 0,
                "support": "full",
                "image": "photograph",
                "query": 7 * _SIDE + 4,
                "key": -1,
                **start,
            },
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be; the key -1 is none."""
        return {
            "kernel_size": _KERNELS,
            "heads": _HEADS,
            "head": lambda value: range(value["heads"]),
            "support": _SUPPORTS,
            "image": _IMAGES,
            "query": range(_SIDE**2),
            "key": range(-1, _SIDE**2),
        }

    @traitlets.validate("painted")
    def _valid_painted(self, proposal: Any) -> list[int]:
        brush = list(proposal["value"])
        if len(brush) != _SIDE**2 or any(one not in range(-1, len(_BRUSHES)) for one in brush):
            raise ValueError(
                f"painted must hold {_SIDE**2} numbers: a brush from 0 to {len(_BRUSHES) - 1}, or "
                "-1 for the photograph."
            )
        return brush

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List random tokens, filters and projections on small images, and the photograph."""
        generator = np.random.default_rng(4)
        cases = []
        for index, (kernel_size, heads, support) in enumerate(
            (k, h, s) for k in _KERNELS for h in _HEADS for s in _SUPPORTS
        ):
            grid, window = ((4, 6), 2) if index % 2 else ((6, 3), 3)
            cases.append(
                {
                    "tokens": generator.normal(size=(math.prod(grid), 8)),
                    "filter": generator.normal(size=(kernel_size, kernel_size)),
                    "query": generator.normal(size=(8, 8)),
                    "key": generator.normal(size=(8, 8)),
                    **{"grid": grid, "heads": heads, "head": index % heads, "support": support},
                    **{"window": window, "channel": index % 8},
                }
            )
        for head, support in enumerate(("full", "window")):
            cases.append(
                {
                    "tokens": photograph_tokens([0] * 20 + [-1] * 176),
                    "filter": edge_filter(7),
                    **{"query": projection(), "key": projection()},
                    **{"grid": (_SIDE, _SIDE), "heads": 2, "head": head, "support": support},
                    **{"window": _WINDOW, "channel": _LIGHTNESS},
                }
            )
        return [
            {name: np.asarray(value).tolist() for name, value in case.items()} for case in cases
        ]

    @classmethod
    def reference(
        cls,
        tokens: ArrayLike,
        filter: ArrayLike,
        query: ArrayLike,
        key: ArrayLike,
        grid: Sequence[int],
        heads: int,
        head: int,
        support: str,
        window: int,
        channel: int,
    ) -> dict[str, Any]:
        """Compute both A and both outputs with the real layers, in float64.

        Parameters
        ----------
        tokens : array_like, shape (N, C)
            X, the pixels of the image row by row.
        filter : array_like, shape (k, k)
            The kernel of the depthwise convolution's `channel`.
        query, key : array_like, shape (C, C)
            W_Q and W_K; a head has C / heads of their columns.
        grid : (int, int)
            Height and width of the image.
        heads, head : int
            H, and the one that is looked at.
        support : {"full", "window", "sliding"}
            Which keys a query sees: all, those in its window, or those in the square around it.
        window : int
            Side of the window or of the square; odd for "sliding" (an even one is made odd).
        channel : int
            The channel of X that both A are applied to.

        Returns
        -------
        dict
            ``depthwise`` and ``attention`` (N, N), ``convolved`` and ``attended`` (N,).
        """
        x = torch.tensor(np.asarray(tokens), dtype=torch.float64)
        image = from_tokens(x[None], tuple(grid))
        kernel = torch.tensor(np.asarray(filter), dtype=torch.float64)
        conv = DepthwiseConv(x.shape[1], len(kernel), bias=False).double()
        layer = _attention(x.shape[1], heads, support, window)
        with torch.no_grad():
            conv.weight.copy_(kernel.expand_as(conv.weight))
            layer.query.weight.copy_(torch.tensor(np.asarray(query)).T)
            layer.key.weight.copy_(torch.tensor(np.asarray(key)).T)
            mixed = layer.token_mixing(image)[0, head]
            return {
                "depthwise": _numbers(as_mixing(conv, image).token[0, channel]),
                "attention": _numbers(mixed),
                "convolved": _numbers(to_tokens(conv(image))[0, :, channel]),
                "attended": _numbers(mixed @ x[:, channel]),
            }

    def shown(self) -> dict[str, np.ndarray]:
        """Compute what the figure shows at the moment.

        Returns
        -------
        dict
            ``depthwise`` and ``attention``, (196, 196); ``convolved`` and ``attended``, (196,).
        """
        return self._computed(self._painted())

    def facts(self) -> dict[str, dict[str, Any]]:
        """Count what the figure says of its two matrices.

        Returns
        -------
        dict
            For ``"depthwise"`` and ``"attention"``: ``nonzero`` and ``negative`` entries,
            ``row_sums`` (lowest, highest; rounded to two decimals), and ``moved``, how many rows
            are another than with the photograph as it was; for the former ``distinct`` numbers
            among the non-zeros; for both ``shared``, the entries that are not zero in either.
        """
        now, before = self.shown(), self._computed(None)
        shared = int(((now["depthwise"] != 0) & (now["attention"] != 0)).sum())
        found: dict[str, dict[str, Any]] = {}
        for name in ("depthwise", "attention"):
            sums = np.round(now[name].sum(1), 2) + 0.0
            moved = np.abs(now[name] - before[name]).max(1) > _ROUNDING
            found[name] = {
                "nonzero": int((now[name] != 0).sum()),
                "negative": int((now[name] < 0).sum()),
                "row_sums": (float(sums.min()), float(sums.max())),
                "moved": int(moved.sum()),
                "shared": shared,
            }
        weights = now["depthwise"]
        found["depthwise"]["distinct"] = len(np.unique(weights[weights != 0]))
        return found

    def still(self) -> tuple[Figure, str]:
        """Draw image, matrices, their rows laid back over the image, and the output maps."""
        shown = self.shown()
        with theme.style():
            fig = self._drawn(shown)
        return fig, self._sentence(shown)

    def _drawn(self, shown: Mapping[str, np.ndarray]) -> Figure:
        """Draw the nine views."""
        fig = theme.figure(7.25, 800 / 96)
        views = _Views(fig, self.value["query"], self._mosaic())
        row = self.value["query"]
        kernel = edge_filter(self.value["kernel_size"])
        limit, end = float(np.abs(kernel).max()), scale_end(shown["attention"])
        views.picture((0, 0), "Image: 14 × 14 tokens")
        views.matrix((0, 1), "Depthwise A", shown["depthwise"], limit, signed=True)
        views.matrix((0, 2), "Attention A, from X", shown["attention"], end, signed=False)
        views.cells(
            (1, 0), f"The filter, {len(kernel)} × {len(kernel)}", kernel, limit, signed=True
        )
        largest = float(shown["attention"][row].max())
        views.row((1, 1), "Its row on the image", shown["depthwise"][row], limit, signed=True)
        views.row((1, 2), "Its row on the image", shown["attention"][row], largest, signed=False)
        light = self._painted_tokens()[:, _LIGHTNESS]
        maps = {"X: lightness": light, "A X: depthwise": shown["convolved"]}
        for column, (head, numbers) in enumerate({**maps, "A X: head": shown["attended"]}.items()):
            square = numbers.reshape(_SIDE, _SIDE)
            limit = float(np.abs(square).max())
            outline(views.cells((2, column), head, square, limit, signed=True), views.at)
        return fig

    def _sentence(self, shown: Mapping[str, np.ndarray]) -> str:
        """Say what the selected row shows, with its numbers."""
        value, facts = self.value, self.facts()
        left, right = (shown[name][value["query"]] for name in ("depthwise", "attention"))
        row, column = divmod(value["query"], _SIDE)
        top = divmod(int(np.argmax(np.round(right, 9))), _SIDE)
        k, heads = value["kernel_size"], value["heads"]
        still = " This head reads places alone: paint does not move it."
        painted = still if self._reads_places() else ""
        if value["image"] == "painted" and any(one >= 0 for one in self.painted):
            painted = (
                f" Your paint moved {facts['attention']['moved']} of the head's 196 rows and none "
                f"of the filter's.{painted}"
            )
        elif not painted:
            painted = " Paint on the image, and only the right-hand matrix moves."
        distinct = facts["depthwise"]["distinct"]
        return (
            f"Row {value['query']} of both matrices, for the token at row {row}, column {column}. "
            f"Depthwise, {k} × {k}: {_count(left != 0)} of 196 weights "
            f"{'is' if _count(left != 0) == 1 else 'are'} not zero, "
            f"{_count(left < 0)} of them negative; they sum to {_text(left.sum())}. "
            f"Attention, head {value['head'] + 1} of {heads}: {_count(right != 0)} weights, none "
            f"negative; they sum to 1, and the largest is {_text(right.max(), 3)}, at row "
            f"{top[0]}, column {top[1]}. All {facts['depthwise']['nonzero']:,} non-zeros of the "
            f"left-hand matrix are {distinct} number{'s' if distinct > 1 else ''}.{painted}"
        )

    def _reads_places(self) -> bool:
        """Whether the head's columns of W_Q read none of the channels that paint changes."""
        width = len(_CHANNELS) // self.value["heads"]
        columns = slice(self.value["head"] * width, (self.value["head"] + 1) * width)
        return not projection()[:4, columns].any()

    def _painted(self) -> list[int] | None:
        return list(self.painted) if self.value["image"] == "painted" else None

    def _painted_tokens(self) -> np.ndarray:
        return photograph_tokens(self._painted())

    def _computed(self, painted: list[int] | None) -> dict[str, np.ndarray]:
        found = self.reference(
            photograph_tokens(painted),
            edge_filter(self.value["kernel_size"]),
            projection(),
            projection(),
            (_SIDE, _SIDE),
            self.value["heads"],
            self.value["head"],
            self.value["support"],
            _WINDOW,
            _LIGHTNESS,
        )
        return {name: np.asarray(numbers) for name, numbers in found.items()}

    def _mosaic(self) -> np.ndarray:
        """Give the image for the still, (56, 56, 3), with the tokens that are painted."""
        colours = photograph(4 * _SIDE).transpose(1, 2, 0)
        for token, brush in enumerate(self._painted() or []):
            row, column = divmod(token, _SIDE)
            if brush >= 0:
                patch = list(_BRUSHES.values())[brush]
                colours[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = patch
        return colours


def scale_end(matrix: np.ndarray) -> float:
    """Choose the end of an attention matrix's scale: at most one cell in 200 lies above it.

    Parameters
    ----------
    matrix : numpy.ndarray
        Weights from zero up.

    Returns
    -------
    float
        One of 0.01, 0.02, 0.05, 0.1, 0.2, 0.5 and 1, so that it seldom jumps while one paints.

    Examples
    --------
    >>> scale_end(np.full((4, 4), 0.25))
    0.5
    """
    ends = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    return next(end for end in ends if (matrix > end + _ROUNDING).mean() <= 0.005)


def _attention(channels: int, heads: int, support: str, window: int) -> Attention:
    """Make the layer with a support; its values and outputs are not used."""
    if support == "window":
        return WindowAttention(channels, heads, window, bias=False).double()
    if support == "sliding":
        return SlidingAttention(channels, heads, window | 1, bias=False).double()
    return MultiHeadAttention(channels, heads, bias=False).double()


def _numbers(values: Tensor) -> list[Any]:
    return values.tolist()


def _count(which: np.ndarray) -> int:
    return int(which.sum())


def _text(value: float, digits: int = 2) -> str:
    """Write a number as the front end does: a true minus sign, no zeros at the end."""
    return f"{round(float(value), digits) + 0.0:.6g}".replace("-", "\N{MINUS SIGN}")


class _Views:
    """Draws the nine views of the still, three by three, each 196 pixels of a page wide."""

    side, gap, top, below = (pixels / 96 for pixels in (196, 44, 38, 32))

    def __init__(self, fig: Figure, query: int, mosaic: np.ndarray) -> None:
        self.fig, self.query, self.mosaic = fig, query, mosaic
        self.at = divmod(query, _SIDE)

    def picture(self, place: tuple[int, int], title: str) -> None:
        """Draw the image, and outline the query."""
        ax = self._axes(place, title)
        # In few steps of colour, so that all of the still fits a palette: a notebook stores it.
        ax.imshow(np.round(self.mosaic * 10) / 10, extent=_EXTENT)
        outline(ax, self.at)

    def matrix(
        self, place: tuple[int, int], title: str, numbers: np.ndarray, limit: float, *, signed: bool
    ) -> None:
        """Draw A, solid or dashed around, and mark the query's row."""
        ax = self.cells(place, title, numbers, limit, signed=signed)
        size = len(numbers)
        edge = {"fill": False, "ec": theme.TOKEN, "lw": 2.5, "clip_on": False}
        ax.add_patch(Rectangle((-3, -3), size + 5, size + 5, ls="-" if signed else "--", **edge))
        for line in (self.query - 2, self.query + 2):
            ax.axhline(line, color="#FFFFFF", lw=3)
            ax.axhline(line, color=theme.INK, lw=1.2)

    def cells(
        self, place: tuple[int, int], title: str, numbers: np.ndarray, limit: float, *, signed: bool
    ) -> Axes:
        """Draw numbers with a scale of their own."""
        ax = self._axes(place, title)
        cmap, low = _steps(signed), -limit if signed else 0
        self._scale(ax, ax.imshow(numbers, cmap=cmap, vmin=low, vmax=limit), limit, signed=signed)
        return ax

    def row(
        self, place: tuple[int, int], title: str, numbers: np.ndarray, limit: float, *, signed: bool
    ) -> None:
        """Lay a row of A over the pale image."""
        ax = self._axes(place, title)
        pale = np.round(16 - 8 * (1 - self.mosaic.mean(2))) / 16
        ax.imshow(pale, cmap="gray", vmin=0, vmax=1, extent=_EXTENT)
        weights = numbers.reshape(_SIDE, _SIDE)
        strength = np.round((0.3 + 0.7 * np.sqrt(np.abs(weights) / limit)) * 4) / 4
        strength = np.where(weights == 0, 0, np.minimum(strength, 1))
        low = -limit if signed else 0
        image = ax.imshow(weights, cmap=_steps(signed), vmin=low, vmax=limit, alpha=strength)
        self._scale(ax, image, limit, signed=signed)
        outline(ax, self.at)

    def _axes(self, place: tuple[int, int], title: str) -> Axes:
        width, height = self.fig.get_size_inches()
        left = 10 / 96 + place[1] * (self.side + self.gap)
        top = self.top + place[0] * (self.side + self.top + self.below)
        box = (left / width, 1 - (top + self.side) / height, self.side / width, self.side / height)
        ax = self.fig.add_axes(box)
        ax.set_title(title, size=theme.TEXT, pad=8)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        return ax

    @staticmethod
    def _scale(ax: Axes, image: Any, limit: float, *, signed: bool) -> None:
        """Say below a view which values its colours stand for."""
        low, high = (_text(-limit), _text(limit)) if signed else ("0", _text(limit, 3))
        bar = ax.inset_axes((0.26, -0.115, 0.48, 0.05))
        ends = np.linspace(-limit if signed else 0, limit, 64)[None]
        bar.imshow(ends, cmap=image.cmap, norm=image.norm, aspect="auto")
        bar.set_axis_off()
        options = {"size": theme.SMALL, "va": "center", "transform": ax.transAxes}
        ax.text(0.23, -0.09, low, ha="right", **options)
        ax.text(0.77, -0.09, high, ha="left", **options)


def _steps(signed: bool) -> Colormap:
    """Give a colour map in few steps, so that a stored picture is small."""
    return theme.SIGNED.resampled(25) if signed else theme.WEIGHTS.resampled(16)
