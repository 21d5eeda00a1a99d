"""The ledger: every proof holds on random sizes, every break breaks, and neither is hollow."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.claims import LEDGER, Break, Part, claim
from helpers.equivalence import assert_equivalent

PARTS = [
    pytest.param(part, id=f"{c.id}.{i}") for c in LEDGER.values() for i, part in enumerate(c.parts)
]
BREAKS = [
    pytest.param(one, id=f"{c.id}.{i}.{j}")
    for c in LEDGER.values()
    for i, part in enumerate(c.parts)
    for j, one in enumerate(part.breaks)
]


@pytest.mark.parametrize("part", PARTS)
@settings(derandomize=True, deadline=None, max_examples=25)
@given(data=st.data())
def test_proof_holds_on_random_sizes(part: Part, data: st.DataObject) -> None:
    # Not fewer channels: a LayerNorm over one or two is close to constant, and in float32 what is
    # left of its gradient is rounding noise. test_equivalence.py takes those in float64.
    least = {"seed": 0, "channels": 4}
    sizes = {
        name: data.draw(st.integers(least.get(name, 1), 9), label=name)
        for name in inspect.signature(part.proof).parameters
    }
    proof = part.proof(**sizes)
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        assert proof.worst(dtype) <= bound


@pytest.mark.parametrize("one", BREAKS)
def test_break_breaks_by_its_printed_amount(one: Break) -> None:
    amount = one.measure()
    assert one.at_least <= amount < float("inf")
    # The printed bound is not far too modest: it stays within a factor of 10 of the truth.
    assert amount < 10 * one.at_least


def test_every_claim_has_a_break() -> None:
    for one in LEDGER.values():
        assert one.parts, one.id
        assert all(part.breaks for part in one.parts), one.id


def test_a_break_that_does_not_break_is_caught() -> None:
    same = torch.arange(4.0)
    with pytest.raises(AssertionError, match="should fail by at least"):
        Break("equal things differ", lambda: (same, same), 0.1).measure()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_degenerate_break_is_caught(value: float) -> None:
    left = torch.full((4,), value)
    with pytest.raises(AssertionError, match="degenerate"):
        Break("nothing differs", lambda: (left, torch.arange(4.0)), 0.1).measure()


def test_a_false_proof_is_caught() -> None:
    """The ledger is recomputed when it is shown: a proof that stopped holding cannot be shown."""
    broken = dataclasses.replace(
        LEDGER["C1"].parts[0],
        proof=lambda: assert_equivalent(nn.Linear(2, 2), nn.Linear(2, 2), torch.ones(1, 2)),
    )
    shown = dataclasses.replace(LEDGER["C1"], parts=(broken,))
    with pytest.raises(AssertionError, match="output differs"):
        repr(shown)
    with pytest.raises(AssertionError, match="output differs"):
        shown._repr_html_()


def test_unknown_claim_lists_those_there_are() -> None:
    with pytest.raises(KeyError, match="no claim 'C99'; it has C1"):
        claim("C99")
