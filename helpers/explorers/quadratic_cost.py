"""Linked figure of notebook 07: from which image size on the N² of attention is what costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import nn

from helpers.blocks import TransformerBlock
from helpers.budget import convnext_block, measure, swin_block, transformer_block
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures.bars import Bar, Piece, stacked_bars
from helpers.mixers import WindowAttention

__all__ = ["QuadraticCost"]

_WINDOW = 7
_VIT = {384: "ViT-S", 768: "ViT-B", 1024: "ViT-L"}
_OPTIONS = {
    "channels": [96, 192, 384, 768, 1024],
    "patch": [4, 8, 16],
    "side": [112, 160, 224, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536, 2048],
}
_EXAMPLES = [
    ["ViT-B, 224 px", {"channels": 768, "patch": 16, "side": 224}],
    ["ViT-B, 1024 px", {"channels": 768, "patch": 16, "side": 1024}],
    ["Swin-T's first stage, all tokens", {"channels": 96, "patch": 4, "side": 224}],
]


class QuadraticCost(LinkedFigure):
    """What a block spends on each token, by image size: the products of attention grow with N.

    Bars for attention over all tokens, in windows of 7 x 7, and for a depthwise 7 x 7 convolution;
    a curve of the share of ``q kᵀ`` and ``A v``, with marks at N = 2C and N = 6C.

    Parameters
    ----------
    **start
        Where to start, any of the entries of `value`.

    Attributes
    ----------
    value : dict
        ``channels``, C; ``patch`` and ``side``, in pixels: N is the number of whole patches.

    Examples
    --------
    >>> QuadraticCost(side=1024).value
    {'channels': 768, 'patch': 16, 'side': 1024}
    """

    module = "quadratic_cost"
    data = ("options",)

    options = traitlets.Dict().tag(sync=True)

    def __init__(self, **start: int) -> None:
        super().__init__(
            name="quadratic_cost",
            title="When does N² hurt?",
            description="What one token costs in one block, as the image grows. Windows are 7 × 7.",
            options={
                "channels": _OPTIONS["channels"],
                "patches": _OPTIONS["patch"],
                "sides": _OPTIONS["side"],
                "presets": _EXAMPLES,
            },
            value={"channels": 768, "patch": 16, "side": 224, **start},
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return _OPTIONS

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List small and large images, wide and narrow blocks, and patches that do not fill."""
        return [
            {"channels": channels, "patch": patch, "side": side}
            for channels, patch, side in (
                (768, 16, 224),
                (768, 16, 1024),
                (96, 4, 224),
                (384, 16, 112),
                (1024, 16, 2048),
                (192, 8, 448),
                (768, 16, 640),
                (96, 4, 2048),
                (384, 8, 320),
                (192, 16, 230),
            )
        ]

    @classmethod
    def reference(cls, channels: int, patch: int, side: int) -> dict[str, Any]:
        """Measure live PyTorch modules.

        Returns
        -------
        dict
            ``tokens``; ``each`` and ``image``, multiply-adds for one token and for all, of a
            depthwise 7 x 7, of the products of attention in windows and over all tokens, of a pair
            of projections, and of the feed-forward; ``share`` of the products over all tokens in
            the block; ``equal`` and ``half``, the sides in pixels at which the products cost as
            much as the projections and as all the rest.
        """
        grid = side // patch
        tokens = grid**2
        with torch.device("meta"):
            x, window = torch.empty(1, tokens, channels), torch.empty(1, channels, 7, 7)
            block = TransformerBlock(channels, heads=1)
            pair = 2 * measure(nn.Linear(channels, channels), x).macs
            hidden = x.new_empty(1, tokens, block.linear1.out_features)
            forward = measure(block.linear1, x).macs + measure(block.linear2, hidden).macs
            everything = measure(block, x).macs
            depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
            taps = measure(depthwise, torch.empty(1, channels, grid, grid)).macs
            in_window = measure(WindowAttention(channels, 1, _WINDOW), window).macs
            projections = 4 * measure(nn.Linear(channels, channels), window.flatten(2).mT).macs
        products = everything - 2 * pair - forward
        windows = (in_window - projections) * tokens / _WINDOW**2
        image = [taps, windows, products, pair, forward]
        return {
            "tokens": tokens,
            "each": [macs / tokens for macs in image],
            "image": image,
            "share": products / everything,
            "equal": patch * math.sqrt(2 * channels),
            "half": patch * math.sqrt(6 * channels),
        }

    def still(self) -> tuple[Figure, str]:
        """Draw the bars for one token, and say what share the products have."""
        channels, patch, side = (self.value[name] for name in _OPTIONS)
        tokens = (side // patch) ** 2
        whole = transformer_block(channels, tokens)
        windows = swin_block(channels, 1, tokens=_WINDOW**2)
        convolution = convnext_block(channels)
        bars = [Bar("Multiply-adds for one token of one block")]
        for name, budget, n in (
            ("attention, all tokens", whole, tokens),
            ("attention, windows", windows, _WINDOW**2),
            ("depthwise 7 × 7", convolution, 1),
        ):
            pieces = [
                Piece(macs / n, kind, text, computed=text == "q kᵀ, A v")
                for kind, text, parts in (
                    ("tokens", "Q, K", ["query, key"]),
                    ("tokens", "q kᵀ, A v", ["q kᵀ, A v"]),
                    ("tokens", "A", ["depthwise"]),
                    ("channels", "V, O", ["value, output"]),
                    ("channels", "feed-forward", ["expand", "shrink"]),
                )
                if (macs := sum(p.macs for p in budget.parts if p.name in parts))
            ]
            bars.append(Bar(name, pieces, f"{budget.macs / n / 1e6:.2f} M"))
        share = whole.part("q kᵀ, A v").macs / whole.macs
        equal = round(patch * math.sqrt(2 * channels))
        of = f"C = {channels}, patches of {patch},"
        if patch == 16 and channels in _VIT:
            of = f"{_VIT[channels]} at"
        sentence = (
            f"{of} {side} pixels: N = {tokens:,} tokens. q kᵀ and A v are {share:.1%} of the "
            f"block. They cost as much as the projections at N = 2C = {2 * channels:,}, "
            f"{equal} pixels."
        )
        return stacked_bars(bars, label=1.95), sentence
