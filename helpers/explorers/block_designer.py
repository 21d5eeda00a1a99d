"""Linked figure of notebook 10: choose a block, see it drawn, counted, and beside recorded runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import nn

from helpers.budget import measure
from helpers.designs import (
    BUDGET,
    DESIGN_RESULTS,
    GALLERY,
    GRID,
    MIXERS,
    BlockDesign,
    fitting_depth,
    network,
    network_budget,
)
from helpers.experiments import recorded
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.figures.designs import design_costs
from helpers.mixers import SlidingAttention

__all__ = ["BlockDesigner"]

#: More blocks than this are on offer only where they fit the budget.
DEEPEST = 36
#: Which recorded runs the figure shows, and after how many of their steps.
IMAGES, STEPS, AFTER = 500, 300, 200

_CHANNELS = 32
_OPTIONS: dict[str, Sequence[Any]] = {
    "tokens": list(MIXERS),
    "kernel_size": [3, 5, 7],
    "heads": [1, 2, 4, 8, 16, 32],
    "expansion": [0, 1, 2, 3, 4, 6, 8],
    "norms": [1, 2],
    "skips": [1, 2],
    "depth": range(DEEPEST + 1),
    "over": ["multiply-adds", "parameters"],
}
_OF_A_DESIGN = ("tokens", "kernel_size", "heads", "expansion", "norms", "skips")
_PRESETS = {
    "ConvNeXt's block": BlockDesign("depthwise", kernel_size=7, norms=1, skips=1),
    "Transformer's block": BlockDesign("attention"),
    "MetaFormer with pooling": BlockDesign("pooling"),
}
_COMPARED = ("ConvNeXt's block", "Transformer's block")
_PARTS = 5
"""Token mixing by parameters, the two products of attention, V and O, feed-forward, norms."""


class BlockDesigner(LinkedFigure):
    """Choose a block: it is drawn, counts itself, meets a budget, and stands beside recorded runs.

    The choices are those of `helpers.designs.BlockDesign`, with 32 channels; what it would refuse
    is not on offer.

    Parameters
    ----------
    **start
        Where to start, any of the entries of `value`.

    Attributes
    ----------
    value : dict
        ``tokens``, ``kernel_size``, ``heads``, ``expansion``, ``norms`` and ``skips`` of the
        design; ``depth``, how many blocks, 0 for as many as come nearest to the budget; ``over``,
        what the recorded runs are drawn over, ``"multiply-adds"`` or ``"parameters"``.

    Examples
    --------
    >>> designer = BlockDesigner(tokens="attention", expansion=3)
    >>> designer.design.name, designer.depth
    ('attention, feed-forward x3', 5)
    """

    module = "block_designer"
    data = ("options", "presets", "runs", "limit")

    options = traitlets.Dict().tag(sync=True)
    presets = traitlets.Dict().tag(sync=True)
    runs = traitlets.List().tag(sync=True)
    limit = traitlets.Int().tag(sync=True)

    def __init__(self, **start: Any) -> None:
        super().__init__(
            name="block_designer",
            title="Design a block",
            description="Start from a known block or from this one, and change one thing.",
            options={name: list(offered) for name, offered in _OPTIONS.items()},
            presets={name: _choices(design) for name, design in _PRESETS.items()},
            runs=[_recorded_run(name) for name in GALLERY],
            limit=BUDGET,
            value={
                **_choices(BlockDesign("depthwise", expansion=6)),
                "depth": 0,
                "over": "multiply-adds",
                **start,
            },
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return _OPTIONS

    def objection(self, value: Mapping[str, Any]) -> str:
        """Say what choices contradict each other: what `BlockDesign` says."""
        try:
            _design(value)
        except ValueError as error:
            return str(error)
        return ""

    @property
    def design(self) -> BlockDesign:
        """The design that is chosen."""
        return _design(self.value)

    @property
    def depth(self) -> int:
        """How many of its blocks are chosen, or come nearest to the budget."""
        return self.value["depth"] or fitting_depth(self.design)

    def place(self, accuracy: float, design: BlockDesign, depth: int, seed: int = 0) -> None:
        """Put a run of one's own beside the recorded ones, as a diamond.

        Parameters
        ----------
        accuracy
            The share of test images that it names right.
        design, depth
            What was trained.
        seed
            Of the run. Other seeds of the same design join it; the same seed again replaces it.

        Raises
        ------
        ValueError
            If the accuracy is no share.

        Examples
        --------
        >>> designer = BlockDesigner()
        >>> for seed, accuracy in enumerate((0.85, 0.87)):
        ...     designer.place(accuracy, designer.design, designer.depth, seed)
        >>> designer.runs[-1]["name"], designer.runs[-1]["accuracies"]
        ('yours', [0.85, 0.87])
        """
        if not 0 <= accuracy <= 1:
            raise ValueError(f"accuracy={accuracy!r} must be a share, from 0 to 1.")
        placed = _run("yours", design, depth, {seed: accuracy}, mine=True)
        runs = []
        for run in self.runs:
            if run["mine"] and (run["choices"], run["depth"]) == (placed["choices"], depth):
                before = dict(zip(run["seeds"], run["accuracies"], strict=True))
                placed = _run("yours", design, depth, {**before, seed: accuracy}, mine=True)
            else:
                runs.append(run)
        self.runs = [*runs, placed]

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List designs with every mixer and every wiring, in three widths, and deep ones."""
        cases: list[dict[str, Any]] = []
        for mixer in MIXERS:
            for expansion, norms, skips in ((4, 2, 2), (1, 1, 1), (3, 1, 2), (8, 2, 1), (0, 1, 1)):
                if mixer == "identity" and expansion == 0:
                    continue
                for kernel, heads, channels, depth in ((3, 2, 32, 0), (7, 8, 16, 3)):
                    design = BlockDesign(mixer, expansion, kernel, heads, norms, skips, channels)
                    case = {**_choices(design), "channels": channels, "depth": depth}
                    cases.append({**case, "limit": BUDGET})
        return cases

    @classmethod
    def reference(cls, depth: int, limit: int, **choices: Any) -> dict[str, Any]:
        """Count a live block part by part, and a live network of such blocks.

        Parameters
        ----------
        depth
            How many blocks, 0 for as many as come nearest to the limit.
        limit
            How many parameters the network may have.
        **choices
            The fields of a `BlockDesign`.

        Returns
        -------
        dict
            ``parameters`` and ``macs``, each of five parts of a block: token mixing by parameters,
            the two products of attention, V and O, feed-forward, norms; ``depth``; ``network``,
            its parameters and multiply-adds.
        """
        design = BlockDesign(**choices)
        with torch.device("meta"):
            parameters, macs = _live(design)
            images = torch.empty(1, 1, 4 * GRID[0], 4 * GRID[1])
            one, two = (measure(network(design, n), images) for n in (1, 2))
        block = two.parameters - one.parameters
        if not depth:
            depth = max(1, round((limit - one.parameters) / block + 1))
        # The counter sees products of matrices; local attention multiplies another way.
        unseen = depth * macs[1] if design.tokens == "local attention" else 0
        return {
            "parameters": parameters,
            "macs": macs,
            "depth": depth,
            "network": [
                one.parameters + (depth - 1) * block,
                one.macs + (depth - 1) * (two.macs - one.macs) + unseen,
            ],
        }

    def still(self) -> tuple[Figure, str]:
        """Draw what the network costs beside those of the two blocks, and say what is chosen."""
        blocks = "block" if self.depth == 1 else "blocks"
        costs = {f"this one, {self.depth} {blocks}": network_budget(self.design, self.depth)}
        for name in _COMPARED:
            design = _PRESETS[name]
            depth = fitting_depth(design)
            costs[f"{name.split()[0]}, {depth} blocks"] = network_budget(design, depth)
        return design_costs(costs, BUDGET, label=1.95), self.sentence()

    def sentence(self) -> str:
        """Say what the design is, what it costs, and how it differs from the two blocks."""
        design, depth, budget = self.design, self.depth, self.design.budget()
        off = network_budget(design, depth).parameters / BUDGET - 1
        side = "over" if off > 0 else "under"
        blocks = "1 block" if depth == 1 else f"{depth} blocks"
        run = next((run for run in self.runs if self._shows(run)), None)
        how = "Not trained yet."
        if run:
            seeds = len(run["accuracies"])
            how = (
                f"{'Your' if run['mine'] else 'Recorded'} run{'s' * (seeds > 1)} after {AFTER} "
                f"steps: {sum(run['accuracies']) / seeds:.2f} of the test images named right."
            )
        fits = f"{blocks}: {100 * abs(off):.1f} % {side} the budget."
        if not self.value["depth"]:
            come = "comes" if depth == 1 else "come"
            fits = f"{blocks} {come} nearest to the budget: {100 * abs(off):.1f} % {side} it."
        return (
            f"{_what(design)}: {budget.parameters:,} parameters and {budget.macs:,} multiply-adds "
            f"a block. {fits} {_differences(design)} {how}"
        )

    def _shows(self, run: Mapping[str, Any]) -> bool:
        """Say whether a run is one of what is chosen."""
        return run["depth"] == self.depth and run["choices"] == _used(self.design)


