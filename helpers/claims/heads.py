"""C3: a depthwise convolution beside multi-head attention, and groups beside heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.blocks import FeedForward
from helpers.claims.core import Break, Claim, Part, Verdict
from helpers.claims.evidence import Count, Counts, Evidence
from helpers.claims.examples import Lifted, noise, parameters_of, redrawn
from helpers.equivalence import Equivalence, OnPixels, assert_equivalent
from helpers.kernels import kernels_to_token
from helpers.mixers import (
    DepthwiseConv,
    MultiHeadAttention,
    StaticHeads,
    depthwise_from_heads,
    heads_from_depthwise,
)
from helpers.tokens import from_tokens, to_tokens

# A depthwise convolution is C heads of one channel.


class MatrixHeads(nn.Module):
    """Static heads computed as attention is: values, then ``A V`` in each head, then the output.

    The only difference from attention's code is where A, an N x N matrix, comes from.
    """

    def __init__(self, heads: StaticHeads) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C, H, W)``."""
        heads, tokens = self.heads, to_tokens(image)
        values = tokens if heads.value is None else heads.value(tokens)
        split = values.unflatten(-1, (heads.heads, -1)).transpose(1, 2)  # (B, H, N, d)
        mixed = (heads.token_mixing(image) @ split).transpose(1, 2).flatten(2)
        if heads.output is not None:
            mixed = heads.output(mixed)
        elif heads.bias is not None:
            mixed = mixed + heads.bias
        return from_tokens(mixed, tuple(image.shape[2:]))


def prove_depthwise_is_static_heads(
    batch: int = 2,
    channels: int = 6,
    height: int = 5,
    width: int = 7,
    kernel_size: int = 3,
    seed: int = 0,
) -> dict[str, Evidence]:
    """Compare a depthwise convolution with C one-channel heads, in attention's code, and lifted."""
    image = noise(seed, batch, channels, height, width)
    conv = redrawn(DepthwiseConv(channels, kernel_size), seed + 1)
    return {
        "the convolution and C one-channel heads, A V in each, W_V = W_O = identity": (
            assert_equivalent(
                conv,
                MatrixHeads(heads_from_depthwise(conv)),
                image,
                parameters={"bias": "heads.output.bias"},
            )
        ),
        "the convolution and the sum of its terms A X W": assert_equivalent(
            conv, Lifted(conv), image
        ),
    }


def best_softmax_weights(kernels: Tensor) -> Tensor:
    """Give the weights of a softmax, positive with sum 1, that are nearest to each kernel.

    Euclidean projection on the simplex: subtract one number from all, cut off what is negative.

    Notes
    -----
    Source: Duchi et al. (2008), "Efficient Projections onto the l1-Ball", figure 1.
    """
    down = kernels.sort(-1, descending=True).values
    over = (down.cumsum(-1) - 1) / torch.arange(1, kernels.shape[-1] + 1)
    last = (down > over).sum(-1, keepdim=True) - 1
    return (kernels - over.gather(-1, last)).clamp(min=0)


def _filter_beside_nearest_softmax() -> tuple[Tensor, Tensor]:
    image, conv = noise(0, 1, 6, 9, 9), redrawn(DepthwiseConv(6, 3, bias=False), 1)
    nearest = best_softmax_weights(conv.weight.detach().flatten(1)).view_as(conv.weight)
    inside = [F.conv2d(image, w, groups=6) for w in (conv.weight.detach(), nearest)]
    return inside[0], inside[1]


def _weights_at_two_images() -> tuple[Tensor, Tensor]:
    attention = redrawn(MultiHeadAttention(6, 2), 0)
    with torch.no_grad():
        return tuple(attention.token_mixing(noise(seed, 1, 6, 4, 5)) for seed in (1, 2))


# Groups are not heads.


def prove_where_groups_and_heads_meet(
    batch: int = 2,
    heads: int = 2,
    head_width: int = 4,
    height: int = 5,
    width: int = 7,
    kernel_size: int = 3,
    seed: int = 0,
) -> dict[str, Evidence]:
    """Show where they meet, both without projections, and count what tells them apart."""
    channels = heads * head_width
    image = noise(seed, batch, channels, height, width)
    tied, single = (
        redrawn(StaticHeads(channels, count, kernel_size, project=False), seed + 1)
        for count in (heads, channels)
    )
    return {
        "a kernel for each head, A V, and a depthwise convolution with kernels tied in heads": (
            assert_equivalent(
                MatrixHeads(tied),
                depthwise_from_heads(tied),
                image,
                parameters={"heads.bias": "bias"},
            )
        ),
        "heads of one channel, A V, and groups of one channel": assert_equivalent(
            MatrixHeads(single),
            depthwise_from_heads(single),
            image,
            parameters={"heads.bias": "bias"},
        ),
        "channels that one output channel reads, and parameters": count_groups_and_heads(
            heads, head_width, kernel_size, seed
        ),
    }


