"""Attention written out, over the whole image, in windows, and in a sliding neighbourhood.

The three have the same weights and the same formula, ``softmax(q kᵀ / √d) v``. They differ in
which keys a query may look at, so in where A may have numbers other than zero.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn

from helpers.attention_lifts import check_self_attention
from helpers.kernels import (
    apply_kernels,
    check_heads,
    kernels_to_token,
    neighbours,
    odd_pair,
    token_to_kernels,
    unfold,
)
from helpers.masks import additive_mask
from helpers.mixers.base import (
    TokenMixer,
    check_image,
    check_reading,
    lift_mixer,
    lifted,
    projected_channel_mixing,
)
from helpers.mixing import Mixing, register_lift
from helpers.tokens import from_tokens, to_tokens

Grid = tuple[int, int]

#: What a score may be computed from: the tokens (q kᵀ), their offset (a learned table), or both.
SCORES = ("content", "content+position", "position")


class Attention(TokenMixer):
    """What the three kinds of attention share: the four projections, and b.

    Parameters
    ----------
    channels
        C, in and out.
    heads
        H.
    bias
        Whether the projections have a bias.
    head_width
        d, how many channels a head's queries, keys and values have. By default C / H, as in
        `nn.MultiheadAttention`; then H must divide C.
    scores
        ``"content"``, q kᵀ / √d; ``"position"``, a learned number for each head and offset, with
        neither queries nor keys; or ``"content+position"``, their sum.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        bias: bool = True,
        head_width: int | None = None,
        scores: str = "content",
    ) -> None:
        super().__init__()
        if scores not in SCORES:
            raise ValueError(f"scores={scores!r}: expected one of {', '.join(map(repr, SCORES))}.")
        if head_width is None:
            check_heads(channels, heads)
            head_width = channels // heads
        check_heads(heads * head_width, heads)
        self.channels, self.heads, self.head_width = channels, heads, head_width
        inner, chooses = heads * head_width, scores != "position"
        self.query = nn.Linear(channels, inner, bias) if chooses else None
        self.key = nn.Linear(channels, inner, bias) if chooses else None
        self.value = nn.Linear(channels, inner, bias)
        self.output = nn.Linear(inner, channels, bias)

    @property
    def depends_on_input(self) -> bool:
        """Whether there are queries and keys."""
        return self.query is not None

    def kernels(self, image: Tensor) -> Tensor:
        """Give A as a kernel for each position and head, ``(B, heads, k, k, H, W)``."""
        height, width = image.shape[2:]
        kernel = (2 * height - 1, 2 * width - 1)
        return token_to_kernels(self.token_mixing(image), (height, width), kernel)

    def channel_mixing(self) -> Tensor:
        """Give ``W_h = W_V^h W_O^h``, ``(heads, C, C)``, of rank at most d."""
        return projected_channel_mixing(self.value, self.output, self.heads)

    def constant(self, token: Tensor) -> Tensor:
        """Give ``b = b_V W_O + b_O``, ``(1, C)``: the rows of A sum to 1."""
        if self.output.bias is None:
            return token.new_zeros(1, self.channels)
        return (self.value.bias @ self.output.weight.T + self.output.bias)[None]

    def _split(self, projection: nn.Linear, tokens: Tensor) -> Tensor:
        """Project ``(..., N, C)`` and deal the result to heads: ``(..., heads, N, d)``."""
        return projection(tokens).unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def _content(self, tokens: Tensor) -> Tensor:
        """Give q kᵀ / √d, ``(..., heads, N, N)``."""
        q, k = self._split(self.query, tokens), self._split(self.key, tokens)
        return q @ k.transpose(-1, -2) / math.sqrt(self.head_width)


