"""Mixers whose A is the same for every image: depthwise convolution and its relatives.

All of them are heads without queries and keys. They differ in how many kernels they have (one for
each channel, or one for each head) and in whether a softmax makes them positive with sum 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.kernels import check_heads, kernels_to_token, odd_pair
from helpers.mixers.base import (
    TokenMixer,
    check_image,
    head_selectors,
    lifted,
    projected_channel_mixing,
)
from helpers.tokens import from_tokens, to_tokens


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution: one k x k kernel for each channel, centred, with a padded border.

    It is an `nn.Conv2d` with ``groups = channels``, so `as_mixing` lifts it in both views:
    ``view="heads"``, C terms with one channel each; ``view="shifts"``, k² terms.

    Parameters
    ----------
    channels
        C, in and out.
    kernel_size
        k, odd.
    bias
        Whether a learned number is added to each channel.
    padding_mode
        What lies outside the image: ``"zeros"``, ``"circular"``, ``"reflect"``, ``"replicate"``.

    Raises
    ------
    ValueError
        If the kernel size is even.

    Examples
    --------
    >>> from helpers.mixing import as_mixing
    >>> conv, image = DepthwiseConv(8, 3), torch.randn(1, 8, 5, 6)
    >>> conv(image).shape
    torch.Size([1, 8, 5, 6])
    >>> [as_mixing(conv, image, view=view).heads for view in ("heads", "shifts")]
    [8, 9]

    Notes
    -----
    Source: the reading as heads is that of Han et al. (2022), section 2.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int],
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        check_heads(channels, channels)
        kernel = odd_pair(kernel_size)
        padding = (kernel[0] // 2, kernel[1] // 2)
        super().__init__(
            channels,
            channels,
            kernel,
            padding=padding,
            groups=channels,
            bias=bias,
            padding_mode=padding_mode,
        )


@lifted
class StaticHeads(TokenMixer):
    """Attention without queries and keys: each head has one kernel, the same at every position.

    ``A_h`` holds head h's kernel in every row. With ``project``, head h reads and writes through
    ``W_V^h`` and ``W_O^h`` as in attention; without, it passes on its own channels.

    Parameters
    ----------
    channels
        C, in and out.
    heads
        H, a divisor of C. ``heads = channels`` gives each channel its own kernel.
    kernel_size
        k, odd.
    softmax
        Whether the k² numbers of a kernel go through a softmax: then positive, with sum 1.
    project
        Whether there are ``value`` and ``output`` projections, C x C each.
    bias
        Whether the projections (or, without them, the channels) have a learned bias.

    Raises
    ------
    ValueError
        If the heads do not divide the channels, or the kernel size is even.

    Examples
    --------
    >>> StaticHeads(8, heads=2, kernel_size=3)(torch.randn(1, 8, 5, 6)).shape
    torch.Size([1, 8, 5, 6])

    Notes
    -----
    At the border the part of a kernel that hangs over the image meets zeros, so a row of A holds
    less than the whole kernel there: with a softmax too, its rows sum to 1 in the interior only.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        kernel_size: int | tuple[int, int],
        softmax: bool = False,
        project: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.channels, self.heads, self.softmax = channels, heads, softmax
        self.kernel_size = odd_pair(kernel_size)
        self.kernel = nn.Parameter(torch.empty(heads, *self.kernel_size))
        nn.init.normal_(self.kernel, std=1.0 if softmax else self.kernel[0].numel() ** -0.5)
        self.value = nn.Linear(channels, channels, bias) if project else None
        self.output = nn.Linear(channels, channels, bias) if project else None
        self.bias = nn.Parameter(torch.zeros(channels)) if bias and not project else None

    @property
    def kernels(self) -> Tensor:
        """The kernels as they are applied, ``(heads, k, k)``: after the softmax, if any."""
        if not self.softmax:
            return self.kernel
        return torch.softmax(self.kernel.flatten(1), -1).view_as(self.kernel)

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C, H, W)`` to the same shape, as a convolution with one group for each head.

        The channels of a head go through one kernel, so they are folded into the batch: the way
        that LightConv's code does it.
        """
        check_image(image, self.channels)
        values = image if self.value is None else _on_tokens(self.value, image)
        # Contiguous blocks of channels: block r of every head at once is one image of H channels.
        folded = values.unflatten(1, (self.heads, -1)).transpose(1, 2).flatten(0, 1)
        padding = (self.kernel_size[0] // 2, self.kernel_size[1] // 2)
        mixed = F.conv2d(folded, self.kernels[:, None], padding=padding, groups=self.heads)
        out = mixed.unflatten(0, (len(image), -1)).transpose(1, 2).flatten(1, 2)
        if self.output is not None:
            return _on_tokens(self.output, out)
        return out if self.bias is None else out + self.bias.view(-1, 1, 1)

    def token_mixing(self, image: Tensor) -> Tensor:
        """Give A, ``(1, heads, N, N)``: the head's kernel in every row."""
        return kernels_to_token(self.kernels[None, ..., None, None], tuple(image.shape[2:]))

    def channel_mixing(self) -> Tensor:
        """Give W, ``(heads, C, C)``: ``W_V^h W_O^h``, or the head's own channels."""
        if self.value is None:
            return head_selectors(self.channels, self.heads, self.kernel)
        return projected_channel_mixing(self.value, self.output, self.heads)

    def constant(self, token: Tensor) -> Tensor:
        """Give b. At the border part of a value's bias is cut off, so each token has its own."""
        if self.value is None:
            return token.new_zeros(1, self.channels) if self.bias is None else self.bias[None]
        if self.value.bias is None:
            return token.new_zeros(1, self.channels)
        per_head = self.value.bias.unflatten(0, (self.heads, -1))  # (heads, d)
        write = self.output.weight.T.unflatten(0, (self.heads, -1))  # (heads, d, C)
        through_head = torch.einsum("hd,hdc->hc", per_head, write)
        return token[0].sum(-1).T @ through_head + self.output.bias


