"""Every stored notebook passes every guard (tests/guards.py)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode

from book import paths
from tests import guards

PAGES = paths.notebooks()
TESTS = sorted((paths.ROOT / "tests").glob("test_*.ipynb"))
EVERY_STORED = [
    guards.unrun_cells,
    guards.widget_views,
    guards.lost_pictures,
    guards.broken_pictures,
    guards.pictures_without_alt,
    guards.of_one_machine,
    guards.warnings_and_errors,
]
EVERY_PAGE = [
    guards.half_hidden,
    guards.unknown_tags,
    guards.untagged_solutions,
    guards.unsettled_votes,
    guards.shown_raw,
    guards.untitled,
]


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("guard", EVERY_STORED, ids=lambda guard: guard.__name__)
@pytest.mark.parametrize("path", PAGES + TESTS, ids=lambda path: path.stem)
def test_stored_notebook(path, guard):
    assert guard(read(path)) == []


@pytest.mark.parametrize("guard", EVERY_PAGE, ids=lambda guard: guard.__name__)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page(path, guard):
    assert guard(read(path)) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_twin_says_the_same(path):
    twin = path.with_suffix(".md")
    assert twin.exists(), f"{path.name} has no twin: `make sync`"
    assert guards.twin_differs(read(path), jupytext.read(twin)) == []


def test_every_twin_has_a_notebook():
    lonely = [
        path.name
        for path in paths.NOTEBOOKS.glob("*.md")
        if not path.with_suffix(".ipynb").exists()
    ]
    assert lonely == []


def test_no_tracked_file_is_too_large():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=paths.ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    sizes = {
        name: (paths.ROOT / name).stat().st_size
        for name in listed
        if name and (paths.ROOT / name).exists()
    }
    assert [fault for name, size in sizes.items() for fault in guards.too_large(name, size)] == []
