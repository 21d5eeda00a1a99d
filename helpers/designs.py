"""Blocks that a reader designs: a token mixer, a feed-forward, and the wiring around them.

`BlockDesign` is a list of choices. It says what is wrong with a choice, counts itself by formula,
and builds itself. ConvNeXt's block and the Transformer's are two designs among the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helpers.blocks import FeedForward
from helpers.budget import Budget, Part, attention, conv, feed_forward, layer_norm, linear, measure
from helpers.equivalence import OnPixels
from helpers.experiments import Cell, make_runs
from helpers.kernels import check_heads, odd_pair
from helpers.mixers import DepthwiseConv, LightConv, MultiHeadAttention, PoolMixer, SlidingAttention
from helpers.mixing import Mixing, as_mixing
from helpers.models import PatchClassifier

#: What a network may cost: the ConvNeXt of notebook 09. The ViT there has 53,322 parameters.
BUDGET = 53_354

GRID = (7, 7)
PATCH, CLASSES = 4, 10

#: The mixers with a window, and those with heads; the others ignore `kernel_size` or `heads`.
WINDOWED = ("pooling", "depthwise", "LightConv", "local attention")
HEADED = ("LightConv", "local attention", "attention")


def _pooling_budget(design: BlockDesign, tokens: int) -> Budget:
    return Budget(())  # it adds and divides: no weight, and no multiply-add of two numbers


def _depthwise_budget(design: BlockDesign, tokens: int) -> Budget:
    C = design.channels
    depthwise = conv(C, C, design.kernel_size, tokens, groups=C, name="depthwise")
    return Budget((replace(depthwise.parts[0], kind="tokens"),))


def _lightconv_budget(design: BlockDesign, tokens: int) -> Budget:
    area = design.kernel_size**2
    return Budget(
        (Part("kernels", "tokens", design.heads * area, area * design.channels * tokens),)
    )


def _local_budget(design: BlockDesign, tokens: int) -> Budget:
    return attention(design.channels, tokens, span=design.kernel_size**2)


_Build = Callable[["BlockDesign"], nn.Module]
_Count = Callable[["BlockDesign", int], Budget]

#: The token mixers by name: how each is built, and what it costs.
MIXERS: dict[str, tuple[_Build, _Count]] = {
    "identity": (lambda d: nn.Identity(), lambda d, n: Budget(())),
    "pooling": (lambda d: PoolMixer(d.channels, d.kernel_size), _pooling_budget),
    "depthwise": (lambda d: DepthwiseConv(d.channels, d.kernel_size), _depthwise_budget),
    "LightConv": (lambda d: LightConv(d.channels, d.heads, d.kernel_size), _lightconv_budget),
    "local attention": (
        lambda d: SlidingAttention(d.channels, d.heads, d.kernel_size),
        _local_budget,
    ),
    "attention": (
        lambda d: MultiHeadAttention(d.channels, d.heads),
        lambda d, n: attention(d.channels, n),
    ),
}


@dataclass(frozen=True)
class BlockDesign:
    """The choices that make a block.

    Parameters
    ----------
    tokens
        The token mixer: a name in `MIXERS`, or a function from the number of channels to a module
        that keeps the shape ``(B, C, H, W)``.
    expansion
        How many times wider the feed-forward's hidden layer is; 0 for no feed-forward.
    kernel_size
        k, odd, of the mixers that have a window.
    heads
        H, a divisor of C, of the mixers that have heads.
    norms
        1 or 2. With two, one stands before each half; with one, before the feed-forward if there
        is one, else before the token mixer.
    skips
        1 or 2. With two, one around each half; with one, around the whole block.
    channels
        C.

    Raises
    ------
    ValueError
        If there is no such mixer, a number is out of range, the heads do not divide the channels,
        or the choices contradict each other; the message says what to do.

    Examples
    --------
    >>> BlockDesign("depthwise", kernel_size=7, channels=96).budget(tokens=56 * 56).parameters
    79392
    >>> BlockDesign("pooling").build()(torch.randn(2, 32, 7, 7)).shape
    torch.Size([2, 32, 7, 7])

    Notes
    -----
    Two norms and two skips are the wiring of the Transformer and of the MetaFormer: Yu et al.
    (2022), "MetaFormer Is Actually What You Need for Vision", section 3.1. One norm and one skip
    are ConvNeXt's: Liu et al. (2022), figure 4.
    """

    tokens: str | Callable[[int], nn.Module]
    expansion: int = 4
    kernel_size: int = 3
    heads: int = 2
    norms: int = 2
    skips: int = 2
    channels: int = 32

    def __post_init__(self) -> None:
        if not callable(self.tokens) and self.tokens not in MIXERS:
            raise ValueError(
                f"tokens={self.tokens!r}: expected one of {', '.join(map(repr, MIXERS))}, or a "
                "function that takes the number of channels and gives a module."
            )
        for name, least in (("channels", 1), ("expansion", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least {least}.")
        for name in ("norms", "skips"):
            if getattr(self, name) not in (1, 2):
                raise ValueError(f"{name}={getattr(self, name)}: expected 1 or 2.")
        if self.tokens in WINDOWED:
            odd_pair(self.kernel_size)
        if self.tokens in HEADED:
            check_heads(self.channels, self.heads)
        if self.expansion == 0:
            if self.tokens == "identity":
                raise ValueError(
                    "tokens='identity' with expansion=0: nothing is left to learn. Choose a token "
                    "mixer, or a feed-forward."
                )
            if (self.norms, self.skips) != (1, 1):
                raise ValueError(
                    f"norms={self.norms} and skips={self.skips} with expansion=0: without a "
                    "feed-forward the block has one half. Say norms=1, skips=1."
                )

    @property
    def name(self) -> str:
        """A short name: the mixer, its window, and the feed-forward."""
        mixer = self.tokens if isinstance(self.tokens, str) else "your mixer"
        if mixer in WINDOWED:
            mixer += f" {self.kernel_size}x{self.kernel_size}"
        return mixer + (f", feed-forward x{self.expansion}" if self.expansion else "")

    @property
    def choices(self) -> dict[str, Any]:
        """The fields that make a difference: no window or heads where the mixer has none.

        Examples
        --------
        >>> list(BlockDesign("attention").choices)
        ['tokens', 'heads', 'expansion', 'norms', 'skips', 'channels']
        """
        own_mixer = callable(self.tokens)
        left_out = {
            "kernel_size": own_mixer or self.tokens not in WINDOWED,
            "heads": own_mixer or self.tokens not in HEADED,
        }
        order = ("tokens", "kernel_size", "heads", "expansion", "norms", "skips", "channels")
        return {name: getattr(self, name) for name in order if not left_out.get(name)}

    def changes_from(self, other: BlockDesign) -> dict[str, tuple[Any, Any]]:
        """List the choices that differ: for each field the other design's, then this one's.

        A window or heads that only one of the two has come with its mixer, and are not listed.

        Examples
        --------
        >>> BlockDesign("depthwise", kernel_size=5).changes_from(BlockDesign("depthwise", norms=1))
        {'kernel_size': (3, 5), 'norms': (1, 2)}
        """
        theirs = other.choices
        return {
            name: (theirs[name], value)
            for name, value in self.choices.items()
            if name in theirs and theirs[name] != value
        }

    def build(self) -> DesignedBlock:
        """Build the block, with fresh weights."""
        return DesignedBlock(self)

    def mixer(self) -> nn.Module:
        """Build the token mixer alone.

        Raises
        ------
        TypeError
            If a function that was given builds no module.
        """
        if isinstance(self.tokens, str):
            return MIXERS[self.tokens][0](self)
        mixer = self.tokens(self.channels)
        if not isinstance(mixer, nn.Module):
            raise TypeError(
                f"tokens({self.channels}) gave {type(mixer).__name__}: expected an nn.Module."
            )
        return mixer

    def budget(self, tokens: int = GRID[0] * GRID[1]) -> Budget:
        """Count one block by formula, on so many tokens; a mixer of the reader's own is measured.

        Border pixels count like all others, as in `helpers.budget`. For a mixer of the reader's
        own the tokens are a square image, as near as one comes.

        Examples
        --------
        >>> BlockDesign("attention", expansion=0, norms=1, skips=1).budget()
        part           kind        parameters     MACs
        query, key     tokens           2,112  100,352
        q kᵀ, A v      tokens               0  153,664
        value, output  channels         2,112  100,352
        norm           each token          64        0
        total                           4,288  354,368
        """
        if isinstance(self.tokens, str):
            budget = MIXERS[self.tokens][1](self, tokens)
        else:
            side = max(1, round(tokens**0.5))
            cost = measure(self.mixer(), torch.zeros(1, self.channels, side, side))
            budget = Budget((replace(cost, name="your mixer", kind="tokens"),))
        for _ in range(self.norms):
            budget += layer_norm(self.channels)
        if self.expansion:
            budget += feed_forward(self.channels, tokens, self.expansion)
        return budget


class DesignedBlock(nn.Module):
    """What a `BlockDesign` builds: a block on images ``(B, C, H, W)``.

    Parameters
    ----------
    design
        The choices; kept as `design`.

    Examples
    --------
    >>> block = DesignedBlock(BlockDesign("depthwise", norms=1, skips=1))
    >>> [name for name, _ in block.named_children()]
    ['norm', 'mixer', 'feed_forward']
    """

    def __init__(self, design: BlockDesign) -> None:
        super().__init__()
        self.design = design
        before_mixer = design.norms == 2 or not design.expansion
        norm = nn.LayerNorm(design.channels, eps=1e-6)
        self.norm = OnPixels(norm) if before_mixer else nn.Identity()
        self.mixer = design.mixer()
        half = FeedForward(design.channels, design.expansion) if design.expansion else None
        self.feed_forward = OnPixels(half) if half else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Apply the block to ``(B, C, H, W)``; gives the same shape.

        Raises
        ------
        ValueError
            If the token mixer changes the shape.
        """
        mixed = self.mixer(self.norm(image))
        if mixed.shape != image.shape:
            raise ValueError(
                f"the token mixer makes {tuple(mixed.shape)} of {tuple(image.shape)}: a block "
                "keeps the shape, so that its skip can be added."
            )
        if self.design.skips == 1:
            return image + self.feed_forward(mixed)
        tokens_mixed = image + mixed
        return tokens_mixed + self.feed_forward(tokens_mixed)

    def mixing(self, image: Tensor) -> Mixing:
        """Lift the token mixer, at what reaches it when the block sees this image.

        Examples
        --------
        >>> BlockDesign("attention").build().mixing(torch.randn(1, 32, 7, 7)).depends_on_input
        True
        """
        layout = "channels_first" if isinstance(self.mixer, nn.Identity) else None
        return as_mixing(self.mixer, self.norm(image), layout=layout)


