"""Linked figure of notebook 05: from one block to the other, one change at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import Tensor, nn

from helpers import morph, theme
from helpers.budget import measure
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures.morph import PLACES, SIZE, diagram, draw_step
from helpers.morph import MORPH, Step

__all__ = ["MorphBlock"]

KERNELS = (3, 5, 7)
HEADS = (1, 2, 3, 6, 12)

#: What the parameters and multiply-adds are counted for, in the order of the bars.
GROUPS = {
    "feed_forward": "feed-forward",
    "each_token": "norms, scale",
    "channels": "V and O",
    "tokens": "for A",
}
_GROUP_OF = {
    **dict.fromkeys(("norm1", "norm2", "gamma"), "each_token"),
    **dict.fromkeys(("query", "key", "table", "kernel", "bias"), "tokens"),
    **dict.fromkeys(("value", "output"), "channels"),
    **dict.fromkeys(("linear1", "linear2"), "feed_forward"),
}
_FILL = {
    "feed_forward": (theme.CHANNEL, 0.45),
    "each_token": (theme.POINTWISE, 0.9),
    "channels": (theme.CHANNEL, 0.13),
    "tokens": (theme.TOKEN, 0.85),
}
_COINCIDENCE = (8, 13)
"""Steps with one count: the first norm has as many parameters as a bias and a scale together."""


class MorphBlock(LinkedFigure):
    """The morph from the Transformer block to the ConvNeXt block: Back and Next, one change each.

    Shows the block of a step, what has changed, what it costs beside all other steps, and its code
    beside that of the step before. The list is `helpers.morph.MORPH`.

    Parameters
    ----------
    channels
        C. Of the numbers of heads, those that divide it are on offer.
    size
        Height and width of the image for which multiply-adds are counted.
    **start
        Where to start: `step` (0 to 13), `kernel` (3, 5 or 7), `heads` (a divisor of C, up to 12).

    Attributes
    ----------
    value : dict
        `step`, `kernel`, `heads`.

    Examples
    --------
    >>> figure = MorphBlock(step=2)
    >>> figure.value
    {'step': 2, 'kernel': 7, 'heads': 3}
    >>> figure.costs()[2]["total"]
    {'parameters': 112347, 'macs': 376320000}
    """

    module = "morph_block"
    data = ("steps", "places", "drawing", "groups", "kernels", "heads_on_offer", "channels", "size")

    steps = traitlets.List().tag(sync=True)
    places = traitlets.Dict().tag(sync=True)
    drawing = traitlets.List().tag(sync=True)
    groups = traitlets.Dict().tag(sync=True)
    kernels = traitlets.List().tag(sync=True)
    heads_on_offer = traitlets.List().tag(sync=True)
    channels = traitlets.Int().tag(sync=True)
    size = traitlets.Int().tag(sync=True)

    def __init__(self, channels: int = 96, size: int = 56, **start: int) -> None:
        for name, number in (("channels", channels), ("size", size)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"{name}={number!r} must be a whole number of at least 1.")
        heads = [h for h in HEADS if channels % h == 0]
        super().__init__(
            name="morph_block",
            title="From one block to the other, one change at a time",
            description=(
                "A way to see how the blocks correspond. It is not the road of the ConvNeXt paper, "
                "and nothing is said about accuracy."
            ),
            steps=[_plain(step) for step in MORPH],
            places={place: list(where) for place, where in PLACES.items()},
            drawing=list(SIZE),
            groups=dict(GROUPS),
            kernels=list(KERNELS),
            heads_on_offer=heads,
            channels=channels,
            size=size,
            value={"step": 0, "kernel": 7, "heads": 3 if 3 in heads else 1, **start},
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return {
            "step": range(len(MORPH)),
            "kernel": self.kernels,
            "heads": self.heads_on_offer,
        }

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List every step, in three sizes each, on images that windows fit and do not fit."""
        sizes = (
            {"channels": 12, "kernel": 3, "heads": 3, "height": 6, "width": 9},
            {"channels": 8, "kernel": 5, "heads": 2, "height": 7, "width": 4},
            {"channels": 24, "kernel": 7, "heads": 6, "height": 5, "width": 8},
        )
        return [
            {"number": step.number, "parts": list(step.parts), "reach": step.reach, **one}
            for step in MORPH
            for one in sizes
        ]

    @classmethod
    def reference(
        cls,
        number: int,
        channels: int,
        kernel: int,
        heads: int,
        height: int,
        width: int,
        **_: Any,
    ) -> dict[str, list[int]]:
        """Count a live block of a step: its parameters, and what it multiplies on one image.

        Returns
        -------
        dict
            ``parameters`` and ``macs``, each a list in the order of `GROUPS`.
        """
        block = MORPH[number].build(channels, kernel, heads)
        image = torch.randn(1, channels, height, width)
        parameters = dict.fromkeys(GROUPS, 0)
        for name, parameter in block.named_parameters():
            parameters[_GROUP_OF[name.partition(".")[0]]] += parameter.numel()
        macs = dict.fromkeys(GROUPS, 0)
        for group, count in _linear_macs(block, image):
            macs[group] += count
        # What is no Linear mixes tokens: the convolution, or the two products of attention.
        macs["tokens"] += measure(block, image).macs - sum(macs.values())
        return {"parameters": list(parameters.values()), "macs": list(macs.values())}

    def costs(self) -> list[dict[str, Any]]:
        """Give what each step costs for the chosen kernel size and heads.

        Returns
        -------
        list of dict
            For each step ``parameters`` by group, and ``total``: parameters and multiply-adds.
        """
        kernel, heads = self.value["kernel"], self.value["heads"]
        found = []
        for step in MORPH:
            with torch.device("meta"):
                block = step.build(self.channels, kernel, heads)
            parameters = dict.fromkeys(GROUPS, 0)
            for name, parameter in block.named_parameters():
                parameters[_GROUP_OF[name.partition(".")[0]]] += parameter.numel()
            cost = step.cost(self.channels, self.size, kernel, heads)
            total = {"parameters": cost.parameters, "macs": cost.macs}
            found.append({"parameters": parameters, "total": total})
        return found

    def still(self) -> tuple[Figure, str]:
        """Draw the block of the step, and what all steps cost."""
        step, costs = MORPH[self.value["step"]], self.costs()
        wide, high = 7.2, 5.4
        fig = theme.figure(wide, high)
        width, height = SIZE[0] / 96, SIZE[1] / 96
        with theme.style():
            block = fig.add_axes((0, 0, width / wide, height / high))
            draw_step(block, step, self.channels, self.value["kernel"], self.value["heads"])
            fig.text(
                0.02, 0.985, f"Step {step.number}: {step.name}",
                va="top", size=theme.TITLE, weight="bold",
            )  # fmt: skip
            upper = fig.add_axes((0.56, 0.575, 0.42, 0.28))
            lower = fig.add_axes((0.56, 0.11, 0.42, 0.28))
            self._stacks(upper, costs)
            self._totals(lower, costs)
        return fig, self._sentence(costs)

    def _stacks(self, ax: Axes, costs: list[dict[str, Any]]) -> None:
        at = self.value["step"]
        base = [0.0] * len(costs)
        for group in GROUPS:
            counts = [cost["parameters"][group] / 1000 for cost in costs]
            colour, alpha = _FILL[group]
            ax.bar(
                range(len(costs)), counts, 0.8, base,
                color=to_rgba(colour, alpha), edgecolor=colour, linewidth=0.6,
            )  # fmt: skip
            base = [low + count for low, count in zip(base, counts, strict=True)]
        ax.bar([at], [base[at]], 0.96, color="none", edgecolor=theme.INK, linewidth=2.4)
        forward = costs[at]["parameters"]["feed_forward"] / 1000
        ax.text(3.5, forward / 2, "feed-forward", ha="center", va="center", size=theme.SMALL)
        ax.set_title(f"Parameters: {costs[at]['total']['parameters']:,}")
        ax.set(ylabel="thousands", xticks=[0, 2, 4, 6, 8, 10, 13], xlim=(-0.7, len(costs) - 0.3))

    def _totals(self, ax: Axes, costs: list[dict[str, Any]]) -> None:
        at = self.value["step"]
        macs = [cost["total"]["macs"] / 1e6 for cost in costs]
        ax.bar(range(len(costs)), macs, 0.8, color=theme.FIXED)
        ax.bar([at], [macs[at]], 0.96, color="none", edgecolor=theme.INK, linewidth=2.4)
        ax.set_title(f"Multiply-adds: {macs[at]:,.1f} million")
        ax.set(ylabel="millions", xlabel="step", xticks=[0, 2, 4, 6, 8, 10, 13])
        ax.set_xlim(-0.7, len(costs) - 0.3)

    def _sentence(self, costs: list[dict[str, Any]]) -> str:
        """Say what the step costs, and what of it never changes."""
        step = MORPH[self.value["step"]]
        parameters, total = costs[step.number]["parameters"], costs[step.number]["total"]
        share = parameters["feed_forward"] / total["parameters"]
        mixing, at_end = (_mixing(costs[n]["parameters"]) for n in (step.number, len(MORPH) - 1))
        last = len(MORPH) - 1
        names = [name for name, part in (("V", "value"), ("O", "output")) if part in step.parts]
        included = f", {' and '.join(names)} included," if names else ""
        first = (
            f"Step {step.number} of {last}, {step.name}: {total['parameters']:,} parameters and "
            f"{total['macs'] / 1e6:,.1f} million multiply-adds. "
        )
        second = (
            f"The feed-forward holds {parameters['feed_forward']:,} of the parameters "
            f"({100 * share:.1f} %), as many as at every step. The mixing of tokens{included} "
            f"holds {mixing:,}"
        )
        second += "." if step.number == last else f", at the end {at_end:,}."
        return first + second + (_coincidence(self.channels) * (step.number in _COINCIDENCE))


