"""Linked figure of notebook 00: the two blocks side by side, and what each part corresponds to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import nn

from helpers import figures
from helpers.blocks import ConvNeXtBlock, TransformerBlock
from helpers.explorers.linked import Choice, LinkedFigure

__all__ = ["TwoBlocks"]

#: The widths C that can be chosen: those of ConvNeXt-T.
CHANNELS = (96, 192, 384, 768)

_ITSELF = {"terms": "1", "a": "each token to itself"}
_NO_TERM = {"terms": "none", "a": "works on each token by itself", "w": "not linear in X"}
_NOTHING = {"terms": "none", "a": "nothing here", "w": "nothing here"}
_LINEAR = {**_ITSELF, "w": "its weight"}


def _part(
    id: str,
    name: str,
    verdict: str,
    says: str,
    where: str,
    transformer: Mapping[str, str],
    convnext: Mapping[str, str],
    code: str,
) -> dict[str, Any]:
    rows = {"transformer": dict(transformer), "convnext": dict(convnext)}
    return {
        "id": id,
        "name": name,
        "verdict": verdict,
        "says": says,
        "where": where,
        "code": code,
        **rows,
    }


#: Each part of the two blocks: what is said of it and of its counterpart, in the order of the flow.
#: In `code`, C and 4C in braces stand for the widths.
PARTS: tuple[dict[str, Any], ...] = (
    _part(
        "norm1",
        "The norm before the mixing",
        "no counterpart",
        "The Transformer normalises its tokens before it mixes them. ConvNeXt does not: one norm "
        "against two.",
        "claim C7, notebook 05",
        _NO_TERM,
        _NOTHING,
        "nn.LayerNorm({C})              # Transformer\n# ConvNeXt: nothing",
    ),
    _part(
        "a",
        "Who mixes tokens",
        "exact after rewriting, once A is fixed",
        "Both are A X in each term. Attention computes its A from the input, one for each head, "
        "with weights from 0 to 1. The depthwise convolution has learned it, one for each channel, "
        "with any sign.",
        "claims C3 and C5, notebooks 03 and 04",
        {"terms": "H, the heads", "a": "softmax(Q Kᵀ / √d)", "w": "see V, O"},
        {"terms": "C, the channels", "a": "the filter, in every row", "w": "see the grey half"},
        "# Transformer\nA = softmax(query(x) @ key(x).mT / d**0.5)\n# ConvNeXt\n"
        "A_and_W = nn.Conv2d({C}, {C}, 7, padding=3, groups={C})",
    ),
    _part(
        "w",
        "Who mixes channels on the way",
        "no counterpart among the parameters",
        "Attention's V and O mix channels while the tokens are mixed: half of its parameters. In "
        "a depthwise convolution each channel stays by itself.",
        "claims C3 and C11, notebooks 03 and 05",
        {"terms": "H, the heads", "a": "see Q, K", "w": "W_V W_O, rank at most d"},
        {"terms": "C, the channels", "a": "see the filter", "w": "fixed: channel c to channel c"},
        "# Transformer\nvalue, output = nn.Linear({C}, {C}), nn.Linear({C}, {C})\n"
        "# ConvNeXt: groups={C} keeps the channels apart",
    ),
    _part(
        "skip1",
        "The skip around the mixing",
        "right in part",
        "The Transformer adds its input again here. ConvNeXt would not need it: x + conv(x) is a "
        "convolution too, with 1 more in the middle of each filter.",
        "claim C7, notebook 05",
        {**_ITSELF, "w": "each channel to itself"},
        _NOTHING,
        "x = x + attention(norm1(x))    # Transformer\n# ConvNeXt: nothing",
    ),
    _part(
        "norm2",
        "The norm before the feed-forward",
        "exact",
        "The same LayerNorm, over the channels of each token, if both have the same eps.",
        "claim C7, notebook 05",
        _NO_TERM,
        _NO_TERM,
        "nn.LayerNorm({C}, eps=1e-6)    # both",
    ),
    _part(
        "widen",
        "Widen",
        "exact",
        "A 1 × 1 convolution is one Linear, applied at every pixel with the same weights.",
        "claim C1, notebook 01",
        _LINEAR,
        _LINEAR,
        "nn.Linear({C}, {4C})           # Transformer\nnn.Conv2d({C}, {4C}, 1)        # ConvNeXt",
    ),
    _part(
        "gelu",
        "Bend",
        "exact",
        "The same function of each number, if both take the same of PyTorch's two GELUs.",
        "claim C2, notebook 01",
        _NO_TERM,
        _NO_TERM,
        "nn.GELU()                      # both",
    ),
    _part(
        "narrow",
        "Narrow",
        "exact",
        "The other Linear of the feed-forward, and the other 1 × 1 convolution.",
        "claims C1 and C2, notebook 01",
        _LINEAR,
        _LINEAR,
        "nn.Linear({4C}, {C})           # Transformer\nnn.Conv2d({4C}, {C}, 1)        # ConvNeXt",
    ),
    _part(
        "scale",
        "Layer scale",
        "exact after rewriting",
        "ConvNeXt multiplies each channel by a learned number. The Linear before it can take that "
        "number into its weights.",
        "claim C2, notebook 01",
        _NOTHING,
        {**_ITSELF, "w": "diagonal: one number a channel"},
        "# Transformer: nothing\nx = gamma * x                  # ConvNeXt",
    ),
    _part(
        "skip2",
        "The last skip",
        "right in part",
        "Both add what came before. The Transformer adds its first sum, what went into the block "
        "and what was mixed in. ConvNeXt adds what went into the block.",
        "claim C7, notebook 05",
        {**_ITSELF, "w": "each channel to itself"},
        {**_ITSELF, "w": "each channel to itself"},
        "x = x + feed_forward(norm2(x))                  # Transformer\n"
        "x = x + gamma * feed_forward(norm(dwconv(x)))   # ConvNeXt",
    ),
)

_IDS = tuple(part["id"] for part in PARTS)


class TwoBlocks(LinkedFigure):
    """The Transformer block beside the ConvNeXt block, counterparts at the same height.

    Pointing at a part, or stepping to it, lights up its counterpart and says how exact the
    correspondence is.

    Parameters
    ----------
    **start
        Where to start: `part` (one of norm1, a, w, skip1, norm2, widen, gelu, narrow, scale,
        skip2) and `channels` (C: 96, 192, 384 or 768).

    Attributes
    ----------
    value : dict
        `part` and `channels`.

    Raises
    ------
    ValueError
        If a parameter is unknown, or has a value that is not offered.

    Examples
    --------
    >>> figure = TwoBlocks(part="widen")
    >>> figure.value
    {'part': 'widen', 'channels': 96}
    >>> figure.counts()["transformer"]["widen"], figure.counts()["convnext"]["a"]
    (37248, 4800)

    Notes
    -----
    Source: Vaswani et al. (2017), section 3, with the norm first as in ViT (Dosovitskiy et al.
    2021, section 3.1); Liu et al. (2022), figure 4.
    """

    module = "two_blocks"
    data = ("parts", "widths")

    parts = traitlets.List().tag(sync=True)
    widths = traitlets.List().tag(sync=True)

    def __init__(self, **start: Any) -> None:
        super().__init__(
            name="two_blocks",
            title="Two blocks, part by part",
            description="Counterparts stand at the same height. Dashed: computed from the input. "
            "Thin grey: fixed.",
            parts=list(PARTS),
            widths=list(CHANNELS),
            value={"part": "a", "channels": CHANNELS[0], **start},
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return {"part": _IDS, "channels": CHANNELS}

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List the widths on offer and others, with other kernel sizes and expansions."""
        cases = [{"channels": channels} for channels in (*CHANNELS, 32, 48, 128)]
        return [*cases, {"channels": 32, "kernel": 3}, {"channels": 64, "expansion": 2}]

    @classmethod
    def reference(cls, channels: int, kernel: int = 7, expansion: int = 4) -> dict[str, Any]:
        """Count the parameters of live PyTorch blocks, part by part.

        Parameters
        ----------
        channels, kernel, expansion
            C, the depthwise kernel's size, and how many times wider the hidden layer is.

        Returns
        -------
        dict
            ``transformer`` and ``convnext``, lists in the order of the parts, and their ``totals``.
        """
        with torch.device("meta"):
            one = TransformerBlock(channels, 1, expansion)
            other = ConvNeXtBlock(channels, kernel, expansion)
        attention = one.self_attn
        scores = [attention.in_proj_weight[: 2 * channels], attention.in_proj_bias[: 2 * channels]]
        values = [attention.in_proj_weight[2 * channels :], attention.in_proj_bias[2 * channels :]]
        values += attention.out_proj.parameters()
        transformer = {
            "norm1": _count(one.norm1),
            "a": sum(numbers.numel() for numbers in scores),
            "w": sum(numbers.numel() for numbers in values),
            "norm2": _count(one.norm2),
            "widen": _count(one.linear1),
            "narrow": _count(one.linear2),
        }
        convnext = {
            "a": _count(other.dwconv),
            "norm2": _count(other.norm),
            "widen": _count(other.pwconv1),
            "narrow": _count(other.pwconv2),
            "scale": other.gamma.numel(),
        }
        return {
            "transformer": [transformer.get(id, 0) for id in _IDS],
            "convnext": [convnext.get(id, 0) for id in _IDS],
            "totals": [_count(one), _count(other)],
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the parameters of each part at the chosen width, by block and part."""
        counted = self.reference(self.value["channels"])
        return {
            block: dict(zip(_IDS, counted[block], strict=True))
            for block in ("transformer", "convnext")
        }

    def still(self) -> tuple[Figure, str]:
        """Draw both blocks with the chosen part marked."""
        return figures.two_blocks(mark=self.value["part"]), self.sentence()

    def sentence(self) -> str:
        """Say how exact the correspondence of the chosen part is, with its parameters."""
        part = PARTS[_IDS.index(self.value["part"])]
        counts = self.counts()
        ours, theirs = counts["transformer"][part["id"]], counts["convnext"][part["id"]]
        spent = (
            f"Parameters at C = {self.value['channels']}: {ours:,} in the Transformer block, "
            f"{theirs:,} in ConvNeXt's."
            if ours or theirs
            else "It has no parameters."
        )
        where = part["where"]
        return f"{part['name']}: {part['verdict']}. {part['says']} {spent} See {where}."


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
