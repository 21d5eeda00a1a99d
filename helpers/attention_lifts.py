"""The lift of `nn.MultiheadAttention` as self-attention: A is frozen at one input, W and b are not.

With ``q_h = x W_Q^h + b_Q^h`` and so on, head h computes ``softmax(q_h k_hᵀ / √d) v_h W_O^h``. Read
as the mixing equation that is

- ``A_h = softmax(q_h k_hᵀ / √d)``, N x N, one for each sample: computed from the input, so the lift
  holds at this input only;
- ``W_h = W_V^h W_O^h``, C x C and of rank at most d = C / H: every head reads all C channels;
- ``b = b_V W_O + b_O``: the rows of A sum to 1, so the value bias passes through it unchanged.

The trap of the averaged weights: ``layer(x, x, x)`` returns its output and *one* N x N matrix for
each sample, for ``need_weights=True`` averages over the heads by default. That matrix is no head's
A, and no ``A X W`` with it gives the output. Ask for ``average_attn_weights=False``.

Masks are passed to `as_mixing` by the names and in the shapes of ``layer.forward``: ``attn_mask``,
``(N, N)`` or ``(B * H, N, N)``, and ``key_padding_mask``, ``(B, N)``; boolean (True hides) or
numbers to add (`helpers.masks`). The tokens of an image come as a line of N: to lay rows of A back
over the image, ``dataclasses.replace(mixing, grid_in=(H, W), grid_out=(H, W))``.

Examples
--------
>>> from helpers.mixing import as_mixing
>>> layer = nn.MultiheadAttention(8, num_heads=2, batch_first=True)
>>> x, causal = torch.randn(3, 5, 8), torch.ones(5, 5, dtype=torch.bool).triu(1)
>>> mixing = as_mixing(layer, x, attn_mask=causal)
>>> mixing.token.shape, mixing.channel.shape
(torch.Size([3, 2, 5, 5]), torch.Size([2, 8, 8]))
>>> torch.allclose(mixing(x), layer(x, x, x, attn_mask=causal)[0], atol=1e-6)
True

Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.masks import additive_mask
from helpers.mixing import Mixing, register_lift
from helpers.tokens import refuse_above_limit


@register_lift(nn.MultiheadAttention)
def _attention(
    layer: nn.MultiheadAttention,
    x: Tensor,
    *,
    view: str | None,
    layout: str | None,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
) -> Mixing:
    """One term per head. x is ``(B, N, C)``, or ``(N, B, C)`` where ``batch_first=False``."""
    _check_attention(layer, x, view, layout)
    if not layer.batch_first:
        x = x.transpose(0, 1)
    batch, tokens, channels = x.shape
    heads = layer.num_heads
    refuse_above_limit(
        f"as_mixing(MultiheadAttention): A of {batch} x {heads} x {tokens:,} x {tokens:,} and W "
        f"of {heads} x {channels} x {channels} {x.dtype}",
        batch * heads * tokens**2 + heads * channels**2,
        x.dtype,
        "the batch, the image or the number of channels",
    )
    w_q, w_k, w_v = layer.in_proj_weight.chunk(3)
    b_q, b_k, b_v = _input_biases(layer, x)
    q, k = (
        (x @ w.T + b).unflatten(-1, (heads, -1)).transpose(1, 2)
        for w, b in ((w_q, b_q), (w_k, b_k))
    )
    scores = q @ k.transpose(-1, -2) / layer.head_dim**0.5
    mask = additive_mask(scores, attn_mask, key_padding_mask)
    token = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    # PyTorch multiplies from the other side: W_V^h are rows of w_v, W_O^h columns of out_proj.
    read = w_v.unflatten(0, (heads, -1)).transpose(1, 2)  # (H, C, d)
    write = layer.out_proj.weight.T.unflatten(0, (heads, -1))  # (H, d, C)
    bias = b_v @ layer.out_proj.weight.T
    if layer.out_proj.bias is not None:
        bias = bias + layer.out_proj.bias
    return Mixing(
        token=token,
        channel=read @ write,
        bias=bias[None],
        grid_in=(tokens,),
        grid_out=(tokens,),
        depends_on_input=True,
        learned_token=w_q.numel() + w_k.numel(),
        learned_channel=w_v.numel() + layer.out_proj.weight.numel(),
    )


def _input_biases(layer: nn.MultiheadAttention, x: Tensor) -> tuple[Tensor, ...]:
    if layer.in_proj_bias is None:
        return (x.new_zeros(layer.embed_dim),) * 3
    return layer.in_proj_bias.chunk(3)


def _check_attention(
    layer: nn.MultiheadAttention, x: Tensor, view: str | None, layout: str | None
) -> None:
    if view is not None:
        raise ValueError(
            f"view={view!r}: MultiheadAttention has one reading, a term per head. Leave it out."
        )
    axes = "(batch, tokens, channels)" if layer.batch_first else "(tokens, batch, channels)"
    if layout == "channels_first":
        raise ValueError(
            f"layout='channels_first': MultiheadAttention reads {axes}. Leave layout out; make "
            "tokens of an image by image.flatten(2).transpose(1, 2)."
        )
    check_self_attention(layer)
    if x.dim() != 3:
        hint = {
            2: " Add the batch: x.unsqueeze(0)."
            if layer.batch_first
            else " Add the batch: x.unsqueeze(1).",
            4: " Make tokens of an image: image.flatten(2).transpose(1, 2).",
        }.get(x.dim(), "")
        raise ValueError(
            f"x has shape {tuple(x.shape)}: MultiheadAttention with batch_first="
            f"{layer.batch_first} takes {axes}.{hint}"
        )
    if x.shape[-1] != layer.embed_dim:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: MultiheadAttention reads {layer.embed_dim} channels "
            f"from the last axis, which has {x.shape[-1]}."
        )


def check_self_attention(layer: nn.MultiheadAttention) -> None:
    """Refuse a layer that cannot be read as self-attention over the tokens alone.

    Raises
    ------
    ValueError
        If keys or values have another width than the queries, or the layer adds a key of its own.
    """
    if (layer.kdim, layer.vdim) != (layer.embed_dim, layer.embed_dim):
        raise ValueError(
            f"MultiheadAttention has embed_dim = {layer.embed_dim}, kdim = {layer.kdim} and vdim = "
            f"{layer.vdim}: only self-attention is lifted, where one x is query, key and value, "
            "so all three must be equal."
        )
    for name, present in (
        ("add_bias_kv=True", layer.bias_k is not None),
        ("add_zero_attn=True", layer.add_zero_attn),
    ):
        if present:
            raise ValueError(
                f"MultiheadAttention was built with {name}: it adds a key that is no token of x. "
                "Its weight is missing from the rows of A and lands in a bias that changes with "
                "the input, which the mixing equation does not have. Build the layer without it."
            )
