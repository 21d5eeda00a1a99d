"""The static book: pages for Sphinx out of README.md and the executed notebooks."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import nbformat
from nbformat import NotebookNode

from book import paths
from book.execute import executed, frames_of
from book.files import copy_exactly, write_if_changed

# [text](target) and ![text](target), where the target is not an address of its own.
_LOCAL_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s]+)\)")
# <a href="NN_name.ipynb">text</a> in an output, beside the page or in a folder of notebooks.
_OUTPUT_LINK = re.compile(
    r'<a href="(?!\w+:|/)(?:[^"/]*/)*(\d\d_\w+)\.ipynb(#[^"]*)?"([^>]*)>(.*?)</a>', re.DOTALL
)
_LOCAL_PICTURE = re.compile(r'(<img\b[^>]*\bsrc=")(?!\w+:)([^"]+)(")')


def build_book() -> None:
    """Build ``_build/book/`` from the notebooks as they run now.

    Raises
    ------
    RuntimeError
        If a notebook does not run, or if Sphinx warns: a warning is an error.
    """
    notebooks = executed()
    _write_source(notebooks)
    command = [
        *(sys.executable, "-m", "sphinx", "-b", "html", "-c", str(paths.ROOT / "book")),
        *("-d", str(paths.BUILD / "doctrees"), "--fail-on-warning", "--quiet", "-j", "auto"),
        *(str(paths.SOURCE), str(paths.BOOK)),
    ]
    if subprocess.run(command, cwd=paths.ROOT, check=False).returncode:
        raise RuntimeError("The book was not built: see Sphinx's warnings above.")
    copy_exactly(frames_of(notebooks.values()), paths.BOOK / "frames")
    # The stored notebooks, clean, for the download link of each page.
    copy_exactly(paths.notebooks(), paths.BOOK / "notebooks")
    print(f"The book: {(paths.BOOK / 'index.html').relative_to(paths.ROOT)}")


def _write_source(notebooks: dict[str, NotebookNode]) -> None:
    """Write what Sphinx reads; a file that stays the same keeps its time, and its page."""
    paths.SOURCE.mkdir(parents=True, exist_ok=True)
    pages = {"index.md": front_page(paths.README.read_text(encoding="utf-8"), list(notebooks))}
    for name, notebook in notebooks.items():
        linked = link_to_pages(notebook, list(notebooks))
        pages[f"{name}.ipynb"] = nbformat.writes(page(linked, name)) + "\n"
    for path in paths.SOURCE.iterdir():
        if path.is_file() and path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        write_if_changed(paths.SOURCE / name, text)
    # For Sphinx, which copies a Markdown picture, and beside the page for an <img> of the README.
    for picture in local_pictures(pages["index.md"]):
        for folder in (paths.SOURCE, paths.BOOK):
            (folder / picture).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(paths.ROOT / picture, folder / picture)


def page(notebook: NotebookNode, name: str) -> NotebookNode:
    """Make the book's page of an executed notebook.

    Parameters
    ----------
    notebook
        The executed notebook.
    name
        Its name without the suffix.

    Returns
    -------
    NotebookNode
        A copy with a link to the notebook itself under its title, and without what only a lecture
        shows (speaker notes).
    """
    notebook = copy.deepcopy(notebook)
    notebook.cells = [
        cell
        for cell in notebook.cells
        if cell.metadata.get("slideshow", {}).get("slide_type") != "notes"
    ]
    link = (
        f'<p class="ob-download"><a href="notebooks/{name}.ipynb" download>'
        f"Download this page as a notebook</a> to run and change it.</p>"
    )
    first = notebook.cells[0]
    title, _, rest = first.source.partition("\n")
    if first.cell_type != "markdown" or not title.startswith("# "):
        raise ValueError(f"{name}: the first cell must be Markdown and begin with '# ' and a title")
    first.source = f"{title}\n\n{link}\n\n{rest.lstrip()}".rstrip()
    return notebook


def link_to_pages(notebook: NotebookNode, names: list[str]) -> NotebookNode:
    """Turn the links to notebooks in the outputs into links to their pages, or decks.

    Prose is left to Sphinx, which knows such links; an output is passed on as it stands.

    Parameters
    ----------
    notebook
        An executed notebook; it is left as it is.
    names
        What there is to link to. Any other link to a notebook becomes its text: the page may have
        been run before that notebook was there, or without it.

    Returns
    -------
    NotebookNode
        A copy.
    """

    def relink(match: re.Match[str]) -> str:
        name, anchor, attributes, text = match.groups()
        if name not in names:
            return text
        return f'<a href="{name}.html{anchor or ""}"{attributes}>{text}</a>'

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            if "text/html" in shown:
                html = "".join(shown["text/html"])  # a notebook may store it as lines
                shown["text/html"] = _OUTPUT_LINK.sub(relink, html)
    return notebook


def front_page(readme: str, names: list[str]) -> str:
    """Make the book's first page of the README.

    Parameters
    ----------
    readme
        The README, whose links are relative to the repository.
    names
        The pages of the book, in order.

    Returns
    -------
    str
        The same text with links to notebooks turned into links to their pages, links to files that
        are no pages into their names, and a table of contents for the sidebar.

    Examples
    --------
    >>> print(front_page("[One](notebooks/01_one.ipynb), [code](helpers/a.py)", ["01_one"]))
    [One](01_one.ipynb), code
    <BLANKLINE>
    ```{toctree}
    :hidden:
    <BLANKLINE>
    01_one
    ```
    <BLANKLINE>
    """

    def relink(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path = PurePosixPath(target.partition("#")[0])
        if mark:
            return match[0]
        if path.parent.name == "notebooks" and path.stem in names:
            return f"[{text}]({path.stem}.ipynb)"
        return text

    text = _LOCAL_LINK.sub(relink, readme).rstrip()
    contents = "\n".join(names)
    return f"{text}\n\n```{{toctree}}\n:hidden:\n\n{contents}\n```\n"


def local_pictures(text: str) -> list[Path]:
    """List the pictures of a page that are files of the repository."""
    found = [match[3] for match in _LOCAL_LINK.finditer(text) if match[1]]
    found += [match[2] for match in _LOCAL_PICTURE.finditer(text)]
    return [Path(name) for name in dict.fromkeys(found)]
