"""Attention masks: every form that PyTorch takes, made into one tensor that is added to the scores.

A mask says which keys a query may not look at. PyTorch takes it as booleans (True: hidden) or as
numbers added before the softmax (minus infinity: hidden), for all samples and heads alike or for
each, and separately for keys that are padding. A query that may look at no key has no weights:
the softmax of nothing is NaN, so that is refused.
"""

from __future__ import annotations

import torch
from torch import Tensor


def additive_mask(
    scores: Tensor, attn_mask: Tensor | None = None, key_padding_mask: Tensor | None = None
) -> Tensor | None:
    """Combine the masks into one to be added to the scores.

    Parameters
    ----------
    scores
        ``(B, H, N, N)``; gives the sizes and the dtype.
    attn_mask
        ``(N, N)`` for all samples and heads; ``(B * H, N, N)``, sample by sample and in each head
        by head, as `nn.MultiheadAttention` takes it; or ``(B, H, N, N)``. Boolean, True hides; or
        real numbers, which are added.
    key_padding_mask
        ``(B, N)``: keys that are padding, for all queries. Boolean or numbers, as above.

    Returns
    -------
    Tensor or None
        ``(B, H, N, N)``, or None where there is no mask.

    Raises
    ------
    TypeError
        If a mask holds integers or complex numbers.
    ValueError
        If a mask has another shape, holds NaN or plus infinity, or hides every key from a query.

    Examples
    --------
    >>> causal = torch.ones(2, 2, dtype=torch.bool).triu(1)
    >>> additive_mask(torch.zeros(1, 1, 2, 2), causal).tolist()
    [[[[0.0, -inf], [0.0, 0.0]]]]
    """
    batch, heads, tokens, _ = scores.shape
    total = None
    if attn_mask is not None:
        shapes = [
            (tokens, tokens),
            (batch * heads, tokens, tokens),
            (batch, heads, tokens, tokens),
        ]
        mask = _as_numbers("attn_mask", attn_mask, scores, shapes)
        total = mask.expand(scores.shape) if mask.dim() == 2 else mask.reshape(scores.shape)
    if key_padding_mask is not None:
        mask = _as_numbers("key_padding_mask", key_padding_mask, scores, [(batch, tokens)])
        total = mask[:, None, None].expand(scores.shape) + (0 if total is None else total)
    if total is not None:
        _refuse_blind_queries(total)
    return total


def _as_numbers(name: str, mask: Tensor, scores: Tensor, shapes: list[tuple[int, ...]]) -> Tensor:
    if not isinstance(mask, Tensor):
        raise TypeError(f"{name} has type {type(mask).__name__}: expected a torch.Tensor.")
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise TypeError(
            f"{name} has dtype {mask.dtype}: expected booleans (True hides a key), or real numbers "
            f"to add to the scores. For 0 and 1: {name}.bool()."
        )
    if tuple(mask.shape) not in shapes:
        batch, heads, tokens, _ = scores.shape
        expected = " or ".join(str(shape) for shape in dict.fromkeys(shapes))
        raise ValueError(
            f"{name} has shape {tuple(mask.shape)}: expected {expected}, for a batch of {batch}, "
            f"heads = {heads} and {tokens} tokens."
        )
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask, -torch.inf)
    if mask.isnan().any() or mask.isposinf().any():
        raise ValueError(
            f"{name} holds a NaN or plus infinity: expected finite numbers, or minus infinity "
            "where a key is hidden."
        )
    return mask.to(scores.dtype)


def _refuse_blind_queries(mask: Tensor) -> None:
    blind = mask.isneginf().all(-1)
    if blind.any():
        sample, head, query = blind.nonzero()[0].tolist()
        raise ValueError(
            f"all keys are masked for query {query} (sample {sample}, head {head}), and for "
            f"{int(blind.sum()) - 1} more: the softmax of nothing is NaN. Leave each query at "
            "least one key, often itself. In PyTorch's boolean masks True hides a key."
        )
