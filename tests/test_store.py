"""Storing a notebook: the pair stays together, and the same page is always the same bytes."""

from __future__ import annotations

import copy
import os
import re

import jupytext
import nbformat
import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext import build_sync_jupytext_contents_manager_class
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from traitlets.config.loader import PyFileConfigLoader

from book import lab, paths, store
from book.deck import title_of
from book.pages import page as book_page
from tests import guards

PAGE = paths.NOTEBOOKS / "01_pointwise_is_linear.ipynb"


@pytest.fixture
def notebook() -> NotebookNode:
    """A notebook as JupyterLab leaves it."""
    return new_notebook(
        cells=[
            new_markdown_cell("# Title\n\nText.", metadata={"slideshow": {"slide_type": "-"}}),
            new_code_cell(
                "answer = 42\nanswer",
                execution_count=7,
                metadata={
                    "tags": ["hide-output"],
                    "scrolled": True,
                    "execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"},
                },
                outputs=[
                    new_output(
                        "execute_result",
                        {"text/plain": "42", guards.WIDGET_VIEW: {}},
                        execution_count=7,
                    )
                ],
            ),
            new_markdown_cell(
                "<details><summary>Solution</summary>\n\n42\n\n</details>",
                metadata={"tags": ["solution"]},
            ),
        ],
        metadata={
            "widgets": {"state": {}},
            "kernelspec": {"name": "python3", "display_name": "My env", "language": "python"},
            "language_info": {"name": "python", "version": "3.14.1"},
        },
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty book with the project's own settings."""
    (tmp_path / "notebooks").mkdir()
    settings = (paths.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(settings, encoding="utf-8")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path


def test_normalise_keeps_what_the_author_says_and_nothing_of_the_machine(notebook):
    store.normalise(notebook)
    assert guards.widget_views(notebook) == []
    assert notebook.metadata.kernelspec == store.KERNELSPEC
    assert "version" not in notebook.metadata.language_info
    assert [cell.metadata for cell in notebook.cells] == [
        {},
        {"tags": ["hide-output"], "jupyter": {"outputs_hidden": True}},
        {"tags": ["solution"]},
    ]


def test_normalise_twice_changes_nothing(notebook):
    once = copy.deepcopy(store.normalise(notebook))
    assert store.normalise(notebook) == once


def test_ids_depend_on_the_source_alone(notebook):
    ids = [cell.id for cell in store.with_stable_ids(copy.deepcopy(notebook)).cells]
    for cell in notebook.cells:
        cell.id = "other"
    assert [cell.id for cell in store.with_stable_ids(notebook).cells] == ids


def test_equal_cells_have_different_ids():
    twice = new_notebook(cells=[new_markdown_cell("Same."), new_markdown_cell("Same.")])
    ids = [cell.id for cell in store.with_stable_ids(twice).cells]
    assert len(set(ids)) == 2
    nbformat.validate(twice)


def test_a_cell_that_the_twin_cannot_hold_is_refused():
    bad = new_notebook(cells=[new_markdown_cell("Text\n\n+++\n\nmore text")])
    with pytest.raises(ValueError, match="MyST Markdown"):
        store.as_twin(store.normalise(bad))


def test_the_student_edition_drops_exactly_solutions_and_notes(notebook):
    for_the_teacher = {"slideshow": {"slide_type": "notes"}}
    others = copy.deepcopy(notebook.cells[:2])
    notebook.cells.insert(1, new_markdown_cell("**For the teacher.**", metadata=for_the_teacher))
    assert store.for_students(notebook).cells == others


def test_sync_makes_the_missing_twin_and_the_missing_notebook(notebook, project):
    path = project / "notebooks" / "01_one.ipynb"
    nbformat.write(notebook, path)
    store.sync()
    twin = path.with_suffix(".md")
    assert "# Title" in twin.read_text(encoding="utf-8")
    path.unlink()
    store.sync()
    assert [cell.source for cell in nbformat.read(path, as_version=4).cells] == [
        cell.source for cell in notebook.cells
    ]


def test_sync_takes_the_younger_text_and_keeps_the_outputs(notebook, project):
    path = project / "notebooks" / "01_one.ipynb"
    nbformat.write(notebook, path)
    store.sync()
    twin = path.with_suffix(".md")
    twin.write_text(
        twin.read_text(encoding="utf-8").replace("# Title", "# Another"), encoding="utf-8"
    )
    os.utime(path, (1, 1))
    store.sync()
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[0].source.startswith("# Another")
    assert stored.cells[1].outputs[0].data == {"text/plain": "42"}


def test_sync_twice_changes_nothing(notebook, project):
    path = project / "notebooks" / "01_one.ipynb"
    nbformat.write(notebook, path)
    store.sync()
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.parent.iterdir()}
    store.sync()
    assert {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in path.parent.iterdir()} == before


