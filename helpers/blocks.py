"""The parts of the two blocks, under the names that their official code uses.

This far it holds the part that both blocks end with: normalise each token, widen its channels,
bend, narrow again. Transformers call it the feed-forward; in ConvNeXt it is what follows the
depthwise convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.equivalence import fold_scale


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


def _require_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1.")
