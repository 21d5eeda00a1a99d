"""Budget designer and cost of N²: designs at random, and code panels that say what is true."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from helpers import budget
from helpers.explorers import BudgetDesigner, QuadraticCost
from helpers.explorers.budget_designer import _budget, _follow, _parts
from tests.test_esm import run  # noqa: F401

Run = Callable[[str, str, Any], Any]
NUMBER = re.compile(r"# +([\d,]+)")


def _designs(count: int) -> list[dict[str, Any]]:
    """Draw valid states of the designer, every second one locked."""
    draw = random.Random(7)
    figure = BudgetDesigner()
    states = []
    for number in range(count):
        stages = draw.choice([4, 1])
        width = draw.choice(figure.options["widths"][str(stages)])
        state = {
            "stages": stages,
            "mixer": draw.choice(["depthwise", "attention"]),
            "width": width,
            **{f"depth{i}": draw.randint(1, 36) for i in (1, 2, 3, 4)},
            "kernel": draw.choice(figure.options["kernels"]),
            "heads": draw.choice([n for n in (1, 2, 3, 4, 8, 16) if width % n == 0]),
            "expansion": draw.choice(figure.options["expansions"]),
            "image": draw.choice(figure.options["images"]),
            "lock": draw.randint(10**6, 10**9) * (number % 2),
            "against": "ViT-S",
        }
        figure.value = state  # valid, or this raises
        states.append(state)
    return states


def test_designs_at_random_cost_what_the_formulas_say(run: Run) -> None:  # noqa: F811
    states = _designs(60)
    with_depths = (
        "data.map((s) => m.compute({ ...s, depths: [s.depth1, s.depth2, s.depth3, s.depth4] }))"
    )
    for state, result in zip(states, run("budget_designer", with_depths, states), strict=True):
        names = [f"depth{i + 1}" for i in range(state["stages"])]
        depths = [state[name] for name in names]
        if state["lock"]:
            depths = _follow(
                lambda trial, s=state, n=names: (
                    _budget(s | dict(zip(n, trial, strict=True))).parameters
                ),
                depths,
                state["lock"],
            )
        assert result["depths"] == depths
        parts = _parts(_budget(state | dict(zip(names, depths, strict=True))))
        assert result["parameters"] == [part.parameters for part in parts]
        assert result["macs"] == [part.macs for part in parts]


def test_the_designers_code_gives_the_numbers_beside_it(run: Run) -> None:  # noqa: F811
    states = [state for state in _designs(24) if state["width"] <= 768]
    call = (
        "data.map((s) => { const d = [s.depth1, s.depth2, s.depth3, s.depth4].slice(0, s.stages);"
        "const c = m.compute({ ...s, lock: 0, depths: d });"
        "return m.code(s, d, c.parameters.reduce((a, b) => a + b)); })"
    )
    for panel in run("budget_designer", call, states):
        layers, whole = panel.split("# the whole net, by helpers.budget\n")
        for line in layers.splitlines()[1:]:
            said = int(NUMBER.search(line)[1].replace(",", ""))
            with torch.device("meta"):
                built = eval(line, {"nn": nn, "torch": torch})
            numbers = [built] if isinstance(built, nn.Parameter) else built.parameters()
            assert sum(p.numel() for p in numbers) == said, line
        said = int(NUMBER.search(whole)[1].replace(",", ""))
        assert eval(whole.strip(), vars(budget)) == said, whole


def test_the_code_beside_the_curve_gives_the_numbers_beside_it(run: Run) -> None:  # noqa: F811
    cases = QuadraticCost.grid()
    for panel in run("quadratic_cost", "data.map((s) => m.code(s, m.compute(s)))", cases):
        names: dict[str, Any] = {}
        for line in panel.splitlines():
            if not line.startswith(("from", "N =", "block =")) and line:
                said = int(NUMBER.search(line)[1].replace(",", ""))
                assert eval(line, names) == said, line
            elif line:
                exec(line, names)
        assert names["N"] == int(NUMBER.search(panel)[1].replace(",", ""))


@pytest.mark.parametrize("figure", [BudgetDesigner, QuadraticCost])
def test_no_key_stands_for_two_things_on_the_page(figure: Any) -> None:
    other = QuadraticCost if figure is BudgetDesigner else BudgetDesigner
    assert not set(figure().value) & set(other().value)
