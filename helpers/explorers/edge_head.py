"""Linked figure of notebook 04: how much of an edge filter one attention head can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch.nn import functional as F

from helpers import theme
from helpers.explorers.linked import Choice, LinkedFigure
from helpers.photograph import CREDIT, photograph

__all__ = ["EdgeHead", "one_head_limit"]

_TARGETS = {
    "edge": (-1.0, 0.0, 1.0),
    "laplacian": (-1.0, 2.0, -1.0),
    "difference": (-1.0, 1.0, 0.0),
    "sharpen": (-0.5, 1.0, -0.5),
    "blur": (0.25, 0.5, 0.25),
}
_PLACES = ("left", "centre", "right")
_SCORES = tuple(f"{place}_{head}" for head in (1, 2) for place in _PLACES)
_MOST, _STEP = 6.0, 0.25
_STEPS = tuple(_STEP * n for n in range(-round(_MOST / _STEP), round(_MOST / _STEP) + 1))
_ROUNDING = 1e-9


def one_head_limit(kernel: ArrayLike, skip: bool = False) -> float:
    """Give the share of a kernel's energy that one softmax head can reach, at its best.

    A head's weights are at least zero and its values have one scale, so what it adds is of one
    sign: the positive part of the kernel or the negative part, whichever holds more energy.

    Parameters
    ----------
    kernel : array_like
        Any shape with odd sides; the sum of squares is its energy.
    skip : bool
        Whether the token itself is added, as a skip connection does.

    Returns
    -------
    float
        From 0 to 1; reached only in the limit where the softmax needs zeros.

    Raises
    ------
    ValueError
        If the kernel is zero, or with `skip` has no middle.

    Examples
    --------
    >>> one_head_limit([-1, 0, 1]), one_head_limit([-1, 1, 0], skip=True)
    (0.5, 1.0)
    """
    target = np.asarray(kernel, dtype=float)
    energy = float((target**2).sum())
    if energy == 0:
        raise ValueError("kernel is zero everywhere: there is no energy to reach a share of.")
    wanted = target.copy()
    if skip:
        if any(side % 2 == 0 for side in target.shape):
            raise ValueError(f"kernel has the shape {target.shape}: a skip needs odd sides.")
        wanted[tuple(side // 2 for side in target.shape)] -= 1
    parts = [float((np.maximum(sign * wanted, 0) ** 2).sum()) for sign in (1, -1)]
    return 1 - min(parts) / energy


class EdgeHead(LinkedFigure):
    """Three scores, a softmax, a scale: imitate an edge filter with one head, two, or a skip.

    The head sees the token to its left, itself and the token to its right. The reader moves the
    three scores; the scale (what W_V W_O does in one channel) is always the best one.

    Parameters
    ----------
    **start
        Where to start: `kernel` ("edge", "laplacian", "difference", "sharpen", "blur"); the scores
        `left_1`, `centre_1`, `right_1` and, of the second head, `left_2`, `centre_2`, `right_2`,
        from -6 to 6 in steps of a quarter; `two_heads` and `skip`, bools; `signal` ("edge",
        "photograph").

    Attributes
    ----------
    value : dict
        Those ten.

    Examples
    --------
    >>> EdgeHead(kernel="difference", skip=True, left_1=6, centre_1=-6, right_1=-6).captured
    1.0
    """

    module = "edge_head"
    data = ("targets", "signals", "credit")

    targets = traitlets.Dict().tag(sync=True)
    signals = traitlets.Dict().tag(sync=True)
    credit = traitlets.Unicode().tag(sync=True)

    def __init__(self, **start: float | bool | str) -> None:
        super().__init__(
            name="edge_head",
            title="Can a head find an edge?",
            description="A softmax gives weights from 0 up that sum to 1: a head averages.",
            targets={name: list(kernel) for name, kernel in _TARGETS.items()},
            signals={name: list(signal) for name, signal in _signals().items()},
            credit=CREDIT,
            value={
                "kernel": "edge",
                **dict(zip(_SCORES, (-1.0, 0.0, 1.0, 1.0, 0.0, -1.0), strict=True)),
                "two_heads": False,
                "skip": False,
                "signal": "edge",
                **start,
            },
        )

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter may be."""
        return {
            "kernel": tuple(_TARGETS),
            **dict.fromkeys(_SCORES, _STEPS),
            "two_heads": (False, True),
            "skip": (False, True),
            "signal": tuple(self.signals),
        }

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List targets, scores of one and of two heads, with the skip and without."""
        generator = np.random.default_rng(6)
        signal = generator.normal(size=12).tolist()
        cases: list[dict[str, Any]] = []
        for target in (*_TARGETS.values(), tuple(generator.normal(size=3))):
            for heads, skip in ((1, False), (2, False), (1, True), (2, True)):
                scores = generator.uniform(-3, 3, size=(heads, 3)).tolist()
                cases.append(
                    {"target": list(target), "scores": scores, "skip": skip, "signal": signal}
                )
        twins = {"target": [-1.0, 0.0, 1.0], "scores": [[0.0, 1.0, 2.0]] * 2, "skip": False}
        return [*cases, {**twins, "signal": signal}]

    @classmethod
    def reference(
        cls, target: ArrayLike, scores: ArrayLike, skip: bool, signal: ArrayLike
    ) -> dict[str, Any]:
        """Compute the heads' weights, their best scales and what they make of a signal, in PyTorch.

        Parameters
        ----------
        target : array_like, shape (3,)
            The kernel to imitate: what the left token, the token and the right one count.
        scores : array_like, shape (H, 3)
            Before the softmax, for one head or two.
        skip : bool
            Whether the token itself is added.
        signal : array_like, shape (T,)
            What both kernels are applied to, without padding.

        Returns
        -------
        dict
            ``weights`` (H, 3); ``scales`` (H,), the least-squares ones; ``kernel`` (3,), all of it
            together; ``captured``, the share of the target's energy; ``limit``, the largest share
            for so many heads; ``wanted`` and ``response`` (T - 2,).
        """
        wanted = torch.tensor(target, dtype=torch.float64)
        weights = torch.tensor(scores, dtype=torch.float64).softmax(-1)
        own = torch.tensor([0.0, float(skip), 0.0], dtype=torch.float64)
        rest = (wanted - own)[:, None]
        # The smallest of the best scales, where two heads are the same.
        scales = torch.linalg.lstsq(weights.T, rest, driver="gelsd").solution[:, 0]
        kernel = scales @ weights + own
        missing = ((wanted - kernel) ** 2).sum() / (wanted**2).sum()
        limit = 1.0 if len(weights) > 1 else one_head_limit(wanted.numpy(), skip)
        tokens = torch.tensor(signal, dtype=torch.float64)[None, None]
        return {
            "weights": weights.tolist(),
            "scales": scales.tolist(),
            "kernel": kernel.tolist(),
            "captured": 1 - float(missing),
            "limit": limit,
            "wanted": F.conv1d(tokens, wanted[None, None])[0, 0].tolist(),
            "response": F.conv1d(tokens, kernel[None, None])[0, 0].tolist(),
        }

    @property
    def captured(self) -> float:
        """The share of the target's energy at the moment, rounded to three decimals."""
        return round(self.shown()["captured"], 3)

    def shown(self) -> dict[str, Any]:
        """Compute what the figure shows at the moment; see `reference`."""
        value = self.value
        scores = [[value[f"{place}_{head}"] for place in _PLACES] for head in (1, 2)]
        return self.reference(
            self.targets[value["kernel"]],
            scores if value["two_heads"] else scores[:1],
            value["skip"],
            self.signals[value["signal"]],
        )

    def still(self) -> tuple[Figure, str]:
        """Draw the kernels as bars, and the signal with both responses."""
        shown = self.shown()
        target = self.targets[self.value["kernel"]]
        rows = {"target": (target, theme.INK)}
        for number, weights in enumerate(shown["weights"], start=1):
            rows[f"head {number}: weights"] = (weights, theme.TOKEN)
        rows["together"] = (shown["kernel"], theme.TOKEN)
        with theme.style():
            fig = theme.figure(7.2, 4.6)
            for column, (name, (numbers, colour)) in enumerate(rows.items()):
                ax = fig.add_axes((0.09 + column * 0.235, 0.6, 0.18, 0.28))
                _bars(ax, name, numbers, colour, first=column == 0)
            self._lines(fig.add_axes((0.09, 0.12, 0.88, 0.32)), shown)
        return fig, self._sentence(shown)

    def _lines(self, ax: Axes, shown: Mapping[str, Any]) -> None:
        """Draw the signal and the two responses to it."""
        signal = np.asarray(self.signals[self.value["signal"]])
        place = np.arange(len(signal))
        ax.step(place, signal, where="mid", color=theme.FIXED, lw=1.2, label="signal")
        ax.step(place[1:-1], shown["wanted"], where="mid", color=theme.INK, lw=3.5, label="target")
        style = {"color": theme.TOKEN, "lw": 2, "label": "heads"}
        ax.step(place[1:-1], shown["response"], where="mid", **style)
        ax.axhline(0, color=theme.FIXED, lw=0.8)
        ax.set_xlabel("token")
        ax.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0))

    def _sentence(self, shown: Mapping[str, Any]) -> str:
        """Say what is reached, and what could be at most."""
        target = self.targets[self.value["kernel"]]
        heads = len(shown["weights"])
        parts = [
            f"{'Head' if heads > 1 else 'The head'}{f' {number}' if heads > 1 else ''} has the "
            f"weights {', '.join(_text(weight) for weight in weights)} (none negative, sum 1), "
            f"times {_text(scale)}."
            for number, (weights, scale) in enumerate(
                zip(shown["weights"], shown["scales"], strict=True), start=1
            )
        ]
        worse = "worse than nothing: " if shown["captured"] < 0 else ""
        return (
            f"Target [{', '.join(map(_text, target))}]. {' '.join(parts)} Together they are "
            f"[{', '.join(map(_text, shown['kernel']))}], {worse}"
            f"{_percent(shown['captured'])} of the "
            f"target's energy. {self._most(shown['limit'])}"
        )

    def _most(self, limit: float) -> str:
        """Say what so many heads can be at best."""
        skip = self.value["skip"]
        if self.value["two_heads"]:
            return "Two heads of opposite sign can be any kernel exactly."
        if limit < 1 - _ROUNDING:
            who = "one head and the skip reach" if skip else "one head reaches"
            return f"At best {who} {_percent(limit)}: a head adds weights of one sign only."
        if skip:
            return (
                "One head and the skip come as near to it as you like: a softmax gives 0 only in "
                "the limit."
            )
        return "One head can be this kernel exactly: all its weights have one sign."


