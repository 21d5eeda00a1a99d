"""One mixer written as another, where the two compute the same: the bridges of the book.

- A depthwise convolution is C one-channel heads, and tied heads are a depthwise convolution.
- Local attention is a dynamic depthwise convolution, between two 1x1 convolutions.
- Global attention is local attention whose neighbourhood is the whole image.
- A k x k convolution is k² heads: `OneHotHeads.from_conv` and its ``to_conv``.

Each gives a real layer with copied weights, to be run on any image of the right size.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from helpers.equivalence import pointwise_from_linear
from helpers.mixers.attention import Attention, MultiHeadAttention, SlidingAttention
from helpers.mixers.base import TokenMixer, check_image, lifted
from helpers.mixers.dynamic import DynamicDepthwiseConv
from helpers.mixers.position import check_centred
from helpers.mixers.static import DepthwiseConv, StaticHeads


def heads_from_depthwise(conv: nn.Conv2d) -> StaticHeads:
    """Write a depthwise convolution as C one-channel heads, with W_V = W_O = identity.

    Parameters
    ----------
    conv
        ``groups = in_channels = out_channels``, stride 1, dilation 1, ``padding = k // 2`` zeros.

    Returns
    -------
    StaticHeads
        With ``heads = C`` and no softmax.

    Raises
    ------
    TypeError, ValueError
        If `conv` is not such a convolution.

    Examples
    --------
    >>> conv, image = DepthwiseConv(6, 3), torch.randn(1, 6, 4, 5)
    >>> torch.allclose(heads_from_depthwise(conv)(image), conv(image), atol=1e-5)
    True
    """
    check_centred(conv)
    if not conv.groups == conv.in_channels == conv.out_channels:
        raise ValueError(
            f"conv has groups = {conv.groups}, in_channels = {conv.in_channels} and out_channels "
            f"= {conv.out_channels}: only where all three are equal is each channel a head."
        )
    channels = conv.in_channels
    heads = StaticHeads(channels, channels, conv.kernel_size, bias=conv.bias is not None)
    heads = heads.to(conv.weight)
    with torch.no_grad():
        heads.kernel.copy_(conv.weight[:, 0])
        for linear in (heads.value, heads.output):
            linear.weight.copy_(torch.eye(channels))
        if conv.bias is not None:
            heads.value.bias.zero_()
            heads.output.bias.copy_(conv.bias)
    return heads


def depthwise_from_heads(heads: StaticHeads) -> DepthwiseConv:
    """Write heads without projections as a depthwise convolution: a head's kernel in each channel.

    Parameters
    ----------
    heads
        `LightConv`, or `StaticHeads` with ``project=False``.

    Raises
    ------
    TypeError, ValueError
        If `heads` is another layer, or has projections.

    Examples
    --------
    >>> from helpers.mixers.static import LightConv
    >>> light, image = LightConv(6, 2, 3), torch.randn(1, 6, 4, 5)
    >>> torch.allclose(depthwise_from_heads(light)(image), light(image), atol=1e-6)
    True
    """
    if not isinstance(heads, StaticHeads):
        raise TypeError(f"heads has type {type(heads).__name__}: expected StaticHeads, LightConv.")
    if heads.value is not None:
        raise ValueError(
            "these heads have projections (project=True), which mix channels; a depthwise "
            "convolution keeps them apart. Put 1x1 convolutions before and after it instead."
        )
    conv = DepthwiseConv(heads.channels, heads.kernel_size, bias=heads.bias is not None)
    conv = conv.to(heads.kernel)
    with torch.no_grad():
        conv.weight[:, 0] = heads.kernels.repeat_interleave(heads.channels // heads.heads, dim=0)
        if heads.bias is not None:
            conv.bias.copy_(heads.bias)
    return conv


def sliding_from_global(attention: MultiHeadAttention, grid: tuple[int, int]) -> SlidingAttention:
    """Write global attention as local attention whose neighbourhood is the whole image.

    Parameters
    ----------
    attention
        The layer.
    grid
        The image size ``(H, W)``; the neighbourhood is ``(2 H - 1, 2 W - 1)``.

    Examples
    --------
    >>> attention, image = MultiHeadAttention(6, 2), torch.randn(1, 6, 4, 5)
    >>> sliding = sliding_from_global(attention, (4, 5))
    >>> torch.allclose(sliding(image), attention(image), atol=1e-6)
    True
    """
    if not isinstance(attention, MultiHeadAttention):
        raise TypeError(
            f"attention has type {type(attention).__name__}: expected MultiHeadAttention. "
            "MultiHeadAttention.from_torch makes one of nn.MultiheadAttention."
        )
    kernel = (2 * grid[0] - 1, 2 * grid[1] - 1)
    sliding = SlidingAttention(
        attention.channels,
        attention.heads,
        kernel,
        bias=attention.output.bias is not None,
        head_width=attention.head_width,
    ).to(attention.query.weight)
    sliding.load_state_dict(attention.state_dict())
    return sliding


class AttentionKernels(nn.Module):
    """Generate the kernels of a dynamic depthwise convolution as attention does its weights.

    Holds the queries and keys of an attention layer, not its values and outputs.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.scores = copy.deepcopy(attention)
        self.scores.value = self.scores.output = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Give the kernels, ``(B, heads, k, k, H, W)``, for ``(B, C, H, W)``."""
        kernels = self.scores.kernels(image)
        return kernels.expand(image.shape[0], *kernels.shape[1:])


@lifted
class DynamicConvForm(TokenMixer):
    """Attention in the words of convolution: 1x1, dynamic depthwise, 1x1.

    The first 1x1 makes the values, the depthwise convolution mixes positions with kernels chosen
    from the tokens before it, the last 1x1 is W_O.

    Parameters
    ----------
    attention
        `SlidingAttention`, `WindowAttention` or `MultiHeadAttention`. Weights are copied.
    kernel_size
        The kernel that `attention` has, as its ``kernels`` gives them.
    """

    def __init__(self, attention: Attention, kernel_size: tuple[int, int]) -> None:
        super().__init__()
        self.channels = attention.channels
        self.value = pointwise_from_linear(attention.value)
        self.dynamic = DynamicDepthwiseConv(
            attention.heads * attention.head_width,
            attention.heads,
            kernel_size,
            generator=AttentionKernels(attention),
        )
        self.output = pointwise_from_linear(attention.output)

    @property
    def depends_on_input(self) -> bool:
        """Whether there are queries and keys."""
        return self.dynamic.generator.scores.depends_on_input

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C, H, W)`` to the same shape."""
        check_image(image, self.channels)
        return self.output(self.dynamic(self.value(image), chooser=image))

    def token_mixing(self, image: Tensor) -> Tensor:
        """Give A at this image, ``(B or 1, heads, N, N)``."""
        token = self.dynamic.token_mixing(image)
        return token if self.depends_on_input else token[:1]

    def channel_mixing(self) -> Tensor:
        """Give ``W_h = W_V^h W_O^h``, ``(heads, C, C)``."""
        heads = self.dynamic.heads
        read = self.value.weight.flatten(1).unflatten(0, (heads, -1)).transpose(1, 2)
        return read @ self.output.weight.flatten(1).T.unflatten(0, (heads, -1))

    def constant(self, token: Tensor) -> Tensor:
        """Give ``b = b_V W_O + b_O``, ``(1, C)``."""
        if self.output.bias is None:
            return token.new_zeros(1, self.channels)
        return (self.value.bias @ self.output.weight.flatten(1).T + self.output.bias)[None]


