"""The two blocks, under the names that their official code uses.

`ConvNeXtBlock` is what the official ConvNeXt code builds, in both of the orders that its comment
describes; `TransformerBlock` is the pre-norm block of ViT. Both end alike: normalise each token,
widen its channels, bend, narrow again. `ConvNeXtTail` and `FeedForward` are that end, by the two
names it goes by. `DynamicConvBlock` is the Transformer block once more, written as convolutions.

The way from one block to the other, one change at a time, is in `helpers.morph`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.equivalence import fold_scale, pointwise_from_linear


class ConvNeXtTail(nn.Module):
    """What a ConvNeXt block does after its depthwise convolution, without the outer skip.

    Permute to channels last, LayerNorm, Linear ``C -> 4C``, GELU, Linear ``4C -> C``, layer scale,
    permute back. Submodules carry the official names, so an official state dict fits.

    Parameters
    ----------
    channels
        C.
    expansion
        How many times wider the hidden layer is; 4 in the paper.
    layer_scale
        Start value of the per-channel factor ``gamma``; ``None`` leaves the factor out.

    Raises
    ------
    ValueError
        If `channels` or `expansion` is below 1.

    Examples
    --------
    >>> ConvNeXtTail(8)(torch.randn(2, 8, 5, 7)).shape
    torch.Size([2, 8, 5, 7])

    Notes
    -----
    Source: Liu et al., "A ConvNet for the 2020s" (2022), figure 4; the repository
    facebookresearch/ConvNeXt, ``models/convnext.py``, class ``Block``, implementation (2).
    """

    def __init__(self, channels: int, expansion: int = 4, layer_scale: float | None = 1e-6) -> None:
        super().__init__()
        _require_positive(channels=channels, expansion=expansion)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, expansion * channels)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(expansion * channels, channels)
        self.gamma = (
            None if layer_scale is None else nn.Parameter(torch.full((channels,), layer_scale))
        )

    def forward(self, image: Tensor) -> Tensor:
        """Apply the tail to ``(B, C, H, W)``; gives the same shape."""
        x = image.permute(0, 2, 3, 1)
        x = self.pwconv2(self.act(self.pwconv1(self.norm(x))))
        if self.gamma is not None:
            x = self.gamma * x
        return x.permute(0, 3, 1, 2)


class LayerNormChannelsFirst(nn.Module):
    """LayerNorm over the channels of each pixel, for images ``(B, C, H, W)``.

    The official code calls it ``LayerNorm(data_format="channels_first")``. It computes what
    `nn.LayerNorm` computes on the same image with its channels last, without moving an axis.

    Parameters
    ----------
    channels
        C.
    eps
        Added to the variance.

    Examples
    --------
    >>> LayerNormChannelsFirst(8)(torch.randn(2, 8, 5, 7)).shape
    torch.Size([2, 8, 5, 7])

    Notes
    -----
    Source: the repository facebookresearch/ConvNeXt, ``models/convnext.py``, class ``LayerNorm``.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        _require_positive(channels=channels)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, image: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)`` at each pixel; gives the same shape."""
        centred = image - image.mean(1, keepdim=True)
        variance = centred.square().mean(1, keepdim=True)
        x = centred / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class ConvNeXtBlock(ConvNeXtTail):
    """The ConvNeXt block: depthwise convolution, then the tail, with one skip around both.

    The official code gives two orders of the same computation. ``"channels_last"`` is the one it
    uses: permute, LayerNorm, Linear, GELU, Linear, permute back. ``"channels_first"`` stays in
    ``(B, C, H, W)``: a LayerNorm over axis 1 and 1x1 convolutions. Submodules carry the official
    names in both, and both take an official state dict, whichever order it was saved from.

    Parameters
    ----------
    channels
        C.
    kernel_size
        Of the depthwise convolution; odd, so that it has a centre. 7 in the paper.
    expansion, layer_scale
        As in `ConvNeXtTail`.
    order
        ``"channels_last"`` or ``"channels_first"``.

    Raises
    ------
    ValueError
        If a size is below 1, `kernel_size` is even, or there is no such order.

    Examples
    --------
    >>> block = ConvNeXtBlock(8)
    >>> block(torch.randn(2, 8, 5, 7)).shape
    torch.Size([2, 8, 5, 7])
    >>> other = ConvNeXtBlock(8, order="channels_first")
    >>> other.load_state_dict(block.state_dict())
    <All keys matched successfully>

    Notes
    -----
    Source: Liu et al., "A ConvNet for the 2020s" (2022), figure 4; the repository
    facebookresearch/ConvNeXt, ``models/convnext.py``, class ``Block``. Its stochastic depth, which
    has no weights and does nothing in eval mode, is left out.
    """

    ORDERS = ("channels_last", "channels_first")

    def __init__(
        self,
        channels: int,
        kernel_size: int = 7,
        expansion: int = 4,
        layer_scale: float | None = 1e-6,
        order: str = "channels_last",
    ) -> None:
        super().__init__(channels, expansion, layer_scale)
        require_odd(kernel_size)
        if order not in self.ORDERS:
            raise ValueError(f"order={order!r}: expected 'channels_last' or 'channels_first'.")
        self.order = order
        self.dwconv = nn.Conv2d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels
        )
        if order == "channels_first":
            self.norm = LayerNormChannelsFirst(channels)
            self.pwconv1 = pointwise_from_linear(self.pwconv1)
            self.pwconv2 = pointwise_from_linear(self.pwconv2)
        self.register_load_state_dict_pre_hook(_reshape_pointwise)

    def forward(self, image: Tensor) -> Tensor:
        """Apply the block to ``(B, C, H, W)``; gives the same shape."""
        return image + self.tail(self.dwconv(image))

    def tail(self, image: Tensor) -> Tensor:
        """Apply what follows the depthwise convolution, without the skip."""
        if self.order == "channels_last":
            return super().forward(image)
        x = self.pwconv2(self.act(self.pwconv1(self.norm(image))))
        return x if self.gamma is None else self.gamma[:, None, None] * x


def _reshape_pointwise(block: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Let either order load the other's weights: ``(out, in)`` and ``(out, in, 1, 1)``."""
    for name in ("pwconv1", "pwconv2"):
        key, mine = f"{prefix}{name}.weight", getattr(block, name).weight
        if key in state and state[key].flatten(1).shape == mine.flatten(1).shape:
            state[key] = state[key].reshape(mine.shape)


