"""The two linked figures of notebook 04: the code they show runs, and their bounds hold."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.nn import functional as F

from helpers.explorers import EdgeHead, TwoMatrices
from helpers.explorers.edge_head import one_head_limit
from helpers.explorers.two_matrices import (
    edge_filter,
    photograph_tokens,
    projection,
    scale_end,
)
from helpers.mixing import as_mixing
from helpers.photograph import photograph_file
from helpers.tokens import from_tokens
from tests.test_esm import run  # noqa: F401

Run = Callable[[str, str, Any], Any]
quick = settings(derandomize=True, deadline=None, max_examples=30, database=None)


def executed(text: str, names: dict[str, Any]) -> dict[int, Any]:
    """Run the code of a panel line by line; give what each bare expression is, by its line."""
    found = {}
    for number, line in enumerate(text.splitlines()):
        said = line.partition("#")[2].strip().replace("\N{MINUS SIGN}", "-")
        for part in ast.parse(line).body:
            if not isinstance(part, ast.Expr):
                exec(line, names)
            elif said:
                found[number] = (eval(line, names), said)
            else:
                eval(line, names)
    return found


def test_the_code_of_the_matrices_runs_and_says_its_numbers(run: Run) -> None:  # noqa: F811
    states = [
        {
            **TwoMatrices().value,
            "kernel_size": k,
            "heads": h,
            "head": h - 1,
            "support": s,
            "key": 87,
        }
        for (k, h) in [(1, 1), (7, 2), (3, 4)]
        for s in ("full", "window", "sliding")
    ]
    rows = []
    for state in states:
        shown = TwoMatrices(**state).shown()
        rows.append([shown[name][state["query"]].tolist() for name in ("depthwise", "attention")])
    expression = "data.map(([state, [left, right]]) => m.code(state, left, right))"
    texts = run("two_matrices", expression, list(zip(states, rows, strict=True)))
    x = torch.tensor(photograph_tokens())
    for state, text in zip(states, texts, strict=True):
        names = {"nn": nn, "torch": torch, "math": math, "as_mixing": as_mixing, "X": x.float()}
        names["W_Q"] = names["W_K"] = torch.tensor(projection()).float()
        names["image"] = from_tokens(x[None].float(), (14, 14))
        names["filter"] = torch.tensor(edge_filter(state["kernel_size"])).float()
        for value, said in executed(text, names).values():
            assert float(value) == pytest.approx(float(said), abs=6e-4)


def test_the_code_of_the_heads_runs_and_says_its_numbers(run: Run) -> None:  # noqa: F811
    figures = [
        EdgeHead(kernel=kernel, two_heads=two, skip=skip)
        for kernel, two, skip in itertools.product(["edge", "blur"], [False, True], [False, True])
    ]
    data = [[f.value, f.targets[f.value["kernel"]], f.shown()] for f in figures]
    texts = run("edge_head", "data.map((d) => m.code(...d))", data)
    for figure, text in zip(figures, texts, strict=True):
        names = {"torch": torch, "F": F, "signal": torch.tensor(figure.signals["edge"])}
        names["signal"] = names["signal"].float()
        [(value, said)] = executed(text, names).values()
        assert float(value) == pytest.approx(float(said), abs=2e-3)
        assert float(said) == pytest.approx(figure.shown()["captured"], abs=1e-3)


def test_best_scores_reach_the_limit(run: Run) -> None:  # noqa: F811
    parts = [[0, 0, 1], [0, 2, 0], [0.5, 0, 0.5], [0.25, 0.5, 0.25], [0, 0, 0]]
    for part, scores in zip(parts, run("edge_head", "data.map(m.bestScores)", parts), strict=True):
        weights = torch.tensor(scores, dtype=torch.float64).softmax(0).numpy()
        wanted = np.array(part)
        energy = wanted @ wanted
        assert energy == 0 or (wanted @ weights) ** 2 / (weights @ weights) > 0.998 * energy
        EdgeHead(**dict(zip(["left_1", "centre_1", "right_1"], scores, strict=True)))


def test_the_end_of_the_scale_is_the_same_in_both_languages(run: Run) -> None:  # noqa: F811
    generator = np.random.default_rng(2)
    matrices = [generator.uniform(0, 2.0**-n, size=400) for n in range(8)]
    found = run("two_matrices", "data.map(m.scaleEnd)", [m.tolist() for m in matrices])
    assert found == [scale_end(m) for m in matrices]


finite = st.floats(-3, 3, allow_nan=False, width=32)


@quick
@given(
    kernel=arrays(np.float64, 9, elements=finite).filter(lambda k: (k**2).sum() > 0.01),
    weights=arrays(np.float64, 9, elements=st.floats(0, 1, width=32)).filter(
        lambda a: a.sum() > 0.01
    ),
    skip=st.booleans(),
)
def test_no_weights_from_zero_up_pass_the_limit(
    kernel: np.ndarray, weights: np.ndarray, skip: bool
) -> None:
    rest = kernel.copy()
    rest[4] -= skip
    scale = (rest @ weights) / (weights @ weights)
    captured = 1 - ((rest - scale * weights) ** 2).sum() / (kernel**2).sum()
    assert captured <= one_head_limit(kernel, skip) + 1e-9


@quick
@given(kernel=arrays(np.float64, 3, elements=finite).filter(lambda k: (k**2).sum() > 0.01))
def test_two_heads_are_any_kernel(kernel: np.ndarray) -> None:
    parts = [np.maximum(sign * kernel, 0) + 0.5 * (np.arange(3) + 1) for sign in (1, -1)]
    scores = [np.log(part / part.sum()).tolist() for part in parts]
    found = EdgeHead.reference(kernel.tolist(), scores, False, [0.0] * 4)
    assert found["captured"] == pytest.approx(1, abs=1e-9)


@quick
@given(half=arrays(np.float64, 4, elements=finite).filter(lambda k: (k**2).sum() > 0.01))
def test_of_an_odd_kernel_one_head_reaches_half(half: np.ndarray) -> None:
    assert one_head_limit([*half, 0, *-half[::-1]]) == pytest.approx(0.5)


def test_the_photograph_is_small_and_names_its_author() -> None:
    file = photograph_file()
    assert file.stat().st_size < 30_000
    words = file.with_suffix(".txt").read_text(encoding="utf-8")
    for word in ("danielbuechele", "Creative Commons Attribution 2.0", "Changes"):
        assert word in words


def test_what_moved_is_the_weight_that_went_elsewhere(run: Run) -> None:  # noqa: F811
    generator = np.random.default_rng(5)
    now, before = generator.dirichlet(np.ones(6), size=(2, 6))
    now[2] = before[2]
    data = [now.ravel().tolist(), before.ravel().tolist()]
    moved = run("two_matrices", "Array.from(m.movedBy(...data))", data)
    assert moved == pytest.approx(np.maximum(now - before, 0).sum(1), abs=1e-12)
    assert moved[2] == 0
