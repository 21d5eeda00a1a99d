"""The stored form of a notebook: what is committed, and how it stays the same everywhere.

A page of the book is a pair: ``notebooks/NN_name.ipynb`` with the outputs, and its twin
``notebooks/NN_name.md`` (MyST Markdown) with the same cells and no outputs. Jupytext keeps them
together by the settings in ``pyproject.toml``.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import jupytext
import nbformat
from jupytext.combine import combine_inputs_with_outputs
from jupytext.config import load_jupytext_configuration_file
from nbformat import NotebookNode

from book import paths
from book.execute import run_all
from book.files import write_if_changed
from helpers.stored import strip_widget_views

SOLUTION = "solution"
HIDE_OUTPUT = "hide-output"
TWIN_FORMAT = {"extension": ".md", "format_name": "myst"}

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# As JupyterLab writes it, less the version of Python: that would differ between machines.
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
# What an author says about a cell; the rest is a front end's own memory (scroll states, timings).
AUTHORS_METADATA = ("jupyter", "slideshow", "tags")


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Remove from a notebook, in place, what depends on who ran it where.

    Parameters
    ----------
    notebook
        A notebook of format 4, with or without outputs.

    Returns
    -------
    NotebookNode
        The same notebook, with no widget views or states, the one kernel specification, and of
        each cell's metadata only what its author says.
    """
    stripped = strip_widget_views(notebook)
    notebook.cells = stripped.cells
    notebook.metadata.clear()
    notebook.metadata.update(
        nbformat.from_dict(
            {"kernelspec": copy.deepcopy(KERNELSPEC), "language_info": copy.deepcopy(LANGUAGE)}
        )
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        said = {name: cell.metadata[name] for name in AUTHORS_METADATA if cell.metadata.get(name)}
        if said.get("slideshow", {}).get("slide_type") in ("", "-"):
            del said["slideshow"]
        # JupyterLab unfolds an output when its cell runs; an answer is folded for the next reader.
        if cell.cell_type == "code" and HIDE_OUTPUT in said.get("tags", []):
            said["jupyter"] = NotebookNode({**said.get("jupyter", {}), "outputs_hidden": True})
        cell.metadata.clear()
        # Sorted, as the .ipynb is: Jupytext compares the two files of a pair with their order.
        cell.metadata.update(sorted(said.items()))
    return notebook


def with_stable_ids(notebook: NotebookNode) -> NotebookNode:
    """Name each cell, in place, by a digest of its source: the same page, the same bytes."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        count = seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if count == 1 else f"{digest}-{count}"
    return notebook


def twin_of(path: Path) -> Path:
    """Give the Markdown twin of a notebook."""
    return path.with_suffix(".md")


def as_twin(notebook: NotebookNode) -> str:
    """Write a notebook as its Markdown twin.

    Raises
    ------
    ValueError
        If a cell would not come back as it was, which is where the two forms would drift apart.
    """
    config = load_jupytext_configuration_file(str(paths.ROOT / "pyproject.toml"))
    text = jupytext.writes(copy.deepcopy(notebook), fmt=TWIN_FORMAT, config=config)
    back = jupytext.reads(text, fmt=TWIN_FORMAT, config=config)
    for number, (cell, read) in enumerate(zip(notebook.cells, back.cells, strict=False), start=1):
        if (cell.cell_type, cell.source) != (read.cell_type, read.source):
            raise ValueError(
                f"Cell {number} cannot be written as MyST Markdown and read back. Look for blank "
                f"lines at its end, or a line that starts with '+++' or a fence in braces:\n"
                f"{cell.source}"
            )
    if len(notebook.cells) != len(back.cells):
        raise ValueError(
            f"{len(notebook.cells)} cells became {len(back.cells)} in MyST Markdown: an empty cell?"
        )
    return text


def write_pair(path: Path, notebook: NotebookNode) -> bool:
    """Store a notebook and its twin; return whether anything changed.

    The twin is written last: Jupytext takes the younger file of a pair as the author's.
    """
    twin = as_twin(notebook)
    changed = write_if_changed(path, nbformat.writes(notebook) + "\n")
    changed = write_if_changed(twin_of(path), twin) or changed
    if twin_of(path).stat().st_mtime_ns < path.stat().st_mtime_ns:
        twin_of(path).touch()
    return changed


def refresh(only: str = "") -> None:
    """Run the notebooks and store them with their outputs; those that test the helpers as well.

    Parameters
    ----------
    only
        The beginning of a file name, such as ``"01"`` or ``"test_mixing"``; all notebooks where it
        is empty.
    """
    sync()
    tests = [path for path in paths.helper_notebooks() if path.name.startswith(only)]
    found = [*(paths.notebooks(only) if not (only and tests) else []), *tests]
    loaded = [normalise(nbformat.read(path, as_version=4)) for path in found]
    for path, notebook in zip(
        found,
        run_all(zip(loaded, found, strict=True)),
        strict=True,
    ):
        stored = with_stable_ids(normalise(notebook))
        if path in tests:
            changed = write_if_changed(path, nbformat.writes(stored) + "\n")
        else:
            changed = write_pair(path, stored)
        print(f"{path.name}: {'stored anew' if changed else 'nothing changed'}")


def sync() -> None:
    """Bring each notebook and its twin together, the younger one's cells into the other."""
    pages = {path.with_suffix("") for path in paths.notebooks()}
    pages |= {path.with_suffix("") for path in paths.NOTEBOOKS.glob("[0-9]*.md")}
    for page in sorted(pages):
        path = page.with_suffix(".ipynb")
        if write_pair(path, with_stable_ids(normalise(read_pair(path)))):
            print(f"{page.name}: brought together")


def read_pair(path: Path) -> NotebookNode:
    """Read a notebook with the cells of the younger of the pair and the outputs that are stored.

    Parameters
    ----------
    path
        The ``.ipynb`` of the pair; either of the two may be missing.

    Returns
    -------
    NotebookNode
        A cell of the twin that stands in the notebook too has the notebook's output.
    """
    twin = twin_of(path)
    if not twin.exists():
        return nbformat.read(path, as_version=4)
    written = jupytext.read(twin, fmt=TWIN_FORMAT)
    if not path.exists():
        return written
    stored = nbformat.read(path, as_version=4)
    if path.stat().st_mtime_ns > twin.stat().st_mtime_ns:
        return stored
    return combine_inputs_with_outputs(written, stored, fmt=TWIN_FORMAT)


def student_edition() -> None:
    """Write the notebooks without their solutions and without the teacher's notes."""
    paths.STUDENT.mkdir(parents=True, exist_ok=True)
    wanted = {path.name for path in paths.notebooks()}
    for old in paths.STUDENT.glob("*.ipynb"):
        if old.name not in wanted:
            old.unlink()
    for path in paths.notebooks():
        notebook = for_students(nbformat.read(path, as_version=4))
        write_if_changed(paths.STUDENT / path.name, nbformat.writes(notebook) + "\n")
    print(f"{len(wanted)} notebooks for students in {paths.STUDENT.relative_to(paths.ROOT)}/")


def for_students(notebook: NotebookNode) -> NotebookNode:
    """Drop, in place, the Markdown cells tagged ``solution`` and the cells of slide type ``notes``.

    Parameters
    ----------
    notebook
        A notebook of format 4.

    Returns
    -------
    NotebookNode
        The same notebook; all its other cells are as they were.
    """
    notebook.cells = [cell for cell in notebook.cells if not _for_teachers(cell)]
    return notebook


def _for_teachers(cell: NotebookNode) -> bool:
    solution = cell.cell_type == "markdown" and SOLUTION in cell.metadata.get("tags", [])
    return solution or cell.metadata.get("slideshow", {}).get("slide_type") == "notes"
