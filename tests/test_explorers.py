"""Explorers in Python: what a page shows is what the kernel drew, and no bad input passes.

The controls, the messages and the error texts are exercised in `test_explorers.ipynb`, the front
end in `test_esm.py` and in `browser/`.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import re
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from hypothesis import assume, given, settings
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from helpers import figures, theme
from helpers.explorers import ExplorerWidget, LinkedFigure, OnePixel, explore, strip_widget_views
from helpers.explorers.base import WIDGET_VIEW
from helpers.explorers.grid import MOST_STATES, Grid, choices, nearest

random_cases = settings(derandomize=True, deadline=None, max_examples=200, database=None)


def draw_curve(power: int, shift: int = 0) -> tuple[Figure, str]:
    fig = theme.figure(3, 2)
    fig.add_subplot().plot([x**power + shift for x in range(5)])
    return fig, f"At 4 the curve is at {4**power + shift}."


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def page_state(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


# --- One state, three places ---------------------------------------------------------------------


def test_a_page_shows_what_the_kernel_draws(tmp_path: Path, monkeypatch: Any) -> None:
    explorer = explore(power=[1, 2], shift=[0, 3, 9])(draw_curve)
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(
        explorer, "send", lambda message, buffers=(): sent.append((message, buffers))
    )
    for state in range(6):
        explorer._receive(explorer, {"type": "draw", "state": state, "scale": 2}, [])

    monkeypatch.setenv("ONE_BLOCK_FRAMES", str(tmp_path / "frames"))
    state = page_state(explorer._repr_mimebundle_()[0]["text/html"])

    assert len(state["frames"]) == len(sent) == 6
    for frame, (message, [live]) in zip(state["frames"], sent, strict=True):
        assert frame["sentence"] == message["sentence"]
        assert (frame["width"], frame["height"]) == (message["width"], message["height"])
        stored = pixels((tmp_path / frame["src"]).read_bytes())
        assert np.abs(stored - pixels(live)).max() <= 8
    for key in ("name", "title", "description", "start", "value", "parameters", "states"):
        assert state[key] == getattr(explorer, key)


def test_a_page_holds_no_widget_and_a_kernel_no_frames(tmp_path: Path, monkeypatch: Any) -> None:
    for explorer in (explore(power=[1, 2])(draw_curve), OnePixel()):
        live, _ = explorer._repr_mimebundle_()
        assert set(live) == {WIDGET_VIEW, "text/plain", "image/png"}
        assert live["text/plain"] == explorer.still()[1]
        monkeypatch.setenv("ONE_BLOCK_FRAMES", str(tmp_path))
        stored, _ = explorer._repr_mimebundle_()
        assert set(stored) == {"text/html", "text/plain"}
        assert stored["text/plain"] == live["text/plain"]
        assert f'data-module="{explorer.module}"' in stored["text/html"]
        monkeypatch.delenv("ONE_BLOCK_FRAMES")


def test_frames_of_the_same_picture_are_one_file(tmp_path: Path) -> None:
    picture = figures.encode(draw_curve(2)[0], small=True, webp=True)
    assert figures.write_frame(picture, tmp_path) == figures.write_frame(picture, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_sentence_cannot_end_the_script(tmp_path: Path, monkeypatch: Any) -> None:
    def draw(kind: str) -> tuple[Figure, str]:
        return theme.figure(2, 2), "</script><b>"

    monkeypatch.setenv("ONE_BLOCK_FRAMES", str(tmp_path))
    html = explore(kind=["</script>"])(draw)._repr_mimebundle_()[0]["text/html"]
    assert html.count("</script>") == 1
    assert page_state(html)["frames"][0]["sentence"] == "</script><b>"


def test_pyplot_figures_leave_no_second_copy() -> None:
    kept = plt.figure()

    def draw(power: int) -> Figure:
        figure, ax = plt.subplots()
        ax.plot([power])
        return figure

    explore(power=[1, 2])(draw)
    assert plt.get_fignums() == [kept.number]

    def broken(power: int) -> Figure:
        plt.subplots()
        raise RuntimeError("after opening a figure")

    with pytest.raises(RuntimeError):
        explore(power=[1])(broken)
    assert plt.get_fignums() == [kept.number]
    plt.close(kept)


def test_nothing_is_drawn_ahead_before_the_front_end_asks() -> None:
    drawn = []

    def draw(power: int) -> Figure:
        drawn.append(power)
        return draw_curve(power)[0]

    explorer = explore(power=[1, 2, 3])(draw)
    explorer._repr_mimebundle_()
    assert set(drawn) == {1}


def test_a_failing_state_is_told_and_the_explorer_lives_on(monkeypatch: Any) -> None:
    def draw(power: int) -> Figure:
        if power == 2:
            raise ZeroDivisionError("two is not allowed")
        return draw_curve(power)[0]

    explorer = explore(power=[1, 2, 3])(draw)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(explorer, "send", lambda message, buffers=(): sent.append(message))
    explorer._receive(explorer, {"type": "draw", "state": 1, "scale": 1}, [])
    assert isinstance(explorer.error, ZeroDivisionError)
    assert sent[0]["exception"] == "ZeroDivisionError"
    assert "two is not allowed" in sent[0]["message"]
    assert sent[0]["where"] == "power=2"
    explorer._receive(explorer, {"type": "draw", "state": 2, "scale": 1}, [])
    assert sent[1]["type"] == "frame"


def test_the_garbage_collector_waits_until_a_picture_is_on_its_way(monkeypatch: Any) -> None:
    running: list[bool] = []

    def draw(power: int) -> Figure:
        running.append(gc.isenabled())
        return draw_curve(power)[0]

    explorer = explore(power=[1, 2, 3])(draw)
    monkeypatch.setattr(
        explorer, "send", lambda message, buffers=(): running.append(gc.isenabled())
    )
    running.clear()

    async def in_a_kernel() -> bool:
        for state in (1, 2):
            explorer._receive(explorer, {"type": "draw", "state": state, "scale": 1}, [])
        at_once = gc.isenabled()
        await asyncio.sleep(0.2)
        return at_once

    assert gc.isenabled()
    assert not asyncio.run(in_a_kernel())
    assert running == [False] * 4
    assert gc.isenabled()


def test_a_figure_made_ready_is_handed_out_once_and_looks_like_any_other() -> None:
    def picture(fig: Figure, axes: list[Any]) -> np.ndarray:
        figures.image_grid(axes[1], [[1.0, -2.0], [0.0, 3.5]], numbers=".1f")
        return pixels(figures.encode(fig).data)

    fresh, axes = figures.panels(2, ["a", "b"])
    figures.make_ready()
    ready, others = figures.panels(2, ["a", "b"])
    third, _ = figures.panels(2, ["a", "b"])
    assert len({id(fig) for fig in (fresh, ready, third)}) == 3
    assert np.array_equal(picture(fresh, axes), picture(ready, others))


# --- The states of a grid ------------------------------------------------------------------------


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Draw a grid of one to three parameters, with any subset of its states."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    values: dict[str, list[Any]] = {}
    for index, size in enumerate(sizes):
        words = draw(st.booleans())
        values[f"p{index}"] = [f"w{i}" for i in range(size)] if words else list(range(size))
    combinations = int(np.prod(sizes))
    keep = draw(
        st.lists(st.booleans(), min_size=combinations, max_size=combinations).filter(
            lambda kept: 0 < sum(kept) <= MOST_STATES
        )
    )
    answers = iter(keep)
    return Grid(values, lambda **_: next(answers))


@random_cases
@given(grids(), st.data())
def test_what_a_control_offers_exists_and_moves_nothing_before_it(grid: Grid, data: Any) -> None:
    index = data.draw(st.integers(0, len(grid.states) - 1))
    parameter = data.draw(st.integers(0, len(grid.names) - 1))
    state = grid.states[index]
    offered = choices(grid.states, state, parameter)
    assert state[parameter] in offered
    for choice in offered:
        wanted = (*state[:parameter], choice, *state[parameter + 1 :])
        reached = grid.states[nearest(grid.states, wanted, grid.ordered)]
        assert reached[: parameter + 1] == wanted[: parameter + 1]


@random_cases
@given(grids(), st.data())
def test_every_state_can_be_reached_and_stays(grid: Grid, data: Any) -> None:
    start = data.draw(st.integers(0, len(grid.states) - 1))
    goal = data.draw(st.integers(0, len(grid.states) - 1))
    index = start
    for name, value in grid.parameters(goal).items():
        index = grid.move(index, name, value)
    assert index == goal
    assert nearest(grid.states, grid.states[goal], grid.ordered) == goal


@random_cases
@given(grids(), st.data())
def test_nothing_is_nearer_than_the_nearest(grid: Grid, data: Any) -> None:
    wanted = tuple(data.draw(st.integers(0, len(v) - 1)) for v in grid.values.values())
    found = nearest(grid.states, wanted, grid.ordered)

    def distance(state: tuple[int, ...]) -> list[int]:
        return [
            abs(a - b) if ordered else int(a != b)
            for a, b, ordered in zip(state, wanted, grid.ordered, strict=True)
        ]

    best = min(map(distance, grid.states))
    assert distance(grid.states[found]) == best
    assert all(distance(state) > best for state in grid.states[:found])


@random_cases
@given(grids(), st.data())
def test_a_choice_that_is_not_offered_is_refused(grid: Grid, data: Any) -> None:
    index = data.draw(st.integers(0, len(grid.states) - 1))
    parameter = data.draw(st.integers(0, len(grid.names) - 1))
    offered = choices(grid.states, grid.states[index], parameter)
    name = grid.names[parameter]
    missing = [i for i in range(len(grid.values[name])) if i not in offered]
    assume(missing)
    with pytest.raises(ValueError, match=name):
        grid.move(index, name, grid.values[name][missing[0]])


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "complaint"),
    [
        ({}, "the grid is empty"),
        ({"power": []}, "power has no values"),
        ({"power": (1, 7)}, "reads as a range"),
        ({"power": (0.0, 1.0, 0.1)}, "reads as a range"),
        ({"power": 5}, "single value"),
        ({"power": True}, "single value"),
        ({"power": "relu"}, "single value"),
        ({"power": {1, 2}}, "set, which is not discrete"),
        ({"power": {1: 2}}, "dict, which is not discrete"),
        ({"power": (x for x in (1, 2))}, "generator, which is not discrete"),
        ({"power": np.linspace(0, 1, 50)}, "50 states"),
        ({"power": range(17)}, "17 states"),
        ({"power": range(5), "shift": range(5)}, "25 states"),
        ({"power": range(10**6), "shift": range(10**6)}, "1000000000000 states"),
        ({"power": [1, 1]}, "a value twice"),
        ({"power": [1, 1.0]}, "a value twice"),
        ({"power": [1, "two"]}, "mixes number and string"),
        ({"power": [0, True]}, "mixes bool and number"),
        ({"power": [float("nan")]}, "nan"),
        ({"power": [None]}, "holds None"),
        ({"power": [[1], [2]]}, "holds [1]"),
        ({"powr": [1, 2]}, "did you mean `power`"),
        ({"shift": [1, 2]}, "needs `power`"),
        ({"power": [1], "colour": ["red"]}, "`colour`"),
        ({"power": [1, 2], "where": lambda power: power > 2}, "leaves none of the 2"),
        ({"power": [1, 2], "where": lambda shift: True}, "asks for `shift`"),
        ({"power": [1, 2], "where": "power > 1"}, "is not a function"),
        ({"power": [1, 2], "start": {"power": 3}}, "power=3 is not in the grid"),
        ({"power": [1, 2], "start": {"powr": 1}}, "start names `powr`"),
        ({"power": [1, 2], "labels": {"powr": "p"}}, "labels names `powr`"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(grid: dict[str, Any], complaint: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(complaint)):
        explore(**grid)(draw_curve)


def test_states_that_where_leaves_are_counted() -> None:
    explorer = explore(power=range(8), shift=range(8), where=lambda power, shift: power == shift)
    assert len(explorer(draw_curve).grid.states) == 8


def test_a_where_that_fails_says_for_which_values() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        explore(power=[2, 1], shift=[0], where=lambda power, shift: power % shift == 0)(draw_curve)
    assert caught.value.__notes__ == ["raised by `where` for power=2, shift=0"]


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (None, "returned NoneType, not a matplotlib Figure: end it with `return fig`"),
        (3, "returned int"),
        ("fig", "returned str"),
        (theme.figure(2, 2).add_subplot(), "return its figure, `ax.figure`"),
        ((theme.figure(2, 2), ""), "where the sentence belongs"),
        ((theme.figure(2, 2), 3), "where the sentence belongs"),
        ((None, "A sentence."), "returned NoneType"),
        ((theme.figure(2, 2), "A", "B"), "returned tuple"),
    ],
)
def test_a_draw_function_that_returns_no_figure_is_refused(result: Any, complaint: str) -> None:
    def draw(power: int) -> Any:
        return result

    with pytest.raises(TypeError, match=re.escape(complaint)):
        explore(power=[1, 2])(draw)


def test_a_linked_figure_must_be_complete(tmp_path: Path) -> None:
    class Half(LinkedFigure):
        module = "one_pixel"

    for missing in (Half.grid, Half.reference, Half(name="half").still):
        with pytest.raises(NotImplementedError, match="Half needs"):
            missing()
    assert Half(name="half").page_state(tmp_path)["name"] == "half"
    assert issubclass(Half, ExplorerWidget)


# --- Storing -------------------------------------------------------------------------------------


def test_stripping_keeps_all_but_the_widgets() -> None:
    view = {"version_major": 2, "version_minor": 0, "model_id": "0"}
    both = {WIDGET_VIEW: view, "text/plain": "A sentence.", "image/png": "AAAA"}
    outputs = [
        new_output("display_data", both),
        new_output("display_data", {WIDGET_VIEW: view}),
        new_output("stream", name="stdout", text="printed"),
        new_output("execute_result", {"text/plain": "3"}, execution_count=1),
    ]
    cells = [new_markdown_cell("text"), new_code_cell("code", outputs=outputs)]
    notebook = new_notebook(cells=cells, metadata={"widgets": {"state": 1}, "title": "T"})
    before = nbformat.writes(notebook)

    stored = strip_widget_views(notebook)

    assert nbformat.writes(notebook) == before
    assert "widget" not in nbformat.writes(stored)
    assert stored.metadata == {"title": "T"}
    kept = stored.cells[1].outputs
    assert kept[0].data == {"text/plain": "A sentence.", "image/png": "AAAA"}
    assert kept[1:] == [outputs[2], outputs[3]]
    assert strip_widget_views(stored) == stored


# --- Pictures ------------------------------------------------------------------------------------


def test_a_small_picture_looks_like_the_quick_one() -> None:
    for kernel_size in (1, 3, 7):
        kernel = np.random.default_rng(kernel_size).normal(size=(kernel_size, kernel_size))
        image = np.arange(81.0).reshape(9, 9)
        fig = figures.kernel_reach(image, kernel, image - 40)
        quick = figures.encode(fig)
        for webp in (False, True):
            small = figures.encode(fig, small=True, webp=webp)
            assert len(small.data) < len(quick.data)
            assert small.mime in (("image/png", "image/webp") if webp else ("image/png",))
            assert np.abs(pixels(small.data) - pixels(quick.data)).max() <= 8
            assert (small.width_css, small.height_css) == (quick.width_css, quick.height_css)
            assert pixels(small.data).shape[1] == 2 * small.width_css


def test_a_transparent_figure_stands_on_the_white_card() -> None:
    fig = theme.figure(1, 1)
    fig.patch.set_alpha(0)
    assert (pixels(figures.encode(fig).data) == 255).all()


@pytest.mark.parametrize("dark", [False, True])
def test_text_of_a_page_can_be_read(dark: bool) -> None:
    colours = dict(
        part.strip().removeprefix("--ob-").split(": ")
        for part in theme.css_variables(dark=dark).strip(" ;").split(";")
    )

    def luminance(colour: str) -> float:
        rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    def contrast(one: str, two: str) -> float:
        low, high = sorted((luminance(colours[one]), luminance(colours[two])))
        return (high + 0.05) / (low + 0.05)

    for ground in ("card", "raised"):
        for text in ("ink", "muted", "alert", "token-text", "channel-text", "pointwise-text"):
            assert contrast(text, ground) >= 4.5, (text, ground)
        for mark in ("token", "channel", "pointwise", "border", "focus", "select"):
            assert contrast(mark, ground) >= 3.0, (mark, ground)
    for ground in ("picture-low", "picture-high", "zero"):
        assert contrast("ink", ground) >= 4.5, ground


def test_no_text_of_a_figure_is_below_eleven_points() -> None:
    explorer = explore(power=[1, 2])(draw_curve)
    drawn = [figures.kernel_reach(np.ones((9, 9)), np.ones((3, 3)), np.ones((9, 9)))]
    drawn += [explorer.still()[0], OnePixel().still()[0]]
    for fig in drawn:
        fig.canvas.draw()
        texts = [t for t in fig.findobj(lambda a: hasattr(a, "get_fontsize")) if t.get_text()]
        assert texts
        assert min(text.get_fontsize() for text in texts) >= 11
