"""The two blocks, under the names that their official code uses.

`ConvNeXtBlock` is what the official ConvNeXt code builds, in both of the orders that its comment
describes; `TransformerBlock` is the pre-norm block of ViT. Both end alike: normalise each token,
widen its channels, bend, narrow again. `ConvNeXtTail` and `FeedForward` are that end, by the two
names it goes by. `DynamicConvBlock` is the Transformer block once more, written as convolutions.

The way from one block to the other, one change at a time, is in `helpers.morph`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.equivalence import fold_scale, pointwise_from_linear
from helpers.kernels import check_heads, odd_pair
from helpers.mixers import MultiHeadAttention, dynamic_conv_from_attention, sliding_from_global


class ConvNeXtTail(nn.Module):
    """What a ConvNeXt block does after its depthwise convolution, without the outer skip.

    Permute to channels last, LayerNorm, Linear ``C -> 4C``, GELU, Linear ``4C -> C``, layer scale,
    permute back. Submodules carry the official names: an official block's state dict fits once its
    ``dwconv`` entries are taken out.

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

    @classmethod
    def from_layer_norm(cls, norm: nn.LayerNorm) -> LayerNormChannelsFirst:
        """Copy the weights of an `nn.LayerNorm` over the channels.

        Examples
        --------
        >>> LayerNormChannelsFirst.from_layer_norm(nn.LayerNorm(8)).eps
        1e-05
        """
        (channels,) = norm.normalized_shape
        built = cls(channels, norm.eps).to(norm.weight)
        built.load_state_dict(norm.state_dict())
        return built


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
        odd_pair(kernel_size)
        if order not in self.ORDERS:
            raise ValueError(f"order={order!r}: expected 'channels_last' or 'channels_first'.")
        self.order = order
        self.dwconv = nn.Conv2d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels
        )
        if order == "channels_first":
            self.norm = LayerNormChannelsFirst.from_layer_norm(self.norm)
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
    Sources: Vaswani et al., "Attention Is All You Need" (2017), section 3.3, with ReLU and the norm
    after the skip; with GELU and the norm first, Dosovitskiy et al., "An Image is Worth 16x16
    Words" (2021), section 3.1.
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
            If the layer normalises after the feed-forward (``norm_first=False``), if its LayerNorm
            has another `eps`, or its activation is not the exact GELU: each would compute
            something else.
        """
        if not layer.norm_first:
            raise ValueError("the layer has norm_first=False; this feed-forward norms first.")
        if layer.norm2.eps != self.norm.eps:
            raise ValueError(
                f"the layer's norm2.eps is {layer.norm2.eps}, this feed-forward's {self.norm.eps}: "
                "build the layer with layer_norm_eps set to the same value."
            )
        exact = layer.activation is nn.functional.gelu or (
            isinstance(layer.activation, nn.GELU) and layer.activation.approximate == "none"
        )
        if not exact:
            raise ValueError(
                "the layer's activation is not the exact GELU: pass activation='gelu'."
            )
        layer.norm2.load_state_dict(self.norm.state_dict())
        layer.linear1.load_state_dict(self.linear1.state_dict())
        layer.linear2.load_state_dict(self.linear2.state_dict())
        return layer


class EncoderFeedForward(nn.Module):
    """The part of PyTorch's own `nn.TransformerEncoderLayer` that comes after attention.

    Runs the layer's own code, norm and feed-forward, with the layer's own weights and dropout. The
    skip around it is left out, as in `ConvNeXtTail`.

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
        return self.layer._ff_block(self.layer.norm2(tokens))


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
        check_heads(channels, heads)
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
    """A Transformer block as convolutions on an image, with a filter for each pixel and head.

    ``[LayerNorm, 1x1, dynamic depthwise conv, 1x1, +] [LayerNorm, 1x1, GELU, 1x1, +]``. The filter
    at a pixel is computed from the input: the pixel's query times the key at each offset, softmax
    over the offsets that fall inside the image. A filter of ``2H - 1`` by ``2W - 1`` taps reaches
    every pixel from every pixel, and the block is the Transformer block. A smaller one makes it
    local attention in a sliding window.

    Parameters
    ----------
    block
        The Transformer block. Weights are copied.
    grid
        The image size ``(H, W)`` that it is for.
    kernel_size
        Of the dynamic depthwise convolution; odd. ``None`` reaches the whole image.

    Examples
    --------
    >>> block, image = TransformerBlock(8, heads=2), torch.randn(1, 8, 4, 5)
    >>> convolutions = DynamicConvBlock(block, grid=(4, 5))
    >>> tokens = image.flatten(2).transpose(1, 2)
    >>> out = convolutions(image).flatten(2).transpose(1, 2)
    >>> torch.allclose(out, block(tokens), atol=1e-5)
    True
    >>> convolutions.kernels(image).shape
    torch.Size([1, 2, 7, 9, 4, 5])

    Notes
    -----
    Source: Han et al., "On the Connection between Local Attention and Dynamic Depth-wise
    Convolution" (2022), section 2.
    """

    def __init__(
        self, block: TransformerBlock, grid: tuple[int, int], kernel_size: int | None = None
    ) -> None:
        super().__init__()
        attention = sliding_from_global(MultiHeadAttention.from_torch(block.self_attn), grid)
        if kernel_size is not None:
            attention.kernel_size = odd_pair(kernel_size)
        self.norm1 = LayerNormChannelsFirst.from_layer_norm(block.norm1)
        self.mixer = dynamic_conv_from_attention(attention)
        self.norm2 = LayerNormChannelsFirst.from_layer_norm(block.norm2)
        self.pwconv1 = pointwise_from_linear(block.linear1)
        self.act = nn.GELU()
        self.pwconv2 = pointwise_from_linear(block.linear2)

    def forward(self, image: Tensor) -> Tensor:
        """Apply the block to ``(B, C, H, W)``; gives the same shape."""
        image = image + self.mixer(self.norm1(image))
        return image + self.pwconv2(self.act(self.pwconv1(self.norm2(image))))

    def kernels(self, image: Tensor) -> Tensor:
        """Compute the filters at this image.

        Returns
        -------
        Tensor
            ``(B, heads, kernel height, kernel width, H, W)``: one filter for each pixel and head.
            Taps outside the image are 0, all others positive; they sum to 1.
        """
        return self.mixer.dynamic.kernels(self.norm1(image))


def _require_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1.")
