"""Sphinx settings of the static book. Everything that a page loads is a file beside it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from book import assets, paths

project = "One Block, Two Names"
author = "The authors of One Block, Two Names"
copyright = "The authors of One Block, Two Names. Text CC BY 4.0, code MIT"
language = "en"

extensions = ["myst_nb", "sphinx_copybutton"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = []

# The notebooks come with their outputs: book/execute.py runs them once for book and slides.
nb_execution_mode = "off"
# An explorer also has a widget view; only its html works without a kernel.
nb_mime_priority_overrides = [("html", "text/html", 5)]
nb_ipywidgets_js = {}
nb_merge_streams = True
nb_output_stderr = "error"
nb_number_source_lines = False
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = []

# MathJax 3, because MathJax 4 fetches fonts.
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": True}}

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = [str(paths.STATIC), str(paths.BUILD / "static")]
html_css_files = ["colours.css", "explorers.css", "book.css"]
html_js_files = [("explorers.js", {"defer": "defer"})]
# Without this the theme logs an error on every page.
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    # The sidebar has the search; a bar above the page would have a second one.
    "navbar_persistent": [],
    "footer_content_items": ["copyright.html"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

assets.write_explorers(paths.BUILD / "static")


def _copy_mathjax(app, error):
    if error is None:
        assets.copy_mathjax(Path(app.outdir) / "_static" / "mathjax")


def setup(app):
    """Register with Sphinx what is done after a build."""
    # An explorer's state stands in the address of its page; the decks use theirs for the slide.
    app.add_js_file(None, body='document.documentElement.dataset.obShare = "hash"')
    app.connect("build-finished", _copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
