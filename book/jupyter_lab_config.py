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
    from helpers.explorers import strip_widget_views

    content = nbformat.from_dict(model["content"])
    clean = normalise if path.strip("/").startswith("notebooks/") else strip_widget_views
    # In place, because the Markdown twin is written from the same content.
    model["content"].update(clean(content))


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
