"""The block designer: presets, what is not on offer, the budget and the address, by keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, expect

from helpers.explorers import BlockDesigner
from tests.browser import lab_server
from tests.browser.chromium import Open
from tests.browser.conftest import OpenCard
from tests.browser.explorer import Card
from tests.browser.lab_server import Lab, Server

pytestmark = pytest.mark.browser

NAME = "block_designer"
FIGURE = ("10_build_your_own_block", NAME)


def test_from_the_transformers_block_to_attention_alone(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    card.root.get_by_label("ConvNeXt's block", exact=True).focus()
    assert "It is the Transformer's block." in card.press("ArrowRight").seen().readout
    expect(card.control("kernel_size")).to_be_hidden()
    expect(card.root.locator(".bk-drawing .bk-computed")).not_to_have_count(0)
    card.control("expansion").focus()
    assert "12 blocks come nearest" in card.press("Home").seen().readout
    # One half has one norm and one skip; what was chosen comes back with the feed-forward.
    norms = card.root.locator('[data-parameter="norms"] input')
    expect(norms).to_have_count(1)
    card.press("ArrowRight")
    expect(norms).to_have_count(2)
    expect(norms.nth(1)).to_be_checked()
    card.button("Reset").focus()
    assert card.press("Enter").seen().readout.startswith("Depthwise 3×3, feed-forward ×6")


def test_the_identity_without_feed_forward_is_not_on_offer(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    card.control("expansion").focus()
    assert "no feed-forward" in card.press("Home").seen().readout
    card.root.get_by_label("pooling", exact=True).check()
    card.root.get_by_label("pooling", exact=True).focus()
    assert "Identity, feed-forward ×1" in card.press("ArrowLeft").seen().readout
    expect(card.value("expansion")).to_have_text("×1")
    for name in ("kernel_size", "heads"):
        expect(card.control(name)).to_be_hidden()


def test_the_number_of_blocks_is_free_or_fits(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    depth = card.control("depth")
    expect(depth).to_be_disabled()
    card.root.get_by_label("as many as fit the budget").focus()
    card.press("Space")
    depth.focus()
    assert "5 blocks" in card.press("ArrowRight").seen().readout
    assert "% over" in card.root.locator(".bk-bar-head").nth(2).inner_text()
    # 794 blocks of pooling and norms fit, more than the slider has.
    card.root.get_by_label("as many as fit the budget").check()
    card.root.get_by_label("pooling", exact=True).check()
    card.control("expansion").focus()
    assert "794 blocks" in card.press("Home").seen().readout
    expect(card.value("depth")).to_have_text("794")


def test_a_recorded_design_is_found_among_the_runs(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    expect(card.root.locator(".bk-known")).to_contain_text("not trained yet: run the cells below")
    expect(card.root.locator(".bk-chosen")).to_have_count(0)
    card.root.get_by_label("MetaFormer with pooling", exact=True).check()
    expect(card.root.locator(".bk-known")).to_contain_text("this one reached 0.83")
    expect(card.root.locator("text.bk-chosen")).to_have_text("0.83 pooling 3×3")
    before = card.root.locator(".bk-plot").inner_html()
    card.root.get_by_label("parameters", exact=True).check()
    assert card.root.locator(".bk-plot").inner_html() != before


def test_every_control_is_said_and_drawn(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE)
    card.root.get_by_label("local attention", exact=True).check()
    before = card.seen()
    for name in ("kernel_size", "heads", "expansion"):
        card.control(name).focus()
        seen = card.press("ArrowLeft" if name == "expansion" else "ArrowRight").seen()
        assert seen.figure != before.figure, name
        before = seen
    for name in ("norms", "skips"):
        radios = card.root.locator(f'[data-parameter="{name}"] input')
        radios.nth(1).focus()
        seen = card.press("ArrowLeft").seen()
        assert seen.figure != before.figure, name
        before = seen


def test_a_run_of_ones_own_is_a_diamond(figure_alone: OpenCard) -> None:
    designer = BlockDesigner()
    designer.place(0.85, designer.design, designer.depth)
    card = figure_alone(designer)
    expect(card.root.locator("path.bk-dot.bk-mine.bk-chosen")).to_have_count(1)
    expect(card.readout).to_contain_text("Your run after 200 steps: 0.85")


def test_an_address_gives_the_nearest_design(figure_in_book: OpenCard) -> None:
    card = figure_in_book(*FIGURE, "#tokens=identity&expansion=0&kernel_size=4&depth=99&over=time")
    expect(card.readout).to_contain_text("Identity, feed-forward ×1, two norms, two skips")
    expect(card.root.get_by_label("as many as fit the budget")).to_be_checked()


@pytest.fixture(scope="module")
def reader(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make lab` starts."""
    folder = lab_server.copy_of_the_repository(tmp_path_factory.mktemp("designer"))
    with lab_server.serving("lab", folder) as server:
        yield server


def test_in_jupyterlab_the_cells_below_take_what_is_chosen(visit: Open, reader: Server) -> None:
    source = "from helpers.explorers import BlockDesigner\ndesigner = BlockDesigner()\ndesigner"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    few = new_notebook(cells=[new_code_cell(source)], metadata=kernel)
    nbformat.write(few, reader.folder / "my" / "few.ipynb")
    lab = Lab(visit(viewport={"width": 1400, "height": 900}), reader).open("few.ipynb")
    lab.run_all()
    card = Card(lab.page, NAME)
    card.root.get_by_label("Transformer's block", exact=True).check()
    expect(card.readout).to_contain_text("Recorded runs")
    chosen = "print(designer.design.name, designer.depth)"
    assert lab.run_code(chosen) == "attention, feed-forward x4 4\n"
    card.root.get_by_label("ConvNeXt's block", exact=True).check()
    expect(card.readout).to_contain_text("Not trained yet")
    assert lab.run_code(chosen) == "depthwise 7x7, feed-forward x4 5\n"
    # A run that is placed stands in the figure at once.
    assert lab.run_code("designer.place(0.85, designer.design, designer.depth)") == ""
    expect(card.readout).to_contain_text("Your run after 200 steps: 0.85")
    expect(card.root.locator("path.bk-dot.bk-mine.bk-chosen")).to_have_count(1)
