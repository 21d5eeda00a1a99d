"""Two small image classifiers of one size: the skeleton is the same, the blocks are not.

Cut the image into patches, send them through the blocks, normalise, average over the tokens, and
classify with one Linear. `small_convnext` and `small_vit` have the same width and, to within a
thousandth, as many parameters: six ConvNeXt blocks cost what four Transformer blocks do.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from helpers.blocks import ConvNeXtBlock, TransformerBlock
from helpers.equivalence import OnPixels
from helpers.mixing import Mixing, as_mixing
from helpers.tokens import to_tokens


class PatchClassifier(nn.Module):
    """Patches, blocks, norm, mean over the tokens, one Linear.

    Parameters
    ----------
    blocks
        Modules that keep the shape ``(B, C, H, W)``.
    channels
        C.
    grid
        How many patches high and wide the image is.
    patch
        The side of a patch in pixels.
    colours
        Channels of the image.
    classes
        How many classes to choose from.
    positions
        Whether each place has learned numbers of its own, added to its patch. Attention needs them
        to tell places apart; a convolution does not.

    Examples
    --------
    >>> model = PatchClassifier([ConvNeXtBlock(8, 3)], channels=8)
    >>> model(torch.randn(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        channels: int,
        grid: tuple[int, int] = (7, 7),
        patch: int = 4,
        colours: int = 1,
        classes: int = 10,
        positions: bool = False,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(colours, channels, patch, stride=patch)
        self.positions = nn.Parameter(torch.zeros(channels, *grid)) if positions else None
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, classes)
        if self.positions is not None:
            nn.init.normal_(self.positions, std=0.02)  # as in ViT's code

    def tokens(self, image: Tensor) -> Tensor:
        """Give what the first block sees: ``(B, colours, H, W)`` to ``(B, C, *grid)``."""
        tokens = self.embed(image)
        return tokens if self.positions is None else tokens + self.positions

    def forward(self, image: Tensor) -> Tensor:
        """Score the classes: ``(B, colours, H, W)`` to ``(B, classes)``."""
        return self.head(self.norm(self.blocks(self.tokens(image)).mean((2, 3))))


def small_convnext(channels: int = 32, depth: int = 6, kernel_size: int = 3) -> PatchClassifier:
    """Build a small ConvNeXt for digits: one width throughout, no layer scale.

    Examples
    --------
    >>> sum(p.numel() for p in small_convnext().parameters())
    53354
    """
    blocks = (ConvNeXtBlock(channels, kernel_size, layer_scale=None) for _ in range(depth))
    return PatchClassifier(blocks, channels)


def small_vit(channels: int = 32, depth: int = 4, heads: int = 2) -> PatchClassifier:
    """Build a small ViT for digits, with learned positions.

    Examples
    --------
    >>> sum(p.numel() for p in small_vit().parameters())
    53322
    """
    blocks = (OnPixels(TransformerBlock(channels, heads)) for _ in range(depth))
    return PatchClassifier(blocks, channels, positions=True)


def layer_mixing(model: PatchClassifier, images: Tensor, layer: int) -> Mixing:
    """Lift the token mixer of one layer, at what reaches it when the model sees these images.

    Parameters
    ----------
    model
        Its blocks are ConvNeXt blocks, or Transformer blocks on pixels.
    images
        ``(B, colours, H, W)``.
    layer
        Counted from 1.

    Returns
    -------
    Mixing
        Of the depthwise convolution (a term for each channel, the same A for all images) or of the
        attention (a term for each head, an A for each image).

    Raises
    ------
    ValueError
        If the model has no such layer.
    TypeError
        If its block is of neither kind.

    Examples
    --------
    >>> images = torch.randn(2, 1, 28, 28)
    >>> tuple(layer_mixing(small_vit(), images, layer=1).token.shape)
    (2, 2, 49, 49)
    >>> tuple(layer_mixing(small_convnext(), images, layer=1).token.shape)
    (1, 32, 49, 49)
    """
    if not 1 <= layer <= len(model.blocks):
        raise ValueError(f"layer={layer}: the model has layers 1 to {len(model.blocks)}.")
    before = model.blocks[: layer - 1](model.tokens(images))
    match model.blocks[layer - 1]:
        case ConvNeXtBlock() as block:
            return as_mixing(block.dwconv, before)
        case OnPixels(layer=TransformerBlock() as block):
            return as_mixing(block.self_attn, block.norm1(to_tokens(before)))
        case block:
            raise TypeError(
                f"layer {layer} is a {type(block).__name__}: expected a ConvNeXtBlock, or a "
                "TransformerBlock in OnPixels."
            )