def count_groups_and_heads(
    heads: int = 2, head_width: int = 4, kernel_size: int = 3, seed: int = 0
) -> Counts:
    """Count what a group and a head read, and how many parameters they have; biases included."""
    channels = heads * head_width
    conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=heads)
    dense = nn.Conv2d(channels, channels, kernel_size)
    attention = MultiHeadAttention(channels, heads)
    one_head = MultiHeadAttention(channels, 1)
    sizes = f"(C = {channels})"
    return Counts(
        (
            Count(
                f"channels read in each of {heads} groups {sizes}",
                head_width,
                _channels_read(redrawn(conv, seed), channels),
            ),
            Count(
                f"channels read by each of {heads} heads {sizes}",
                channels,
                _channels_read(redrawn(attention.value, seed), channels),
            ),
            Count(
                f"parameters of the {kernel_size}x{kernel_size} convolution with {heads} groups",
                kernel_size**2 * channels**2 // heads + channels,
                parameters_of(conv),
            ),
            Count(
                "and with 1 group", kernel_size**2 * channels**2 + channels, parameters_of(dense)
            ),
            Count(
                f"parameters of attention with {heads} heads",
                4 * channels**2 + 4 * channels,
                parameters_of(attention),
            ),
            Count("and with 1 head", 4 * channels**2 + 4 * channels, parameters_of(one_head)),
        )
    )


def _channels_read(layer: nn.Module, channels: int) -> int:
    """Count the input channels that act on the first output channel."""
    shape = (1, channels, 5, 5) if isinstance(layer, nn.Conv2d) else (1, 25, channels)
    x = noise(0, *shape).requires_grad_()
    out = layer(x)
    first = out[:, 0] if isinstance(layer, nn.Conv2d) else out[..., 0]
    (gradient,) = torch.autograd.grad(first.sum(), x)
    if isinstance(layer, nn.Conv2d):
        return int(gradient.abs().sum((0, 2, 3)).count_nonzero())
    return int(gradient.abs().sum((0, 1)).count_nonzero())


def _split_first_beside_project_first() -> tuple[Tensor, Tensor]:
    tokens, value = noise(0, 2, 20, 8), redrawn(nn.Linear(8, 8, bias=False), 1)
    with torch.no_grad():
        blocks = [value.weight[:4, :4], value.weight[4:, 4:]]
        pieces = [x @ w.T for x, w in zip(tokens.chunk(2, -1), blocks, strict=True)]
        return torch.cat(pieces, -1), value(tokens)


def _parameters_of_groups_beside_heads() -> tuple[Tensor, Tensor]:
    sizes = [(channels, parts) for channels in (32, 64) for parts in (1, 4, 16)]
    with torch.device("meta"):
        groups = [nn.Conv2d(c, c, 2, groups=n, bias=False) for c, n in sizes]
        heads = [MultiHeadAttention(c, n, bias=False) for c, n in sizes]
    counts = [[parameters_of(layer) for layer in layers] for layers in (groups, heads)]
    return tuple(torch.tensor(one, dtype=torch.float64) for one in counts)


# Which of filter, input and output is Q, K, V or the weights.


class RowsOfA(nn.Module):
    """A depthwise convolution as ``A_c x_c`` for each channel c, its filter in every row of A."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, image: Tensor) -> Tensor:
        """Apply A to each channel of ``(B, C, H, W)``."""
        grid = tuple(image.shape[2:])
        a = kernels_to_token(self.weight[:, 0][None, ..., None, None], grid)  # (1, C, N, N)
        mixed = (a @ image.flatten(2)[..., None])[..., 0] + self.bias[:, None]
        return mixed.view(image.shape)


class KeysAndValues(nn.Module):
    """The feed-forward read as attention to its own parameters: ``bend(Q Kᵀ + b) V + b'``.

    Notes
    -----
    Source: Geva et al. (2021), "Transformer Feed-Forward Layers Are Key-Value Memories", section 2.
    """

    def __init__(self, feed_forward: FeedForward, bend: nn.Module | None = None) -> None:
        super().__init__()
        self.norm, self.bend = feed_forward.norm, bend or feed_forward.activation
        self.keys, self.key_bias = feed_forward.linear1.weight, feed_forward.linear1.bias
        self.values, self.bias = feed_forward.linear2.weight, feed_forward.linear2.bias

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply to ``(..., C)``: the tokens are the queries."""
        scores = self.norm(tokens) @ self.keys.T + self.key_bias
        return self.bend(scores) @ self.values.T + self.bias


