"""Notebook 00 in JupyterLab: the doctor speaks, the heart beats, links lead to notebooks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import lab_server
from tests.browser.access import violations
from tests.browser.chromium import Open
from tests.browser.conftest import built
from tests.browser.explorer import Card
from tests.browser.lab_server import Lab, Server

pytestmark = pytest.mark.browser

NOTEBOOK = "00_start_here.ipynb"


@pytest.fixture(scope="module")
def reader(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make lab` starts."""
    folder = lab_server.copy_of_the_repository(tmp_path_factory.mktemp("reader"))
    with lab_server.serving("lab", folder) as server:
        yield server


def test_the_first_notebook_in_jupyterlab(reader: Server, visit: Open) -> None:
    lab = Lab(visit(viewport={"width": 1400, "height": 900}), reader).open(NOTEBOOK)
    # Before it runs: the stored sentence says what to do.
    cell = lab.show_cell("doctor.heartbeat()")
    expect(cell.locator(".jp-OutputArea")).to_contain_text("In a running notebook run this cell")
    lab.run_all()
    heart = lab.show_cell("doctor.heartbeat()").locator(".ob-heartbeat[data-alive=yes]")
    expect(heart).to_contain_text("Alive")
    cell = lab.show_cell("doctor.examine()")
    expect(cell.locator(".jp-OutputArea")).to_contain_text("This machine is ready")
    # JupyterLab's keys stay with it; the figure has its own.
    lab.show_cell('TwoBlocks(part="widen")')
    card = Card(lab.page, "two_blocks").settled()
    card.root.scroll_into_view_if_needed()
    card.root.get_by_role("button", name="A: Q, K, Transformer block", exact=True).focus()
    card.press("ArrowDown")
    expect(card.readout).to_contain_text("Who mixes channels on the way")
    found = violations(lab.page, within=".ob-card")
    assert not found, "\n\n".join(found)
    # A link in an output opens the notebook beside this one.
    cell = lab.show_cell("claims_map()")
    cell.get_by_role("link", name="01_pointwise_is_linear").click()
    lab.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.context?.path"
        " === '01_pointwise_is_linear.ipynb'"
    )
    assert lab.log.foreign(reader.host) == []


@pytest.mark.parametrize("name", ["00_start_here", "11_claims_ledger"])
def test_in_the_book_the_links_lead_to_pages(visit: Open, name: str) -> None:
    page = visit(built("book", f"{name}.html")).page
    table = page.locator("table.ob-map, table.ob-ledger")
    assert table.locator("a[href*='.ipynb']").count() == 0
    table.get_by_role("link", name="01_pointwise_is_linear").first.click()
    expect(page.locator("article h1")).to_contain_text("1x1 convolution")
