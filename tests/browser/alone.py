"""A linked figure on a page of its own, with the book's script and style and nothing else."""

from __future__ import annotations

from pathlib import Path

from helpers.explorers import LinkedFigure, page_script, page_style
from tests.browser.chromium import Open, Visit

_PAGE = """<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8">
<title>A figure</title><style>body {{ margin: 8px; background: {paper}; }} {style}</style></head>
<body><main>{figure}</main><script>{script}</script></body></html>"""


def alone(open_page: Open, figure: LinkedFigure, folder: Path, **options: object) -> Visit:
    """Write a page with one figure into a folder, open it, and wait until the figure is alive.

    ``color_scheme="dark"`` makes the page dark as the book's theme does; the other options are
    those of Playwright's `new_context`.
    """
    dark = options.get("color_scheme") == "dark"
    page = folder / "page.html"
    page.write_text(
        _PAGE.format(
            theme="dark" if dark else "light",
            paper="#121212" if dark else "#ffffff",
            style=page_style(),
            figure=figure._page_bundle(folder / "frames")["text/html"],
            script=page_script(),
        ),
        encoding="utf-8",
    )
    visit = open_page(page, **options)
    visit.page.wait_for_selector(".ob-explorer[data-mounted=yes]")
    return visit
