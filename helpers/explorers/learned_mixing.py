"""Linked figure of notebook 09: what one token reads, in the networks that were trained there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor, nn

from helpers import theme
from helpers.data import load_digits
from helpers.experiments import trained
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures import image_grid, outline, panels
from helpers.mixing import as_mixing
from helpers.models import PatchClassifier
from helpers.tokens import from_tokens, to_tokens

__all__ = ["LearnedMixing", "learned", "window"]

_SIDE, _PATCH, _CHANNELS = 7, 4, 32
_TOKENS = _SIDE**2
_LAYERS = {"ViT": 4, "ConvNeXt": 6}
_TRAINED = (100, 4000)
_HEADS = 2
_ROUNDING = 1e-9
#: The digits that are shown: each class with its place among the test images.
_DIGITS = {0: 0, 3: 306, 4: 405, 7: 703}
#: What is shipped is rounded to whole steps of these, which moves no weight of A by 0.005.
_STEPS = {"tokens": 0.005, "weights": 0.001}


def window(height: int = _SIDE, width: int = _SIDE) -> Tensor:
    """Mark which tokens stand in the 3x3 window around each: ``(N, N)``, 1 or 0.

    Examples
    --------
    >>> window()[24].sum().item(), window()[0].sum().item()
    (9.0, 4.0)
    """
    place = torch.arange(height * width)
    rows, columns = place // width, place % width
    apart = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs())
    return (apart <= 1).double()


@cache
@torch.no_grad()
def learned() -> dict[str, dict[str, str]]:
    """Read out of the trained networks what the front end computes A from.

    Returns
    -------
    dict
        Numbers in whole steps of `_STEPS`, as text, row by row. ``tokens``, by "images digit
        layer": the ViT's X (49, 32), after the layer's LayerNorm. ``projections``, by "images
        layer": W_Q and W_K (64, 32) as PyTorch stores them, then b_Q and b_K (64). ``filters``, by
        "images layer": the ConvNeXt's (32, 3, 3). ``pictures``, by the digit: its pixels (28, 28),
        0 to 255.

    Examples
    --------
    >>> len(learned()["filters"]["4000 1"].split())
    288
    """
    _, test = load_digits()
    images = test.images[list(_DIGITS.values())]
    found: dict[str, dict[str, str]] = {"tokens": {}, "projections": {}, "filters": {}}
    for size in _TRAINED:
        vit, convnet = trained("ViT", size), trained("ConvNeXt", size)
        for layer, x in enumerate(_normed(vit, images), start=1):
            for digit, tokens in zip(_DIGITS, x, strict=True):
                found["tokens"][f"{size} {digit} {layer}"] = _packed(tokens, "tokens")
            attention = vit.blocks[layer - 1].layer.self_attn
            parts = (attention.in_proj_weight, attention.in_proj_bias)
            both = torch.cat([part[: 2 * _CHANNELS].flatten() for part in parts])
            found["projections"][f"{size} {layer}"] = _packed(both, "weights")
        for layer, block in enumerate(convnet.blocks, start=1):
            found["filters"][f"{size} {layer}"] = _packed(block.dwconv.weight, "weights")
    found["pictures"] = {
        str(digit): _written(255 * image) for digit, image in zip(_DIGITS, images, strict=True)
    }
    return found


def _normed(vit: PatchClassifier, images: Tensor) -> list[Tensor]:
    """Give what each layer's attention gets, after its LayerNorm: ``(B, N, C)`` for each layer."""
    found, x = [], vit.tokens(images)
    for block in vit.blocks:
        found.append(block.layer.norm1(to_tokens(x)))
        x = block(x)
    return found


def _packed(values: Tensor, step: str) -> str:
    return _written(values / _STEPS[step])


def _written(values: Tensor) -> str:
    return " ".join(str(int(one)) for one in values.round().flatten())


def _unpacked(text: str, step: str, *shape: int) -> np.ndarray:
    return (np.array(text.split(), dtype=float) * _STEPS[step]).reshape(shape)