def _signals() -> dict[str, tuple[float, ...]]:
    """Give the two signals: a step, and the lightness of a line of the photograph."""
    line = np.tensordot([0.299, 0.587, 0.114], photograph(28), 1)[13]
    return {
        "edge": (0.2,) * 9 + (0.8,) * 10 + (0.2,) * 9,
        "photograph": tuple(np.round(line, 3).tolist()),
    }


def _bars(ax: Axes, name: str, numbers: Sequence[float], colour: str, *, first: bool) -> None:
    """Draw three numbers as bars on a common scale, each with its value."""
    ax.bar(range(3), numbers, color=colour, width=0.7)
    ax.axhline(0, color=theme.FIXED, lw=0.8)
    ax.set_ylim(-2.7, 2.7)
    ax.set_xticks(range(3), ["−1", "0", "+1"])
    ax.set_yticks([-2, 0, 2] if first else [])
    ax.set_title(name, size=theme.TEXT)
    for place, number in enumerate(numbers):
        side = "bottom" if number >= 0 else "top"
        ax.text(place, number, _text(number), ha="center", va=side, size=theme.SMALL)


def _text(value: float) -> str:
    """Write a number as the front end does: two decimals at most, a true minus sign."""
    return f"{round(float(value), 2) + 0.0:.6g}".replace("-", "\N{MINUS SIGN}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace("-", "\N{MINUS SIGN}")
