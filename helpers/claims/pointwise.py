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


def _kernel_three_beside_the_best_linear() -> tuple[Tensor, Tensor]:
    image = noise(0, 2, 6, 5, 7)
    conv = redrawn(nn.Conv2d(6, 8, 3, padding=1), 1)
    with torch.no_grad():
        output = conv(image).flatten(2).transpose(1, 2).flatten(0, 1)
    tokens = image.flatten(2).transpose(1, 2).flatten(0, 1)
    tokens = torch.cat([tokens, torch.ones(len(tokens), 1, dtype=tokens.dtype)], 1)  # its bias
    return output, tokens @ torch.linalg.lstsq(tokens, output).solution


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
    """Compare ConvNeXt's tail, without layer scale, with PyTorch's feed-forward.

    The feed-forward is the one inside `nn.TransformerEncoderLayer`, run by PyTorch's own code.
    """
    tail = redrawn(ConvNeXtTail(channels, expansion, layer_scale=None), seed)
    return _tail_beside_encoder_layer(
        tail, noise(seed + 1, batch, channels, height, width), ["norm", "pwconv1", "pwconv2"]
    )


def prove_layer_scale_folds(
    batch: int = 2,
    channels: int = 6,
    height: int = 5,
    width: int = 7,
    expansion: int = 4,
    seed: int = 0,
) -> Equivalence:
    """Compare the tail with layer scale with a feed-forward into which the scale is folded.

    The gradients of the second Linear are left out: they differ by the factor gamma.
    """
    tail = redrawn(ConvNeXtTail(channels, expansion), seed)
    return _tail_beside_encoder_layer(
        tail, noise(seed + 1, batch, channels, height, width), ["norm", "pwconv1"]
    )


def _tail_beside_encoder_layer(
    tail: ConvNeXtTail, image: Tensor, compared: list[str]
) -> Equivalence:
    channels, hidden = tail.pwconv1.in_features, tail.pwconv1.out_features
    layer = nn.TransformerEncoderLayer(
        channels,
        1,
        hidden,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=tail.norm.eps,
        batch_first=True,
        norm_first=True,
    ).double()
    feed_forward = EncoderFeedForward(FeedForward.from_tail(tail).load_into(layer))
    theirs = {"norm": "norm2", "pwconv1": "linear1", "pwconv2": "linear2"}
    names = {
        f"{ours}.{kind}": f"layer.layer.{theirs[ours]}.{kind}"
        for ours in compared
        for kind in ("weight", "bias")
    }
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
                        "A 3x3 convolution, too, is some Linear applied at every pixel.",
                        _kernel_three_beside_the_best_linear,
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
        also=("05_block_correspondence",),
        parts=(
            Part(
                Verdict.EXACT,
                "LayerNorm, Linear, GELU, Linear, without layer scale, is the feed-forward of a "
                "Transformer with the norm first, given the same expansion, GELU and eps.",
                prove_tail_is_feed_forward,
                (
                    Break(
                        "Any GELU will do: the tanh approximation is the same function.",
                        lambda: _feed_forward_pair(nn.GELU(approximate="tanh"), fold=True),
                        1e-4,
                    ),
                ),
            ),
            Part(
                Verdict.AFTER_REWRITING,
                "With layer scale it is the same function once the scale is folded into the second "
                "Linear, whose gradient is then another.",
                prove_layer_scale_folds,
                (
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
