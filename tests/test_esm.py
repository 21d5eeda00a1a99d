"""The front end's modules: they parse, and they compute what Python and PyTorch compute.

Run in Node where there is one, else in headless Chromium.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import explorers
from helpers.explorers import LinkedFigure, OnePixel, esm, modules, page_script, page_style
from helpers.explorers.grid import Grid, choices, nearest
from helpers.explorers.heads_kernel import decades

LINKED: list[type[LinkedFigure]] = [
    one
    for one in vars(explorers).values()
    if isinstance(one, type) and issubclass(one, LinkedFigure) and one is not LinkedFigure
]
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CHROMIUM += ["--no-first-run"]

Run = Callable[[str, str, Any], Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Give ``run(module, expression, data)``: the value of an expression of `m` and `data`."""
    folder = tmp_path_factory.mktemp("esm")
    if shutil.which("node"):
        return lambda *call: _in_node(folder, *call)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("neither Node nor Chromium is here to run the ES modules")
    return lambda *call: _in_chromium(chromium, *call)


def _text(module: str) -> str:
    """Give a module's text; "shared" is what stands in front of all, with the page's model."""
    if module != "shared":
        return esm(module)
    folder = Path(explorers.__file__).parent / "esm"
    shared = (folder / "shared.js").read_text("utf-8")
    host = (folder / "host.js").read_text("utf-8")
    model = re.search(r"^function makeModel.*?^}$", host, re.DOTALL | re.MULTILINE)
    assert model
    names = re.findall(r"^function (ob\w+)", shared, re.MULTILINE)
    return f"{shared}\n{model[0]}\nexport {{ makeModel, {', '.join(names)} }};\n"