class LearnedMixing(LinkedFigure):
    """A row of a learned A over a digit: a ViT's head, or a ConvNeXt's 3x3 filter.

    The networks are those that notebook 09 trained and recorded, at seed 0. The front end computes
    the softmax itself, from the layer's input and its projections.

    Parameters
    ----------
    **start
        Where to start: `network` ("ViT", "ConvNeXt"), `training_images` (100, 4000), `image` (the
        test digit: 0, 3, 4 or 7), `layer` (from 1), `head` (1, 2) of the ViT, `kernel` (1 to 32) of
        the ConvNeXt, `query` (the token, 0 to 48, row by row).

    Attributes
    ----------
    value : dict
        Those seven.

    Raises
    ------
    ValueError
        If a name or a value does not exist; the message says which there are.

    Examples
    --------
    >>> shown = LearnedMixing(network="ConvNeXt", kernel=5).shown()
    >>> int((shown["token"][24] != 0).sum()), round(float(shown["inside"][24]), 6)
    (9, 1.0)
    """

    module = "learned_mixing"
    data = ("tokens", "projections", "filters", "pictures", "places", "steps")

    tokens = traitlets.Dict().tag(sync=True)
    projections = traitlets.Dict().tag(sync=True)
    filters = traitlets.Dict().tag(sync=True)
    pictures = traitlets.Dict().tag(sync=True)
    places = traitlets.Dict().tag(sync=True)
    steps = traitlets.Dict().tag(sync=True)

    def __init__(self, **start: int | str) -> None:
        super().__init__(
            name="learned_mixing",
            title="Learned mixing",
            description="Trained networks, test digits. Which tokens does one token read?",
            places={str(digit): place for digit, place in _DIGITS.items()},
            steps=_STEPS,
            value={
                "network": "ViT",
                "training_images": 4000,
                "image": 0,
                "layer": 1,
                "head": 1,
                "kernel": 1,
                "query": 24,
                **start,
            },
            **learned(),
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be; the ConvNeXt has more layers than the ViT."""
        return {
            "network": tuple(_LAYERS),
            "training_images": _TRAINED,
            "image": tuple(_DIGITS),
            "layer": lambda before: range(1, 1 + _LAYERS[before["network"]]),
            "head": range(1, 1 + _HEADS),
            "kernel": range(1, 1 + _CHANNELS),
            "query": range(_TOKENS),
        }

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List heads and filters with random numbers on small images, and learned ones."""
        generator = np.random.default_rng(9)
        cases: list[dict[str, Any]] = []
        for index, heads in enumerate((1, 2, 4)):
            for height, width in ((4, 6), (6, 3), (1, 5)):
                square = (8, 8)
                cases.append(
                    {
                        "tokens": generator.normal(size=(height * width, 8)),
                        **{"query": generator.normal(size=square), "query_bias": np.ones(8)},
                        **{"key": generator.normal(size=square)},
                        **{"key_bias": generator.normal(size=8)},
                        **{"heads": heads, "head": 1 + index % heads, "grid": (height, width)},
                    }
                )
        for size, shape in ((3, (4, 6)), (3, (1, 5)), (5, (6, 3))):
            cases.append({"filter": generator.normal(size=(size, size)), "grid": shape})
        for state in ({"layer": 1}, {"layer": 4, "head": 2, "image": 7}, {"training_images": 100}):
            cases.append(cls(**state)._case())
        for layer in (1, 6):
            cases.append(cls(network="ConvNeXt", layer=layer, kernel=5 * layer)._case())
        return [
            {name: np.asarray(value).tolist() for name, value in case.items()} for case in cases
        ]

    @classmethod
    def reference(
        cls,
        grid: Sequence[int],
        filter: ArrayLike | None = None,
        tokens: ArrayLike | None = None,
        query: ArrayLike | None = None,
        query_bias: ArrayLike | None = None,
        key: ArrayLike | None = None,
        key_bias: ArrayLike | None = None,
        heads: int = 1,
        head: int = 1,
    ) -> dict[str, Any]:
        """Lift the real layer, in float64: a depthwise convolution, or an attention at these X.

        Parameters
        ----------
        grid : (int, int)
            Height and width of the image, in tokens.
        filter : array_like, shape (k, k), optional
            One filter of a depthwise convolution, k odd; without it, the head of an attention.
        tokens : array_like, shape (N, C)
            X, row by row.
        query, key : array_like, shape (C, C)
            W_Q and W_K as PyTorch stores them: Q = X @ query.T + query_bias.
        query_bias, key_bias : array_like, shape (C,)
            b_Q and b_K.
        heads, head : int
            H, and which of them, from 1.

        Returns
        -------
        dict
            ``token`` (N, N), A; for each of its rows (N,): ``inside``, the share of its size in the
            3x3 window, ``even``, the share that even weights would have there, ``largest``, the
            largest size.
        """
        if filter is None:
            parts = [
                torch.tensor(np.asarray(one), dtype=torch.float64)
                for one in (tokens, query, key, query_bias, key_bias)
            ]
            A = _attention(*parts, heads)[head - 1]
        else:
            A = _convolution(torch.tensor(np.asarray(filter), dtype=torch.float64), tuple(grid))
        near = window(*grid)
        return {
            "token": A.tolist(),
            "inside": ((A.abs() * near).sum(-1) / A.abs().sum(-1)).tolist(),
            "even": near.mean(-1).tolist(),
            "largest": A.abs().amax(-1).tolist(),
        }

    def _case(self, head: int | None = None) -> dict[str, Any]:
        """Give the arguments of `reference` for what is shown, from what is shipped."""
        value, grid = self.value, (_SIDE, _SIDE)
        place = f"{value['training_images']} {value['layer']}"
        if value["network"] == "ConvNeXt":
            filters = _unpacked(self.filters[place], "weights", _CHANNELS, 3, 3)
            return {"filter": filters[value["kernel"] - 1], "grid": grid}
        which = f"{value['training_images']} {value['image']} {value['layer']}"
        numbers = _unpacked(self.projections[place], "weights", -1)
        weights, biases = np.split(numbers, [2 * _CHANNELS**2])
        query, key = weights.reshape(2, _CHANNELS, _CHANNELS)
        query_bias, key_bias = biases.reshape(2, _CHANNELS)
        return {
            "tokens": _unpacked(self.tokens[which], "tokens", _TOKENS, _CHANNELS),
            **{"query": query, "query_bias": query_bias, "key": key, "key_bias": key_bias},
            **{"heads": _HEADS, "head": head or value["head"], "grid": grid},
        }

    def shown(self, head: int | None = None) -> dict[str, np.ndarray]:
        """Compute what the figure shows at the moment, or the same of another head.

        Returns
        -------
        dict
            As `reference` gives it.
        """
        found = self.reference(**self._case(head))
        return {name: np.array(numbers) for name, numbers in found.items()}

    def still(self) -> tuple[Figure, str]:
        """Draw the row of A over the digit, both heads' rows or the filter, and all of A."""
        value, shown = self.value, self.shown()
        vit = value["network"] == "ViT"
        kind = "weight" if vit else "signed"
        names = ["head 1", "head 2"] if vit else ["its row", f"filter {value['kernel']}"]
        fig, axes = panels(4, [f"a {value['image']}", *names, "all of A"])
        row, at = shown["token"][value["query"]], divmod(value["query"], _SIDE)
        limit = float(np.abs(shown["token"]).max())
        self._laid_over(axes[0], row, signed=not vit)
        if vit:
            rows = [self.shown(head)["token"][value["query"]] for head in (1, 2)]
            for ax, one in zip(axes[1:], rows, strict=False):
                image_grid(ax, one.reshape(_SIDE, _SIDE), kind="weight", highlight=at)
        else:
            image_grid(axes[1], row.reshape(_SIDE, _SIDE), limit=limit, highlight=at)
            image_grid(axes[2], self._case()["filter"], limit=limit, numbers=".2f")
        image_grid(axes[3], shown["token"], kind=kind, limit=limit)
        outline(axes[3], (value["query"], 0), size=(1, _TOKENS))
        return fig, self._sentence(shown)

    def _laid_over(self, ax: Axes, row: np.ndarray, *, signed: bool) -> None:
        """Lay a row of A over the pale digit, and outline the token and its 3x3 window."""
        written = self.pictures[str(self.value["image"])]
        pixels = np.array(written.split(), dtype=float).reshape(28, 28)
        extent = (-0.5, _SIDE - 0.5, _SIDE - 0.5, -0.5)
        ax.imshow(pixels, cmap="gray", extent=extent)
        part = np.abs(row) / np.abs(row).max()
        cmap = theme.SIGNED if signed else theme.WEIGHTS
        low = -np.abs(row).max() if signed else 0
        strength = np.where(row == 0, 0, 0.25 + 0.6 * part).reshape(_SIDE, _SIDE)
        over = row.reshape(_SIDE, _SIDE)
        ax.imshow(over, cmap=cmap, vmin=low, vmax=-low or None, alpha=strength, extent=extent)
        at = divmod(self.value["query"], _SIDE)
        first = [max(0, one - 1) for one in at]
        last = [min(_SIDE - 1, one + 1) for one in at]
        size = (last[0] - first[0] + 1, last[1] - first[1] + 1)
        outline(ax, (first[0], first[1]), size=size, dashed=True)
        outline(ax, at)
        ax.set_xticks([])
        ax.set_yticks([])

    def _sentence(self, shown: Mapping[str, np.ndarray]) -> str:
        """Say what the selected row shows, with its numbers."""
        value = self.value
        row = shown["token"][value["query"]]
        top = int(np.argmax(np.round(np.abs(row), 9)))
        network = value["network"]
        start = (
            f"{network} after {value['training_images']:,} images, layer {value['layer']} of "
            f"{_LAYERS[network]}. "
        )
        even = _percent(shown["even"][value["query"]])
        if network == "ViT":
            return (
                f"{start}Head {value['head']}, the token at {_place(value['query'])} of a "
                f"{value['image']}: {_percent(shown['inside'][value['query']])} of its weight lies "
                f"in its 3 × 3 window, evenly spread it would be {even}. The largest weight is "
                f"{_text(row[top], 3)}, at {_place(top)}. Over all 49 rows: "
                f"{_percent(shown['inside'].mean())} in the window, evenly spread "
                f"{_percent(shown['even'].mean())}."
            )
        weights, negative = int((row != 0).sum()), int((row < 0).sum())
        return (
            f"{start}Filter {value['kernel']} of {_CHANNELS}, the token at "
            f"{_place(value['query'])}: all of the row lies in its 3 × 3 window, where it can be "
            f"nowhere else; evenly spread over the image it would be {even}. Of {weights} weights "
            f"{negative} {'is' if negative == 1 else 'are'} negative; the largest in size is "
            f"{_text(row[top], 3)}, at {_place(top)}. Every digit is read with these."
        )


def _attention(
    x: Tensor, query: Tensor, key: Tensor, query_bias: Tensor, key_bias: Tensor, heads: int
) -> Tensor:
    """Give A of every head of a `nn.MultiheadAttention` with these projections: ``(H, N, N)``."""
    channels = x.shape[1]
    layer = nn.MultiheadAttention(channels, heads, batch_first=True).double()
    with torch.no_grad():
        layer.in_proj_weight[: 2 * channels] = torch.cat([query, key])
        layer.in_proj_bias[: 2 * channels] = torch.cat([query_bias, key_bias])
    return as_mixing(layer, x[None]).token[0].detach()


def _convolution(kernel: Tensor, grid: tuple[int, int]) -> Tensor:
    """Give A of a depthwise convolution of one channel with this filter: ``(N, N)``."""
    layer = nn.Conv2d(1, 1, len(kernel), padding=len(kernel) // 2, bias=False).double()
    with torch.no_grad():
        layer.weight[0, 0] = kernel
    pixels = from_tokens(torch.zeros(1, grid[0] * grid[1], 1, dtype=torch.float64), grid)
    return as_mixing(layer, pixels, view="heads").token[0, 0].detach()


def _place(token: int) -> str:
    return f"row {token // _SIDE}, column {token % _SIDE}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _text(value: float, digits: int = 2) -> str:
    """Write a number as the front end does: a true minus sign, no zeros at the end."""
    return f"{round(float(value), digits) + 0.0:.6g}".replace("-", "\N{MINUS SIGN}")
