"""Settings of the JupyterLab that `make lab` and `make edit` open."""

import logging
import warnings
from pathlib import Path

c = get_config()  # noqa: F821  (JupyterLab gives it to this file)


def store_clean(model, path="", **_):
    """Store a notebook as the book stores it: stills and sentences, no widget views or states.

    A widget view that is reopened without its kernel shows an error in place of the still. The
    book's own pages also lose what depends on who ran them; a reader's pages keep the rest.
    """
    if model["type"] != "notebook":
        return
    # Imported at the first save, not while the reader waits for JupyterLab.
    import nbformat

    from book.store import normalise
    from helpers.stored import strip_widget_views

    clean = normalise if path.strip("/").startswith("notebooks/") else strip_widget_views
    content = model["content"]
    cleaned = clean(nbformat.from_dict(content))
    # In place, cell by cell: the Markdown twin is then written from the same cells.
    for cell, clean_cell in zip(content["cells"], cleaned.cells, strict=True):
        replace(cell, clean_cell)
    replace(content["metadata"], cleaned.metadata)


def replace(old, new):
    """Give a dictionary the entries of another."""
    old.clear()
    old.update(new)


c.ContentsManager.pre_save_hook = store_clean
# Jupyter reads this file twice, and says so at every start.
warnings.filterwarnings("ignore", message="Overriding existing pre_save_hook")
# The address to open, and errors; not forty lines about extensions.
c.Application.log_level = logging.WARNING

# Nothing is asked of another host, and no dialog stands between the reader and the page.
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.news_url = None
c.LabApp.extension_manager = "readonly"
c.LabApp.app_settings_dir = str(Path(__file__).resolve().parent / "lab_settings")
