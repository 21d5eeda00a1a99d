"""The exercise of notebook 00: one formula, so that its reader has been answered once."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from helpers.exercises.core import Exercise, Wrong, call, register


def _check_widen(widen: Any) -> str:
    for channels in (96, 3, 1):  # the first tells the usual slips apart
        said = _number(call(widen, channels), channels)
        layer = nn.Conv2d(channels, 4 * channels, 1)
        live = sum(parameter.numel() for parameter in layer.parameters())
        if said != live:
            raise Wrong(_why(channels, said, live))
    return "4 C\u00b2 + 4 C: a weight for each pair of channels, a bias for each channel out."


def _number(said: Any, channels: int) -> float:
    """Take a number of any type: NumPy's and PyTorch's, too."""
    try:
        number = float(said)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(said, bool | str) or not math.isfinite(number):
        raise Wrong(f"widen({channels}) should be a number; yours is {said!r}.")
    return int(number) if number.is_integer() else number


def _why(c: int, said: float, live: int) -> str:
    start = f"For C = {c} you say {said:,}, and the layer has {live:,} parameters."
    known = {
        4 * c * c: "The biases are missing: one for each channel that comes out.",
        4 * c * c + c: "You counted a bias for each channel that goes in. It is one for each that "
        "comes out.",
        4 * c: "You counted one weight for each channel out. Each of them reads every channel in.",
        5 * c: "A channel out reads every channel in: the weights are a product, not a sum.",
        9 * 4 * c * c + 4 * c: "That is a 3x3 convolution. A 1x1 has one weight where it has nine.",
    }
    return f"{start} {known.get(int(said), 'How many numbers go in, and how many come out?')}"


register(
    Exercise(
        id="00.1",
        goal="Write widen(c): how many parameters a 1x1 convolution from C to 4 C channels has, "
        "biases included.",
        difficulty=1,
        minutes=3,
        hints=(
            "Each channel that comes out is a weighted sum of all channels that go in.",
            "Count the weights first: channels in times channels out. Then add one bias for each "
            "channel out.",
            "def widen(c):\n    weights = c * 4 * c\n    biases = ...\n    return weights + biases",
        ),
        checker=_check_widen,
    )
)
