"""What the deck is made of, before a browser shows it."""

from __future__ import annotations

import copy

import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book import deck

FOLD = "<details>\n<summary>{}</summary>\n\nIt is **(b)**.\n\n$$ y = x $$\n\n</details>"


def page(*cells: NotebookNode) -> BeautifulSoup:
    """Give the deck of some cells."""
    return BeautifulSoup(deck.as_html(new_notebook(cells=list(cells)), "A deck"), "html.parser")


def code(source: str, kind: str, *tags: str) -> NotebookNode:
    """Make a code cell that prints, with its slide type and tags."""
    return new_code_cell(
        source,
        metadata={"slideshow": {"slide_type": kind}, "tags": list(tags)},
        outputs=[new_output("stream", name="stdout", text=f"printed by {source}\n")],
    )


def prose(source: str, kind: str) -> NotebookNode:
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


@pytest.mark.parametrize("summary", ["Show the answer", " show the answer\n"])
def test_an_answer_is_open_on_a_slide(summary):
    assert deck.open_answers(FOLD.format(summary)) == "It is **(b)**.\n\n$$ y = x $$"


@pytest.mark.parametrize("summary", ["Solution 01.1", "A hint", "Show the answer to 01.1"])
def test_every_other_fold_stays(summary):
    assert deck.open_answers(FOLD.format(summary)) == FOLD.format(summary)


def test_each_answer_of_a_cell_is_opened_and_nothing_else():
    answer, solution = FOLD.format("Show the answer"), FOLD.format("Solution")
    text = f"Before.\n\n{answer}\n\nBetween.\n\n{solution}\n\n{answer}"
    opened = "It is **(b)**.\n\n$$ y = x $$"
    expected = f"Before.\n\n{opened}\n\nBetween.\n\n{solution}\n\n{opened}"
    assert deck.open_answers(text) == expected


def test_an_answer_that_holds_a_fold_is_left_alone():
    text = "<details><summary>Show the answer</summary>A <details>B</details> C</details>"
    assert deck.open_answers(text) == text


def test_the_notebook_itself_keeps_its_folds():
    notebook = new_notebook(
        cells=[prose(FOLD.format("Show the answer"), "fragment"), code("'<details>'", "slide")]
    )
    before = copy.deepcopy(notebook)
    opened = deck.with_open_answers(notebook)
    assert notebook == before
    assert "details" not in opened.cells[0].source
    assert opened.cells[1] == before.cells[1]


def test_code_then_output_then_explanation_are_steps_of_one_slide():
    found = page(
        prose("# Title", "slide"),
        code("answer()", "subslide", "hide-output"),
        prose(FOLD.format("Show the answer"), "fragment"),
    )
    slide = found.find(string="Title").find_parent("section").find_next("section")
    parts = slide.select(".cell-code, .fragment")
    assert ["fragment" in part["class"] for part in parts] == [False, True, True]
    assert "printed by answer()" in parts[1].text
    assert "It is (b)." in parts[2].text
    assert not slide.find_all("details")
    assert "Show the" not in slide.text


def test_an_ordinary_output_comes_with_its_code():
    found = page(code("plain()", "slide"))
    assert not found.select(".fragment")
    assert "printed by plain()" in found.select_one(".cell-output").text


def test_solutions_stay_folded_and_notes_are_notes():
    found = page(
        prose("# Title", "slide"),
        prose("Ask first.", "notes"),
        prose(FOLD.format("Solution 01.1"), "fragment"),
        prose("Not on a slide.", "skip"),
    )
    assert found.select_one("details summary").text == "Solution 01.1"
    assert "open" not in found.select_one("details").attrs
    assert "Ask first." in found.select_one("aside.notes").text
    assert "Not on a slide." not in found.text


def test_the_title_is_the_first_heading():
    cells = [new_markdown_cell("No heading."), new_markdown_cell("# The one\n\n# Another")]
    assert deck.title_of(new_notebook(cells=cells)) == "The one"
    assert deck.title_of(new_notebook()) == ""


def test_each_slide_has_the_note_of_its_topic():
    notes = page(
        prose("# One", "slide"),
        prose("## Vote", "subslide"),
        prose("Expect (a), 3 minutes.", "notes"),
        prose("## Two", "slide"),
        prose("About two.", "notes"),
        prose("## The end", "slide"),
    )
    spoken = [section.find("aside") for section in notes.select("section:not(.stack)")]
    texts = [aside.get_text().strip() for aside in spoken]
    assert texts == ["Expect (a), 3 minutes."] * 2 + ["About two."] * 2


def test_a_deck_without_notes_gets_none():
    assert page(prose("# One", "slide"), prose("## Two", "subslide")).find("aside") is None


def test_no_slide_is_blank_until_the_next_step():
    alone = page(prose("# Vote", "slide"), code("1", "subslide", "hide-input", "hide-output"))
    assert alone.select_one(".cell-output.fragment") is None
    below = page(prose("# Vote", "slide"), code("1", "subslide", "hide-output"))
    assert below.select_one(".cell-output.fragment") is not None


def test_the_summary_comes_after_the_vote_that_it_would_answer():
    slides = page(
        prose("# Title", "slide"),
        prose("## Remember", "slide"),
        prose("More of it", "subslide"),
        prose("One minute, then the vote.", "notes"),
        prose("## Exercises", "skip"),
        prose("### Find the errors", "slide"),
        prose("The first is false.", "subslide"),
    ).select("section:not(:has(section))")
    shown = [slide.find(["h1", "h2", "h3", "p"]).get_text() for slide in slides]
    assert [text.strip("\u00b6") for text in shown] == [
        "Title",
        "Find the errors",
        "The first is false.",
        "Remember",
        "More of it",
    ]
    # The vote has the note that announces it.
    assert all("One minute" in slide.get_text() for slide in slides[1:])
