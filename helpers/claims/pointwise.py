"""The ledger: each claim of the essay with a proof and a break that run.

A *proof* is two computations whose values and gradients agree. A *break* is the nearby statement
that looks the same and is false, with an example that shows by how much. Both are recomputed
whenever a page is run: nothing here is a stored number.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from helpers.blocks import ConvNeXtTail, EncoderFeedForward, FeedForward
from helpers.equivalence import (
    Equivalence,
    OnPixels,
    assert_equivalent,
    linear_from_pointwise,
    normwise_difference,
    pointwise_from_linear,
)


class Verdict(StrEnum):
    """What the book says of a claim, or of one part of it."""

    EXACT = "exact"
    AFTER_REWRITING = "exact after rewriting"
    IN_PART = "right in part"
    RIGHT = "right"
    ANALOGY = "analogy only"
    WRONG = "wrong as stated"


@dataclass(frozen=True)
class Break:
    """A nearby statement that is false.

    Parameters
    ----------
    statement
        The false statement, as somebody might believe it.
    example
        Gives two float64 tensors of one shape that the statement says are equal.
    at_least
        The amount that is printed: the normwise difference is never below it.
    """

    statement: str
    example: Callable[[], tuple[Tensor, Tensor]]
    at_least: float

    def measure(self) -> float:
        """Give the normwise difference of the two sides.

        Raises
        ------
        AssertionError
            If the example is degenerate (not finite, or constant) or does not break the statement:
            then it shows nothing.
        """
        left, right = self.example()
        for side, tensor in (("left", left), ("right", right)):
            if not torch.isfinite(tensor).all() or tensor.std() == 0:
                raise AssertionError(f"the {side} side of {self.statement!r} is degenerate.")
        amount = normwise_difference(left, right)
        if amount < self.at_least:
            raise AssertionError(
                f"{self.statement!r} should fail by at least {self.at_least:g}; "
                f"it fails by {amount:.3g}."
            )
        return amount


@dataclass(frozen=True)
class Part:
    """One part of a claim: its verdict, what is true, and what shows it.

    Parameters
    ----------
    verdict, statement
        The verdict, and the corrected statement.
    proof
        Takes sizes and a seed as keywords, all with defaults, so that tests can vary them.
    breaks
        At least one.
    """

    verdict: Verdict
    statement: str
    proof: Callable[..., Equivalence]
    breaks: tuple[Break, ...]

    def check(self) -> tuple[Equivalence, tuple[float, ...]]:
        """Run the proof and every break; raises AssertionError where one does not hold."""
        return self.proof(), tuple(one.measure() for one in self.breaks)


@dataclass(frozen=True)
class Claim:
    """One row of the ledger. Displayed in a notebook, it runs its proofs and breaks first.

    Parameters
    ----------
    id
        ``"C1"`` to ``"C11"``.
    said
        What the essay said, retold in a sentence.
    notebook
        The notebook that teaches it, without its ending.
    parts
        A claim with several parts has a verdict for each.
    """

    id: str
    said: str
    notebook: str
    parts: tuple[Part, ...]

    def __repr__(self) -> str:
        lines = [f"{self.id}  The essay: {self.said}"]
        for part in self.parts:
            lines += [f"  {name}: {text}" for name, text in _rows(part)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [("The essay", self.said), *(row for part in self.parts for row in _rows(part))]
        cells = "".join(
            f'<tr><th scope="row" style="text-align:left;vertical-align:top">{name}</th>'
            f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            for name, text in rows
        )
        return f'<table class="ob-claim"><caption>Claim {self.id}</caption>{cells}</table>'


def _rows(part: Part) -> list[tuple[str, str]]:
    """Run a part's proof and breaks, and put what they showed into words."""
    proof, _ = part.check()
    what = dict.fromkeys(c.what for c in proof.comparisons)
    gradients = [name.removeprefix("gradient of ") for name in what if name != "output"]
    bounds = dict.fromkeys((str(c.dtype), c.allowed) for c in proof.comparisons)
    within = " and ".join(
        f"{allowed:.0e} in {dtype.removeprefix('torch.')}" for dtype, allowed in bounds
    )
    return [
        ("Verdict", f"{str(part.verdict).capitalize()}. {part.statement}"),
        (
            "Proof",
            f"Outputs and gradients (of {', '.join(gradients)}) agree: the largest difference over "
            f"the largest value is below {within}.",
        ),
        *(
            (
                "Break",
                f'"{one.statement}" False: off by more than {one.at_least:g} times the largest '
                "value.",
            )
            for one in part.breaks
        ),
    ]


def _random(seed: int, *shape: int) -> Tensor:
    """Draw float64 noise: an example must not be special."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _randomise(module: nn.Module, seed: int) -> nn.Module:
    """Redraw every parameter in float64: zeros, ones and 1e-6 of an initialisation hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.5 * noise)
    return module


# C1: a 1x1 convolution equals Linear.


def prove_pointwise_is_linear(
    batch: int = 2,
    channels: int = 6,
    channels_out: int = 8,
    height: int = 5,
    width: int = 7,
    seed: int = 0,
) -> Equivalence:
    """Compare a 1x1 convolution with the Linear of the same weights, on an image.

    Values, and the gradients of input, weight and bias, in both directions of the copy.
    """
    image = _random(seed, batch, channels, height, width)
    names = {"weight": "layer.weight", "bias": "layer.bias"}
    conv = _randomise(nn.Conv2d(channels, channels_out, 1), seed + 1)
    there = assert_equivalent(conv, OnPixels(linear_from_pointwise(conv)), image, parameters=names)
    linear = _randomise(nn.Linear(channels, channels_out), seed + 2)
    back = assert_equivalent(
        pointwise_from_linear(linear), OnPixels(linear), image, parameters=names
    )
    return Equivalence(there.comparisons + back.comparisons)