def dynamic_conv_from_attention(
    attention: Attention, grid: tuple[int, int] | None = None
) -> DynamicConvForm:
    """Write attention as a dynamic depthwise convolution between two 1x1 convolutions.

    Parameters
    ----------
    attention
        `SlidingAttention` (kernel k), `WindowAttention` (kernel 2 M - 1), or
        `MultiHeadAttention` (kernel ``(2 H - 1, 2 W - 1)``).
    grid
        The image size ``(H, W)``, for global attention alone, whose kernel it gives.

    Raises
    ------
    TypeError, ValueError
        If `attention` is another layer, or global and no grid is given.

    Examples
    --------
    >>> attention, image = SlidingAttention(6, 2, 3), torch.randn(1, 6, 4, 5)
    >>> as_conv = dynamic_conv_from_attention(attention)
    >>> torch.allclose(as_conv(image), attention(image), atol=1e-6)
    True

    Notes
    -----
    Source: Han et al. (2022), section 2.
    """
    if not isinstance(attention, Attention):
        raise TypeError(
            f"attention has type {type(attention).__name__}: expected SlidingAttention, "
            "WindowAttention or MultiHeadAttention (from_torch makes one of nn.MultiheadAttention)."
        )
    if isinstance(attention, MultiHeadAttention):
        if grid is None:
            raise ValueError(
                "grid is missing: global attention reaches over the whole image, so its kernel is "
                "(2 H - 1, 2 W - 1). Give grid=(H, W)."
            )
        attention = sliding_from_global(attention, grid)
    if isinstance(attention, SlidingAttention):
        return DynamicConvForm(attention, attention.kernel_size)
    side = 2 * attention.window - 1
    return DynamicConvForm(attention, (side, side))
