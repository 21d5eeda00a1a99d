"""Heads that look at one offset: from k² heads to a k x k convolution, and how softmax gets there.

A k x k convolution is a sum of k² shifted Linears. A head whose A is a shift by one offset, and
whose ``W_V W_O`` is that offset's weights, computes one of the terms. `OneHotHeads` has these
shifts as they are. `RelativePositionAttention` makes them by a softmax over positions, which is
one-hot only in the limit of its sharpness.

Source: Cordonnier, Loukas, Jaggi (2020), "On the Relationship between Self-Attention and
Convolutional Layers", Theorem 1 and section 3; the encoding is that of equation 9.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn

from helpers.kernels import check_heads, kernels_to_token, odd_pair, unfold
from helpers.mixers.base import TokenMixer, check_image, lifted
from helpers.mixing import as_mixing
from helpers.tokens import from_tokens, refuse_above_limit, to_tokens

#: What a head may look at beyond the image's border.
BORDERS = ("padded", "inside")


class PositionHeads(TokenMixer):
    """What both kinds share: one head for each offset of a k x k kernel, W_V and W_O for each.

    Parameters
    ----------
    in_channels, out_channels
        C_in and C_out.
    kernel_size
        k, odd; there are k² heads.
    head_width
        d. By default min(C_in, C_out), the least that can hold any weights; W_V^h W_O^h has rank
        at most d.
    bias
        Whether a learned number is added to each output channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        head_width: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        head_width = min(in_channels, out_channels) if head_width is None else head_width
        for channels in (in_channels, out_channels):
            check_heads(channels, 1)
        if head_width < 1:
            raise ValueError(f"head_width={head_width}: expected at least 1.")
        self.channels, self.out_channels, self.head_width = in_channels, out_channels, head_width
        self.kernel_size = odd_pair(kernel_size)
        self.heads = math.prod(self.kernel_size)
        self.value = nn.Parameter(torch.empty(self.heads, in_channels, head_width))
        self.output = nn.Parameter(torch.empty(self.heads, head_width, out_channels))
        nn.init.normal_(self.value, std=in_channels**-0.5)
        nn.init.normal_(self.output, std=(self.heads * head_width) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    @property
    def centres(self) -> Tensor:
        """The offset of each head, ``(k², 2)``: rows, columns, from the upper left."""
        rows, columns = (torch.arange(k) - k // 2 for k in self.kernel_size)
        return torch.cartesian_prod(rows, columns).view(-1, 2)

    def channel_mixing(self) -> Tensor:
        """Give ``W_h = W_V^h W_O^h``, ``(k², C_in, C_out)``."""
        return self.value @ self.output

    def constant(self, token: Tensor) -> Tensor:
        """Give b, ``(1, C_out)``. Values have no bias: a padded border adds none."""
        return token.new_zeros(1, self.out_channels) if self.bias is None else self.bias[None]

    def load_conv(self, conv: nn.Conv2d, truncate: bool = False) -> Self:
        """Copy the weights of a convolution: each offset's weights into the head that looks there.

        Parameters
        ----------
        conv
            Stride 1, dilation 1, and ``padding = k // 2`` zeros; any number of groups.
        truncate
            Where the weights of an offset have a higher rank than the heads are wide: take the
            nearest of rank d in place of raising.

        Returns
        -------
        PositionHeads
            This layer.

        Raises
        ------
        ValueError
            If the convolution has another shape, or a rank is higher than `head_width`.
        """
        offsets = offset_weights(conv)
        expected = (self.heads, self.channels, self.out_channels)
        if tuple(offsets.shape) != expected or self.kernel_size != tuple(conv.kernel_size):
            raise ValueError(
                f"conv has (k², C_in, C_out) = {tuple(offsets.shape)} and kernel "
                f"{tuple(conv.kernel_size)}: these heads have {expected} and {self.kernel_size}."
            )
        if (self.bias is None) != (conv.bias is None):
            raise ValueError("conv and these heads must both have a bias, or neither.")
        self.to(conv.weight)
        value, output = factorise(offsets, self.head_width, truncate)
        with torch.no_grad():
            self.value.copy_(value)
            self.output.copy_(output)
            if self.bias is not None:
                self.bias.copy_(conv.bias)
        return self


@lifted
class OneHotHeads(PositionHeads):
    """k² heads, each of which puts its whole weight on one offset: a k x k convolution.

    Tokens beyond the border are zeros, as in a convolution's zero padding.

    Parameters
    ----------
    in_channels, out_channels
        C_in and C_out.
    kernel_size
        k, odd; there are k² heads.
    head_width
        d; by default min(C_in, C_out).
    bias
        Whether a learned number is added to each output channel.

    Raises
    ------
    ValueError
        If the kernel size is even or the width below 1.

    Examples
    --------
    >>> conv, image = nn.Conv2d(4, 6, 3, padding=1), torch.randn(2, 4, 5, 7)
    >>> heads = OneHotHeads.from_conv(conv)
    >>> heads.heads, torch.allclose(heads(image), conv(image), atol=1e-5)
    (9, True)

    Notes
    -----
    Source: Cordonnier, Loukas, Jaggi (2020), Theorem 1.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C_in, H, W)`` to ``(B, C_out, H, W)``: each head reads its shifted image."""
        check_image(image, self.channels)
        shifted = unfold(image, self.kernel_size)  # (B, C_in, k², N): one shift for each head
        values = torch.einsum("bchn,hcd->bhnd", shifted, self.value)
        tokens = torch.einsum("bhnd,hde->bne", values, self.output)
        return from_tokens(tokens + self.constant(tokens), tuple(image.shape[2:]))

    def token_mixing(self, image: Tensor) -> Tensor:
        """Give A, ``(1, k², N, N)``: a 0/1 shift for each head."""
        one_hot = torch.eye(self.heads, dtype=image.dtype, device=image.device)
        kernels = one_hot.view(1, self.heads, *self.kernel_size, 1, 1)
        return kernels_to_token(kernels, tuple(image.shape[2:]))

    @classmethod
    def from_conv(
        cls, conv: nn.Conv2d, head_width: int | None = None, truncate: bool = False
    ) -> Self:
        """Build the heads that compute what a convolution does.

        Parameters
        ----------
        conv, truncate
            As in `load_conv`.
        head_width
            d; by default min(C_in, C_out), which is always enough.

        Raises
        ------
        TypeError, ValueError
            As `load_conv`.
        """
        check_centred(conv)
        heads = cls(
            conv.in_channels, conv.out_channels, conv.kernel_size, head_width, conv.bias is not None
        )
        return heads.load_conv(conv, truncate)

    def to_conv(self) -> nn.Conv2d:
        """Build the convolution that computes what these heads do: the way back."""
        padding = (self.kernel_size[0] // 2, self.kernel_size[1] // 2)
        conv = nn.Conv2d(
            self.channels,
            self.out_channels,
            self.kernel_size,
            padding=padding,
            bias=self.bias is not None,
        ).to(self.value)
        with torch.no_grad():
            conv.weight.copy_(self.channel_mixing().permute(2, 1, 0).unflatten(2, self.kernel_size))
            if self.bias is not None:
                conv.bias.copy_(self.bias)
        return conv


@lifted
class RelativePositionAttention(PositionHeads):
    """k² heads whose softmax sees positions alone, sharper or softer: a convolution in the limit.

    Head h scores the key at offset δ with ``v_h · r_δ``, where ``r_δ = (‖δ‖², δ₁, δ₂)`` and
    ``v_h = -α (1, -2 Δ₁, -2 Δ₂)``. That is ``-α (‖δ - Δ_h‖² - ‖Δ_h‖²)``, and the softmax cancels
    the last term: a bump around the head's own offset Δ_h.

    Parameters
    ----------
    in_channels, out_channels
        C_in and C_out.
    kernel_size
        k, odd; there are k² heads.
    alpha
        The sharpness α, 0 or more. At 0 a head is the mean of all keys.
    border
        ``"padded"``: a ring of zero tokens around the image, k // 2 wide, takes part, as in a
        convolution's zero padding. ``"inside"``: only the image's own tokens do, and no softmax
        can give the row of zeros that a convolution has where its offset leaves the image.
    head_width
        d; by default min(C_in, C_out).
    bias
        Whether a learned number is added to each output channel.

    Raises
    ------
    ValueError
        If the kernel size is even, the width below 1, α negative or infinite, or the border has
        another name.

    Examples
    --------
    >>> conv, image = nn.Conv2d(4, 6, 3, padding=1), torch.randn(2, 4, 5, 7)
    >>> sharp = RelativePositionAttention.from_conv(conv, alpha=100)
    >>> torch.allclose(sharp(image), conv(image), atol=1e-5)
    True

    Notes
    -----
    Source: Cordonnier, Loukas, Jaggi (2020), Theorem 1 and equation 9.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        alpha: float,
        border: str = "padded",
        head_width: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, head_width, bias)
        if not 0 <= alpha < math.inf:
            raise ValueError(
                f"alpha={alpha}: expected a sharpness of 0 or more, and finite. The limit is "
                "OneHotHeads."
            )
        if border not in BORDERS:
            raise ValueError(f"border={border!r}: expected 'padded' or 'inside'.")
        self.alpha, self.border = alpha, border

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C_in, H, W)`` to ``(B, C_out, H, W)``."""
        check_image(image, self.channels)
        values = to_tokens(image)[:, None] @ self.value  # (B, k², N, d)
        tokens = (self.token_mixing(image) @ values @ self.output).sum(1)
        return from_tokens(tokens + self.constant(tokens), tuple(image.shape[2:]))

    def token_mixing(self, image: Tensor) -> Tensor:
        """Give A, ``(1, k², N, N)``; with padding, less the columns of the padded tokens."""
        grid = tuple(image.shape[2:])
        ring = tuple(k // 2 if self.border == "padded" else 0 for k in self.kernel_size)
        queries = _places(grid, (0, 0))
        keys = _places(grid, ring)
        refuse_above_limit(
            f"attention over positions: {self.heads} x {len(queries):,} x {len(keys):,} scores",
            self.heads * len(queries) * len(keys),
            image.dtype,
            "the image or the kernel",
        )
        offsets = (keys[None] - queries[:, None]).to(image)  # (N, N_keys, 2)
        scores = relative_encoding(offsets) @ head_vectors(self.centres.to(image), self.alpha).T
        weights = torch.softmax(scores, dim=1).permute(2, 0, 1)
        inside = ((keys >= 0) & (keys < torch.tensor(grid))).all(-1)
        return weights[None, :, :, inside.to(image.device)]

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv2d,
        alpha: float,
        border: str = "padded",
        head_width: int | None = None,
        truncate: bool = False,
    ) -> Self:
        """Build the heads that compute what a convolution does, in the limit of large α.

        Parameters
        ----------
        conv, truncate
            As in `load_conv`.
        alpha, border, head_width
            As for the class.

        Raises
        ------
        TypeError, ValueError
            As `load_conv`.
        """
        check_centred(conv)
        heads = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            alpha,
            border,
            head_width,
            conv.bias is not None,
        )
        return heads.load_conv(conv, truncate)


def relative_encoding(offsets: Tensor) -> Tensor:
    """Encode offsets δ, ``(..., 2)``, as ``r_δ = (‖δ‖², δ₁, δ₂)``, ``(..., 3)``.

    Examples
    --------
    >>> relative_encoding(torch.tensor([[2.0, -1.0]])).tolist()
    [[5.0, 2.0, -1.0]]
    """
    return torch.cat([offsets.square().sum(-1, keepdim=True), offsets], dim=-1)


def head_vectors(centres: Tensor, alpha: float) -> Tensor:
    """Give ``v_h = -α (1, -2 Δ₁, -2 Δ₂)``, ``(H, 3)``, for centres Δ, ``(H, 2)``.

    Examples
    --------
    >>> head_vectors(torch.tensor([[1.0, 0.0]]), alpha=2.0).tolist()
    [[-2.0, 4.0, 0.0]]
    """
    ones = torch.ones_like(centres[:, :1])
    return -alpha * torch.cat([ones, -2 * centres], dim=1) + 0.0  # no -0.0


def offset_weights(conv: nn.Conv2d) -> Tensor:
    """Give the weights of each kernel offset, ``(k², C_in, C_out)``, groups written out.

    Examples
    --------
    >>> offset_weights(nn.Conv2d(4, 6, 3, padding=1, groups=2)).shape
    torch.Size([9, 4, 6])
    """
    check_centred(conv)
    example = torch.zeros(1, conv.in_channels, 1, 1).to(conv.weight)
    return as_mixing(conv, example, view="shifts").channel


def check_centred(conv: nn.Conv2d) -> None:
    """Refuse a convolution that is no sum over the offsets of a centred kernel.

    Raises
    ------
    TypeError
        If it is no `nn.Conv2d`.
    ValueError
        If it has an even kernel, another stride or dilation than 1, or another padding than
        ``k // 2`` zeros.
    """
    if not isinstance(conv, nn.Conv2d):
        raise TypeError(f"conv has type {type(conv).__name__}: expected an nn.Conv2d.")
    kernel = odd_pair(tuple(conv.kernel_size))
    padding = (kernel[0] // 2, kernel[1] // 2)
    given = padding if conv.padding == "same" else conv.padding
    given = (0, 0) if conv.padding == "valid" else tuple(given)
    for name, value, expected in (
        ("stride", tuple(conv.stride), (1, 1)),
        ("dilation", tuple(conv.dilation), (1, 1)),
        ("padding", given, padding),
        ("padding_mode", conv.padding_mode, "zeros"),
    ):
        if value != expected:
            raise ValueError(
                f"conv has {name} {value}, expected {expected}: only then is it one head for each "
                "offset on an image that keeps its size."
            )


def factorise(weights: Tensor, head_width: int, truncate: bool = False) -> tuple[Tensor, Tensor]:
    """Write each C_in x C_out matrix as a product through `head_width` channels.

    Parameters
    ----------
    weights
        ``(H, C_in, C_out)``.
    head_width
        d.
    truncate
        Whether a matrix of higher rank is replaced by the nearest of rank d.

    Returns
    -------
    tuple of Tensor
        ``(H, C_in, d)`` and ``(H, d, C_out)``.

    Raises
    ------
    ValueError
        If a matrix has a rank above d, and `truncate` is False.

    Examples
    --------
    >>> read, write = factorise(torch.ones(1, 3, 4), head_width=1)
    >>> torch.allclose(read @ write, torch.ones(1, 3, 4))
    True
    """
    rank = int(torch.linalg.matrix_rank(weights).max())
    if rank > head_width and not truncate:
        raise ValueError(
            f"head_width={head_width}: the weights of one offset have rank {rank}, and W_V W_O of "
            f"a head has rank at most its width. Take head_width={rank} or more, or truncate=True "
            "for the nearest."
        )
    u, s, vh = torch.linalg.svd(weights, full_matrices=False)
    kept = min(head_width, s.shape[1])
    root = s[:, :kept].sqrt()
    read, write = u[..., :kept] * root[:, None], root[..., None] * vh[:, :kept]
    spare = head_width - kept  # a head may be wider than any rank: the rest stays zero
    read = nn.functional.pad(read, (0, spare))
    return read, nn.functional.pad(write, (0, 0, 0, spare))


def _places(grid: tuple[int, int], ring: tuple[int, int]) -> Tensor:
    """List rows and columns of an image with a ring around it: ``(places, 2)``."""
    rows, columns = (torch.arange(-r, n + r) for n, r in zip(grid, ring, strict=True))
    return torch.cartesian_prod(rows, columns)
