"""Linked figure of notebook 02: a layer as one matrix, and which number stands in which cell."""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor, nn

from helpers import theme
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures import outline
from helpers.mixing import as_mixing, matrix_by_probing

__all__ = ["OperatorMatrix"]

_CHANNELS, _SIDE, _LARGEST = 4, 4, 5
_LAYERS = {
    "dense": "dense conv",
    "depthwise": "depthwise",
    "pointwise": "1 × 1",
    "separable": "depthwise, then 1 × 1",
    "attention": "attention",
}
_CHOICES: dict[str, tuple[Any, ...]] = {
    "layer": tuple(_LAYERS),
    "kernel_size": (1, 3, 5),
    "stride": (1, 2),
    "padding": ("none", "zeros"),
    "order": ("channels", "pixels"),
    "heads": (1, 2, 4),
}


def _hues() -> list[str]:
    """Give a colour for each place of a 5 x 5 kernel, those of its middle 3 x 3 far apart."""
    places = itertools.product(range(_LARGEST), repeat=2)
    outwards = sorted(places, key=lambda at: max(abs(at[0] - 2), abs(at[1] - 2)))
    angle = {at: (0.09 + 0.382 * n) % 1 for n, at in enumerate(outwards)}
    return [
        "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, 0.5, 0.5))
        for _, hue in sorted(angle.items())
    ]


_HUES = _hues()
_ROLES = {"ink": theme.INK, "token": theme.TOKEN, "channel": theme.CHANNEL}


def _numbers(seed: int, *shape: int) -> list[Any]:
    """Draw numbers of three decimals, all different, from 0.1 to 1 in size."""
    generator = np.random.default_rng(seed)
    size = generator.permutation(np.arange(100, 1000))[: np.prod(shape)].reshape(shape) / 1000
    return (size * generator.choice([-1, 1], shape)).tolist()


def _picture(seed: int) -> list[Any]:
    """Draw the image: a light and a dark part in each channel, so that no row of A is like another.

    The parts are the left half, the upper half, a cross and the middle. On top comes noise.
    """
    rows, columns = np.indices((_SIDE, _SIDE))
    middle = (np.abs(rows - 1.5) < 1) & (np.abs(columns - 1.5) < 1)
    parts = [columns < 2, rows < 2, (rows == columns) | (rows + columns == _SIDE - 1), middle]
    noise = np.random.default_rng(seed).uniform(-0.6, 0.6, (_CHANNELS, _SIDE, _SIDE))
    return np.round(np.where(parts, 1.0, -1.0) + noise, 3).tolist()


