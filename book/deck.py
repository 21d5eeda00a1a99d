"""The slides: one deck for each notebook, made with nbconvert from the executed notebooks."""

from __future__ import annotations

import copy
import re

from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from pygments.formatters import HtmlFormatter

from book import assets, paths
from book.execute import executed, frames_of
from book.files import copy_exactly, write_if_changed
from book.pages import link_to_pages

_HIGHLIGHTING = "a11y-high-contrast-light"

# On a page an answer is folded; on a slide it is a fragment, and the next step shows it. What is
# for the teacher is folded in the notebook, and stands open in the speaker's window. A block with
# another fold inside it is left as it is.
_ANSWER = re.compile(
    r"<details>\s*<summary>\s*(?:Show the answer|For the teacher)\s*</summary>"
    r"((?:(?!<details).)*?)</details>",
    re.DOTALL | re.IGNORECASE,
)


def build_slides() -> None:
    """Build ``_build/slides/NN_name.html`` for every notebook.

    Raises
    ------
    RuntimeError
        If a notebook does not run.
    """
    notebooks = executed()
    for name, notebook in notebooks.items():
        linked = link_to_pages(notebook, list(notebooks))
        html = as_html(linked, title_of(notebook) or name)
        write_if_changed(paths.SLIDES / f"{name}.html", html)
    for path in paths.SLIDES.glob("*.html"):
        if path.stem not in notebooks:
            path.unlink()
    copy_exactly(frames_of(notebooks.values()), paths.SLIDES / "frames")
    _write_assets()
    print(f"{len(notebooks)} decks in {paths.SLIDES.relative_to(paths.ROOT)}/")


def as_html(notebook: NotebookNode, title: str) -> str:
    """Make the deck of an executed notebook.

    Parameters
    ----------
    notebook
        The executed notebook; it is left as it is.
    title
        What stands on the browser's tab.

    Returns
    -------
    str
        The page; it finds its scripts and styles in the folder ``assets`` beside it.
    """
    exporter = HTMLExporter(
        template_name="deck",
        extra_template_basedirs=[str(paths.TEMPLATES)],
        exclude_anchor_links=True,
    )
    resources = {"deck": {"title": title}}
    prepared = with_notes_on_every_slide(with_summary_last(with_open_answers(notebook)))
    html, _ = exporter.from_notebook_node(prepared, resources=resources)
    return html


def with_open_answers(notebook: NotebookNode) -> NotebookNode:
    """Open the folded answers of a notebook, for the deck.

    Parameters
    ----------
    notebook
        A notebook; it is left as it is.

    Returns
    -------
    NotebookNode
        A copy in which the Markdown cells hold the answers without their fold.
    """
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = open_answers(cell.source)
    return notebook


def with_summary_last(notebook: NotebookNode) -> NotebookNode:
    """Put the slides that begin with the heading *Remember* behind all others, for the deck.

    On a page the exercises stand at the end. The one that a class votes on, *Find the errors*, is a
    slide as well, and the summary would read its answers out first.

    Parameters
    ----------
    notebook
        A notebook; it is left as it is.

    Returns
    -------
    NotebookNode
        A copy with the slide *Remember*, and what is below it, at the end.
    """
    topics: list[list[NotebookNode]] = [[]]
    for cell in copy.deepcopy(notebook).cells:
        if _slide_type(cell) == "slide":
            topics.append([])
        topics[-1].append(cell)
    topics.sort(key=lambda topic: bool(topic) and topic[0].source.startswith("## Remember"))
    return NotebookNode({**notebook, "cells": [cell for topic in topics for cell in topic]})


def with_notes_on_every_slide(notebook: NotebookNode) -> NotebookNode:
    """Put the teacher's notes on every slide that they are about, for the deck.

    A note is written once, below the last slide of its topic. The speaker's window shows the note
    of the slide in view alone, and a vote needs its note before it is taken.

    Parameters
    ----------
    notebook
        A notebook; it is left as it is.

    Returns
    -------
    NotebookNode
        A copy in which each slide without a note has the next one that follows it, and the slides
        after the last note have that.
    """
    slides: list[list[NotebookNode]] = [[]]
    for cell in copy.deepcopy(notebook).cells:
        if _slide_type(cell) in ("slide", "subslide"):
            slides.append([])
        slides[-1].append(cell)
    written = [[cell for cell in slide if _slide_type(cell) == "notes"] for slide in slides]
    spoken, last = {}, max((at for at, notes in enumerate(written) if notes), default=-1)
    for at in range(len(slides)):
        if last >= 0 and not written[at]:
            spoken[at] = next((n for n in written[at:] if n), written[last])
    cells = [
        cell
        for at, slide in enumerate(slides)
        for cell in [*slide, *map(_copy_of, spoken.get(at, []) if slide else [])]
    ]
    return NotebookNode({**notebook, "cells": cells})


def _copy_of(note: NotebookNode) -> NotebookNode:
    # nbconvert marks where slides end in the metadata, so no two cells may share it.
    return new_markdown_cell(note.source, metadata=copy.deepcopy(note.metadata))


def _slide_type(cell: NotebookNode) -> str:
    return cell.metadata.get("slideshow", {}).get("slide_type", "")


def open_answers(markdown: str) -> str:
    """Take the folds of answers and of teacher's notes off; solutions and hints stay folded.

    Examples
    --------
    >>> open_answers("<details><summary>Show the answer</summary> It is (b). </details>")
    'It is (b).'
    >>> open_answers("<details><summary>Solution 01.1</summary>")
    '<details><summary>Solution 01.1</summary>'
    """
    return _ANSWER.sub(lambda match: match[1].strip(), markdown)


def title_of(notebook: NotebookNode) -> str:
    """Read the title of a notebook: its first heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("# "):
                    return line.removeprefix("# ").strip()
    return ""


def _write_assets() -> None:
    folder = paths.SLIDES / "assets"
    assets.write_explorers(folder)
    assets.copy_mathjax(folder / "mathjax")
    assets.copy_reveal(folder / "reveal")
    for path in paths.DECK.iterdir():
        write_if_changed(folder / path.name, path.read_text(encoding="utf-8"))
    colours = HtmlFormatter(style=_HIGHLIGHTING).get_style_defs(".reveal .highlight")
    write_if_changed(folder / "pygments.css", colours)
