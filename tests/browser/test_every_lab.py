"""Every notebook in JupyterLab, as `make lab` opens it: it runs, and its explorers answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import lab_server
from tests.browser.chromium import Open
from tests.browser.explorer import Card, answers_a_key
from tests.browser.lab_server import Lab, Server
from tests.browser.pages import NAMES

pytestmark = pytest.mark.browser

# Which cells hold an explorer is told by the widget views of their outputs.
CELLS_WITH_EXPLORERS = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.model.toJSON().cells;
  return cells.flatMap((cell, index) => (cell.outputs ?? []).some((output) =>
    "application/vnd.jupyter.widget-view+json" in (output.data ?? {})) ? [index] : []);
}"""

GO_TO = """async (index) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, "start");
}"""


@pytest.fixture(scope="module")
def reader(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make lab` starts."""
    folder = lab_server.copy_of_the_repository(tmp_path_factory.mktemp("every"))
    with lab_server.serving("lab", folder) as server:
        yield server


# 01 is studied in test_lab.py.
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("01")])
def test_a_notebook_runs_and_its_explorers_answer(visit: Open, reader: Server, name: str) -> None:
    lab = Lab(visit(viewport={"width": 1400, "height": 900}), reader).open(f"{name}.ipynb")
    lab.run_all()
    page = lab.page
    code = [cell for cell in lab.cells() if cell["cell_type"] == "code" and cell["source"]]
    assert all(cell["execution_count"] for cell in code)
    faults = [
        output
        for cell in code
        for output in cell["outputs"]
        if output["output_type"] == "error" or output.get("name") == "stderr"
    ]
    assert faults == []
    expect(page.get_by_text("Error displaying widget")).to_have_count(0)
    for index in page.evaluate(CELLS_WITH_EXPLORERS):
        page.evaluate(GO_TO, index)
        cell = page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')
        if cell.locator(".jp-OutputPlaceholder").count():
            cell.locator(".jp-OutputPlaceholder").first.click()
        for root in cell.locator(".ob-card").all():
            shown = Card(page, root.get_attribute("data-name"))
            assert answers_a_key(shown), shown.root.get_attribute("data-name")
    assert lab.dialogs() == []
    assert lab.log.foreign(reader.host) == []
    # The next notebook finds the machine free.
    lab.command("kernelmenu:shutdown")
