"""The figures of notebook 04: what their front ends say, held against Python."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from helpers.explorers import ByHand, ShuffleShift
from tests.test_esm import Run, run

__all__ = ["run"]

few = settings(derandomize=True, deadline=None, max_examples=30, database=None)
SHEETS = {"depthwise": 6, "attention": 16}


def test_both_languages_shuffle_and_shift_alike(run: Run) -> None:
    cases = [["shuffle", times, 8, 8] for times in range(1, 100)]
    cases += [["shift", times, 5, 8] for times in range(8)]
    orders = run("shuffle_shift", "data.map((c) => m.orderOf(...c))", cases)
    for case, order in zip(cases, orders, strict=True):
        assert order == ShuffleShift.order(*case)


def test_every_line_of_a_worksheet_is_right_and_its_slips_are_not(run: Run) -> None:
    cases = ByHand.grid()
    expression = (
        "data.map((numbers) => { const result = m.compute(numbers); "
        f"return {list(SHEETS)}.map((sheet) => m.linesOf(sheet, numbers, result)"
        ".map((line) => [line.value, m.close(line.value, line.value), "
        "m.close(-line.value - 1, line.value), m.verdict(line.value + 50, line)])); })"
    )
    for case, sheets in zip(cases, run("by_hand", expression, cases), strict=True):
        expected = ByHand.reference(**case)
        for (sheet, count), lines in zip(SHEETS.items(), sheets, strict=True):
            assert len(lines) == count
            assert lines[-1][0] == pytest.approx(expected[f"{sheet}_out"][0], abs=1e-9)
            assert lines[-2][0] == pytest.approx(expected[f"{sheet}_sums"][1], abs=1e-9)
            assert all(right and says for _, right, _, says in lines)
        weights = [line[0] for line in sheets[1][7:10]]
        assert weights == pytest.approx(expected["weights"], abs=1e-9)


def test_numbers_are_read_as_people_write_them(run: Run) -> None:
    written = ["1.5", "1,5", " -2 ", "−0.25", ".5", "+3", "3.", "", "x", "1/2", "1.2.3", "1e3"]
    read = run("by_hand", "data.map(m.readNumber)", written)
    assert read == [1.5, 1.5, -2, -0.25, 0.5, 3, 3, None, None, None, None, None]


def test_new_numbers_are_a_valid_worksheet(run: Run) -> None:
    for numbers in run("by_hand", "data.map(m.rolled)", list(range(1, 60))):
        figure = ByHand(**numbers)
        scores = np.array(figure.outputs()["scores"])
        assert np.abs(scores).max() < 6, "by hand, exp of more than that is no help"
        assert any(numbers["x"][1])


@few
@given(st.integers(0, 7), st.sampled_from([3, 7]))
def test_a_convolution_follows_any_shift_around_the_edge(times: int, size: int) -> None:
    figure = ShuffleShift(move="shift", times=times, filter_size=size)
    assert figure.outputs()["depthwise_pixels"] == 0


@few
@given(st.integers(1, 99))
def test_attention_without_positions_follows_any_shuffle(times: int) -> None:
    shown = ShuffleShift(move="shuffle", times=times).outputs()
    assert shown["attention_error"] < 1e-12
    assert shown["depthwise_error"] > 0.5
    # A shuffle loses no pixel and invents none.
    assert np.sum(shown["moved"]) == pytest.approx(np.sum(ShuffleShift().x), abs=1e-9)
