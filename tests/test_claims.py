"""The ledger: every proof holds on random sizes, every break breaks, and neither is hollow."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.claims import (
    LEDGER,
    Break,
    Count,
    Counts,
    Measured,
    Part,
    Source,
    Sources,
    Verdict,
    claim,
    ledger,
)
from helpers.claims.evidence import in_words, pieces
from helpers.equivalence import Equivalence, assert_equivalent

PARTS = [
    pytest.param(part, id=f"{c.id}.{i}") for c in LEDGER.values() for i, part in enumerate(c.parts)
]
BREAKS = [
    pytest.param(one, id=f"{c.id}.{i}.{j}")
    for c in LEDGER.values()
    for i, part in enumerate(c.parts)
    for j, one in enumerate(part.breaks)
]
#: Not fewer channels: a LayerNorm over one or two is close to constant, and in float32 what is
#: left of its gradient is rounding noise. test_equivalence.py takes those in float64.
SIZES = {
    "seed": st.integers(0, 9),
    "channels": st.integers(4, 9),
    "kernel_size": st.sampled_from([1, 3, 5, 7]),
    "heads": st.integers(1, 3),
    "head_width": st.integers(4, 6),
    "expansion": st.integers(1, 4),
    "patch": st.integers(1, 4),
}


@pytest.mark.parametrize("part", PARTS)
@settings(derandomize=True, deadline=None, max_examples=25)
@given(data=st.data())
def test_proof_holds_on_random_sizes(part: Part, data: st.DataObject) -> None:
    sizes = {
        name: data.draw(SIZES.get(name, st.integers(1, 9)), label=name)
        for name in inspect.signature(part.proof).parameters
    }
    for evidence in pieces(part.proof(**sizes)).values():
        if not isinstance(evidence, Equivalence):
            continue  # counts and measures refuse to exist where they do not hold
        assert {c.dtype for c in evidence.comparisons} == {torch.float64, torch.float32}
        for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
            assert evidence.worst(dtype) <= bound


@pytest.mark.parametrize("one", BREAKS)
def test_break_breaks_by_its_printed_amount(one: Break) -> None:
    amount = one.measure()
    assert one.at_least <= amount < float("inf")
    # The printed bound is not far too modest: it stays within a factor of 10 of the truth.
    assert amount < 10 * one.at_least


@pytest.mark.parametrize("one", BREAKS)
def test_break_repeats_and_is_in_float64(one: Break) -> None:
    first, second = one.example(), one.example()
    for left, right in zip(first, second, strict=True):
        assert left.dtype == torch.float64
        assert torch.allclose(left, right, rtol=0, atol=1e-9)  # a fit may round otherwise
    assert first[0].shape == first[1].shape
    assert first[0].numel() > 1


def test_every_claim_of_the_ledger_is_there() -> None:
    assert list(LEDGER) == [f"C{i}" for i in range(1, 12)]
    assert all(one.id == id for id, one in LEDGER.items())


def test_every_claim_has_a_break() -> None:
    for one in LEDGER.values():
        assert one.parts, one.id
        assert all(part.breaks for part in one.parts), one.id


def test_every_part_shows_something_computed() -> None:
    for one in LEDGER.values():
        for part in one.parts:
            evidence = pieces(part.proof()).values()
            assert any(not isinstance(piece, Sources) for piece in evidence), one.id


def test_claims_of_several_parts_name_them() -> None:
    for one in LEDGER.values():
        names = [part.about for part in one.parts]
        if not any(names):  # the statements of C2 say it themselves
            assert one.id in ("C1", "C2")
        else:
            assert all(names), one.id
            assert len(set(names)) == len(names)


def test_verdicts_are_those_of_the_design() -> None:
    """DESIGN, section 2, with the corrections of FACTS, section 0."""
    v = Verdict
    assert {id: [part.verdict for part in one.parts] for id, one in LEDGER.items()} == {
        "C1": [v.EXACT],
        "C2": [v.EXACT, v.AFTER_REWRITING],
        "C3": [v.AFTER_REWRITING, v.ANALOGY, v.WRONG],
        "C4": [v.EXACT, v.AFTER_REWRITING, v.AFTER_REWRITING],
        "C5": [v.RIGHT, v.RIGHT, v.RIGHT],
        "C6": [v.WRONG, v.IN_PART, v.RIGHT],
        "C7": [v.EXACT, v.IN_PART],
        "C8": [v.RIGHT, v.RIGHT, v.RIGHT],
        "C9": [v.RIGHT, v.RIGHT, v.RIGHT],
        "C10": [v.IN_PART, v.IN_PART],
        "C11": [v.AFTER_REWRITING, v.IN_PART],
    }


def test_notebooks_have_the_names_of_the_book() -> None:
    for one in LEDGER.values():
        for name in one.notebooks:
            assert re.fullmatch(r"(0[1-9]|10)_[a-z_]+", name)


def test_prose_is_plain() -> None:
    for one in LEDGER.values():
        texts = [one.said]
        for part in one.parts:
            texts += [part.statement, part.about, *(b.statement for b in part.breaks)]
        for text in texts:
            assert not re.search(r"[—–!]|simply|  ", text), text


def test_a_break_that_does_not_break_is_caught() -> None:
    same = torch.arange(4.0)
    with pytest.raises(AssertionError, match="should fail by at least"):
        Break("equal things differ", lambda: (same, same), 0.1).measure()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_degenerate_break_is_caught(value: float) -> None:
    left = torch.full((4,), value)
    with pytest.raises(AssertionError, match="degenerate"):
        Break("nothing differs", lambda: (left, torch.arange(4.0)), 0.1).measure()


def _with_proof(proof):
    one = LEDGER["C1"]
    return dataclasses.replace(one, parts=(dataclasses.replace(one.parts[0], proof=proof),))


@pytest.mark.parametrize(
    ("proof", "message"),
    [
        (
            lambda: assert_equivalent(nn.Linear(2, 2), nn.Linear(2, 2), torch.ones(1, 2)),
            "output differs",
        ),
        (lambda: Counts((Count("weights", 4, 5),)), "weights: the formula gives 4"),
        (lambda: {"a": Measured("share", 0.7, 0.1, 0.6)}, "share: measured 0.7"),
        (lambda: Measured("share", float("nan"), 0, 1), "measured nan"),
        (lambda: Counts(()), "no counts"),
        (lambda: Sources(()), "every source"),
        (lambda: Sources((Source("found", ""),)), "every source"),
    ],
)
def test_a_false_proof_is_caught(proof, message: str) -> None:
    """The ledger is recomputed when it is shown: a proof that stopped holding cannot be shown."""
    shown = _with_proof(proof)
    for show in (repr, type(shown)._repr_html_, type(shown)._repr_mimebundle_):
        with pytest.raises(AssertionError, match=message):
            show(shown)


def test_a_count_is_a_whole_number() -> None:
    with pytest.raises(TypeError, match=r"live is 4\.0"):
        Count("weights", 4, 4.0)


def test_evidence_in_words() -> None:
    counts = Counts((Count("weights", 1234, 1234), Count("biases", 5, 5)))
    assert in_words("", counts) == "Formula and live layer agree. Weights: 1,234; biases: 5."
    said = in_words("whole", Measured("a share", 0.5, 0.25, 0.75))
    assert said == "Whole: a share: measured, between 0.25 and 0.75."
    sources = Sources((Source("found so", "A 2020"), Source("and so", "B 2021")))
    assert in_words("sources", sources) == "Sources: found so (A 2020); and so (B 2021)."


def test_sentences_begin_with_a_capital_and_names_stay_names() -> None:
    measured = Measured("share", 0.5, 0, 1e-6 + 0.5)
    assert in_words("k² one-hot heads", measured).startswith("k² one-hot heads: share")
    assert in_words("x + conv(x)", measured).startswith("x + conv(x): share")
    assert in_words("a share", measured).startswith("A share: share")
    small = in_words("", Measured("rest", 0.0, 0, 1e-6))
    assert small == "Rest: measured, between 0 and 1e-6."


def test_a_claim_is_computed_once_for_both_forms() -> None:
    calls = []

    def proof():
        calls.append(1)
        return Counts((Count("weights", 4, 4),))

    bundle = _with_proof(proof)._repr_mimebundle_()
    assert len(calls) == 1
    assert "Weights: 4." in bundle["text/plain"]
    assert "Weights: 4." in bundle["text/html"]


def test_unknown_claim_lists_those_there_are() -> None:
    with pytest.raises(KeyError, match="no claim 'C99'; it has C1"):
        claim("C99")


def test_ledger_links_the_notebooks_that_exist(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "01_pointwise_is_linear.ipynb").touch()
    (tmp_path / "sub" / "03_groups_and_heads.ipynb").touch()
    monkeypatch.delenv("ONE_BLOCK_FRAMES", raising=False)
    assert ledger().links == {"01_pointwise_is_linear": "01_pointwise_is_linear.ipynb"}
    assert ledger("sub").links == {"03_groups_and_heads": "sub/03_groups_and_heads.ipynb"}
    unlinked = ledger("sub")._repr_html_()
    assert '<a href="sub/03_groups_and_heads.ipynb">03_groups_and_heads</a>' in unlinked
    assert "02_convolution_is_a_matrix.ipynb" not in unlinked
    # For the book and the slides every name is linked: they know which pages they have.
    monkeypatch.setenv("ONE_BLOCK_FRAMES", "somewhere")
    shown = ledger()._repr_html_()
    for one in LEDGER.values():
        for name in one.notebooks:
            assert f'<a href="{name}.ipynb">{name}</a>' in shown


def test_ledger_says_everything_in_both_forms() -> None:
    table = ledger()
    plain, shown = " ".join(repr(table).split()), table._repr_html_()
    for one in LEDGER.values():
        assert one.said in plain
        for part in one.parts:
            assert str(part.verdict).capitalize() in shown
            assert " ".join(part.statement.split()) in plain
    assert shown.count("<tr data-claim=") == 11
    assert shown.count("<details ") == len(PARTS)
    assert max(map(len, repr(table).splitlines())) <= 88


def test_tally_counts_every_part_once() -> None:
    tally = ledger().tally()
    assert tally.total == len(PARTS) == sum(map(len, tally.found.values()))
    wanted = {v: sum(p.values[0].verdict is v for p in PARTS) for v in Verdict}
    assert {verdict: len(ids) for verdict, ids in tally.found.items()} == wanted
    plain, shown = repr(tally), tally._repr_html_()
    for verdict, ids in tally.found.items():
        assert f"{verdict:22}{len(ids):6}  " in plain
        assert str(verdict).capitalize() in shown
    assert plain.splitlines()[-1].split() == ["all", str(len(PARTS))]


def test_ledger_shows_one_verdict_only() -> None:
    table = ledger()
    wrong = table.only("wrong as stated")
    assert [row.claim.id for row in wrong.rows] == ["C3", "C6"]
    assert all(part.part.verdict is Verdict.WRONG for row in wrong.rows for part in row.parts)
    assert wrong.links == table.links
    both = table.only(Verdict.WRONG, Verdict.ANALOGY)
    assert both.tally().total == 3
    with pytest.raises(ValueError, match="no verdict 'false': there are 'exact', 'exact after"):
        table.only("false")


def test_ledger_recomputes(monkeypatch) -> None:
    wrong = _with_proof(lambda: Counts((Count("weights", 4, 5),)))
    monkeypatch.setitem(LEDGER, "C1", wrong)
    with pytest.raises(AssertionError, match="weights"):
        ledger()
