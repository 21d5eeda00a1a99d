"""C11: how far apart the two blocks are."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.blocks import ConvNeXtBlock, DynamicConvBlock, TransformerBlock
from helpers.claims.core import Break, Claim, Part, Verdict
from helpers.claims.evidence import Count, Counts, Evidence
from helpers.claims.examples import noise, parameters_of, redrawn
from helpers.equivalence import Equivalence, OnPixels, assert_equivalent
from helpers.morph import (
    MORPH,
    Kind,
    MorphBlock,
    Step,
    morph_from_convnext,
    morph_from_transformer,
)

# The Transformer block as convolutions.


def prove_transformer_is_convolutions(
    batch: int = 2,
    heads: int = 2,
    head_width: int = 4,
    height: int = 4,
    width: int = 5,
    seed: int = 0,
) -> Equivalence:
    """Compare the Transformer block with the same block in words of convolution.

    ``[LN, 1x1, dynamic depthwise, 1x1, +] [LN, 1x1, GELU, 1x1, +]``, with filters that reach the
    whole image, ``2H - 1`` by ``2W - 1``.
    """
    image = noise(seed, batch, heads * head_width, height, width)
    block = redrawn(TransformerBlock(heads * head_width, heads), seed + 1)
    names = {
        "layer.self_attn.out_proj.weight": "mixer.output.weight",
        "layer.linear1.weight": "pwconv1.weight",
    }
    return assert_equivalent(
        OnPixels(block), DynamicConvBlock(block, (height, width)), image, parameters=names
    )


def _whole_image_beside_three() -> tuple[Tensor, Tensor]:
    block, image = redrawn(TransformerBlock(8, 2), 0), noise(1, 1, 8, 6, 7)
    with torch.no_grad():
        return tuple(
            DynamicConvBlock(block, (6, 7), kernel_size)(image) for kernel_size in (None, 3)
        )


def _filters_of_another_image() -> tuple[Tensor, Tensor]:
    block = DynamicConvBlock(redrawn(TransformerBlock(8, 2), 0), (6, 7))
    image, other = (block.norm1(noise(seed, 1, 8, 6, 7)) for seed in (1, 2))
    mixer = block.mixer
    with torch.no_grad():
        return mixer(image), mixer.output(mixer.dynamic(mixer.value(image), chooser=other))


# The list of changes.


def prove_every_step(
    batch: int = 2,
    heads: int = 2,
    head_width: int = 4,
    height: int = 6,
    width: int = 5,
    kernel_size: int = 3,
    seed: int = 0,
) -> dict[str, Evidence]:
    """Compare both ends with the real blocks, and each step that says so with the one before."""
    channels = heads * head_width
    image = noise(seed, batch, channels, height, width)
    transformer = redrawn(TransformerBlock(channels, heads), seed)
    convnext = redrawn(ConvNeXtBlock(channels, kernel_size), seed)
    blocks = [
        redrawn(step.build(channels, kernel_size, heads), seed + step.number) for step in MORPH
    ]
    ends = {
        "the first step and the Transformer block": assert_equivalent(
            morph_from_transformer(transformer, kernel_size), OnPixels(transformer), image
        ),
        "the last step and the ConvNeXt block": assert_equivalent(
            morph_from_convnext(convnext), convnext, image
        ),
        "parameters at C = 96, 3 heads": Counts(
            (
                Count("first step", 12 * 96**2 + 13 * 96, parameters_of(MORPH[0].build(96, 7, 3))),
                Count("last step", 8 * 96**2 + 58 * 96, parameters_of(MORPH[-1].build(96, 7, 3))),
            )
        ),
    }
    carried = [
        comparison
        for step in MORPH[1:]
        for pair in _same_function(step, blocks)
        for comparison in assert_equivalent(*pair, image).comparisons
    ]
    what = "each step that only frees, ties or rewrites, with weights carried, and the one before"
    return {**ends, what: Equivalence(tuple(carried))}


def _same_function(step: Step, blocks: list[MorphBlock]) -> list[tuple[MorphBlock, MorphBlock]]:
    """Give pairs of blocks, of the step before and this one, that compute the same."""
    before, this = blocks[step.number - 1], blocks[step.number]
    sizes = (this.channels, this.kernel_size, this.n_heads)
    pairs = []
    if step.into is not None:
        carried = step.build(*sizes).double()
        carried.load_state_dict(step.into(before.state_dict(), carried))
        pairs.append((before, carried))
    if step.back is not None:
        carried = before.step.build(*sizes).double()
        carried.load_state_dict(step.back(this.state_dict(), carried))
        pairs.append((carried, this))
    return pairs


def _left_out(step: Step) -> tuple[Tensor, Tensor]:
    """Give the outputs before and after a step, with the same weights wherever both have them.

    A filter that slides takes the weights of its offsets from the table of positions.
    """
    before, after = (redrawn(one.build(12, 3, 3), 0) for one in (MORPH[step.number - 1], step))
    shared = {k: v for k, v in before.state_dict().items() if k in after.state_dict()}
    if hasattr(before, "table") and hasattr(after, "kernel"):
        table = before.table.detach().unflatten(1, (5, 5))  # offsets -2 to 2; a filter has -1 to 1
        shared["kernel"] = table[:, 1:4, 1:4].flatten(1)
    after.load_state_dict(shared, strict=False)
    image = noise(1, 1, 12, 6, 6)
    with torch.no_grad():
        return before(image), after(image)


def _how_many(kind: Kind) -> int:
    return sum(step.kind is kind for step in MORPH)


_REPLACING = [step for step in MORPH if step.kind is Kind.REPLACES]
_NAMES = ", ".join(f"'{step.name}'" for step in _REPLACING)

CLAIMS = (
    Claim(
        id="C11",
        said="Change the depthwise separable convolution slightly, and it is no different from "
        "multi-head attention and feed-forward.",
        notebook="05_block_correspondence",
        also=("10_build_your_own_block",),
        parts=(
            Part(
                Verdict.AFTER_REWRITING,
                "The Transformer block is [LayerNorm, 1x1, depthwise, 1x1, +] [LayerNorm, 1x1, "
                "GELU, 1x1, +], where the depthwise convolution reaches the whole image and has a "
                "filter of its own for each pixel and head, computed from the input.",
                prove_transformer_is_convolutions,
                (
                    Break(
                        "Filters made for one image do for all, as in a convolution.",
                        _filters_of_another_image,
                        0.3,
                    ),
                    Break("A 3x3 filter is enough.", _whole_image_beside_three, 0.1),
                ),
                about="The Transformer block in words of convolution",
            ),
            Part(
                Verdict.IN_PART,
                f'"Slightly" is {len(MORPH) - 1} changes, one at a time. '
                f"Of these, {_how_many(Kind.SAME)} only write the same function otherwise, "
                f"{_how_many(Kind.FREES)} free what was fixed or tied and "
                f"{_how_many(Kind.RESTRICTS)} fix or tie what was free. "
                f"The other {len(_REPLACING)} compute something else, neither more general nor a "
                f"special case: {_NAMES}.",
                prove_every_step,
                tuple(
                    Break(
                        f"The step '{step.name}' changes nothing.",
                        lambda step=step: _left_out(step),
                        0.1,
                    )
                    for step in _REPLACING
                ),
                about="Slightly",
            ),
        ),
    ),
)
