"""Figures of notebook 10: what designs cost beside a budget, and how their runs came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from helpers import theme
from helpers.budget import KINDS, Budget
from helpers.figures.bars import Bar, Piece, stacked_bars

__all__ = ["design_costs", "runs_beside"]

#: What lies outside the blocks of a network; drawn grey.
_AROUND = ("patches", "positions", "head norm", "head")


def design_costs(
    networks: Mapping[str, Budget], limit: int | None = None, *, label: float = 1.9
) -> Figure:
    """Draw the parameters and the multiply-adds of networks, kind by kind, with the budget's line.

    Parameters
    ----------
    networks
        A budget for each name.
    limit
        The parameters that may be spent; drawn as a dashed line.
    label
        Width of the names, in inches.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no network.

    Examples
    --------
    >>> from helpers.budget import convnext_block
    >>> fig = design_costs({"a block": convnext_block(32, tokens=49)}, limit=10_000)
    >>> [text.get_text() for text in fig.axes[0].texts][:2]
    ['parameters, budget 10,000', 'a block']
    """
    head = "parameters" + (f", budget {limit:,}" if limit else "")
    bars = [Bar(head)]
    for name, budget in networks.items():
        pieces = _pieces(budget, "parameters")
        bars.append(Bar(name, pieces, f"{budget.parameters:,}"))
    bars.append(Bar("multiply-adds on one image"))
    for name, budget in networks.items():
        bars.append(Bar(name, _pieces(budget, "macs"), f"{budget.macs / 1e6:.1f} M"))
    return stacked_bars(bars, label=label, limits={head: limit} if limit else None)


def _pieces(budget: Budget, of: str) -> list[Piece]:
    """Put the parts of one kind together, in the order of `KINDS`; what is no block at the end."""
    sums = dict.fromkeys([*KINDS, "rest"], 0)
    computed = 0
    for part in budget.parts:
        cost = getattr(part, of)
        if part.name == "q kᵀ, A v":
            computed += cost
        else:
            sums["rest" if part.name in _AROUND else part.kind] += cost
    texts = {"tokens": "A", "channels": "W", "each token": "", "rest": "outside"}
    pieces = [Piece(sums[kind], kind, text) for kind, text in texts.items() if sums[kind]]
    if computed:
        pieces.insert(1, Piece(computed, "tokens", "q kᵀ, A v", computed=True))
    return pieces


def runs_beside(
    runs: Mapping[str, ArrayLike],
    xlabel: str,
    *,
    bold: Sequence[str] = (),
    guess: float = 0.1,
    width: float = 7.2,
) -> Figure:
    """Draw the accuracies of runs as marks, a row for each kind of run, with its mean as a bar.

    Parameters
    ----------
    runs
        The accuracies, one for each seed, by the name of the row; from the top.
    xlabel
        What was measured.
    bold
        The names of rows that stand out: their marks are larger diamonds.
    guess
        Where guessing is; a thin line.
    width
        In inches.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no runs.

    Examples
    --------
    >>> fig = runs_beside({"identity": [0.5, 0.6], "mine": [0.7]}, "accuracy", bold=["mine"])
    >>> [label.get_text() for label in fig.axes[0].get_yticklabels()]
    ['identity', 'mine']
    """
    if not runs:
        raise ValueError("there are no runs to draw.")
    height = 0.85 + 0.31 * len(runs)
    fig = theme.figure(width, height)
    with theme.style():
        ax = fig.add_axes((0.30, 0.62 / height, 0.66, 1 - 0.8 / height))
        for row, (name, values) in enumerate(runs.items()):
            found = np.atleast_1d(np.asarray(values, dtype=float))
            out = name in bold
            colour = theme.INK if out else theme.MUTED
            ax.plot(
                found,
                np.full(len(found), row),
                ls="",
                marker="D" if out else "o",
                ms=9 if out else 6,
                mfc=theme.INK if out else theme.CARD,
                mec=colour,
            )
            if len(found) > 1:
                mean = found.mean()
                ax.plot([mean, mean], [row - 0.3, row + 0.3], color=colour, lw=2.4)
        ax.axvline(guess, color=theme.FIXED, lw=1.0)
        ax.text(guess, len(runs) - 0.5, " guessing", color=theme.MUTED, va="bottom")
        ax.set(xlim=(0, 1), ylim=(len(runs) - 0.5, -0.6), xlabel=xlabel)
        ax.set_yticks(range(len(runs)), list(runs))
        for name, label in zip(runs, ax.get_yticklabels(), strict=True):
            label.set_weight("bold" if name in bold else "normal")
        ax.grid(axis="x", color=theme.FIXED, alpha=0.35, lw=0.8)
    return fig
