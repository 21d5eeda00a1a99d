"""JupyterLab as `make lab` and `make edit` open it: pages run, explorers live, saving works.

Both run on copies: nothing here changes the repository or the user's own JupyterLab.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import lab_server
from tests.browser.access import violations
from tests.browser.chromium import Open
from tests.browser.explorer import Card
from tests.browser.lab_server import Lab, Server

pytestmark = pytest.mark.browser

NOTEBOOK = "01_pointwise_is_linear.ipynb"
EXPLORE, LINKED = "beyond_one_pixel", "one_pixel"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
OURS = (".ob-card", ".ob-exercise", ".ob-feedback")


@pytest.fixture(scope="module")
def reader(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make lab` starts. (It waits for the browser: without one no server is started.)"""
    folder = lab_server.copy_of_the_repository(tmp_path_factory.mktemp("reader"))
    with lab_server.serving("lab", folder) as server:
        yield server


@pytest.fixture(scope="module")
def author(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make edit` starts."""
    folder = lab_server.copy_of_the_repository(tmp_path_factory.mktemp("author"))
    # As after a git checkout, which writes the two files of a pair in any order.
    twin = folder / "notebooks" / NOTEBOOK.replace(".ipynb", ".md")
    a_minute_ago = twin.stat().st_mtime - 60
    os.utime(twin, (a_minute_ago, a_minute_ago))
    with lab_server.serving("edit", folder) as server:
        yield server


@pytest.fixture(scope="module")
def studied(reader: Server, visit_once: Open) -> Lab:
    """The reader's copy of the notebook, run from top to bottom."""
    lab = Lab(visit_once(viewport={"width": 1400, "height": 900}), reader).open(NOTEBOOK)
    lab.run_all()
    return lab


def stored(server: Server, path: str) -> dict[str, Any]:
    """Read a notebook from the disk."""
    return json.loads((server.folder / path).read_text(encoding="utf-8"))


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [out for cell in notebook["cells"] for out in cell.get("outputs", ())]


def explorer(lab: Lab, name: str, source: str) -> Card:
    """Go to the cell of an explorer, unfold its output, and wait for the explorer."""
    cell = lab.show_cell(source)
    folded = cell.locator(".jp-OutputPlaceholder")
    if folded.count():
        folded.click()
    card = Card(lab.page, name)
    card.root.scroll_into_view_if_needed()
    return card.settled()


# ---- The reader: make lab ------------------------------------------------------------------------


def test_an_unrun_notebook_shows_stills(reader: Server, visit: Open) -> None:
    lab = Lab(visit(), reader).open(NOTEBOOK)
    for source in ("OnePixel(", "beyond_one_pixel"):
        cell = lab.show_cell(source)
        if cell.locator(".jp-OutputPlaceholder").count():
            cell.locator(".jp-OutputPlaceholder").click()
        still = cell.locator(".jp-OutputArea img")
        expect(still).to_be_visible()
        assert still.evaluate("(image) => image.naturalWidth") > 300
    expect(lab.page.get_by_text("Error displaying widget")).to_have_count(0)
    assert lab.dialogs() == []
    assert lab.log.foreign(reader.host) == []


def test_the_whole_notebook_runs(studied: Lab) -> None:
    lab = studied
    code = [cell for cell in lab.cells() if cell["cell_type"] == "code" and cell["source"]]
    assert all(cell["execution_count"] for cell in code)
    bad = [
        out
        for cell in code
        for out in cell["outputs"]
        if out["output_type"] == "error" or out.get("name") == "stderr"
    ]
    assert bad == []
    expect(lab.page.get_by_text("Error displaying widget")).to_have_count(0)
    assert lab.dialogs() == []


def test_the_slider_moves_the_picture(studied: Lab) -> None:
    lab = studied
    card = explorer(lab, EXPLORE, EXPLORE)
    # As a reader does it: JupyterLab is in command mode, where arrow keys are its own.
    card.control("kernel_size").click()
    lab.page.keyboard.press("Home")
    seen = [card.seen()]
    for _ in range(3):
        seen.append(card.press("ArrowRight").seen())
    for part in ("readout", "figure", "source"):
        assert len({getattr(one, part) for one in seen}) == 4, f"the same {part} for two states"
    assert "49" in seen[3].readout, "the sentence should say how many pixels reach an output"
    assert card.press("ArrowLeft").seen() == seen[2]
    # The keys went to the slider, not to the notebook.
    expect(card.control("kernel_size")).to_be_focused()


def test_the_kernel_knows_where_the_slider_stands(studied: Lab) -> None:
    lab = studied
    card = explorer(lab, EXPLORE, EXPLORE)
    card.control("kernel_size").focus()
    lab.page.keyboard.press("End")
    card.settled()
    card.press("ArrowLeft")
    assert lab.run_code("print(beyond_one_pixel.kernel_size)") == "5\n"
    assert lab.run_code("beyond_one_pixel.kernel_size = 7") == ""
    expect(card.value("kernel_size")).to_have_text("7")
    assert "49" in card.seen().readout


def test_the_linked_figure_reacts(studied: Lab) -> None:
    lab = studied
    card = explorer(lab, LINKED, "OnePixel(")
    before = card.seen()
    card.root.get_by_role("grid", name="Image, channel 0").locator("[tabindex='0']").focus()
    after = card.press("ArrowRight").seen()
    assert "Pixel 6 (row 1, column 2)" in after.readout
    assert after.figure != before.figure

    weight = card.root.get_by_label("weight from input channel 0 to output channel 0")
    weight.fill("2")
    expect(card.readout).to_contain_text("4 \u00b7 2 +")
    edited = card.seen()
    assert edited.figure != after.figure

    card.button("Shuffle pixels").focus()
    shuffled = card.press("Enter").seen()
    assert "no value changed" in shuffled.readout
    assert shuffled.figure != edited.figure
    card.button("Reset").focus()
    assert card.press("Enter").seen().readout == before.readout


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_nothing_serious_is_found_by_axe(studied: Lab, theme: str) -> None:
    lab = studied
    lab.command("apputils:change-theme", theme=theme)
    light = str(theme.endswith("Light")).lower()
    expect(lab.page.locator("body")).to_have_attribute("data-jp-theme-light", light)
    explorer(lab, EXPLORE, EXPLORE)
    lab.page.evaluate(
        "() => document.querySelectorAll('.ob-exercise details').forEach((d) => { d.open = true })"
    )
    found = [fault for ours in OURS for fault in violations(lab.page, ours)]
    assert not found, "\n\n".join(found)


def test_saving_stores_stills_and_no_widgets(studied: Lab, reader: Server, visit: Open) -> None:
    lab = studied
    # There is something to strip.
    assert any(WIDGET_VIEW in out.get("data", {}) for out in outputs({"cells": lab.cells()}))
    lab.save()
    kept = stored(reader, f"my/{NOTEBOOK}")
    assert "widgets" not in kept["metadata"]
    assert WIDGET_VIEW not in json.dumps(kept)
    stills = [out for out in outputs(kept) if "image/png" in out.get("data", {})]
    assert len(stills) >= 2
    sentences = ["".join(out["data"]["text/plain"]) for out in stills]
    assert all(len(sentence) > 40 for sentence in sentences), sentences
    # What is on the page stays alive after a save.
    card = explorer(lab, EXPLORE, EXPLORE)
    card.button("Reset").click()
    card.settled()

    # Opened again after the kernel has gone: trusted now, and still without a widget to look for.
    lab.command("kernelmenu:shutdown")
    reopened = Lab(visit(), reader).open(NOTEBOOK)
    reopened.show_cell("OnePixel(")
    expect(reopened.page.locator(".jp-Notebook .jp-OutputArea img").first).to_be_visible()
    expect(reopened.page.get_by_text("Error displaying widget")).to_have_count(0)
    expect(reopened.page.get_by_text("model not found")).to_have_count(0)
    assert reopened.dialogs() == []
    assert lab.log.foreign(reader.host) == []
    assert reopened.log.foreign(reader.host) == []


# ---- The author: make edit -----------------------------------------------------------------------


def edit(lab: Lab, text: str) -> None:
    """Write a sentence at the end of the first cell, and save."""
    lab.page.evaluate(
        """(text) => {
          const model = window.jupyterapp.shell.currentWidget.content.model.cells.get(0);
          model.sharedModel.setSource(`${model.sharedModel.getSource()}\\n\\n${text}`);
        }""",
        text,
    )
    lab.save()


def twins(server: Server) -> tuple[str, str]:
    """Read both files of the pair: the notebook's first cell, and the whole Markdown."""
    first = stored(server, f"notebooks/{NOTEBOOK}")["cells"][0]["source"]
    markdown = server.folder / "notebooks" / NOTEBOOK.replace(".ipynb", ".md")
    return "".join(first), markdown.read_text(encoding="utf-8")


def test_saving_either_of_a_pair_writes_both(author: Server, visit: Open) -> None:
    markdown = f"notebooks/{NOTEBOOK.replace('.ipynb', '.md')}"
    before = outputs(stored(author, f"notebooks/{NOTEBOOK}"))

    lab = Lab(visit(), author).open(f"notebooks/{NOTEBOOK}")
    assert lab.dialogs() == []
    edit(lab, "Written in the notebook.")
    assert all("Written in the notebook." in text for text in twins(author))

    lab.open(markdown, factory="Jupytext Notebook")
    assert lab.dialogs() == []
    edit(lab, "Written in the twin.")
    assert all("Written in the twin." in text for text in twins(author))
    assert all("Written in the notebook." in text for text in twins(author))

    for path, factory in ((f"notebooks/{NOTEBOOK}", "Notebook"), (markdown, "Jupytext Notebook")):
        lab.open(path, factory=factory)
        assert "Written in the twin." in lab.cells()[0]["source"]
        assert lab.dialogs() == []
    # Saving the twin keeps the outputs that only the notebook holds.
    assert outputs(stored(author, f"notebooks/{NOTEBOOK}")) == before


def test_the_author_saves_clean_notebooks(author: Server, visit: Open) -> None:
    lab = Lab(visit(), author).open(f"notebooks/{NOTEBOOK}")
    lab.run_all()
    lab.save()
    kept = stored(author, f"notebooks/{NOTEBOOK}")
    assert WIDGET_VIEW not in json.dumps(kept)
    assert "widgets" not in kept["metadata"]
    original = json.loads((Path(lab_server.ROOT) / "notebooks" / NOTEBOOK).read_text("utf-8"))
    assert kept["metadata"] == original["metadata"]
