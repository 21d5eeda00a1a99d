"""Linked figure of notebook 07: spend a budget, and see which part takes how much of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import nn

from helpers.blocks import ConvNeXtBlock, LayerNormChannelsFirst, TransformerBlock
from helpers.budget import (
    Budget,
    convnext,
    convnext_isotropic,
    measure,
    swin,
    vit,
)
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures.bars import Bar, Piece, stacked_bars
from helpers.mixers import WindowAttention

__all__ = ["BudgetDesigner"]

_DEPTHS = ("depth1", "depth2", "depth3", "depth4")
_DEEPEST = 36
_HEADS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_MOST_LOCKED = 10**11
_WINDOW = 7
_OPTIONS = {
    "widths": {"4": list(range(32, 257, 16)), "1": list(range(192, 1537, 64))},
    "kernels": [3, 5, 7, 9, 11, 15, 21, 31],
    "expansions": [1, 2, 3, 4, 6, 8],
    "images": [224, 448, 672, 896],
}


def _preset(
    stages: int, mixer: str, width: int, depths: Sequence[int], heads: int
) -> dict[str, int | str]:
    four = [*depths, 1, 1, 1][:4]
    return {
        "stages": stages,
        "mixer": mixer,
        "width": width,
        **dict(zip(_DEPTHS, four, strict=True)),
        "kernel": 7,
        "heads": heads,
        "expansion": 4,
        "image": 224,
    }


_PRESETS = {
    "ConvNeXt-T": _preset(4, "depthwise", 96, (3, 3, 9, 3), 3),
    "Swin-T": _preset(4, "attention", 96, (2, 2, 6, 2), 3),
    "ConvNeXt-S iso": _preset(1, "depthwise", 384, (18,), 6),
    "ViT-S": _preset(1, "attention", 384, (12,), 6),
    "ViT-B": _preset(1, "attention", 768, (12,), 12),
}

#: What the parts of a budget are called in the figure; all that is not here is outside the blocks.
_IN_BLOCKS = (
    ("depthwise", "query, key", "position table"),
    ("q kᵀ, A v",),
    ("value, output",),
    ("expand", "shrink"),
    ("norm", "layer scale"),
)
_PIECES = (
    ("tokens", "A"),
    ("tokens", "q kᵀ, A v"),
    ("channels", "V, O"),
    ("channels", "feed-forward"),
    ("each token", ""),
    ("rest", "outside"),
)


class BudgetDesigner(LinkedFigure):
    """A net's parameters and multiply-adds, part by part, beside those of a published net.

    Four stages or one, depthwise convolution or attention: the four together are ConvNeXt, Swin,
    the isotropic ConvNeXt and ViT. With the total locked, the depths follow every other change.

    Parameters
    ----------
    **start
        Where to start, any of the entries of `value`.

    Attributes
    ----------
    value : dict
        ``stages`` (4 or 1); ``mixer`` (``"depthwise"`` or ``"attention"``); ``width``, of the first
        stage; ``depth1`` to ``depth4``, of which one stage reads the first; ``kernel``; ``heads``,
        of the first stage; ``expansion``; ``image``, its side; ``lock``, the parameters to keep, 0
        for none; ``against``, the net to compare with.

    Examples
    --------
    >>> figure = BudgetDesigner(kernel=31)
    >>> figure.budget().parameters
    34630216
    """

    module = "budget_designer"
    data = ("options", "presets")

    options = traitlets.Dict().tag(sync=True)
    presets = traitlets.Dict().tag(sync=True)

    def __init__(self, **start: int | str) -> None:
        super().__init__(
            name="budget_designer",
            title="Budget designer",
            description="What a net spends on each of its parts. Start from one, change one thing.",
            options=_OPTIONS,
            presets=_PRESETS,
            value={**_PRESETS["ConvNeXt-T"], "lock": 0, "against": "Swin-T", **start},
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return {
            "stages": (4, 1),
            "mixer": ("depthwise", "attention"),
            "width": lambda value: _OPTIONS["widths"][str(value["stages"])],
            **dict.fromkeys(_DEPTHS, range(1, _DEEPEST + 1)),
            "kernel": _OPTIONS["kernels"],
            "heads": lambda value: [n for n in _HEADS if value["width"] % n == 0],
            "expansion": _OPTIONS["expansions"],
            "image": _OPTIONS["images"],
            "lock": range(_MOST_LOCKED + 1),
            "against": tuple(_PRESETS),
        }

    def budget(self) -> Budget:
        """Count the net shown, by `helpers.budget`."""
        return _budget(self.value)

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List nets of all four kinds: the presets, with one thing or everything changed."""
        cases = [_case(preset) for preset in _PRESETS.values()]
        for name, changes in (
            ("ConvNeXt-T", {"kernel": 31, "expansion": 2}),
            ("ConvNeXt-T", {"width": 48, "image": 448, "depth3": 1}),
            ("Swin-T", {"heads": 1, "expansion": 8}),
            ("Swin-T", {"width": 160, "heads": 4, "image": 672, "depth1": 5}),
            ("ConvNeXt-S iso", {"kernel": 3, "width": 192, "expansion": 1}),
            ("ViT-S", {"image": 896, "expansion": 3, "heads": 1}),
            ("ConvNeXt-T", {**_depths(2, 2, 6, 2), "lock": 28_288_354}),
            ("Swin-T", {**_depths(3, 3, 9, 3), "lock": 28_589_128}),
            ("ConvNeXt-S iso", {"depth1": 12, "lock": 22_050_664}),
            ("ConvNeXt-T", {**_depths(1, 1, 2, 1), "width": 64, "lock": 28_288_354}),
        ):
            cases.append(_case({**_PRESETS[name], **changes}))
        return cases

    @classmethod
    def reference(
        cls,
        stages: int,
        mixer: str,
        width: int,
        depths: Sequence[int],
        kernel: int,
        heads: int,
        expansion: int,
        image: int,
        lock: int = 0,
    ) -> dict[str, Any]:
        """Count live PyTorch modules, part by part.

        Parameters
        ----------
        stages, mixer, width, kernel, heads, expansion, image, lock
            As in `value`.
        depths : sequence of int
            One for each stage. With `lock` they are scaled first, all by one factor.

        Returns
        -------
        dict
            ``depths``; ``parameters`` and ``macs``, each of six parts: token mixing by parameters,
            the two products of attention, V and O, feed-forward, norms and layer scale, and what
            lies outside the blocks.
        """
        depths = list(depths)[:stages]
        if lock:
            depths = _follow(
                lambda trial: sum(
                    _live(stages, mixer, width, trial, kernel, heads, expansion, image, macs=False)[
                        "parameters"
                    ]
                ),
                depths,
                lock,
            )
        counts = _live(stages, mixer, width, depths, kernel, heads, expansion, image)
        return {"depths": depths, **counts}

    def still(self) -> tuple[Figure, str]:
        """Draw both nets' bars, and say how their totals compare."""
        against = self.value["against"]
        mine, other = self.budget(), _budget(_PRESETS[against])
        name = self._name()
        bars = []
        for what, unit in (("parameters", 1e6), ("macs", 1e9)):
            bars.append(Bar("Parameters" if what == "parameters" else "Multiply-adds"))
            for label, budget in ((name, mine), (against, other)):
                numbers = [getattr(part, what) for part in _parts(budget)]
                pieces = [
                    Piece(number, kind, text, computed=text == "q kᵀ, A v")
                    for number, (kind, text) in zip(numbers, _PIECES, strict=True)
                    if number
                ]
                suffix = "M" if what == "parameters" else "G"
                bars.append(Bar(label, pieces, f"{sum(numbers) / unit:.2f} {suffix}"))
        ratios = [getattr(mine, what) / getattr(other, what) for what in ("parameters", "macs")]
        tokens, _, *channels = (part.parameters for part in _parts(mine)[:4])
        mixing = sum(channels) / mine.parameters
        sentence = (
            f"{name[0].upper()}{name[1:]}: {mine.parameters / 1e6:.2f} M parameters, "
            f"{ratios[0]:.3f} times those of {against}, and {mine.macs / 1e9:.2f} G multiply-adds, "
            f"{ratios[1]:.3f} times. {mixing:.1%} of its parameters mix channels in blocks, "
            f"{tokens / mine.parameters:.1%} mix tokens."
        )
        return stacked_bars(bars, label=1.75), sentence

    def _name(self) -> str:
        """Name the published net that is shown, or say which kind it is."""
        for name, preset in _PRESETS.items():
            if _case(self.value) == {**_case(preset), "lock": self.value["lock"]}:
                return name
        return "your convnet" if self.value["mixer"] == "depthwise" else "your Transformer"


