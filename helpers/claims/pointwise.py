"""C1 and C2: a 1x1 convolution is a Linear, and ConvNeXt's tail is the feed-forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.blocks import ConvNeXtTail, EncoderFeedForward, FeedForward
from helpers.claims.core import Break, Claim, Part, Verdict
from helpers.claims.examples import noise, redrawn
from helpers.equivalence import (
    Equivalence,
    OnPixels,
    assert_equivalent,
    linear_from_pointwise,
    pointwise_from_linear,
)

# C1: a 1x1 convolution equals Linear.


def prove_pointwise_is_linear(
    batch: int = 2,
    channels: int = 6,
    channels_out: int = 8,
    height: int = 5,
    width: int = 7,
    seed: int = 0,
) -> Equivalence:
    """Compare a 1x1 convolution with the Linear of the same weights, on an image.

    Values, and the gradients of input, weight and bias, in both directions of the copy.
    """
    image = noise(seed, batch, channels, height, width)
    names = {"weight": "layer.weight", "bias": "layer.bias"}
    conv = redrawn(nn.Conv2d(channels, channels_out, 1), seed + 1)
    there = assert_equivalent(conv, OnPixels(linear_from_pointwise(conv)), image, parameters=names)
    linear = redrawn(nn.Linear(channels, channels_out), seed + 2)
    back = assert_equivalent(
        pointwise_from_linear(linear), OnPixels(linear), image, parameters=names
    )
    return Equivalence(there.comparisons + back.comparisons)


def _kernel_three_beside_its_centre() -> tuple[Tensor, Tensor]:
    image = noise(0, 2, 6, 5, 7)
    conv = redrawn(nn.Conv2d(6, 8, 3, padding=1), 1)
    centre = nn.Linear(6, 8).double()
    with torch.no_grad():
        centre.weight.copy_(conv.weight[:, :, 1, 1])
        centre.bias.copy_(conv.bias)
        return conv(image), OnPixels(centre)(image)


def _view_beside_permute() -> tuple[Tensor, Tensor]:
    image = noise(0, 2, 6, 5, 7)
    linear = redrawn(nn.Linear(6, 8), 1)
    with torch.no_grad():
        return linear(image.view(2, 35, 6)), linear(image.flatten(2).transpose(1, 2))


# C2: the ConvNeXt block after its depthwise convolution equals the feed-forward.


def prove_tail_is_feed_forward(
    batch: int = 2,
    channels: int = 6,
    height: int = 5,
    width: int = 7,
    expansion: int = 4,
    seed: int = 0,
) -> Equivalence:
    """Compare ConvNeXt's tail with the feed-forward inside PyTorch's own encoder layer.

    Layer scale, drawn at random here, is folded into the second Linear.
    """
    tail = redrawn(ConvNeXtTail(channels, expansion), seed)
    layer = nn.TransformerEncoderLayer(
        channels,
        1,
        expansion * channels,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    ).double()
    feed_forward = EncoderFeedForward(FeedForward.from_tail(tail).load_into(layer))
    image = noise(seed + 1, batch, channels, height, width)
    names = {"pwconv1.weight": "layer.layer.linear1.weight", "norm.bias": "layer.layer.norm2.bias"}
    return assert_equivalent(tail, OnPixels(feed_forward), image, parameters=names)


def _feed_forward_pair(activation: nn.Module, fold: bool) -> tuple[Tensor, Tensor]:
    tail = redrawn(ConvNeXtTail(6), 0)
    feed_forward = FeedForward.from_tail(tail)
    feed_forward.activation = activation
    if not fold:
        feed_forward.linear2.load_state_dict(tail.pwconv2.state_dict())
    image = noise(1, 2, 6, 5, 7)
    with torch.no_grad():
        return tail(image), OnPixels(feed_forward)(image)


def _gradients_beside_folding() -> tuple[Tensor, Tensor]:
    tail = redrawn(ConvNeXtTail(6), 0)
    feed_forward = FeedForward.from_tail(tail)
    image = noise(1, 2, 6, 5, 7)
    tail(image).square().sum().backward()
    OnPixels(feed_forward)(image).square().sum().backward()
    return tail.pwconv2.weight.grad, feed_forward.linear2.weight.grad


CLAIMS = (
    Claim(
        id="C1",
        said="A 1x1 pointwise convolution has the form of nn.Linear(in_channels, out_channels).",
        notebook="01_pointwise_is_linear",
        parts=(
            Part(
                Verdict.EXACT,
                "A 1x1 convolution (stride 1, no padding, one group) is one Linear over the "
                "channels, applied at every pixel with the same weights.",
                prove_pointwise_is_linear,
                (
                    Break(
                        "A 3x3 convolution is the Linear of its centre weights.",
                        _kernel_three_beside_its_centre,
                        0.5,
                    ),
                    Break(
                        "image.view(B, H*W, C) turns an image into tokens.",
                        _view_beside_permute,
                        0.5,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C2",
        said="What follows the depthwise convolution in a ConvNeXt block is the feed-forward.",
        notebook="01_pointwise_is_linear",
        parts=(
            Part(
                Verdict.EXACT,
                "LayerNorm, Linear, GELU, Linear with layer scale folded into the second Linear is "
                "the pre-norm feed-forward, given the same expansion, GELU and eps.",
                prove_tail_is_feed_forward,
                (
                    Break(
                        "Any GELU will do: the tanh approximation is the same function.",
                        lambda: _feed_forward_pair(nn.GELU(approximate="tanh"), fold=True),
                        1e-4,
                    ),
                    Break(
                        "Layer scale can be left out.",
                        lambda: _feed_forward_pair(nn.GELU(), fold=False),
                        0.3,
                    ),
                    Break(
                        "Folded or not, the second Linear's weight gets the same gradient.",
                        _gradients_beside_folding,
                        0.3,
                    ),
                ),
            ),
        ),
    ),
)