def prove_filter_is_a_row_of_a(
    batch: int = 2,
    channels: int = 6,
    height: int = 5,
    width: int = 7,
    kernel_size: int = 3,
    seed: int = 0,
) -> dict[str, Equivalence]:
    """Compare conv and ``A V``; and the feed-forward and ``bend(Q Kᵀ) V`` with learned K and V."""
    image = noise(seed, batch, channels, height, width)
    conv = redrawn(DepthwiseConv(channels, kernel_size), seed + 1)
    feed_forward = redrawn(FeedForward(channels), seed + 2)
    memory = KeysAndValues(feed_forward)
    return {
        "the depthwise convolution and A V, filter in A, input channel as V": assert_equivalent(
            conv, RowsOfA(conv), image, parameters={"weight": "weight", "bias": "bias"}
        ),
        "the two pointwise layers and GELU(Q Kᵀ) V, filters as K": assert_equivalent(
            OnPixels(feed_forward),
            OnPixels(memory),
            image,
            parameters={"layer.linear1.weight": "layer.keys"},
        ),
    }


def _output_beside_nearest_weights() -> tuple[Tensor, Tensor]:
    """Give each output channel, and the nearest attention weights over the same pixels."""
    conv, image = redrawn(DepthwiseConv(6, 3), 0), noise(1, 1, 6, 5, 7)
    with torch.no_grad():
        out = conv(image).flatten(2)
    return out, best_softmax_weights(out)


def _softmax_over_the_scores() -> tuple[Tensor, Tensor]:
    feed_forward, image = redrawn(FeedForward(6), 0), noise(1, 2, 6, 5, 7)
    tokens = to_tokens(image)
    with torch.no_grad():
        return feed_forward(tokens), KeysAndValues(feed_forward, nn.Softmax(-1))(tokens)


CLAIMS = (
    Claim(
        id="C3",
        said="A depthwise convolution is close to multi-head attention: a group resembles a head, "
        "and the output channel can be called the attention weight, the result of in_channels (Q) "
        "and filter (Kᵀ).",
        notebook="03_groups_and_heads",
        also=("04_who_chooses_the_weights",),
        parts=(
            Part(
                Verdict.AFTER_REWRITING,
                "A depthwise convolution is C heads of one channel each. A head's A holds its "
                "filter in every row, cut off at the border; values and outputs pass through "
                "unchanged. This A is learned, not computed from the input, and may be negative, "
                "which no softmax allows.",
                prove_depthwise_is_static_heads,
                (
                    Break(
                        "A softmax head can have the same A.",
                        _filter_beside_nearest_softmax,
                        0.3,
                    ),
                    Break(
                        "Attention, too, has one A for every input.",
                        _weights_at_two_images,
                        0.3,
                    ),
                ),
                about="Depthwise convolution and attention",
            ),
            Part(
                Verdict.ANALOGY,
                "A group reads its own C/G channels. A head reads all C, for its values are "
                "projected before they are split. Parameters fall with the number of groups and "
                "stay the same for every number of heads. The two meet only with A fixed and the "
                "projections left out: a head of one channel is then a group of one channel, and "
                "a wider head is a set of such groups that share one kernel.",
                prove_where_groups_and_heads_meet,
                (
                    Break(
                        "Split the channels first and project each piece: these are the heads' "
                        "values.",
                        _split_first_beside_project_first,
                        0.3,
                    ),
                    Break(
                        "More heads save parameters, as more groups do.",
                        _parameters_of_groups_beside_heads,
                        0.3,
                    ),
                ),
                about="Groups and heads",
            ),
            Part(
                Verdict.WRONG,
                "In a depthwise convolution the filter is a row of A, the input channel is V, and "
                "the output channel is A V. Nothing in it is a query or a key. A product Q Kᵀ "
                "does stand in the block, one layer further on: the first pointwise layer, with "
                "the pixel as query and the filters as learned keys. GELU follows its scores "
                "where attention has a softmax, so they are no attention weights either.",
                prove_filter_is_a_row_of_a,
                (
                    Break(
                        "An output channel could be a row of attention weights: nowhere "
                        "negative, with sum 1.",
                        _output_beside_nearest_weights,
                        0.5,
                    ),
                    Break(
                        "The pointwise scores are attention weights: a softmax in place of GELU "
                        "changes little.",
                        _softmax_over_the_scores,
                        0.3,
                    ),
                ),
                about="Output channel as attention weight",
            ),
        ),
    ),
)
