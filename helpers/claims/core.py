"""A claim, its parts, and how each is checked and shown.

A *proof* gives evidence: two computations whose values and gradients agree, a formula that counts
what a live layer has, a measurement, a source. A *break* is the nearby statement that looks the
same and is false, with an example that shows by how much. Both run whenever a claim is shown. What
is printed is a bound that the run has just checked, because the digits below it differ between
machines.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from helpers.claims.evidence import Proof, in_words, pieces
from helpers.equivalence import normwise_difference


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
        Takes sizes and a seed as keywords, all with defaults, so that tests can vary them. Gives
        one piece of evidence, or several by what they show.
    breaks
        At least one.
    about
        Which part of the claim, in a few words; empty where a claim has one part.
    """

    verdict: Verdict
    statement: str
    proof: Callable[..., Proof]
    breaks: tuple[Break, ...]
    about: str = ""

    def check(self) -> tuple[Proof, tuple[float, ...]]:
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
    also
        Further notebooks that teach a part of it.
    """

    id: str
    said: str
    notebook: str
    parts: tuple[Part, ...]
    also: tuple[str, ...] = ()

    @property
    def notebooks(self) -> tuple[str, ...]:
        """All notebooks that teach it."""
        return (self.notebook, *self.also)

    def checked(self) -> Checked:
        """Run every proof and break.

        Raises
        ------
        AssertionError
            If one does not hold.
        """
        return Checked(self, tuple(_words(part) for part in self.parts))

    def __repr__(self) -> str:
        return repr(self.checked())

    def _repr_html_(self) -> str:
        return self.checked()._repr_html_()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        checked = self.checked()  # once for both forms
        return {"text/plain": repr(checked), "text/html": checked._repr_html_()}


@dataclass(frozen=True)
class Words:
    """A part whose proof and breaks have just held, in words."""

    part: Part
    proofs: tuple[str, ...]
    breaks: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The verdict, with a capital."""
        return str(self.part.verdict).capitalize()

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Give the part as rows, a name and a text."""
        about = f"{self.part.about}: " if self.part.about else ""
        return [
            ("Verdict", f"{about}{self.verdict}. {self.part.statement}"),
            *(("Proof", text) for text in self.proofs),
            *(("Break", text) for text in self.breaks),
        ]


@dataclass(frozen=True)
class Checked:
    """A claim whose proofs and breaks have just held."""

    claim: Claim
    parts: tuple[Words, ...]

    def __repr__(self) -> str:
        lines = [f"{self.claim.id}  The essay: {self.claim.said}"]
        lines += [f"  {name}: {text}" for part in self.parts for name, text in part.rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [("The essay", self.claim.said), *(row for part in self.parts for row in part.rows)]
        cells = "".join(
            f'<tr><th scope="row" style="text-align:left;vertical-align:top">{name}</th>'
            f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            for name, text in rows
        )
        return f'<table class="ob-claim"><caption>Claim {self.claim.id}</caption>{cells}</table>'


def _words(part: Part) -> Words:
    """Run a part's proof and breaks, and put what they showed into words."""
    proof, _ = part.check()
    return Words(
        part,
        tuple(in_words(what, evidence) for what, evidence in pieces(proof).items()),
        tuple(
            f'"{one.statement}" False: off by more than {one.at_least:g} times the largest value.'
            for one in part.breaks
        ),
    )