# --- networks ------------------------------------------------------------------------------------


def network(design: BlockDesign, depth: int, positions: bool = True) -> PatchClassifier:
    """Build the classifier of notebook 09 with `depth` blocks of this design.

    Parameters
    ----------
    design, depth
        Which block, how many times.
    positions
        Whether each place has learned numbers of its own, added to its patch.

    Examples
    --------
    >>> model = network(BlockDesign("attention"), depth=4)
    >>> sum(p.numel() for p in model.parameters())
    53322
    """
    blocks = (design.build() for _ in range(depth))
    return PatchClassifier(
        blocks, design.channels, GRID, PATCH, classes=CLASSES, positions=positions
    )


def network_budget(design: BlockDesign, depth: int, positions: bool = True) -> Budget:
    """Count such a network by formula, on one image of 28 x 28 pixels.

    Examples
    --------
    >>> network_budget(BlockDesign("depthwise", norms=1, skips=1), 6, positions=False).parameters
    53354
    """
    C, tokens = design.channels, GRID[0] * GRID[1]
    around = conv(1, C, PATCH, tokens, name="patches") + layer_norm(C, name="head norm")
    if positions:
        around += Budget((Part("positions", "each token", C * tokens),))
    return around + linear(C, CLASSES, name="head") + depth * design.budget(tokens)


