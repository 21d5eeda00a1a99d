"""Linked figure of notebook 08: how far two stacks of convolutions reach, and where they weigh."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from helpers import theme
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures import image_grid, outline

__all__ = ["ReceptiveField"]

_CHOICES: dict[str, tuple[Any, ...]] = {
    "kernel": (1, 3, 5, 7),
    "depth": tuple(range(1, 9)),
    "wiring": ("depthwise", "dense"),
    "layers": ("equal", "random", "gelu"),
}
#: Pixels of reach, at most: what the front end computes for one move grows with its square.
_FURTHEST = 25
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_START = {
    "kernel_a": 7,
    "depth_a": 1,
    "kernel_b": 3,
    "depth_b": 3,
    "wiring": "depthwise",
    "layers": "equal",
}


class ReceptiveField(LinkedFigure):
    """Two stacks of convolutions side by side: reach on paper, and effect as the gradient has it.

    Each map shows how strongly an input pixel acts on the middle of the output, as a part of the
    whole. The theoretical receptive field is outlined, and the central 3 x 3 dashed.

    Parameters
    ----------
    **start
        Where to start: `kernel_a`, `kernel_b` (1, 3, 5, 7), `depth_a`, `depth_b` (1 to 8 layers,
        with a reach of at most 25 pixels), `wiring` ("depthwise" or "dense"), `layers` ("equal"
        for equal weights, "random", or "gelu" for random weights with a GELU between the layers).

    Attributes
    ----------
    value : dict
        The same six.

    Raises
    ------
    ValueError
        If a parameter is unknown or none of its choices.

    Examples
    --------
    >>> figure = ReceptiveField(kernel_a=5, depth_a=2)
    >>> figure.outputs()["a"]["reach"]
    9
    """

    module = "receptive_field"

    def __init__(self, **start: int | str) -> None:
        super().__init__(
            name="receptive_field",
            title="Reach and effect",
            description="How much each input pixel acts on one output pixel: the size of the "
            "gradient. Both maps, and both profiles, have the same scale. A stack may reach 25 "
            "pixels, so there are at most eight layers of 3 \N{MULTIPLICATION SIGN} 3, and four of "
            "7 \N{MULTIPLICATION SIGN} 7.",
            value={**_START, **start},
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return {name: _CHOICES[name.split("_")[0]] for name in _START}

    def objection(self, value: Mapping[str, Any]) -> str:
        """Refuse a stack that reaches beyond the map."""
        for side in "ab":
            kernel, depth = value[f"kernel_{side}"], value[f"depth_{side}"]
            if depth * (kernel - 1) > _FURTHEST - 1:
                return (
                    f"depth_{side}={depth} layers of {kernel} x {kernel} reach "
                    f"{depth * (kernel - 1) + 1} pixels: choose at most "
                    f"{(_FURTHEST - 1) // (kernel - 1)} layers, {_FURTHEST} pixels."
                )
        return ""

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List stacks: every kernel with each wiring and kind of layer, flat and deep."""
        names = ("kernel", "depth", "wiring", "layers")
        depths = {1: (1, 2), 3: (1, 3, 8), 5: (1, 6), 7: (1, 2, 4)}
        return [
            dict(zip(names, (kernel, depth, *kinds), strict=True))
            for kernel, some in depths.items()
            for depth in some
            for kinds in itertools.product(_CHOICES["wiring"], _CHOICES["layers"])
        ]

    @classmethod
    def reference(cls, kernel: int, depth: int, wiring: str, layers: str) -> dict[str, Any]:
        """Measure the effect by autograd, in float64.

        Parameters
        ----------
        kernel, depth, wiring, layers
            As in `value`, for one of the two stacks.

        Returns
        -------
        dict
            ``map`` (reach, reach), sums to 1; ``profile`` (reach,), its column sums; ``reach``;
            ``sigma``, the profile's standard deviation in pixels; ``centre``, the part in the
            central 3 x 3.
        """
        reach = depth * (kernel - 1) + 1
        channels = 2 if wiring == "dense" else 1
        fan_in = channels * kernel**2
        shape = (depth, channels, channels, kernel, kernel)
        if layers == "equal":
            weights = torch.full(shape, 1 / fan_in, dtype=torch.float64)
        else:
            weights = _noise(7, shape) * (3 / fan_in) ** 0.5
        image = _noise(11, (1, channels, reach, reach)).requires_grad_()
        x = image
        for layer, weight in enumerate(weights):
            if layer and layers == "gelu":
                x = F.gelu(x)
            x = F.conv2d(x, weight)
        (gradient,) = torch.autograd.grad(x[0, :, 0, 0].sum(), image)
        effect = gradient[0].abs().sum(0)
        effect = effect / effect.sum()
        profile, at = effect.sum(0), torch.arange(reach, dtype=torch.float64)
        spread = (profile * (at - (profile * at).sum()).square()).sum().sqrt()
        middle = reach // 2
        near = slice(max(0, middle - 1), middle + 2)
        return {
            "map": effect.tolist(),
            "profile": profile.tolist(),
            "reach": reach,
            "sigma": spread.item(),
            "centre": effect[near, near].sum().item(),
        }

    def outputs(self) -> dict[str, Any]:
        """Compute what the figure shows at the moment: `reference` of both stacks."""
        common = {name: self.value[name] for name in ("wiring", "layers")}
        return {
            side: self.reference(
                kernel=self.value[f"kernel_{side}"], depth=self.value[f"depth_{side}"], **common
            )
            for side in "ab"
        }

    def still(self) -> tuple[Figure, str]:
        """Draw both maps and profiles."""
        shown = self.outputs()
        field = max(9, *(one["reach"] + 2 for one in shown.values()))
        limit = max(np.max(one["map"]) for one in shown.values())
        highest = max(np.max(one["profile"]) for one in shown.values())
        fig = theme.figure(7.2, 4.4)
        with theme.style():
            for index, (side, one) in enumerate(shown.items()):
                left, rim = 0.1 + 0.47 * index, (field - one["reach"]) // 2
                ax = fig.add_axes((left, 0.3, 0.36, 0.59))
                padded = np.pad(np.array(one["map"]), rim)
                image_grid(ax, padded, kind="weight", limit=limit, bar=False)
                outline(ax, (rim, rim), size=(one["reach"], one["reach"]), colour=theme.TOKEN)
                ax.set_title(self._name(side), loc="left", size=theme.TITLE, color=theme.INK)
                bars = fig.add_axes((left, 0.07, 0.36, 0.2))
                bars.bar(np.arange(one["reach"]) + rim, one["profile"], color=theme.TOKEN)
                bars.set(xlim=(-0.5, field - 0.5), ylim=(0, highest * 1.05), xticks=[], yticks=[])
                bars.spines[["top", "left", "right"]].set_visible(False)
        return fig, self._sentence(shown["a"], shown["b"])

    def _name(self, side: str) -> str:
        kernel, depth = self.value[f"kernel_{side}"], self.value[f"depth_{side}"]
        return f"{_COUNTS[depth - 1]} {kernel} × {kernel}"

    def _sentence(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
        """Say what the two maps show, with their numbers."""
        wide = [f"{one['reach']} × {one['reach']}" for one in (a, b)]
        reach = (
            f"Both reach {wide[0]} pixels (solid square). "
            if a["reach"] == b["reach"]
            else f"They reach {wide[0]} pixels on the left and {wide[1]} on the right (solid "
            "squares). "
        )
        return (
            f"{reach}Sigma is {a['sigma']:.2f} on the left and {b['sigma']:.2f} on the right; the "
            f"central 3 × 3 holds {100 * a['centre']:.1f} % and {100 * b['centre']:.1f} % of the "
            "effect."
        )


def _noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Draw numbers from -1 to 1 with the front end's own small generator, row by row."""

    def draw() -> Iterator[float]:
        state = seed
        while True:
            state = (state * 1664525 + 1013904223) % 2**32
            yield state / 2**31 - 1

    numbers = list(itertools.islice(draw(), int(np.prod(shape))))
    return torch.tensor(numbers, dtype=torch.float64).view(shape)
