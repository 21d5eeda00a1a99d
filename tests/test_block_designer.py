"""Block designer: what it draws, counts and says is what `helpers.designs` builds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from helpers import designs
from helpers.designs import BUDGET, GALLERY, BlockDesign, fitting_depth, network_budget
from helpers.equivalence import OnPixels
from helpers.explorers import BlockDesigner
from helpers.explorers.block_designer import _PRESETS, DEEPEST
from tests.test_esm import run  # noqa: F401

Run = Callable[[str, str, Any], Any]


def states() -> list[dict[str, Any]]:
    """Every valid choice but for the window and the heads, of which each state has some."""
    options, found = BlockDesigner().options, []
    windows, heads = itertools.cycle(options["kernel_size"]), itertools.cycle(options["heads"])
    names = ("tokens", "expansion", "norms", "skips", "depth")
    offered = [options[name] for name in names[:-1]] + [[0, 5, DEEPEST]]
    for chosen in itertools.product(*offered):
        state = dict(zip(names, chosen, strict=True))
        state |= {"kernel_size": next(windows), "heads": next(heads), "over": "parameters"}
        one_half = (chosen[2], chosen[3]) == (1, 1) and chosen[0] != "identity"
        if state["expansion"] or one_half:
            found.append(BlockDesigner(**state).value)
    return found


STATES = states()


def test_every_state_costs_what_the_formulas_say(run: Run) -> None:  # noqa: F811
    assert len(STATES) > 400
    call = f"data.map((s) => m.compute({{ ...s, limit: {BUDGET} }}))"
    for state, found in zip(STATES, run("block_designer", call, STATES), strict=True):
        designer = BlockDesigner(**state)
        budget, depth = designer.design.budget(), state["depth"] or fitting_depth(designer.design)
        whole = network_budget(designer.design, depth)
        assert designer.depth == found["depth"] == depth
        assert sum(found["parameters"]) == budget.parameters
        assert sum(found["macs"]) == budget.macs
        assert found["network"] == [whole.parameters, whole.macs]


def test_both_languages_say_the_same_of_every_state(run: Run) -> None:  # noqa: F811
    designer = BlockDesigner()
    mine = BlockDesigner(**STATES[100])
    designer.place(0.5, mine.design, mine.depth)
    data = {"states": STATES, "presets": designer.presets, "runs": designer.runs, "limit": BUDGET}
    call = "data.states.map((s) => m.sentence(s, data.presets, data.runs, data.limit))"
    said = run("block_designer", call, data)
    for state, sentence in zip(STATES, said, strict=True):
        designer.value = state
        assert sentence == designer.sentence()
    assert any("Your run after" in sentence for sentence in said)
    assert any("Recorded runs after" in sentence for sentence in said)
    assert len(set(said)) > 400


def test_the_code_gives_the_design_and_the_numbers_beside_it(run: Run) -> None:  # noqa: F811
    call = f"data.map((s) => m.code(s, {BUDGET}))"
    for state, panel in zip(STATES, run("block_designer", call, STATES), strict=True):
        names = dict(vars(designs))
        wanted = BlockDesigner(**state)
        for line in filter(None, panel.splitlines()):
            code, _, said = line.partition(" # ")
            if "=" in code.split("(")[0]:
                exec(code, names)
            else:
                assert eval(code, names) == int(said.replace(",", "")), line
        assert not names["design"].changes_from(wanted.design)
        assert names["design"].choices == wanted.design.choices
        assert names["depth"] == wanted.depth


def follow(steps: list[dict[str, Any]], design: BlockDesign, image: torch.Tensor) -> torch.Tensor:
    """Compute what is drawn: the boxes in their order, and what each skip adds."""
    block = design.build().double()
    block.load_state_dict(LIVE[design].state_dict())
    half = block.feed_forward.layer if design.expansion else None
    norms = [] if isinstance(block.norm, torch.nn.Identity) else [block.norm]
    norms += [OnPixels(half.norm)] if half else []
    parts = {"mixer": block.mixer}
    if half:
        linears = torch.nn.Sequential(half.linear1, half.activation, half.linear2)
        parts["feed-forward"] = OnPixels(linears)
    values = [image]
    for step in steps:
        if step["part"] == "add":
            values.append(values[-1] + values[step["from"]])
        elif step["part"] == "norm":
            values.append(norms.pop(0)(values[-1]))
        else:
            values.append(parts.pop(step["part"])(values[-1]))
    assert not norms
    assert not parts
    return values[-1]


WIRINGS = [
    BlockDesign("depthwise", expansion, norms=norms, skips=skips, channels=8)
    for expansion, norms, skips in [(2, 1, 1), (2, 1, 2), (2, 2, 1), (2, 2, 2), (0, 1, 1)]
]
LIVE = {design: design.build().double() for design in WIRINGS}


def test_what_is_drawn_computes_what_the_block_computes(run: Run) -> None:  # noqa: F811
    data = [{n: getattr(d, n) for n in ("expansion", "norms", "skips")} for d in WIRINGS]
    image = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    drawn = run("block_designer", "data.map(m.structure)", data)
    with torch.no_grad():
        outputs = [
            follow(steps, design, image) for steps, design in zip(drawn, WIRINGS, strict=True)
        ]
        for design, output in zip(WIRINGS, outputs, strict=True):
            assert (LIVE[design](image) - output).abs().max() < 1e-12
    assert len({str(steps) for steps in drawn}) == len(WIRINGS)


def test_the_untouched_figure_gives_no_answer_away() -> None:
    sentence = BlockDesigner().still()[1]
    assert "Not trained yet." in sentence
    assert "no feed-forward" not in sentence
    assert not re.search(r"\b(6|8|12) blocks", sentence)


@pytest.mark.parametrize("name", _PRESETS)
def test_a_preset_is_the_design_of_its_name(name: str) -> None:
    designer = BlockDesigner()
    designer.value = {**designer.value, **designer.presets[name]}
    assert designer.design == _PRESETS[name]
    if name.endswith("block"):
        assert f"It is {'the ' * name.startswith('T')}{name}." in designer.sentence()


def test_every_recorded_design_is_found() -> None:
    for name, design in GALLERY.items():
        sentence = BlockDesigner(
            tokens=design.tokens, kernel_size=design.kernel_size, expansion=4
        ).sentence()
        assert "Recorded runs after 200 steps" in sentence, name


def test_runs_of_ones_own_join_by_seed() -> None:
    designer = BlockDesigner()
    recorded = len(designer.runs)
    for seed, accuracy in ((0, 0.5), (1, 0.7), (0, 0.6)):
        designer.place(accuracy, designer.design, designer.depth, seed)
    assert len(designer.runs) == recorded + 1
    assert designer.runs[-1]["accuracies"] == [0.6, 0.7]
    assert "Your runs after 200 steps: 0.65" in designer.sentence()
    own = BlockDesign(lambda channels: torch.nn.Identity())
    designer.place(0.4, own, 3)
    assert designer.runs[-1]["choices"]["tokens"] == "your mixer"
    with pytest.raises(ValueError, match=r"accuracy=85 must be a share"):
        designer.place(85, designer.design, 4)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tokens": "convolution"}, "tokens='convolution' must be one of 'identity'"),
        ({"kernel_size": 4}, "kernel_size=4 must be one of 3, 5, 7"),
        ({"heads": 3}, "heads=3 must be one of 1, 2, 4"),
        ({"expansion": 5}, "expansion=5"),
        ({"norms": True}, "norms=True must be one of 1, 2"),
        ({"depth": 37}, "depth=37 must be an integer from 0 to 36"),
        ({"over": "time"}, "over='time'"),
        ({"width": 32}, "and got .*width"),
        ({"expansion": 0}, "one half"),
        ({"tokens": "identity", "expansion": 0, "norms": 1, "skips": 1}, "nothing is left"),
    ],
)
def test_what_cannot_be_is_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Exception, match=says):
        BlockDesigner(**wrong)


def test_changes_leave_out_what_comes_with_the_mixer() -> None:
    convnext, transformer = (_PRESETS[name] for name in list(_PRESETS)[:2])
    assert transformer.changes_from(convnext) == {
        "tokens": ("depthwise", "attention"),
        "norms": (1, 2),
        "skips": (1, 2),
    }
    assert convnext.changes_from(convnext) == {}
    assert BlockDesign("pooling", heads=4).changes_from(BlockDesign("pooling")) == {}
    own = BlockDesign(lambda channels: torch.nn.Identity())
    assert set(own.choices) == {"tokens", "expansion", "norms", "skips", "channels"}