class OperatorMatrix(LinkedFigure):
    """A layer on a 4 x 4 image of 4 channels as one matrix: one colour for each number in it.

    Pointing at a cell marks every cell in which the same number stands. A table counts, for all
    layers at once, how many distinct numbers fill how many cells.

    Parameters
    ----------
    **start
        Where to start, any of the entries of `value`.

    Attributes
    ----------
    value : dict
        `layer` ("dense", "depthwise", "pointwise", "separable", "attention"), `kernel_size` (1, 3,
        5), `stride` (1, 2), `padding` ("none", "zeros"), `order` of rows and columns ("channels":
        channel by channel, "pixels": pixel by pixel), `heads` (1, 2, 4, of attention alone), and
        the selected cell: `out_channel`, `out_pixel`, `in_channel`, `in_pixel`. Kernel size and
        padding are of layers with a window, and the stride is 1 for attention.

    Raises
    ------
    ValueError
        If a parameter is unknown or out of range, or a 5 x 5 window gets no padding.

    Examples
    --------
    >>> figure = OperatorMatrix(layer="attention")
    >>> figure.counts()["depthwise"]
    (36, 400, 4096)

    Notes
    -----
    Attention is shown as its A alone (W_V and W_O the identity; queries and keys are the pixels'
    own channels), frozen at the figure's image. Source of the comparison: Han et al. (2022).
    """

    module = "operator_matrix"
    data = ("image", "dense", "depthwise", "pointwise", "hues", "roles")

    image = traitlets.List().tag(sync=True)
    dense = traitlets.List().tag(sync=True)
    depthwise = traitlets.List().tag(sync=True)
    pointwise = traitlets.List().tag(sync=True)
    hues = traitlets.List().tag(sync=True)
    roles = traitlets.Dict().tag(sync=True)

    def __init__(self, **start: int | str) -> None:
        super().__init__(
            name="operator_matrix",
            title="The whole operator as one matrix",
            description="4 channels, 4 × 4 pixels: 64 numbers go in. One colour is one number; "
            "of attention, the stronger the colour, the larger the weight.",
            hues=_HUES,
            roles=_ROLES,
            **_weights(),
            value={
                "layer": "separable",
                "kernel_size": 3,
                "stride": 1,
                "padding": "zeros",
                "order": "channels",
                "heads": 1,
                "out_channel": 1,
                "out_pixel": 5,
                "in_channel": 1,
                "in_pixel": 5,
                **start,
            },
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be: a kernel larger than the image needs padding."""
        paddings = _CHOICES["padding"]
        return {
            **_CHOICES,
            "padding": lambda value: ("zeros",) if value["kernel_size"] > _SIDE else paddings,
            "out_channel": range(_CHANNELS),
            "out_pixel": lambda value: range(_settings(value)["out"] ** 2),
            "in_channel": range(_CHANNELS),
            "in_pixel": range(_SIDE**2),
        }

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List every layer with every window it can have, in both orders, and each heads."""
        weights = _weights()
        cases = []
        for layer, k, s, p, h in itertools.product(
            _LAYERS, (1, 3, 5), (1, 2), ("none", "zeros"), (1, 2, 4)
        ):
            windowed = layer in ("dense", "depthwise", "separable")
            if (k > _SIDE and p == "none") or (not windowed and (k, p) != (3, "none")):
                continue
            if (layer != "attention" and h > 1) or (layer == "attention" and s > 1):
                continue
            order = _CHOICES["order"][len(cases) % 2]
            settings = {"layer": layer, "kernel_size": k, "stride": s, "padding": p}
            cases.append({**settings, "order": order, "heads": h, **weights})
        return cases

    @classmethod
    def reference(
        cls,
        layer: str,
        kernel_size: int,
        stride: int,
        padding: str,
        order: str,
        heads: int,
        image: ArrayLike,
        dense: ArrayLike,
        depthwise: ArrayLike,
        pointwise: ArrayLike,
    ) -> dict[str, Any]:
        """Probe PyTorch's own layer, in float64; which number stands where is probed as well.

        A second layer of the same kind gets 1, 2, 3, ... for its weights, so that its matrix says
        which weight stands in each cell.

        Parameters
        ----------
        layer, kernel_size, stride, padding, order, heads
            As in `value`.
        image : array_like, shape (C, S, S)
        dense, depthwise, pointwise : array_like, shapes (C, C, K, K), (C, K, K), (C, C)
            Of the kernels the middle ``kernel_size`` x ``kernel_size`` is used.

        Returns
        -------
        dict
            ``matrix``, ``spatial`` and ``channel`` (nested lists: the entries, and which number of
            the kernel or of A, and of the 1x1 convolution, stands there, from 1, 0 for none),
            ``numbers`` and ``filled`` (int).
        """
        x = torch.tensor(image, dtype=torch.float64)[None]
        used = _settings({"layer": layer, "kernel_size": kernel_size, "stride": stride,
                          "padding": padding})  # fmt: skip
        if layer == "attention":
            matrix, spatial = _attention(x, heads)
            channel = torch.zeros_like(spatial)
        else:
            weights = {"dense": dense, "depthwise": depthwise, "pointwise": pointwise}
            own = {name: torch.tensor(w, dtype=torch.float64) for name, w in weights.items()}
            middle = slice((_LARGEST - used["k"]) // 2, (_LARGEST + used["k"]) // 2)
            own["dense"] = own["dense"][..., middle, middle]
            own["depthwise"] = own["depthwise"][:, None, middle, middle]
            own["pointwise"] = own["pointwise"][..., None, None]
            ones = {name: torch.ones_like(w) for name, w in own.items()}
            counted = {
                name: torch.arange(1, w.numel() + 1).to(w).reshape(w.shape)
                for name, w in own.items()
            }
            matrix = _probed(x, layer, used, own)
            spatial, channel = (torch.zeros_like(matrix) for _ in range(2))
            if layer != "pointwise":
                spatial = _probed(x, layer, used, {**counted, "pointwise": ones["pointwise"]})
            if layer in ("pointwise", "separable"):
                channel = _probed(x, layer, used, {**counted, "depthwise": ones["depthwise"]})
        ordered = [_ordered(m, order) for m in (matrix, spatial, channel)]
        distinct = sum(int((m.unique() > 0.5).sum()) for m in ordered[1:])
        named = zip(("matrix", "spatial", "channel"), ordered, strict=True)
        return {
            **{name: m.tolist() for name, m in named},
            "numbers": distinct,
            "filled": int(matrix.count_nonzero()),
        }

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Count for each layer, at the current settings: distinct numbers, filled cells, cells."""
        found = {}
        for layer in _LAYERS:
            shown = self._shown(layer)
            entries = len(shown["matrix"]) * len(shown["matrix"][0])
            found[layer] = (shown["numbers"], shown["filled"], entries)
        return found

    def still(self) -> tuple[Figure, str]:
        """Draw the matrix with the selected number marked, and the counts of all layers."""
        shown, value = self._shown(self.value["layer"]), self.value
        spatial, channel = np.array(shown["spatial"]), np.array(shown["channel"])
        row, column = self._cell()
        fig = theme.figure(7.2, 4.3)
        with theme.style():
            ax = fig.add_axes((0.02, 0.06, 4.3 * 0.86 / 7.2, 0.86))
            ax.set_title(f"M, {len(spatial)} × {spatial.shape[1]}", color=theme.INK)
            ax.imshow(
                _painted(
                    value["layer"],
                    np.array(shown["matrix"]),
                    spatial,
                    channel,
                    (row, column),
                    _settings(value)["k"],
                )
            )
            ax.set(xticks=[], yticks=[], anchor="NW")
            ax.spines[:].set_visible(True)
            by_channel = value["order"] == "channels"
            down = len(spatial) // _CHANNELS if by_channel else _CHANNELS
            across = _SIDE**2 if by_channel else _CHANNELS
            for edge in range(down, len(spatial), down):
                ax.axhline(edge - 0.5, color=theme.FIXED, lw=0.5)
            for edge in range(across, spatial.shape[1], across):
                ax.axvline(edge - 0.5, color=theme.FIXED, lw=0.5)
            outline(ax, (row, column))
            counts = self.counts()
            lines = [("layer", "numbers", "cells filled")]
            lines += [
                (name, f"{counts[key][0]:,}", f"{counts[key][1]:,}")
                for key, name in _LAYERS.items()
            ]
            for n, (name, numbers, filled) in enumerate(lines):
                at = 0.8 - 0.09 * n
                bold = "bold" if n and list(_LAYERS)[n - 1] == value["layer"] else "normal"
                style = {"size": theme.SMALL, "weight": bold, "color": theme.INK, "va": "center"}
                fig.text(0.535, at, name, **style)
                fig.text(0.86, at, numbers, ha="right", **style)
                fig.text(0.99, at, filled, ha="right", **style)
        return fig, self._sentence(shown, spatial, channel, row, column)

    def _cell(self) -> tuple[int, int]:
        """Give row and column of the selected cell."""
        value, pixels = self.value, _settings(self.value)["out"] ** 2
        o, i, c, j = (
            value[name] for name in ("out_channel", "out_pixel", "in_channel", "in_pixel")
        )
        if value["order"] == "channels":
            return o * pixels + i, c * _SIDE**2 + j
        return i * _CHANNELS + o, j * _CHANNELS + c

    def _shown(self, layer: str) -> dict[str, Any]:
        settings = {**{name: self.value[name] for name in _CHOICES}, "layer": layer}
        weights = {name: getattr(self, name) for name in _weights()}
        return self.reference(**settings, **weights)

    def _sentence(
        self, shown: dict[str, Any], spatial: np.ndarray, channel: np.ndarray, row: int, column: int
    ) -> str:
        value = self.value
        same = (spatial == spatial[row, column]) & (channel == channel[row, column])
        inside = spatial[row, column] + channel[row, column] > 0
        size = f"{value['kernel_size']} × {value['kernel_size']}"
        name = _LAYERS[value["layer"]].replace("depthwise", f"depthwise {size}")
        name = name.replace("dense conv", f"dense {size} conv")
        stands = (
            f"The number at row {row}, column {column} stands in {same.sum()} "
            f"cell{'s' if same.sum() > 1 else ''}."
            if inside
            else f"The cell at row {row}, column {column} is 0."
        )
        others = ", ".join(
            f"{_LAYERS[layer]} {numbers:,} in {filled:,}"
            for layer, (numbers, filled, _) in self.counts().items()
        )
        return (
            f"{name} as a matrix: "
            f"{shown['numbers']:,} numbers fill {shown['filled']:,} of {spatial.size:,} cells. "
            f"{stands} Numbers and cells of each layer: {others}."
        )


def _weights() -> dict[str, list[Any]]:
    """Give the figure's image and weights, the same every time."""
    return {
        "image": _picture(5),
        "dense": _numbers(1, _CHANNELS, _CHANNELS, _LARGEST, _LARGEST),
        "depthwise": _numbers(2, _CHANNELS, _LARGEST, _LARGEST),
        "pointwise": _numbers(3, _CHANNELS, _CHANNELS),
    }


def _settings(value: Mapping[str, Any]) -> dict[str, int]:
    """Say what the settings come to for the layer: k, padding p, stride s, side of the output."""
    windowed = value["layer"] in ("dense", "depthwise", "separable")
    k = value["kernel_size"] if windowed else 1
    p = k // 2 if windowed and value["padding"] == "zeros" else 0
    s = 1 if value["layer"] == "attention" else value["stride"]
    return {"k": k, "p": p, "s": s, "out": (_SIDE + 2 * p - k) // s + 1}


def _probed(
    x: Tensor, layer: str, used: Mapping[str, int], weights: Mapping[str, Tensor]
) -> Tensor:
    """Probe the layer with these weights; pixel by pixel."""
    k, moves = used["k"], {"stride": used["s"], "padding": used["p"]}
    names = ("depthwise", "pointwise") if layer == "separable" else (layer,)
    convs = []
    for name in names:
        groups = _CHANNELS if name == "depthwise" else 1
        size, options = (1, {}) if (name, layer) == ("pointwise", "separable") else (k, moves)
        conv = nn.Conv2d(_CHANNELS, _CHANNELS, size, groups=groups, bias=False, **options)
        conv.weight = nn.Parameter(weights[name])
        convs.append(conv)
    return matrix_by_probing(nn.Sequential(*convs), x)


def _attention(x: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Lift PyTorch's attention with identity projections; number its weights."""
    layer = nn.MultiheadAttention(_CHANNELS, heads, bias=False, batch_first=True).to(x)
    eye = torch.eye(_CHANNELS).to(x)
    layer.in_proj_weight = nn.Parameter(eye.repeat(3, 1))
    layer.out_proj.weight = nn.Parameter(eye)
    mixing = as_mixing(layer, x.flatten(2).transpose(1, 2))
    numbered = torch.arange(1, mixing.token.numel() + 1).to(x).reshape(mixing.token[0].shape)
    own = torch.einsum("hij,hcd->idjc", numbered, mixing.channel)
    return mixing.matrix(), own.reshape(mixing.matrix().shape)


def _ordered(matrix: Tensor, order: str) -> Tensor:
    """Bring a matrix from pixel by pixel into the order that is asked for."""
    if order == "pixels":
        return matrix
    split = matrix.unflatten(0, (-1, _CHANNELS)).unflatten(2, (-1, _CHANNELS))
    return split.permute(1, 0, 3, 2).flatten(2).flatten(0, 1)


def _painted(
    layer: str,
    matrix: np.ndarray,
    spatial: np.ndarray,
    channel: np.ndarray,
    at: tuple[int, int],
    k: int,
) -> np.ndarray:
    """Colour each cell by the number that stands there, as the front end does."""
    a, w = spatial.astype(int), channel.astype(int)
    if layer == "attention":
        hue, mix = (a - 1) % _SIDE**2, 0.12 + 0.76 * matrix / matrix.max()
    else:
        place, start = np.where(a > 0, (a - 1) % k**2, 0), (_LARGEST - k) // 2
        hue = (start + place // k) * _LARGEST + start + place % k
        step = _CHANNELS + 1 if layer == "depthwise" else 1
        mix = 0.3 + 0.5 * np.where(w > 0, w - 1, (a - 1) // k**2 * step) / (_CHANNELS**2 - 1)
    strong = np.array([_rgb(name) for name in _HUES])[hue]
    colours = 1 + mix[..., None] * (strong - 1)
    colours[(a == 0) & (w == 0)] = 1
    same_a, same_w = (a > 0) & (a == a[at]), (w > 0) & (w == w[at])
    one = {"dense": "ink", "separable": "ink", "pointwise": "channel"}.get(layer, "token")
    colours[same_a] = _rgb(_ROLES["token"])
    colours[same_w] = _rgb(_ROLES["channel"])
    if a[at] + w[at] > 0:
        colours[(a == a[at]) & (w == w[at])] = _rgb(_ROLES[one])
    return colours


def _rgb(colour: str) -> Sequence[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
