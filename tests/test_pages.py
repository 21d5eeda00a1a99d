"""Links in the outputs of a page: to the page where there is one, else no link."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book.pages import link_to_pages

NAMES = ["01_one", "05_five"]


def _shown(html: str) -> str:
    output = new_output("display_data", {"text/html": html, "text/plain": "05_five.ipynb"})
    notebook = new_notebook(cells=[new_code_cell("", outputs=[output])])
    return link_to_pages(notebook, NAMES).cells[0].outputs[0].data["text/html"]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="05_five.ipynb">five</a>', '<a href="05_five.html">five</a>'),
        ('<a href="../notebooks/01_one.ipynb">one</a>', '<a href="01_one.html">one</a>'),
        (
            '<a href="05_five.ipynb#part" class="x">a</a>',
            '<a href="05_five.html#part" class="x">a</a>',
        ),
        ('in <a href="07_seven.ipynb">seven</a>,', "in seven,"),
        ('<a href="a.ipynb">a</a>', '<a href="a.ipynb">a</a>'),
        (
            '<a href="https://host/05_five.ipynb">a</a>',
            '<a href="https://host/05_five.ipynb">a</a>',
        ),
        (
            '<a href="05_five.ipynb">5</a> <a href="07_seven.ipynb">7</a>',
            '<a href="05_five.html">5</a> 7',
        ),
    ],
)
def test_links_of_outputs_lead_to_pages(html: str, expected: str) -> None:
    assert _shown(html) == expected


def test_links_are_found_where_an_output_is_stored_as_lines() -> None:
    output = new_output("display_data", {"text/html": ["<p>\n", '<a href="05_five.ipynb">5</a>']})
    notebook = new_notebook(cells=[new_markdown_cell("a"), new_code_cell("", outputs=[output])])
    shown = link_to_pages(notebook, NAMES).cells[1].outputs[0].data["text/html"]
    assert shown == '<p>\n<a href="05_five.html">5</a>'


def test_the_notebook_and_its_prose_are_left_alone() -> None:
    prose = '<a href="05_five.ipynb">five</a>'
    output = new_output("display_data", {"text/html": prose})
    notebook = new_notebook(cells=[new_markdown_cell(prose), new_code_cell("", outputs=[output])])
    linked = link_to_pages(notebook, NAMES)
    assert linked.cells[0].source == prose  # Sphinx knows such a link
    assert notebook.cells[1].outputs[0].data["text/html"] == prose
    assert linked.cells[1].outputs[0].data["text/html"] != prose