class MultiHeadAttention(Attention):
    """Multi-head self-attention over all pixels, written out.

    Parameters
    ----------
    channels
        C, in and out.
    heads
        H, a divisor of C unless `head_width` is given.
    bias
        Whether the four projections have a bias.
    head_width
        d; by default C / H.

    Raises
    ------
    ValueError
        If the heads do not divide the channels; when called, if a mask has another shape or hides
        every key from a query.

    Examples
    --------
    >>> attention, image = MultiHeadAttention(8, heads=2), torch.randn(1, 8, 4, 5)
    >>> attention(image).shape, attention.token_mixing(image).shape
    (torch.Size([1, 8, 4, 5]), torch.Size([1, 2, 20, 20]))

    Notes
    -----
    Source: Vaswani et al. (2017), "Attention Is All You Need", section 3.2.
    """

    def __init__(
        self, channels: int, heads: int, bias: bool = True, head_width: int | None = None
    ) -> None:
        super().__init__(channels, heads, bias, head_width)

    def forward(self, image: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Mix ``(B, C, H, W)`` to the same shape; masks as in `nn.MultiheadAttention`."""
        a = self.token_mixing(image, attn_mask)
        v = self._split(self.value, to_tokens(image))
        y = self.output((a @ v).transpose(1, 2).flatten(2))
        return from_tokens(y, tuple(image.shape[2:]))

    def token_mixing(self, image: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Give A at this image, ``(B, heads, N, N)``: softmax(q kᵀ / √d)."""
        check_image(image, self.channels)
        scores = self._content(to_tokens(image))
        mask = additive_mask(scores, attn_mask)
        return torch.softmax(scores if mask is None else scores + mask, dim=-1)

    @classmethod
    def from_torch(cls, layer: nn.MultiheadAttention) -> Self:
        """Copy the weights of PyTorch's layer, whose three input projections are one matrix.

        Examples
        --------
        >>> layer = nn.MultiheadAttention(8, 2, batch_first=True)
        >>> tokens = torch.randn(1, 20, 8)
        >>> ours = to_tokens(MultiHeadAttention.from_torch(layer)(from_tokens(tokens, (4, 5))))
        >>> torch.allclose(ours, layer(tokens, tokens, tokens)[0], atol=1e-5)
        True
        """
        check_self_attention(layer)
        has_bias = layer.in_proj_bias is not None
        attention = cls(layer.embed_dim, layer.num_heads, has_bias).to(layer.in_proj_weight)
        parts = (attention.query, attention.key, attention.value)
        with torch.no_grad():
            for i, part in enumerate(parts):
                part.weight.copy_(layer.in_proj_weight.chunk(3)[i])
                if has_bias:
                    part.bias.copy_(layer.in_proj_bias.chunk(3)[i])
        attention.output.load_state_dict(layer.out_proj.state_dict())
        return attention

    def to_torch(self) -> nn.MultiheadAttention:
        """Copy the weights into PyTorch's layer, with ``batch_first=True``.

        Raises
        ------
        ValueError
            If ``head_width`` is not C / H, which PyTorch's layer does not have.
        """
        if self.heads * self.head_width != self.channels:
            raise ValueError(
                f"head_width={self.head_width} with heads={self.heads} and channels="
                f"{self.channels}: nn.MultiheadAttention always has head_width = channels / heads."
            )
        parts = (self.query, self.key, self.value)
        has_bias = self.output.bias is not None
        layer = nn.MultiheadAttention(self.channels, self.heads, bias=has_bias, batch_first=True)
        layer = layer.to(self.query.weight)
        with torch.no_grad():
            layer.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            if has_bias:
                layer.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        layer.out_proj.load_state_dict(self.output.state_dict())
        return layer


@lifted
class SlidingAttention(Attention):
    """Local attention: each pixel looks at the k x k neighbourhood around it, inside the image.

    With a kernel that reaches everywhere, ``(2 H - 1, 2 W - 1)``, it is global attention.

    Parameters
    ----------
    channels
        C, in and out.
    heads
        H, a divisor of C unless `head_width` is given.
    kernel_size
        k, odd.
    bias
        Whether the projections have a bias.
    head_width
        d; by default C / H.
    scores
        ``"content"``, ``"position"`` (no queries and keys: one learned number for each head and
        offset, k² for a head) or ``"content+position"``.

    Raises
    ------
    ValueError
        If the heads do not divide the channels, or the kernel size is even.

    Examples
    --------
    >>> attention, image = SlidingAttention(8, heads=2, kernel_size=3), torch.randn(1, 8, 5, 6)
    >>> attention(image).shape, attention.kernels(image).shape
    (torch.Size([1, 8, 5, 6]), torch.Size([1, 2, 3, 3, 5, 6]))

    Notes
    -----
    Source: Ramachandran et al. (2019), "Stand-Alone Self-Attention in Vision Models", section 3.
    There keys outside the image are zeros that take part; here they are left out, so every row
    of A sums to 1.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        kernel_size: int | tuple[int, int],
        bias: bool = True,
        head_width: int | None = None,
        scores: str = "content",
    ) -> None:
        super().__init__(channels, heads, bias, head_width, scores)
        self.kernel_size = odd_pair(kernel_size)
        self.position_table = _position_table(scores, heads, self.kernel_size)

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C, H, W)`` to the same shape."""
        kernels = self.kernels(image)
        grid = tuple(image.shape[2:])
        values = from_tokens(self.value(to_tokens(image)), grid)
        return from_tokens(self.output(to_tokens(apply_kernels(values, kernels))), grid)

    def kernels(self, image: Tensor) -> Tensor:
        """Give the weights of each position and head, ``(B, heads, k, k, H, W)``, 0 outside."""
        check_image(image, self.channels)
        grid = tuple(image.shape[2:])
        outside = (neighbours(grid, self.kernel_size) < 0).to(image.device)  # (k², N)
        batch = image.shape[0] if self.depends_on_input else 1
        scores = image.new_zeros(batch, self.heads, *outside.shape)
        if self.query is not None:
            tokens = to_tokens(image)
            q = self.query(tokens).transpose(1, 2).unflatten(1, (self.heads, -1))
            k = unfold(from_tokens(self.key(tokens), grid), self.kernel_size)
            k = k.unflatten(1, (self.heads, -1))  # (B, heads, d, k², N)
            scores = scores + (q[:, :, :, None] * k).sum(2) / math.sqrt(self.head_width)
        if self.position_table is not None:
            scores = scores + self.position_table.flatten(1)[None, :, :, None]
        weights = torch.softmax(scores.masked_fill(outside, -torch.inf), dim=2)
        return weights.unflatten(2, self.kernel_size).unflatten(4, grid)

    def token_mixing(self, image: Tensor) -> Tensor:
        """Give A at this image, ``(B or 1, heads, N, N)``: zero beyond the neighbourhood."""
        return kernels_to_token(self.kernels(image))


@lifted
class WindowAttention(Attention):
    """Local attention in windows: the image is cut into M x M windows, each attends to itself.

    Parameters
    ----------
    channels
        C, in and out.
    heads
        H, a divisor of C unless `head_width` is given.
    window
        M, the side of a window; even or odd. Images must be whole windows high and wide.
    bias
        Whether the projections have a bias.
    head_width
        d; by default C / H.
    scores
        ``"content"``, ``"position"`` (no queries and keys: one learned number for each head and
        offset, ``(2 M - 1)²`` for a head) or ``"content+position"``, as in Swin.

    Raises
    ------
    ValueError
        If the heads do not divide the channels; when called, if the windows do not fit.

    Examples
    --------
    >>> attention = WindowAttention(96, heads=3, window=7, scores="content+position")
    >>> attention(torch.randn(1, 96, 14, 14)).shape
    torch.Size([1, 96, 14, 14])

    Notes
    -----
    Source: Liu et al. (2021), "Swin Transformer", section 3.2, without the shift of every second
    block, which moves the windows and has no weights.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: int,
        bias: bool = True,
        head_width: int | None = None,
        scores: str = "content",
    ) -> None:
        super().__init__(channels, heads, bias, head_width, scores)
        if isinstance(window, bool) or not isinstance(window, int):
            raise TypeError(f"window={window!r}: expected a whole number.")
        if window < 1:
            raise ValueError(f"window={window}: expected at least 1.")
        self.window = window
        self.position_table = _position_table(scores, heads, (2 * window - 1, 2 * window - 1))

    def forward(self, image: Tensor) -> Tensor:
        """Mix ``(B, C, H, W)`` to the same shape."""
        a = self._window_weights(image)
        v = self._split(self.value, self._cut(image))
        y = self.output((a @ v).transpose(2, 3).flatten(3))  # (B, windows, M², C)
        rows = image.shape[2] // self.window
        y = y.unflatten(2, (self.window, -1)).unflatten(1, (rows, -1))
        return y.permute(0, 5, 1, 3, 2, 4).reshape(image.shape)

    def kernels(self, image: Tensor) -> Tensor:
        """Give A as a kernel for each position and head, with k = 2 M - 1."""
        return token_to_kernels(
            self.token_mixing(image), tuple(image.shape[2:]), 2 * self.window - 1
        )

    def token_mixing(self, image: Tensor) -> Tensor:
        """Give A at this image, ``(B or 1, heads, N, N)``: zero between windows."""
        a = self._window_weights(image)  # (B, windows, heads, M², M²)
        height, width = image.shape[2:]
        numbers = torch.arange(height * width, device=image.device, dtype=torch.float64)
        members = self._cut(numbers.view(1, 1, height, width))[0, :, :, 0].long()
        token = image.new_zeros(a.shape[0], self.heads, height * width, height * width)
        for w, inside in enumerate(members):
            token[:, :, inside[:, None], inside] = a[:, w]
        return token

    def _window_weights(self, image: Tensor) -> Tensor:
        """Give each window's own A: ``(B, windows, heads, M², M²)``."""
        check_image(image, self.channels)
        windows = self._cut(image)
        cells = windows.shape[2]
        batch = image.shape[0] if self.depends_on_input else 1
        scores = image.new_zeros(batch, windows.shape[1], self.heads, cells, cells)
        if self.query is not None:
            scores = scores + self._content(windows)
        if self.position_table is not None:
            scores = scores + self._positions()
        return torch.softmax(scores, dim=-1)

    def _positions(self) -> Tensor:
        """Look up each pair of cells in the table by its offset: ``(heads, M², M²)``."""
        m = self.window
        cells = torch.cartesian_prod(torch.arange(m), torch.arange(m)).view(-1, 2)
        offset = cells[None] - cells[:, None] + m - 1  # key minus query, from 0
        return self.position_table[:, offset[..., 0], offset[..., 1]]

    def _cut(self, image: Tensor) -> Tensor:
        """Cut ``(B, C, H, W)`` into windows: ``(B, windows, M², C)``, both row by row."""
        m = self.window
        height, width = image.shape[2:]
        if height % m or width % m:
            raise ValueError(
                f"image is {height} x {width}: windows of {m} x {m} do not fill it. Take a window "
                f"that divides both ({math.gcd(height, width)} at most), or pad the image."
            )
        cut = image.unflatten(3, (width // m, m)).unflatten(2, (height // m, m))
        return cut.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)


def _position_table(scores: str, heads: int, offsets: Grid) -> nn.Parameter | None:
    """Make the table of learned scores, one for each head and offset."""
    if scores == "content":
        return None
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(heads, *offsets), std=0.02))


@register_lift(MultiHeadAttention)
def _lift_global(
    layer: MultiHeadAttention,
    x: Tensor,
    *,
    view: str | None,
    layout: str | None,
    attn_mask: Tensor | None = None,
) -> Mixing:
    check_reading(layer, view, layout)
    return lift_mixer(layer, x, attn_mask=attn_mask)