def _coincidence(channels: int) -> str:
    one, other = _COINCIDENCE
    return (
        f" Steps {one} and {other} have one count by coincidence: a norm of {2 * channels} "
        f"parameters goes, {channels} biases and {channels} scales come."
    )


def _mixing(parameters: Mapping[str, int]) -> int:
    return parameters["tokens"] + parameters["channels"]


def _plain(step: Step) -> dict[str, Any]:
    """Give a step as plain values, for the front end."""
    boxes, skips = diagram(step)
    return {
        "name": step.name,
        "change": step.change,
        "kind": str(step.kind),
        "known": step.known,
        "parts": list(step.parts),
        "reach": step.reach,
        "code": list(step.code),
        "diff": [list(line) for line in step.diff],
        "boxes": [asdict(box) for box in boxes],
        "skips": [asdict(skip) for skip in skips],
    }


def _linear_macs(block: morph.MorphBlock, image: Tensor) -> list[tuple[str, int]]:
    """Run a block and count what each Linear multiplies: the group of its name, and how much."""
    found: list[tuple[str, int]] = []

    def count(name: str) -> Any:
        def hook(layer: nn.Linear, _: Any, output: Tensor) -> None:
            found.append((_GROUP_OF[name], output.numel() * layer.in_features))

        return hook

    for name, module in block.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(count(name))
    block(image)
    return found