class LightConv(StaticHeads):
    """LightConv: a depthwise convolution with its kernels tied in heads and put through a softmax.

    The nearest that a convolution comes to a head of attention while its A stays the same for
    every input: H kernels, positive, with sum 1, no projections.

    Parameters
    ----------
    channels
        C, in and out.
    heads
        H, a divisor of C: how many kernels there are.
    kernel_size
        k, odd.
    bias
        Whether a learned number is added to each channel.

    Raises
    ------
    ValueError
        If the heads do not divide the channels, or the kernel size is even.

    Examples
    --------
    >>> from helpers.mixing import as_mixing
    >>> mixing = as_mixing(LightConv(8, 2, 3), torch.zeros(1, 8, 5, 5))
    >>> mixing.heads, round(float(mixing.row((2, 2)).sum()), 4)
    (2, 1.0)

    Notes
    -----
    Source: Wu et al. (2019), "Pay Less Attention with Lightweight and Dynamic Convolutions",
    section 3.1; there in one dimension. Channels are dealt to heads in contiguous blocks, as in
    `nn.MultiheadAttention`; the authors' code (fairseq) gives channel c to head c mod H.
    """

    def __init__(
        self, channels: int, heads: int, kernel_size: int | tuple[int, int], bias: bool = False
    ) -> None:
        super().__init__(channels, heads, kernel_size, softmax=True, project=False, bias=bias)


@lifted
class PoolMixer(TokenMixer):
    """PoolFormer's mixer: the mean of the k x k neighbourhood, minus the pixel itself.

    The rows of A sum to 0: the block's skip adds the pixel again. The mean is over the pixels
    inside the image.

    Parameters
    ----------
    channels
        C, in and out. No weight depends on it.
    kernel_size
        k, odd; 3 in the paper.

    Raises
    ------
    ValueError
        If the kernel size is even.

    Examples
    --------
    >>> PoolMixer(4)(torch.ones(1, 4, 5, 5)).abs().max().item()
    0.0

    Notes
    -----
    Source: Yu et al. (2022), "MetaFormer Is Actually What You Need for Vision", section 3.2.
    """

    def __init__(self, channels: int, kernel_size: int | tuple[int, int] = 3) -> None:
        super().__init__()
        check_heads(channels, 1)
        self.channels = channels
        self.kernel_size = odd_pair(kernel_size)

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C, H, W)`` to the same shape."""
        check_image(image, self.channels)
        padding = (self.kernel_size[0] // 2, self.kernel_size[1] // 2)
        pooled = F.avg_pool2d(image, self.kernel_size, 1, padding, count_include_pad=False)
        return pooled - image

    def token_mixing(self, image: Tensor) -> Tensor:
        """Give A, ``(1, 1, N, N)``: the mean over the neighbours inside, minus the identity."""
        ones = image.new_ones(1, 1, *self.kernel_size, 1, 1)
        inside = kernels_to_token(ones, tuple(image.shape[2:]))
        identity = torch.eye(inside.shape[-1], dtype=image.dtype, device=image.device)
        return inside / inside.sum(-1, keepdim=True) - identity

    def channel_mixing(self) -> Tensor:
        """Give W, ``(1, C, C)``: the identity."""
        return torch.eye(self.channels)[None]


def _on_tokens(linear: nn.Linear, image: Tensor) -> Tensor:
    """Apply a Linear at every pixel."""
    return from_tokens(linear(to_tokens(image)), tuple(image.shape[2:]))
