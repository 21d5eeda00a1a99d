"""Depthwise convolution whose kernels are computed from the image, one for each position."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from helpers.kernels import apply_kernels, check_heads, kernels_to_token, odd_pair
from helpers.mixers.base import TokenMixer, check_image, head_selectors, lifted
from helpers.tokens import to_tokens


class LinearKernels(nn.Module):
    """Generate the kernel of each position and head from the pixel in its middle, by one Linear.

    Parameters
    ----------
    channels, heads, kernel_size
        As in `DynamicDepthwiseConv`.
    softmax
        Whether the k² numbers of a kernel go through a softmax.

    Notes
    -----
    Wu et al. (2019), section 3.2, with the softmax (DynamicConv); without it, Li et al. (2021),
    "Involution", equation 5, with one layer in place of two.
    """

    def __init__(
        self, channels: int, heads: int, kernel_size: tuple[int, int], softmax: bool
    ) -> None:
        super().__init__()
        self.heads, self.kernel_size, self.softmax = heads, kernel_size, softmax
        self.linear = nn.Linear(channels, heads * math.prod(kernel_size))

    def forward(self, image: Tensor) -> Tensor:
        """Give the kernels, ``(B, heads, k, k, H, W)``, for ``(B, C, H, W)``."""
        numbers = self.linear(to_tokens(image)).transpose(1, 2).unflatten(1, (self.heads, -1))
        if self.softmax:
            numbers = torch.softmax(numbers, dim=2)
        return numbers.unflatten(2, self.kernel_size).unflatten(4, tuple(image.shape[2:]))


@lifted
class DynamicDepthwiseConv(TokenMixer):
    """A depthwise convolution with a kernel of its own at each position, made from the image.

    One kernel for each position and head; the channels of a head share it. A plain depthwise
    convolution has one for each channel, and all positions share it.

    Parameters
    ----------
    channels
        C, in and out.
    heads
        H, a divisor of C.
    kernel_size
        k, odd.
    softmax
        Whether the k² numbers of a kernel go through a softmax.
    generator
        What makes the kernels: a module from ``(B, C, H, W)`` to ``(B, heads, k, k, H, W)``. By
        default one Linear on the pixel in the middle (`LinearKernels`).

    Raises
    ------
    ValueError
        If the heads do not divide the channels, or the kernel size is even; when called, if the
        generator gives another shape.

    Examples
    --------
    >>> conv, image = DynamicDepthwiseConv(8, heads=2, kernel_size=3), torch.randn(1, 8, 5, 6)
    >>> conv(image).shape, conv.kernels(image).shape
    (torch.Size([1, 8, 5, 6]), torch.Size([1, 2, 3, 3, 5, 6]))

    Notes
    -----
    Sources: Wu et al. (2019), section 3.2; Han et al. (2022), section 2 (there "inhomogeneous").
    """

    depends_on_input = True

    def __init__(
        self,
        channels: int,
        heads: int,
        kernel_size: int | tuple[int, int],
        softmax: bool = False,
        generator: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.channels, self.heads = channels, heads
        self.kernel_size = odd_pair(kernel_size)
        self.generator = generator or LinearKernels(channels, heads, self.kernel_size, softmax)

    def kernels(self, image: Tensor) -> Tensor:
        """Generate the kernels, ``(B, heads, k, k, H, W)``."""
        kernels = self.generator(image)
        expected = (image.shape[0], self.heads, *self.kernel_size, *image.shape[2:])
        if tuple(kernels.shape) != expected:
            raise ValueError(
                f"the generator gives kernels of shape {tuple(kernels.shape)} for an image of "
                f"shape {tuple(image.shape)}: expected {expected}."
            )
        return kernels

    def forward(self, image: Tensor, chooser: Tensor | None = None) -> Tensor:
        """Mix ``(B, C, H, W)`` to the same shape.

        Parameters
        ----------
        image
            What is mixed.
        chooser
            What the kernels are generated from; by default `image`. Attention mixes values and
            chooses from the tokens before them.
        """
        check_image(image, self.channels)
        return apply_kernels(image, self.kernels(image if chooser is None else chooser))

    def token_mixing(self, image: Tensor) -> Tensor:
        """Give A at this image, ``(B, heads, N, N)``."""
        return kernels_to_token(self.kernels(image))

    def channel_mixing(self) -> Tensor:
        """Give W, ``(heads, C, C)``: each head passes on its own channels."""
        like = next(self.parameters(), torch.zeros(()))
        return head_selectors(self.channels, self.heads, like)
