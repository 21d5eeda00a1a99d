"""What can stand as a proof: two computations that agree, a count, a measurement, a source.

Only `Sources` is not computed. The others are made by a proof each time it runs, and refuse to
exist where they do not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from helpers.equivalence import Equivalence


@dataclass(frozen=True)
class Count:
    """A number of the field's formulas, and the same number counted on the live layer.

    Parameters
    ----------
    what
        What is counted, with its sizes.
    formula, live
        The two numbers, whole.

    Raises
    ------
    AssertionError
        If they differ.

    Examples
    --------
    >>> Count("parameters of a Linear 3 -> 8", 3 * 8 + 8, 32)
    Count(what='parameters of a Linear 3 -> 8', formula=32, live=32)
    """

    what: str
    formula: int
    live: int

    def __post_init__(self) -> None:
        for name in ("formula", "live"):
            if not isinstance(getattr(self, name), int):
                raise TypeError(f"{name} is {getattr(self, name)!r}: a count is a whole number.")
        if self.formula != self.live:
            raise AssertionError(
                f"{self.what}: the formula gives {self.formula:,}, the layer has {self.live:,}."
            )


@dataclass(frozen=True)
class Counts:
    """Several counts that stand or fall together."""

    counts: tuple[Count, ...]

    def __post_init__(self) -> None:
        if not self.counts:
            raise AssertionError("no counts: nothing is shown.")


@dataclass(frozen=True)
class Measured:
    """A number that is measured anew, and the range that is printed.

    Raises
    ------
    AssertionError
        If it lies outside the range, or is no number.

    Examples
    --------
    >>> Measured("half of one", 0.5, 0.4, 0.6).value
    0.5
    """

    what: str
    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise AssertionError(
                f"{self.what}: measured {self.value:.6g}, said to be from {self.low:g} to "
                f"{self.high:g}."
            )


@dataclass(frozen=True)
class Source:
    """Something that others found, and where they say so."""

    says: str
    where: str


@dataclass(frozen=True)
class Sources:
    """What is known from others' work, and cannot be computed on a page."""

    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        if not all(source.says and source.where for source in self.sources) or not self.sources:
            raise AssertionError("every source says something, and somewhere.")


Evidence = Equivalence | Counts | Measured | Sources
#: What a proof returns: one piece of evidence, or several by what they show.
Proof = Evidence | Mapping[str, Evidence]


def pieces(proof: Proof) -> dict[str, Evidence]:
    """Give the pieces of evidence by what they show; the only one may be nameless."""
    return dict(proof) if isinstance(proof, Mapping) else {"": proof}


def in_words(what: str, evidence: Evidence) -> str:
    """Put one piece of evidence into words, with bounds and counts but no noise.

    Examples
    --------
    >>> in_words("", Counts((Count("parameters", 32, 32),)))
    'Formula and live layer agree. Parameters: 32.'
    """
    start = f"{_capital(what)}: " if what else ""
    match evidence:
        case Equivalence():
            said = _equivalence(evidence)
        case Counts():
            numbers = "; ".join(f"{count.what}: {count.live:,}" for count in evidence.counts)
            said = f"formula and live layer agree. {_capital(numbers)}."
        case Measured():
            between = f"between {evidence.low:g} and {evidence.high:g}".replace("e-0", "e-")
            said = f"{evidence.what}: measured, {between}."
        case Sources():
            said = "; ".join(f"{source.says} ({source.where})" for source in evidence.sources) + "."
    return start + (said if start else _capital(said))


def _capital(text: str) -> str:
    """Begin a sentence; a name such as x or k² stays as it is written."""
    first = text.split()[0].strip(",:")
    is_word = first == "a" or (len(first) > 1 and first.replace("-", "").isalpha())
    return text[:1].upper() + text[1:] if is_word else text


def _equivalence(proof: Equivalence) -> str:
    what = dict.fromkeys(c.what for c in proof.comparisons)
    gradients = [name.removeprefix("gradient of ") for name in what if name != "output"]
    # "block.norm.weight" is for who reads the code; here it is a weight.
    gradients = list(dict.fromkeys(name.rsplit(".")[-1] for name in gradients))
    bounds = dict.fromkeys((str(c.dtype), c.allowed) for c in proof.comparisons)
    within = " and ".join(
        f"{allowed:.0e} in {dtype.removeprefix('torch.')}".replace("e-0", "e-")
        for dtype, allowed in bounds
    )
    return f"outputs and gradients (of {', '.join(gradients)}) agree, normwise: below {within}."