def _depths(*depths: int) -> dict[str, int]:
    return dict(zip(_DEPTHS, depths, strict=True))


def _case(value: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of `reference` and of the front end's `compute`; what is not used, too.

    A net without attention has no heads, one without convolution no kernel: 1 stands there.
    """
    convolves = value["mixer"] == "depthwise"
    return {
        "stages": value["stages"],
        "mixer": value["mixer"],
        "width": value["width"],
        "depths": [value[depth] for depth in _DEPTHS[: value["stages"]]],
        "kernel": value["kernel"] if convolves else 1,
        "heads": 1 if convolves else value["heads"],
        "expansion": value["expansion"],
        "image": value["image"],
        "lock": value.get("lock", 0),
    }


def _budget(value: Mapping[str, Any]) -> Budget:
    """Count a net by formula."""
    case = _case(value)
    shared = {"expansion": case["expansion"], "image": case["image"]}
    depths, width = case["depths"], case["width"]
    match case["mixer"], case["stages"]:
        case "depthwise", 4:
            return convnext(
                depths, [width * 2**i for i in range(4)], kernel_size=case["kernel"], **shared
            )
        case "depthwise", _:
            return convnext_isotropic(depths[0], width, kernel_size=case["kernel"], **shared)
        case _, 4:
            return swin(depths, width, [case["heads"] * 2**i for i in range(4)], **shared)
        case _:
            return vit(depths[0], width, **shared)


def _parts(budget: Budget) -> list[Any]:
    """Sum a budget into the six parts of the figure."""
    known = [name for names in _IN_BLOCKS for name in names]
    groups = [*_IN_BLOCKS, [part.name for part in budget.parts if part.name not in known]]
    return [Budget(tuple(part for part in budget.parts if part.name in names)) for names in groups]


def _follow(count: Any, depths: Sequence[int], lock: int) -> list[int]:
    """Scale the depths by one factor, to come as near to the locked total as blocks allow."""
    most = max(depths)
    trials = [
        [max(1, (2 * one * n + most) // (2 * most)) for one in depths]
        for n in range(1, _DEEPEST + 1)
    ]
    return min(trials, key=lambda trial: abs(count(trial) - lock))


# --- live modules --------------------------------------------------------------------------------


def _live(
    stages: int,
    mixer: str,
    width: int,
    depths: Sequence[int],
    kernel: int,
    heads: int,
    expansion: int,
    image: int,
    macs: bool = True,
) -> dict[str, list[int]]:
    """Build the parts of a net on the meta device, where nothing has numbers, and measure them."""
    sums = {"parameters": [0] * 6, "macs": [0] * 6}

    def add(part: int, times: int, parameters: int, macs: int) -> None:
        sums["parameters"][part] += times * parameters
        sums["macs"][part] += times * macs

    def live(part: int, times: int, module: nn.Module, *inputs: torch.Tensor) -> None:
        counted = measure(module, *inputs) if macs else None
        parameters = sum(p.numel() for p in module.parameters())
        add(part, times, parameters, counted.macs if counted else 0)

    with torch.device("meta"):
        patch = 4 if stages == 4 else 16
        picture = torch.empty(1, 3, image, image)
        before = 3
        for stage, depth in enumerate(depths):
            channels = width * 2**stage
            side = image // (patch * 2**stage)
            step = patch if stage == 0 else 2
            for module in _between(stages, mixer, stage, before, channels, step):
                grid = picture.shape[-1] if isinstance(module, nn.Conv2d) else side
                live(5, 1, module, torch.empty(1, _channels(module), grid, grid))
            picture = torch.empty(1, channels, side, side)
            if mixer == "depthwise":
                block = ConvNeXtBlock(channels, kernel, expansion, 1e-6 if stages == 4 else None)
                live(0, depth, block.dwconv, picture)
                tail = block
            elif stages == 4:
                attention = WindowAttention(
                    channels, heads * 2**stage, _WINDOW, scores="content+position"
                )
                _attention(add, depth, attention, picture, attention.position_table.numel(), macs)
                tail = TransformerBlock(channels, heads * 2**stage, expansion)
            else:
                picture = torch.empty(1, 1 + side**2, channels)
                tail = TransformerBlock(channels, heads, expansion)
                _attention(add, depth, tail.self_attn, picture, 0, macs)
                add(5, 1, (2 + side**2) * channels, 0)  # class token and positions
            tokens = torch.empty(1, side**2 + (picture.dim() == 3), channels)
            _tail(live, add, depth, tail, tokens)
            before = channels
        live(5, 1, nn.LayerNorm(before), torch.empty(1, before))
        live(5, 1, nn.Linear(before, 1000), torch.empty(1, before))
    return sums


def _channels(module: nn.Module) -> int:
    """Give the channels that a layer between stages takes."""
    return module.in_channels if isinstance(module, nn.Conv2d) else len(module.weight)


def _between(
    stages: int, mixer: str, stage: int, before: int, channels: int, step: int
) -> Iterator[nn.Module]:
    """Give the stem, or what shrinks the image before a later stage."""
    if stage == 0:
        yield nn.Conv2d(before, channels, step, step)
        if stages == 4:
            yield LayerNormChannelsFirst(channels)
    elif mixer == "depthwise":
        yield LayerNormChannelsFirst(before)
        yield nn.Conv2d(before, channels, step, step)
    else:
        # Swin lays four neighbours side by side, norms them, and maps 4C to 2C without a bias:
        # a 2x2 convolution of stride 2 but for the norm, which has all 4C.
        yield LayerNormChannelsFirst(4 * before)
        yield nn.Conv2d(before, channels, step, step, bias=False)


def _attention(
    add: Any, times: int, attention: nn.Module, x: torch.Tensor, table: int, macs: bool
) -> None:
    """Measure attention, and tell its products from its projections, two and two."""
    channels = x.shape[1] if x.dim() == 4 else x.shape[2]
    tokens = x[0].numel() // channels
    inputs = (x, x, x) if isinstance(attention, nn.MultiheadAttention) else (x,)
    parameters = sum(p.numel() for p in attention.parameters()) - table
    projection = nn.Linear(channels, channels)
    one = measure(projection, torch.empty(1, tokens, channels)).macs if macs else 0
    products = measure(attention, *inputs).macs - 4 * one if macs else 0
    add(0, times, parameters // 2 + table, 2 * one)
    add(1, times, 0, products)
    add(2, times, parameters // 2, 2 * one)


def _tail(live: Any, add: Any, times: int, block: nn.Module, tokens: torch.Tensor) -> None:
    """Measure what follows the mixer: the Linear layers, the norms, layer scale."""
    children = dict(block.named_children())
    hidden = None
    for name in ("pwconv1", "linear1", "pwconv2", "linear2"):
        if name in children:
            x = tokens if hidden is None else tokens.new_empty(*tokens.shape[:2], hidden)
            live(3, times, children[name], x)
            hidden = children[name].out_features
    for name in ("norm", "norm1", "norm2"):
        if name in children:
            live(4, times, children[name], tokens)
    if getattr(block, "gamma", None) is not None:
        add(4, times, block.gamma.numel(), 0)
