"""The book's own token mixers, from depthwise convolution to attention, over images (B, C, H, W).

Every mixer is an `nn.Module` that takes ``(B, C, H, W)`` and gives one of the same height and
width, that `helpers.mixing.as_mixing` lifts, and that shows its own A and W by
``token_mixing(image)`` and ``channel_mixing()`` (`DepthwiseConv` is an `nn.Conv2d` and is lifted
as one). Heads take contiguous blocks of channels, as in `nn.MultiheadAttention`.

====================================  ==========================  ======================
mixer                                 A                           W
====================================  ==========================  ======================
`DepthwiseConv`                       learned, one per channel    fixed: a channel each
`StaticHeads`                         learned, one per head       W_V W_O, or fixed
`LightConv`                           the same, through softmax   fixed: a head's channels
`PoolMixer`                           fixed                       identity
`DynamicDepthwiseConv`                computed from the image     fixed: a head's channels
`MultiHeadAttention`                  computed, dense             W_V W_O
`SlidingAttention`                    computed, k x k             W_V W_O
`WindowAttention`                     computed, in windows        W_V W_O
`OneHotHeads`                         fixed shifts, k² heads      W_V W_O
`RelativePositionAttention`           fixed bumps, k² heads       W_V W_O
====================================  ==========================  ======================

The functions of `rewriting` write one as another, where the two compute the same.
"""

from helpers.kernels import apply_kernels, kernels_to_token, neighbours, token_to_kernels
from helpers.mixers.attention import (
    Attention,
    MultiHeadAttention,
    SlidingAttention,
    WindowAttention,
)
from helpers.mixers.base import TokenMixer
from helpers.mixers.dynamic import DynamicDepthwiseConv, LinearKernels
from helpers.mixers.position import (
    OneHotHeads,
    RelativePositionAttention,
    factorise,
    head_vectors,
    offset_weights,
    relative_encoding,
)
from helpers.mixers.rewriting import (
    AttentionKernels,
    DynamicConvForm,
    depthwise_from_heads,
    dynamic_conv_from_attention,
    heads_from_depthwise,
    sliding_from_global,
)
from helpers.mixers.static import DepthwiseConv, LightConv, PoolMixer, StaticHeads

__all__ = [
    "Attention",
    "AttentionKernels",
    "DepthwiseConv",
    "DynamicConvForm",
    "DynamicDepthwiseConv",
    "LightConv",
    "LinearKernels",
    "MultiHeadAttention",
    "OneHotHeads",
    "PoolMixer",
    "RelativePositionAttention",
    "SlidingAttention",
    "StaticHeads",
    "TokenMixer",
    "WindowAttention",
    "apply_kernels",
    "depthwise_from_heads",
    "dynamic_conv_from_attention",
    "factorise",
    "head_vectors",
    "heads_from_depthwise",
    "kernels_to_token",
    "neighbours",
    "offset_weights",
    "relative_encoding",
    "sliding_from_global",
    "token_to_kernels",
]
