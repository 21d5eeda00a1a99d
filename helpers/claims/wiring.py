"""C7: the norms and skips of the two blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.blocks import ConvNeXtBlock, LayerNormChannelsFirst
from helpers.claims.core import Break, Claim, Part, Verdict
from helpers.claims.examples import Plus, noise, redrawn
from helpers.equivalence import Equivalence, OnPixels, assert_equivalent
from helpers.mixers import DepthwiseConv

# LayerNorm.


def prove_layer_norms_are_one(
    batch: int = 2, channels: int = 6, height: int = 5, width: int = 7, seed: int = 0
) -> Equivalence:
    """Compare ConvNeXt's LayerNorm on images with PyTorch's on channels-last tokens."""
    image = noise(seed, batch, channels, height, width)
    last = redrawn(nn.LayerNorm(channels, eps=1e-6), seed + 1)
    first = LayerNormChannelsFirst.from_layer_norm(last)
    names = {"weight": "layer.weight", "bias": "layer.bias"}
    return assert_equivalent(first, OnPixels(last), image, parameters=names)


def _layer_norm_beside(other: nn.Module) -> tuple[Tensor, Tensor]:
    image = noise(0, 2, 7, 5, 7)  # as wide as it has channels: the wrong axis raises no error
    norm = OnPixels(nn.LayerNorm(7, elementwise_affine=False).double())
    return norm(image), other.double()(image)


# Skips.


def with_skip_in_kernel(conv: nn.Conv2d) -> nn.Conv2d:
    """Give the depthwise convolution that computes ``x + conv(x)``: 1 more in each centre."""
    folded = DepthwiseConv(conv.in_channels, conv.kernel_size).to(conv.weight)
    folded.load_state_dict(conv.state_dict())
    middle = [k // 2 for k in conv.kernel_size]
    with torch.no_grad():
        folded.weight[:, 0, middle[0], middle[1]] += 1
    return folded


class TwoSkips(nn.Module):
    """The Transformer's wiring on ConvNeXt's layers: a skip around each, one norm."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, image: Tensor) -> Tensor:
        """Apply ``y = x + conv(x)``, then ``y + tail(y)``."""
        y = image + self.block.dwconv(image)
        return y + self.block.tail(y)


class OneSkip(nn.Module):
    """ConvNeXt's wiring with the inner skip in the kernel, and what two skips add to it."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        self.block, self.folded = block, with_skip_in_kernel(block.dwconv)

    def forward(self, image: Tensor) -> Tensor:
        """Apply ``x + tail(conv'(x))``, and add ``conv(x)``, all that is missing."""
        return image + self.block.tail(self.folded(image)) + self.block.dwconv(image)


def prove_inner_skip_folds(
    batch: int = 2,
    channels: int = 6,
    height: int = 5,
    width: int = 7,
    kernel_size: int = 3,
    seed: int = 0,
) -> dict[str, Equivalence]:
    """Fold the skip around a depthwise convolution, and name what is left of the difference."""
    image = noise(seed, batch, channels, height, width)
    block = redrawn(ConvNeXtBlock(channels, kernel_size), seed + 1)
    return {
        "x + conv(x), and one convolution with 1 added at each centre": assert_equivalent(
            Plus(block.dwconv),
            with_skip_in_kernel(block.dwconv),
            image,
            parameters={"layer.weight": "weight"},
        ),
        "two skips, and one skip around both plus conv(x)": assert_equivalent(
            TwoSkips(block),
            OneSkip(block),
            image,
            parameters={"block.pwconv1.weight": "block.pwconv1.weight"},
        ),
    }


def _two_skips_beside_one() -> tuple[Tensor, Tensor]:
    block, image = redrawn(ConvNeXtBlock(6, 3), 0), noise(1, 1, 6, 6, 7)
    with torch.no_grad():
        one = image + block.tail(with_skip_in_kernel(block.dwconv)(image))
        return TwoSkips(block)(image), one


def _norm_before_beside_after() -> tuple[Tensor, Tensor]:
    conv, norm = redrawn(DepthwiseConv(6, 3), 0), LayerNormChannelsFirst(6).double()
    image = noise(1, 1, 6, 6, 7)
    with torch.no_grad():
        return conv(norm(image)), norm(conv(image))


CLAIMS = (
    Claim(
        id="C7",
        said="Normalisation and residual connection correspond in the two blocks.",
        notebook="05_block_correspondence",
        parts=(
            Part(
                Verdict.EXACT,
                "Both normalise the channels of each pixel, by the same LayerNorm. Written for "
                "channels first or channels last, it gives the same numbers.",
                prove_layer_norms_are_one,
                (
                    Break(
                        "GroupNorm with one group normalises the channels of each pixel, too.",
                        lambda: _layer_norm_beside(nn.GroupNorm(1, 7, affine=False)),
                        0.2,
                    ),
                    Break(
                        "A channels-last LayerNorm can be fed an image with channels first.",
                        lambda: _layer_norm_beside(nn.LayerNorm(7, elementwise_affine=False)),
                        0.3,
                    ),
                ),
                about="Normalisation",
            ),
            Part(
                Verdict.IN_PART,
                "ConvNeXt's block has one norm and one skip, the Transformer's two of each. A "
                "skip around the depthwise convolution alone would fold into its kernel. Two "
                "differences stay: the last skip carries x past both layers, where the "
                "Transformer's carries the first sum, x and what was mixed in, and there is no "
                "norm before the mixing.",
                prove_inner_skip_folds,
                (
                    Break(
                        "One skip around both or one around each: the block is the same.",
                        _two_skips_beside_one,
                        0.3,
                    ),
                    Break(
                        "A norm before the convolution does what the norm after it does.",
                        _norm_before_beside_after,
                        0.3,
                    ),
                ),
                about="Residual connection",
            ),
        ),
    ),
)