def _choices(design: BlockDesign) -> dict[str, Any]:
    return {name: getattr(design, name) for name in _OF_A_DESIGN}


def _design(value: Mapping[str, Any]) -> BlockDesign:
    return BlockDesign(**{name: value[name] for name in _OF_A_DESIGN}, channels=_CHANNELS)


def _used(design: BlockDesign) -> dict[str, Any]:
    """Give the choices that make a difference, as plain values."""
    mixer = "your mixer" if callable(design.tokens) else design.tokens
    return {**design.choices, "tokens": mixer}


def _run(
    name: str, design: BlockDesign, depth: int, found: Mapping[int, float], mine: bool = False
) -> dict[str, Any]:
    """Give a design with the accuracy of each seed, as plain values for the front end."""
    cost = network_budget(design, depth)
    return {
        "name": name,
        "choices": _used(design),
        "depth": depth,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "seeds": list(found),
        "accuracies": [round(float(one), 4) for one in found.values()],
        "mine": mine,
    }


def _recorded_run(name: str) -> dict[str, Any]:
    found = recorded(name, IMAGES, steps=STEPS, at=AFTER, path=DESIGN_RESULTS)
    design = GALLERY[name]
    seeds = dict(enumerate(found.tolist()))
    return _run(name.replace("x", "×"), design, fitting_depth(design), seeds)