def _kernel_three_beside_its_centre() -> tuple[Tensor, Tensor]:
    image = _random(0, 2, 6, 5, 7)
    conv = _randomise(nn.Conv2d(6, 8, 3, padding=1), 1)
    centre = nn.Linear(6, 8).double()
    with torch.no_grad():
        centre.weight.copy_(conv.weight[:, :, 1, 1])
        centre.bias.copy_(conv.bias)
        return conv(image), OnPixels(centre)(image)


def _view_beside_permute() -> tuple[Tensor, Tensor]:
    image = _random(0, 2, 6, 5, 7)
    linear = _randomise(nn.Linear(6, 8), 1)
    with torch.no_grad():
        return linear(image.view(2, 35, 6)), linear(image.flatten(2).transpose(1, 2))


# C2: the ConvNeXt block after its depthwise convolution equals the feed-forward.


def prove_tail_is_feed_forward(
    batch: int = 2,
    channels: int = 6,
    height: int = 5,
    width: int = 7,
    expansion: int = 4,
    seed: int = 0,
) -> Equivalence:
    """Compare ConvNeXt's tail with the feed-forward inside PyTorch's own encoder layer.

    Layer scale, drawn at random here, is folded into the second Linear.
    """
    tail = _randomise(ConvNeXtTail(channels, expansion), seed)
    layer = nn.TransformerEncoderLayer(
        channels,
        1,
        expansion * channels,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    ).double()
    feed_forward = EncoderFeedForward(FeedForward.from_tail(tail).load_into(layer))
    image = _random(seed + 1, batch, channels, height, width)
    names = {"pwconv1.weight": "layer.layer.linear1.weight", "norm.bias": "layer.layer.norm2.bias"}
    return assert_equivalent(tail, OnPixels(feed_forward), image, parameters=names)


def _feed_forward_pair(activation: nn.Module, fold: bool) -> tuple[Tensor, Tensor]:
    tail = _randomise(ConvNeXtTail(6), 0)
    feed_forward = FeedForward.from_tail(tail)
    feed_forward.activation = activation
    if not fold:
        feed_forward.linear2.load_state_dict(tail.pwconv2.state_dict())
    image = _random(1, 2, 6, 5, 7)
    with torch.no_grad():
        return tail(image), OnPixels(feed_forward)(image)


def _gradients_beside_folding() -> tuple[Tensor, Tensor]:
    tail = _randomise(ConvNeXtTail(6), 0)
    feed_forward = FeedForward.from_tail(tail)
    image = _random(1, 2, 6, 5, 7)
    tail(image).square().sum().backward()
    OnPixels(feed_forward)(image).square().sum().backward()
    return tail.pwconv2.weight.grad, feed_forward.linear2.weight.grad


LEDGER: dict[str, Claim] = {
    "C1": Claim(
        id="C1",
        said="A 1x1 pointwise convolution has the form of nn.Linear(in_channels, out_channels).",
        notebook="01_pointwise_is_linear",
        parts=(
            Part(
                Verdict.EXACT,
                "A 1x1 convolution (stride 1, no padding, one group) is one Linear over the "
                "channels, applied at every pixel with the same weights.",
                prove_pointwise_is_linear,
                (
                    Break(
                        "A 3x3 convolution is the Linear of its centre weights.",
                        _kernel_three_beside_its_centre,
                        0.5,
                    ),
                    Break(
                        "image.view(B, H*W, C) turns an image into tokens.",
                        _view_beside_permute,
                        0.5,
                    ),
                ),
            ),
        ),
    ),
    "C2": Claim(
        id="C2",
        said="What follows the depthwise convolution in a ConvNeXt block is the feed-forward.",
        notebook="01_pointwise_is_linear",
        parts=(
            Part(
                Verdict.EXACT,
                "LayerNorm, Linear, GELU, Linear with layer scale folded into the second Linear is "
                "the pre-norm feed-forward, given the same expansion, GELU and eps.",
                prove_tail_is_feed_forward,
                (
                    Break(
                        "Any GELU will do: the tanh approximation is the same function.",
                        lambda: _feed_forward_pair(nn.GELU(approximate="tanh"), fold=True),
                        1e-4,
                    ),
                    Break(
                        "Layer scale can be left out.",
                        lambda: _feed_forward_pair(nn.GELU(), fold=False),
                        0.3,
                    ),
                    Break(
                        "Folded or not, the second Linear's weight gets the same gradient.",
                        _gradients_beside_folding,
                        0.3,
                    ),
                ),
            ),
        ),
    ),
}


def claim(id: str) -> Claim:
    """Give one claim of the ledger.

    Raises
    ------
    KeyError
        If the ledger has no such claim; the message lists those it has.

    Examples
    --------
    >>> claim("C1").parts[0].verdict
    <Verdict.EXACT: 'exact'>
    """
    if id not in LEDGER:
        raise KeyError(f"the ledger has no claim {id!r}; it has {', '.join(LEDGER)}.")
    return LEDGER[id]