class FeedForward(nn.Module):
    """The Transformer's feed-forward with the norm before it: LayerNorm, Linear, GELU, Linear.

    Works on the last axis of tokens ``(B, N, C)`` or channels-last images ``(B, H, W, C)``.

    Parameters
    ----------
    channels
        C.
    expansion
        How many times wider the hidden layer is; 4 in most Transformers.
    eps
        Added to the variance in the LayerNorm. PyTorch's default is 1e-5; ConvNeXt and ViT use
        1e-6, and a difference here is a difference in the output.

    Raises
    ------
    ValueError
        If `channels` or `expansion` is below 1.

    Examples
    --------
    >>> FeedForward(8)(torch.randn(2, 35, 8)).shape
    torch.Size([2, 35, 8])

    Notes
    -----
    Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.3.
    """

    def __init__(self, channels: int, expansion: int = 4, eps: float = 1e-6) -> None:
        super().__init__()
        _require_positive(channels=channels, expansion=expansion)
        self.norm = nn.LayerNorm(channels, eps=eps)
        self.linear1 = nn.Linear(channels, expansion * channels)
        self.activation: nn.Module = nn.GELU()
        self.linear2 = nn.Linear(expansion * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply the feed-forward to ``(..., C)``; gives the same shape."""
        return self.linear2(self.activation(self.linear1(self.norm(tokens))))

    @classmethod
    def from_tail(cls, tail: ConvNeXtTail) -> FeedForward:
        """Build the feed-forward that computes what `tail` does: layer scale folded in.

        Examples
        --------
        >>> tail = ConvNeXtTail(8)
        >>> image = torch.randn(1, 8, 2, 2)
        >>> tokens = image.flatten(2).transpose(1, 2)
        >>> out = FeedForward.from_tail(tail)(tokens)
        >>> torch.allclose(out, tail(image).flatten(2).transpose(1, 2), atol=1e-6)
        True
        """
        channels = tail.pwconv1.in_features
        feed_forward = cls(channels, tail.pwconv1.out_features // channels, tail.norm.eps)
        shrink = tail.pwconv2 if tail.gamma is None else fold_scale(tail.pwconv2, tail.gamma)
        feed_forward.to(tail.pwconv1.weight)
        feed_forward.norm.load_state_dict(tail.norm.state_dict())
        feed_forward.linear1.load_state_dict(tail.pwconv1.state_dict())
        feed_forward.linear2.load_state_dict(shrink.state_dict())
        return feed_forward

    def load_into(self, layer: nn.TransformerEncoderLayer) -> nn.TransformerEncoderLayer:
        """Copy these weights into the feed-forward of a PyTorch encoder layer, and give it back.

        Raises
        ------
        ValueError
            If the layer normalises after the feed-forward (``norm_first=False``), or if its
            LayerNorm has another `eps`: both would compute something else.
        """
        if not layer.norm_first:
            raise ValueError("the layer has norm_first=False; this feed-forward norms first.")
        if layer.norm2.eps != self.norm.eps:
            raise ValueError(
                f"the layer's norm2.eps is {layer.norm2.eps}, this feed-forward's {self.norm.eps}: "
                "build the layer with layer_norm_eps set to the same value."
            )
        layer.norm2.load_state_dict(self.norm.state_dict())
        layer.linear1.load_state_dict(self.linear1.state_dict())
        layer.linear2.load_state_dict(self.linear2.state_dict())
        return layer


class EncoderFeedForward(nn.Module):
    """The part of PyTorch's own `nn.TransformerEncoderLayer` that comes after attention.

    ``linear2(dropout(activation(linear1(norm2(x)))))``, by calling the layer's own submodules: no
    weights of this class's own. The skip around it is left out, as in `ConvNeXtTail`.

    Raises
    ------
    ValueError
        If the layer was built with ``norm_first=False``.

    Examples
    --------
    >>> layer = nn.TransformerEncoderLayer(8, 2, 32, norm_first=True, activation="gelu")
    >>> EncoderFeedForward(layer.eval())(torch.randn(2, 35, 8)).shape
    torch.Size([2, 35, 8])
    """

    def __init__(self, layer: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        if not layer.norm_first:
            raise ValueError(
                "the layer has norm_first=False: it norms after the feed-forward. "
                "Build it with norm_first=True."
            )
        self.layer = layer

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply norm and feed-forward to ``(..., C)``; gives the same shape."""
        layer = self.layer
        hidden = layer.dropout(layer.activation(layer.linear1(layer.norm2(tokens))))
        return layer.dropout2(layer.linear2(hidden))


class TransformerBlock(nn.Module):
    """The Transformer block with the norms first, as in ViT: attention, then the feed-forward.

    Its names are those of `nn.TransformerEncoderLayer`, and so are its numbers: with
    ``norm_first=True``, ``activation="gelu"`` and the same `eps`, either loads the other's state
    dict and computes the same. It has no dropout.

    Parameters
    ----------
    channels
        C.
    heads
        H; divides C.
    expansion
        How many times wider the hidden layer is; 4 in most Transformers.
    eps
        Of both LayerNorms. 1e-6 in ViT; `nn.TransformerEncoderLayer` has 1e-5 unless told.

    Raises
    ------
    ValueError
        If a size is below 1, or `heads` does not divide `channels`.

    Examples
    --------
    >>> block = TransformerBlock(8, heads=2)
    >>> block(torch.randn(2, 35, 8)).shape
    torch.Size([2, 35, 8])
    >>> layer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", 1e-6, True, norm_first=True)
    >>> block.load_state_dict(layer.state_dict())
    <All keys matched successfully>

    Notes
    -----
    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), section 3.1; Vaswani et
    al., "Attention Is All You Need" (2017), section 3, where the norms come last.
    """

    def __init__(self, channels: int, heads: int, expansion: int = 4, eps: float = 1e-6) -> None:
        super().__init__()
        _require_positive(channels=channels, heads=heads, expansion=expansion)
        require_heads(channels, heads)
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.self_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.linear1 = nn.Linear(channels, expansion * channels)
        self.activation = nn.GELU()
        self.linear2 = nn.Linear(expansion * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply the block to ``(B, N, C)`` or a channels-last image ``(B, H, W, C)``.

        Attention runs over all tokens of a sample. For ``(B, C, H, W)`` see
        `helpers.equivalence.OnPixels`.
        """
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.linear2(self.activation(self.linear1(self.norm2(tokens))))

    def attention(self, tokens: Tensor) -> Tensor:
        """Apply the attention alone, without its norm and skip."""
        x = tokens.flatten(1, -2)
        return self.self_attn(x, x, x, need_weights=False)[0].reshape(tokens.shape)


class DynamicConvBlock(nn.Module):
    """The Transformer block as convolutions on an image; one filter for each pixel and head.

    ``[LayerNorm, 1x1, dynamic depthwise conv, 1x1, +] [LayerNorm, 1x1, GELU, 1x1, +]``. The filter
    at a pixel is computed from the input: the pixel's query times the key at each offset, softmax
    over the offsets that fall inside the image. A filter of ``2H - 1`` by ``2W - 1`` taps reaches
    every pixel from every pixel, and the block is the Transformer block. A smaller one makes it
    local attention in a sliding window.

    Parameters
    ----------
    channels, heads, expansion, eps
        As in `TransformerBlock`.
    kernel_size
        Of the dynamic depthwise convolution; odd. ``None`` reaches the whole image.

    Raises
    ------
    ValueError
        If a size is below 1, `heads` does not divide `channels`, or `kernel_size` is even.

    Examples
    --------
    >>> block = DynamicConvBlock(8, heads=2)
    >>> image = torch.randn(1, 8, 4, 5)
    >>> block(image).shape
    torch.Size([1, 8, 4, 5])
    >>> block.kernel(block.norm1(image)).shape
    torch.Size([1, 2, 7, 9, 4, 5])

    Notes
    -----
    Source: Han et al., "On the Connection between Local Attention and Dynamic Depth-wise
    Convolution" (2022), section 2.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        expansion: int = 4,
        kernel_size: int | None = None,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        _require_positive(channels=channels, heads=heads, expansion=expansion)
        require_heads(channels, heads)
        if kernel_size is not None:
            require_odd(kernel_size)
        self.heads, self.kernel_size = heads, kernel_size
        self.norm1 = LayerNormChannelsFirst(channels, eps)
        self.query, self.key, self.value, self.out = (
            nn.Conv2d(channels, channels, 1) for _ in range(4)
        )
        self.norm2 = LayerNormChannelsFirst(channels, eps)
        self.pwconv1 = nn.Conv2d(channels, expansion * channels, 1)
        self.act = nn.GELU()
        self.pwconv2 = nn.Conv2d(expansion * channels, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Apply the block to ``(B, C, H, W)``; gives the same shape."""
        image = image + self.attention(self.norm1(image))
        return image + self.pwconv2(self.act(self.pwconv1(self.norm2(image))))

    def attention(self, image: Tensor) -> Tensor:
        """Apply ``1x1, dynamic depthwise conv, 1x1`` alone, without norm and skip."""
        kernel = self.kernel(image).flatten(4).flatten(2, 3)  # (B, heads, taps, N)
        value = self._neighbours(self.value(image))
        mixed = torch.einsum("bhtn,bhdtn->bhdn", kernel, value)
        return self.out(mixed.reshape(image.shape))

    def kernel(self, image: Tensor) -> Tensor:
        """Compute the filters from the normalised image.

        Returns
        -------
        Tensor
            ``(B, heads, kernel height, kernel width, H, W)``: one filter for each pixel and head.
            Taps outside the image are 0, all others positive; they sum to 1.
        """
        query = self.query(image).flatten(2).unflatten(1, (self.heads, -1))  # (B, heads, d, N)
        key = self._neighbours(self.key(image))
        inside = self._neighbours(torch.ones_like(image[:1, : self.heads])) > 0
        scores = torch.einsum("bhdn,bhdtn->bhtn", query, key) / query.shape[2] ** 0.5
        weights = scores.masked_fill(~inside[:, :, 0], -torch.inf).softmax(2)
        return weights.unflatten(2, self._reach(image)).unflatten(4, image.shape[2:])

    def _reach(self, image: Tensor) -> tuple[int, int]:
        height, width = image.shape[2:]
        if self.kernel_size is None:
            return 2 * height - 1, 2 * width - 1
        return self.kernel_size, self.kernel_size

    def _neighbours(self, image: Tensor) -> Tensor:
        """Give what each pixel has at each offset: ``(B, heads, d, taps, N)``, zeros outside."""
        rows, columns = self._reach(image)
        windows = F.unfold(image, (rows, columns), padding=(rows // 2, columns // 2))
        return windows.unflatten(1, (self.heads, image.shape[1] // self.heads, rows * columns))

    @classmethod
    def from_transformer(
        cls, block: TransformerBlock, kernel_size: int | None = None
    ) -> DynamicConvBlock:
        """Build the block of convolutions with the weights of `block`.

        Examples
        --------
        >>> block = TransformerBlock(8, heads=2)
        >>> image = torch.randn(1, 8, 4, 5)
        >>> tokens = image.flatten(2).transpose(1, 2)
        >>> out = DynamicConvBlock.from_transformer(block)(image).flatten(2).transpose(1, 2)
        >>> torch.allclose(out, block(tokens), atol=1e-5)
        True
        """
        channels = block.linear1.in_features
        built = cls(
            channels,
            block.self_attn.num_heads,
            block.linear1.out_features // channels,
            kernel_size,
            block.norm1.eps,
        ).to(block.linear1.weight)
        state = {
            name.replace("linear", "pwconv"): tensor
            for name, tensor in block.state_dict().items()
            if not name.startswith("self_attn")
        }
        state |= split_attention(block.self_attn)
        shapes = built.state_dict()
        built.load_state_dict({key: state[key].reshape(shapes[key].shape) for key in shapes})
        return built


def split_attention(attention: nn.MultiheadAttention) -> dict[str, Tensor]:
    """Give the weights of an `nn.MultiheadAttention` as those of its four Linear layers.

    Returns
    -------
    dict
        ``{query,key,value,out}.{weight,bias}``: the three blocks of rows of ``in_proj_weight``, and
        ``out_proj``.

    Examples
    --------
    >>> list(split_attention(nn.MultiheadAttention(8, 2)))[:3]
    ['query.weight', 'key.weight', 'value.weight']
    """
    names = ("query", "key", "value")
    weights = attention.in_proj_weight.detach().chunk(3)
    biases = attention.in_proj_bias.detach().chunk(3)
    return {
        **{f"{name}.weight": w for name, w in zip(names, weights, strict=True)},
        **{f"{name}.bias": b for name, b in zip(names, biases, strict=True)},
        "out.weight": attention.out_proj.weight.detach(),
        "out.bias": attention.out_proj.bias.detach(),
    }


def require_heads(channels: int, heads: int) -> None:
    """Raise a `ValueError` unless `heads` divides `channels`."""
    if channels % heads:
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        raise ValueError(
            f"heads is {heads}, which does not divide the {channels} channels: every head needs "
            f"as many. Choose one of {', '.join(map(str, divisors))}."
        )


def require_odd(kernel_size: int) -> None:
    """Raise a `ValueError` unless `kernel_size` is odd and positive: only then it has a centre."""
    _require_positive(kernel_size=kernel_size)
    if kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size is {kernel_size}, expected an odd number: the filter is centred on its "
            f"pixel. Choose {kernel_size - 1} or {kernel_size + 1}."
        )


def _require_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1.")