def _what(design: BlockDesign) -> str:
    """Say in words what a block is made of."""
    used, several = design.choices, ("", "one {}", "two {}s")
    parts = [str(design.tokens).capitalize() if str(design.tokens).islower() else "LightConv"]
    if "kernel_size" in used:
        parts[0] += f" {design.kernel_size}×{design.kernel_size}"
    if "heads" in used:
        parts.append(f"{design.heads} head{'s' * (design.heads > 1)}")
    parts.append(f"feed-forward ×{design.expansion}" if design.expansion else "no feed-forward")
    parts += [several[design.norms].format("norm"), several[design.skips].format("skip")]
    return ", ".join(parts)


def _differences(design: BlockDesign) -> str:
    """Name the choices that differ from those of ConvNeXt's block and of the Transformer's."""
    found = []
    for name in _COMPARED:
        changes = design.changes_from(_PRESETS[name])
        whose = name.removesuffix(" block")
        whose = f"the {whose}" if whose.startswith("Trans") else whose
        listed = ", ".join(f"{field} ({old} → {new})" for field, (old, new) in changes.items())
        found.append(
            f"From {whose} block it differs in {listed}." if listed else f"It is {whose} block."
        )
    return " ".join(found)


# --- live modules --------------------------------------------------------------------------------


def _live(design: BlockDesign) -> tuple[list[int], list[int]]:
    """Measure the parts of a live block: their parameters and their multiply-adds."""
    block = design.build()
    image = torch.empty(1, design.channels, *GRID)
    tokens = torch.empty(1, GRID[0] * GRID[1], design.channels)
    parameters, macs = [0] * _PARTS, [0] * _PARTS

    def add(part: int, module: nn.Module, *inputs: torch.Tensor) -> None:
        cost = measure(module, *inputs)
        parameters[part] += cost.parameters
        macs[part] += cost.macs

    mixer = block.mixer
    if "attention" in str(design.tokens):
        for part, names in ((0, ("query", "key")), (2, ("value", "output"))):
            for name in names:
                add(part, getattr(mixer, name), tokens)
        if isinstance(mixer, SlidingAttention):
            # Twice: a query times the keys, and the weights times the values, in its window.
            macs[1] = 2 * mixer.kernels(image).numel() * mixer.head_width
        else:
            macs[1] = measure(mixer, image).macs - sum(macs)
    else:
        add(0, mixer, image)
    if not isinstance(block.norm, nn.Identity):
        add(4, block.norm, image)
    if not isinstance(block.feed_forward, nn.Identity):
        half = block.feed_forward.layer
        add(4, half.norm, tokens)
        add(3, half.linear1, tokens)
        add(3, half.linear2, tokens.new_empty(*tokens.shape[:2], half.linear1.out_features))
    return parameters, macs