# ---- JupyterLab with Jupytext -------------------------------------------------------------------


@pytest.fixture
def contents(project):
    """The contents manager of `make edit`, without its web server."""
    manager_class = build_sync_jupytext_contents_manager_class(LargeFileManager)
    settings = PyFileConfigLoader(str(lab.CONFIG)).load_config()
    hook = settings.ContentsManager.pre_save_hook
    return manager_class(root_dir=str(project), pre_save_hook=hook)


def save(contents, notebook: NotebookNode, path: str) -> None:
    contents.save({"type": "notebook", "format": "json", "content": notebook}, path)


def test_what_jupyterlab_saves_is_clean_and_its_twin_the_same(notebook, project, contents):
    # Jupytext writes the twin's header from what JupyterLab says, which is this.
    notebook.metadata.kernelspec = NotebookNode(store.KERNELSPEC)
    save(contents, notebook, "notebooks/01_one.ipynb")
    path = project / "notebooks" / "01_one.ipynb"
    stored = nbformat.read(path, as_version=4)
    assert guards.widget_views(stored) == []
    assert guards.half_hidden(stored) == []
    assert guards.twin_differs(stored, jupytext.read(path.with_suffix(".md"))) == []


def test_a_readers_notebook_loses_nothing_but_widget_views(notebook, project, contents):
    (project / "my").mkdir()
    save(contents, copy.deepcopy(notebook), "my/a.ipynb")
    stored = nbformat.read(project / "my" / "a.ipynb", as_version=4)
    assert guards.widget_views(stored) == []
    assert stored.metadata.kernelspec == notebook.metadata.kernelspec
    assert [cell.metadata for cell in stored.cells] == [cell.metadata for cell in notebook.cells]


@pytest.mark.parametrize("older", [".ipynb", ".md"])
def test_a_pair_opens_without_a_complaint_whichever_is_older(notebook, project, contents, older):
    """As after a checkout, which leaves the two files' times in any order."""
    path = project / "notebooks" / "01_one.ipynb"
    nbformat.write(notebook, path)
    store.sync()
    os.utime(path.with_suffix(older), (1, 1))
    for name in ("notebooks/01_one.ipynb", "notebooks/01_one.md"):
        opened = contents.get(name, type="notebook")["content"]
        assert opened.cells[0].source == "# Title\n\nText."
        assert opened.cells[1].outputs[0].data["text/plain"] == "42"


@pytest.mark.parametrize("opened", ["notebooks/01_one.ipynb", "notebooks/01_one.md"])
def test_saving_either_updates_both(notebook, project, contents, opened):
    path = project / "notebooks" / "01_one.ipynb"
    nbformat.write(notebook, path)
    store.sync()
    model = contents.get(opened, type="notebook")
    model["content"].cells[0].source = "# Saved"
    save(contents, model["content"], opened)
    assert "# Saved" in path.read_text(encoding="utf-8")
    assert "# Saved" in path.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["my", "tests"])
def test_only_the_books_notebooks_are_paired(notebook, project, contents, folder):
    (project / folder).mkdir()
    save(contents, notebook, f"{folder}/a.ipynb")
    assert [path.name for path in (project / folder).glob("a.*")] == ["a.ipynb"]


@pytest.mark.parametrize("path", paths.notebooks(), ids=lambda path: path.stem)
def test_the_stored_pair_is_as_refresh_writes_it(path):
    """So that `make refresh` changes nothing but outputs (and the names of edited cells)."""
    text = path.read_text(encoding="utf-8")
    notebook = store.normalise(nbformat.reads(text, as_version=4))
    assert nbformat.writes(notebook) + "\n" == text
    twin = store.twin_of(path).read_text(encoding="utf-8")
    assert without_version(store.as_twin(notebook)) == without_version(twin)


def without_version(twin: str) -> str:
    """The twin's text without the one line that names the Jupytext that wrote it."""
    return re.sub(r"\n    jupytext_version: .*", "", twin, count=1)


# ---- Pages --------------------------------------------------------------------------------------


def test_the_page_links_to_its_notebook_under_the_title(notebook):
    first = book_page(notebook, "01_one").cells[0].source
    assert first.startswith("# Title\n\n<p")
    assert 'href="notebooks/01_one.ipynb"' in first
    assert first.endswith("</p>\n\nText.")


def test_a_page_needs_a_title(notebook):
    notebook.cells[0].source = "No title."
    with pytest.raises(ValueError, match="01_one"):
        book_page(notebook, "01_one")


def test_the_deck_has_the_title_of_the_notebook(notebook):
    assert title_of(notebook) == "Title"
