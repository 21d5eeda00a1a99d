"""C9: equal parameters, the same stages and stem."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.blocks import ConvNeXtBlock, TransformerBlock
from helpers.budget import PRESETS, convnext_block, swin_block, transformer_block
from helpers.claims.core import Break, Claim, Part, Verdict
from helpers.claims.evidence import Count, Counts, Evidence, Measured, Source, Sources
from helpers.claims.examples import noise, parameters_of, redrawn
from helpers.claims.history import PatchesByLinear
from helpers.equivalence import assert_equivalent
from helpers.morph import MORPH

#: Swin's block is a step of the morph: windows of 7, a table of positions, a head for 32 channels.
SWIN = next(step for step in MORPH if step.name == "Positions")

#: Which published models are compared.
PAIRS = {
    "ConvNeXt-T": "Swin-T",
    "ConvNeXt-S": "Swin-S",
    "ConvNeXt-B": "Swin-B",
    "ConvNeXt-S iso": "ViT-S",
    "ConvNeXt-B iso": "ViT-B",
    "ConvNeXt-L iso": "ViT-L",
}


def prove_sizes_match(heads: int = 3, head_width: int = 32) -> dict[str, Evidence]:
    """Count one block of each kind; then all blocks, and all, of the published models."""
    c = heads * head_width
    live = {
        "ConvNeXt block": _block("convnext", c),
        "ViT block": _block("vit", c),
        f"Swin block with {heads} heads": _block("swin", c, heads=heads),
    }
    formulas = (convnext_block(c), transformer_block(c), swin_block(c, heads))
    blocks = [_stages(ours).sum() / _stages(theirs).sum() for ours, theirs in PAIRS.items()]
    models = [
        PRESETS[ours].budget().parameters / PRESETS[theirs].budget().parameters
        for ours, theirs in PAIRS.items()
    ]
    return {
        f"parameters, with biases, at C = {c}": Counts(
            tuple(
                Count(name, formula.parameters, block)
                for (name, block), formula in zip(live.items(), formulas, strict=True)
            )
        ),
        "all blocks of ConvNeXt-T, S, B over Swin's, and of the isotropic S, B, L over ViT's": (
            Measured("the ratio farthest from 1", float(max(blocks, key=_from_1)), 0.984, 1.016)
        ),
        "whole models": Measured(
            "the ratio farthest from 1", max(models, key=_from_1), 0.984, 1.016
        ),
    }


def _from_1(ratio: float) -> float:
    return abs(ratio - 1)


def _block(kind: str, channels: int, heads: int = 1, layer_scale: bool = True) -> int:
    """Count the parameters of a live block."""
    with torch.device("meta"):
        if kind == "swin":
            return parameters_of(SWIN.build(channels, 7, heads))
        if kind == "vit":
            return parameters_of(TransformerBlock(channels, heads))
        return parameters_of(ConvNeXtBlock(channels, layer_scale=1e-6 if layer_scale else None))


def _stages(name: str, depths: tuple[int, ...] | None = None) -> Tensor:
    """Count the parameters of the live blocks in each stage of a published model."""
    said = PRESETS[name].settings
    if "channels" not in said:
        settings = [{"kind": "convnext", "channels": width} for width in said["dims"]]
    elif "heads" in said:
        widths = [said["channels"] * 2**i for i in range(4)]
        settings = [
            {"kind": "swin", "channels": width, "heads": heads}
            for width, heads in zip(widths, said["heads"], strict=True)
        ]
    else:
        own = {"layer_scale": said["layer_scale"]} if "layer_scale" in said else {}
        kind = "convnext" if own else "vit"
        settings = [{"kind": kind, "channels": said["channels"], **own}]
    depths = depths or said.get("depths") or (said["depth"],)
    counts = [n * _block(**one) for n, one in zip(depths, settings, strict=True)]
    return torch.tensor(counts, dtype=torch.float64)


def _equal_depth() -> tuple[Tensor, Tensor]:
    swin = PRESETS["Swin-T"].settings["depths"]
    return _stages("ConvNeXt-T", swin), _stages("Swin-T", swin)


# Three blocks for two.


def prove_three_for_two(heads: int = 3, head_width: int = 32) -> dict[str, Evidence]:
    """Count what three ConvNeXt blocks have more than two Transformer blocks: nothing in C²."""
    c = heads * head_width
    three, two = 3 * _block("convnext", c), 2 * _block("vit", c)
    return {
        "blocks in a model, three for every two of the other's": Counts(
            tuple(
                Count(f"{ours} beside {theirs}", 3 * _depth(theirs) // 2, _depth(ours))
                for ours, theirs in PAIRS.items()
            )
        ),
        "three ConvNeXt blocks less two Transformer blocks, (3 x 8 - 2 x 12) C² + (3 x 58 - 2 x "
        "13) C": Counts((Count(f"parameters at C = {c}", 148 * c, three - two),)),
        "sources": Sources(
            (
                Source(
                    "the stage ratio 1:1:3:1 is Swin's, and (3, 3, 9, 3) matches its FLOPs",
                    "Liu et al. 2022, section 2.2",
                ),
                Source(
                    "the isotropic depths 18, 18, 36 are set to match parameters and FLOPs",
                    "Liu et al. 2022, section 3.3",
                ),
            )
        ),
    }


def _depth(name: str) -> int:
    said = PRESETS[name].settings
    return sum(said["depths"]) if "depths" in said else said["depth"]


def _block_for_block() -> tuple[Tensor, Tensor]:
    return _stages("ConvNeXt-T", (1, 1, 1, 1)), _stages("Swin-T", (1, 1, 1, 1))


# Stages and stem.


def prove_same_stem(
    batch: int = 2,
    channels: int = 6,
    height: int = 2,
    width: int = 3,
    patch: int = 4,
    seed: int = 0,
) -> dict[str, Evidence]:
    """Show that both stems are one Linear on patches, and count them."""
    image = noise(seed, batch, 3, height * patch, width * patch)
    stem = redrawn(nn.Conv2d(3, channels, patch, stride=patch), seed + 1)
    with torch.device("meta"):
        small = nn.Sequential(nn.Conv2d(3, 96, 4, stride=4), nn.LayerNorm(96))
        isotropic = nn.Conv2d(3, 384, 16, stride=16)
    return {
        "ConvNeXt's stem, a strided convolution, and the Linear on patches of Swin and ViT": (
            assert_equivalent(stem, PatchesByLinear(stem), image, parameters={"bias": "bias"})
        ),
        "parameters of the stems": Counts(
            (
                Count(
                    "T, patches of 4, with its LayerNorm", 48 * 96 + 3 * 96, parameters_of(small)
                ),
                Count("isotropic S, patches of 16", 768 * 384 + 384, parameters_of(isotropic)),
            )
        ),
        "sources": Sources(
            (
                Source("four stages, patches of 4", "Liu et al. 2021, Swin, section 3.1"),
                Source("one stage, patches of 16", "Dosovitskiy et al. 2021, section 3.1"),
                Source("both for ConvNeXt", "Liu et al. 2022, sections 2.2 and 3.3"),
            )
        ),
    }


def _stages_of_convnext_beside_vit() -> tuple[Tensor, Tensor]:
    """Give tokens and width at the stages of ConvNeXt-T, and at four depths of ViT-S."""
    widths = PRESETS["ConvNeXt-T"].settings["dims"]
    stages = [((224 // (4 * 2**i)) ** 2, width) for i, width in enumerate(widths)]
    isotropic = 4 * [((224 // 16) ** 2, PRESETS["ViT-S"].settings["channels"])]
    return tuple(torch.tensor(one, dtype=torch.float64) for one in (stages, isotropic))


CLAIMS = (
    Claim(
        id="C9",
        said="Meta's researchers compared with ViT at the same parameter size, with the same "
        "stages and stem, and this is how they designed it.",
        notebook="07_same_budget",
        parts=(
            Part(
                Verdict.RIGHT,
                "ConvNeXt against Swin, and the isotropic ConvNeXt against ViT: the blocks of "
                "each pair have the same number of parameters within 1.6 %.",
                prove_sizes_match,
                (
                    Break(
                        "Equal sizes mean as many blocks.",
                        _equal_depth,
                        0.2,
                    ),
                ),
                about="Equal parameters",
            ),
            Part(
                Verdict.RIGHT,
                "Swin has the same four stages and stem as ConvNeXt-T, S and B. ViT has the stem "
                "and the one stage of the isotropic models, which were made for that comparison.",
                prove_same_stem,
                (
                    Break(
                        "ConvNeXt-T has the stages and the stem of ViT.",
                        _stages_of_convnext_beside_vit,
                        0.3,
                    ),
                ),
                about="The same stages and stem",
            ),
            Part(
                Verdict.RIGHT,
                "What differs is the depth, three blocks for every two, and the blocks explain "
                "it: 3 x 8C² = 2 x 12C². The paper gives the stage ratio and the FLOPs as its "
                "reasons; this sum is the book's.",
                prove_three_for_two,
                (
                    Break(
                        "A ConvNeXt block is as large as a Swin block of its width.",
                        _block_for_block,
                        0.2,
                    ),
                ),
                about="How it was designed",
            ),
        ),
    ),
)