def fitting_depth(design: BlockDesign, parameters: int = BUDGET, positions: bool = True) -> int:
    """Give the number of blocks whose network comes nearest to a number of parameters; at least 1.

    Examples
    --------
    >>> fitting_depth(BlockDesign("attention")), fitting_depth(BlockDesign("pooling"))
    (4, 6)
    """
    around = network_budget(design, 0, positions).parameters
    block = design.budget().parameters
    return max(1, round((parameters - around) / block))


# --- the recorded runs ---------------------------------------------------------------------------

#: The designs whose runs are recorded: one skeleton, another token mixer in each.
GALLERY: dict[str, BlockDesign] = {
    design.name.split(",")[0]: design
    for design in (
        BlockDesign("identity"),
        BlockDesign("pooling"),
        BlockDesign("LightConv"),
        BlockDesign("depthwise"),
        BlockDesign("depthwise", kernel_size=7),
        BlockDesign("local attention"),
        BlockDesign("attention"),
    )
}

#: Where they are; `make experiments` makes those that are missing.
DESIGN_RESULTS = Path(__file__).parent / "results" / "designs.json"


def gallery_network(name: str) -> PatchClassifier:
    """Build the network of a design in `GALLERY`, as deep as the budget allows."""
    design = GALLERY[name]
    return network(design, fitting_depth(design))


def gallery_runs(seeds: int = 3, images: int = 500, steps: int = 300) -> list[Cell]:
    """List the recorded runs, a whole table for each seed."""
    return [Cell(name, images, steps=steps, seed=seed) for seed in range(seeds) for name in GALLERY]


def make_gallery(path: Path = DESIGN_RESULTS, plan: list[Cell] | None = None) -> None:
    """Make the runs that are missing; `helpers.experiments.make_runs` says how."""
    networks = {name: lambda name=name: gallery_network(name) for name in GALLERY}
    make_runs(path, gallery_runs() if plan is None else plan, networks=networks)


if __name__ == "__main__":
    try:
        make_gallery()
    except KeyboardInterrupt:
        sys.exit("\nStopped. What is done is stored; run it again to go on.")