def _in_node(folder: Path, module: str, expression: str, data: Any) -> Any:
    (folder / "module.mjs").write_text(_text(module), "utf-8")
    (folder / "data.json").write_text(json.dumps(data), "utf-8")
    (folder / "run.mjs").write_text(
        'import { readFileSync } from "node:fs";\n'
        'import * as m from "./module.mjs";\n'
        'const data = JSON.parse(readFileSync(new URL("data.json", import.meta.url)));\n'
        f"console.log(JSON.stringify({expression}));\n",
        "utf-8",
    )
    command = [shutil.which("node") or "node", str(folder / "run.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def _in_chromium(executable: str, module: str, expression: str, data: Any) -> Any:
    from playwright.sync_api import sync_playwright

    script = f"""async ([text, data]) => {{
        const address = URL.createObjectURL(new Blob([text], {{ type: "text/javascript" }}));
        const m = await import(address);
        return {expression};
    }}"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM)
        try:
            return browser.new_page().evaluate(script, [_text(module), data])
        finally:
            browser.close()


@pytest.mark.parametrize("figure", LINKED, ids=lambda figure: figure.module)
def test_compute_agrees_with_pytorch(run: Run, figure: type[LinkedFigure]) -> None:
    cases = figure.grid()
    assert len(cases) >= 8
    results = run(figure.module, "data.map(m.compute)", cases)
    for case, result in zip(cases, results, strict=True):
        for name, expected in figure.reference(**case).items():
            np.testing.assert_allclose(result[name], expected, rtol=0, atol=1e-5, err_msg=name)


def test_every_linked_figure_is_held_against_pytorch() -> None:
    assert {figure.module for figure in LINKED} | {"explore"} == set(modules())


def test_one_pixel_the_two_ways_differ_by_rounding_only(run: Run) -> None:
    results = run("one_pixel", "data.map(m.compute)", OnePixel.grid())
    assert all(result["difference"] < 1e-12 for result in results)
    assert any(result["difference"] > 0 for result in results)


def test_one_pixel_shuffling_is_a_permutation(run: Run) -> None:
    orders = run("one_pixel", "data.map((seed) => m.shuffled(16, seed))", list(range(1, 30)))
    assert all(sorted(order) == list(range(16)) for order in orders)
    assert len({tuple(order) for order in orders}) == 29
    assert all(order != list(range(16)) for order in orders)


def test_one_pixel_needs_no_bias_and_no_order(run: Run) -> None:
    [result] = run("one_pixel", "data.map(m.compute)", [{"x": [[[2.0]]], "weight": [[3.0]]}])
    assert result["rows"] == [[6.0]]
    assert result["image"] == [[[6.0]]]


def test_heads_kernel_colours_a_difference_as_its_still_does(run: Run) -> None:
    off = [1.0, -0.5, 0.1, -0.01, 0.0022, 0.0015, -0.0009, 0.0, 3.0]
    found = run("heads_kernel", "data.map((one) => m.decades(one, 2))", off)
    np.testing.assert_allclose(found, decades(off, [-2.0, 1.0]), rtol=0, atol=1e-12)
    assert found[-1] == 1
    assert [n for n, one in enumerate(found) if one == 0] == [5, 6, 7]


def _grids() -> list[dict[str, Any]]:
    """Make grids with gaps, and every question one can ask about them."""
    generator = np.random.default_rng(0)
    found = []
    for sizes in [(4,), (3, 4), (2, 2, 3), (4, 4), (1, 3), (2, 3, 2)]:
        for words in (False, True):
            keep = iter(generator.random(int(np.prod(sizes))) < 0.6)
            values = {
                f"p{i}": [f"w{j}" for j in range(size)] if words and i % 2 else list(range(size))
                for i, size in enumerate(sizes)
            }
            first = iter([True])
            grid = Grid(values, lambda k=keep, f=first, **_: next(k) | next(f, False))
            wanted = [list(at) for at in np.ndindex(*sizes)]
            found.append({"states": grid.states, "ordered": grid.ordered, "wanted": wanted})
    return found


def test_explore_moves_to_the_same_state_in_both_languages(run: Run) -> None:
    cases = _grids()
    expression = "data.map((g) => g.wanted.map((w) => m.nearest(g.states, w, g.ordered)))"
    for case, found in zip(cases, run("explore", expression, cases), strict=True):
        states, ordered = case["states"], case["ordered"]
        assert found == [nearest(states, wanted, ordered) for wanted in case["wanted"]]


def test_explore_offers_the_same_choices_in_both_languages(run: Run) -> None:
    cases = _grids()
    expression = "data.map((g) => g.states.map((s) => s.map((_, i) => m.choices(g.states, s, i))))"
    for case, found in zip(cases, run("explore", expression, cases), strict=True):
        states = case["states"]
        expected = [[choices(states, s, i) for i in range(len(s))] for s in states]
        assert found == expected


def test_explore_draws_ahead_the_nearest_first(run: Run) -> None:
    data = {"states": [[0, 0], [0, 1], [1, 0], [1, 1], [2, 1]], "known": [0, 2]}
    expression = "m.ahead(data.states, 3, (state) => data.known.includes(state))"
    assert run("explore", expression, data) == [3, 1, 4]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ('m.obAmong(["a", "b"], "b")', "b"),
        ('m.obAmong(["a", "b"], "c")', "a"),
        ('m.obAmong(["a", "b"], "c", "b")', "b"),
        ("m.obAmong([1, 2], NaN)", 1),
        ("m.obNearest([1, 3, 7], 4)", 3),
        ("m.obNearest([1, 3, 7], 5)", 3),  # of two as near, the earlier
        ("m.obNearest([1, 3, 7], -9)", 1),
        ("m.obNearest([1, 3, 7], Infinity, 3)", 3),
        ('m.obNearest([1, 3, 7], "7")', 1),
        ("m.obWhole(4, 0, 9)", 4),
        ("m.obWhole(-4, 0, 9)", 0),
        ("m.obWhole(44, 0, 9)", 9),
        ("m.obWhole(4.5, 1, 9)", 1),
        ("m.obWhole(undefined, 1, 9, 5)", 5),
    ],
)
def test_what_cannot_be_becomes_what_is_nearest(run: Run, call: str, expected: Any) -> None:
    assert run("shared", call, None) == expected


def _watched(start: Any, then: str) -> str:
    """Write an expression: a figure whose `n` is 0 to 3, and what it drew while things changed."""
    return f"""(() => {{
        const model = m.makeModel({{ value: {json.dumps(start)}, other: 0 }});
        let saved = 0;
        model.save_changes = () => (saved += 1);
        const drawn = [];
        const show = () => drawn.push(model.get("value"));
        const valid = (value) => ({{ n: m.obWhole(value.n, 0, 3) }});
        const stop = m.obState(model, valid, show, {{ other: () => drawn.push("other") }});
        {then}
        return {{ drawn, saved, value: model.get("value") }};
    }})()"""


def test_a_state_that_exists_is_drawn_once_and_not_saved(run: Run) -> None:
    seen = run("shared", _watched({"n": 1}, 'model.set("value", { n: 2 });'), None)
    assert seen == {"drawn": [{"n": 1}, {"n": 2}], "saved": 0, "value": {"n": 2}}


def test_a_state_that_does_not_exist_is_set_right_saved_and_drawn_once(run: Run) -> None:
    seen = run("shared", _watched({"n": -1}, 'model.set("value", { n: 99 });'), None)
    assert seen == {"drawn": [{"n": 0}, {"n": 3}], "saved": 2, "value": {"n": 3}}


def test_what_a_figure_does_not_name_is_left_as_it_is(run: Run) -> None:
    seen = run("shared", _watched({"more": "x", "n": 1}, "m.obChange(model, { n: 7 });"), None)
    assert seen["drawn"] == [{"more": "x", "n": 1}, {"more": "x", "n": 3}]
    assert list(seen["value"]) == ["more", "n"]
    assert seen["saved"] == 2  # the change, and the state that took its place


def test_a_figure_listens_to_other_traits_and_stops(run: Run) -> None:
    then = 'model.set("other", 1); stop(); model.set("other", 2); model.set("value", { n: 9 });'
    seen = run("shared", _watched({"n": 1}, then), None)
    assert seen == {"drawn": [{"n": 1}, "other"], "saved": 0, "value": {"n": 9}}


def test_modules_have_no_imports_and_ask_no_other_host() -> None:
    for name in modules():
        text = esm(name)
        assert not re.search(r"^\s*import\b", text, re.MULTILINE), name
        assert "export default { render }" in text
    for text in (page_script(), page_style()):
        assert "http" not in text
        assert "fetch(" not in text


def test_the_page_script_parses_and_holds_the_modules(run: Run) -> None:
    shared = re.search(r"^const SHARED = (.*);$", page_script(), re.MULTILINE)
    sources = re.search(r"^const SOURCES = (\{.*?^\});$", page_script(), re.DOTALL | re.MULTILINE)
    assert shared
    assert sources
    found = {
        name: f"{json.loads(shared[1])}\n{own}" for name, own in json.loads(sources[1]).items()
    }
    assert found == {name: esm(name) for name in modules()}
    assert run("explore", "typeof new Function(data)", page_script()) == "function"
    with pytest.raises(Exception, match="SyntaxError"):
        run("explore", "typeof new Function(data)", page_script() + ")")


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(ValueError, match=r"no front-end module 'two_pixels': choose .*explore"):
        esm("two_pixels")
