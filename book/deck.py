"""The slides: one deck for each notebook, made with nbconvert from the executed notebooks."""

from __future__ import annotations

from nbconvert import HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from book import assets, paths
from book.execute import executed, frames_of
from book.files import copy_exactly, write_if_changed

_HIGHLIGHTING = "a11y-high-contrast-light"


def build_slides() -> None:
    """Build ``_build/slides/NN_name.html`` for every notebook.

    Raises
    ------
    RuntimeError
        If a notebook does not run.
    """
    notebooks = executed()
    exporter = HTMLExporter(
        template_name="deck",
        extra_template_basedirs=[str(paths.TEMPLATES)],
        exclude_anchor_links=True,
    )
    for name, notebook in notebooks.items():
        resources = {"deck": {"title": title_of(notebook) or name}}
        html, _ = exporter.from_notebook_node(notebook, resources=resources)
        write_if_changed(paths.SLIDES / f"{name}.html", html)
    for path in paths.SLIDES.glob("*.html"):
        if path.stem not in notebooks:
            path.unlink()
    copy_exactly(frames_of(notebooks.values()), paths.SLIDES / "frames")
    _write_assets()
    print(f"{len(notebooks)} decks in {paths.SLIDES.relative_to(paths.ROOT)}/")


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
