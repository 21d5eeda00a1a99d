"""The reader's folder: every notebook gets there, and nothing that is there is ever overwritten."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book.working_copies import RECORD, give


@pytest.fixture
def book(tmp_path) -> Path:
    """A book of two notebooks."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("01_one", "02_two"):
        write(folder / f"{name}.ipynb", f"# {name}")
    return folder


@pytest.fixture
def mine(tmp_path) -> Path:
    return tmp_path / "my"


def write(path: Path, text: str, output: str = "1") -> None:
    outputs = [new_output("stream", name="stdout", text=output)]
    cells = [new_markdown_cell(text, id="a"), new_code_cell("1", outputs=outputs, id="b")]
    nbformat.write(new_notebook(cells=cells), path)


def give_all(book: Path, mine: Path) -> list[str]:
    return [given.copy for given in give(sorted(book.glob("*.ipynb")), mine)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD)


def test_the_first_time_every_notebook_is_copied(book, mine):
    assert give_all(book, mine) == ["01_one.ipynb", "02_two.ipynb"]
    for path in book.iterdir():
        assert (mine / path.name).read_bytes() == path.read_bytes()


def test_the_second_time_nothing_happens(book, mine):
    give_all(book, mine)
    before = {path.name: path.stat().st_mtime_ns for path in mine.iterdir()}
    assert give_all(book, mine) == []
    assert {path.name: path.stat().st_mtime_ns for path in mine.iterdir()} == before


def test_what_the_reader_wrote_stays(book, mine):
    give_all(book, mine)
    write(mine / "01_one.ipynb", "# My notes")
    mine_before = (mine / "01_one.ipynb").read_bytes()
    assert give_all(book, mine) == []
    assert (mine / "01_one.ipynb").read_bytes() == mine_before


def test_a_changed_notebook_is_added_beside_and_said(book, mine):
    give_all(book, mine)
    write(mine / "01_one.ipynb", "# My notes")
    mine_before = (mine / "01_one.ipynb").read_bytes()
    write(book / "01_one.ipynb", "# 01_one, second edition")

    (given,) = give(sorted(book.glob("*.ipynb")), mine)

    assert given.copy == "01_one-updated.ipynb"
    assert "01_one.ipynb has changed" in given.sentence
    assert "my/01_one-updated.ipynb" in given.sentence
    assert (mine / given.copy).read_bytes() == (book / "01_one.ipynb").read_bytes()
    assert (mine / "01_one.ipynb").read_bytes() == mine_before
    assert give_all(book, mine) == []


def test_a_changed_notebook_is_added_beside_even_an_untouched_copy(book, mine):
    give_all(book, mine)
    mine_before = (mine / "01_one.ipynb").read_bytes()
    write(book / "01_one.ipynb", "# 01_one, second edition")
    assert give_all(book, mine) == ["01_one-updated.ipynb"]
    assert (mine / "01_one.ipynb").read_bytes() == mine_before


def test_every_edition_gets_a_name_of_its_own(book, mine):
    give_all(book, mine)
    added = []
    for edition in ("second", "third", "fourth"):
        write(book / "01_one.ipynb", f"# 01_one, {edition} edition")
        added += give_all(book, mine)
    assert added == [
        "01_one-updated.ipynb",
        "01_one-updated-2.ipynb",
        "01_one-updated-3.ipynb",
    ]


def test_other_outputs_are_not_another_edition(book, mine):
    give_all(book, mine)
    write(book / "01_one.ipynb", "# 01_one", output="2")
    assert give_all(book, mine) == []


def test_a_new_notebook_of_the_book_is_added_and_said(book, mine):
    give_all(book, mine)
    write(book / "03_three.ipynb", "# 03_three")
    (given,) = give(sorted(book.glob("*.ipynb")), mine)
    assert given.sentence == "my/03_three.ipynb is new."


def test_a_deleted_copy_is_given_again(book, mine):
    """That is how a reader starts a page afresh."""
    give_all(book, mine)
    (mine / "01_one.ipynb").unlink()
    assert give_all(book, mine) == ["01_one.ipynb"]


def test_a_file_of_the_reader_with_the_name_of_a_page_stays(book, mine):
    mine.mkdir()
    (mine / "01_one.ipynb").write_text("mine", encoding="utf-8")
    (mine / "01_one-updated.ipynb").write_text("mine too", encoding="utf-8")
    assert give_all(book, mine) == ["01_one-updated-2.ipynb", "02_two.ipynb"]
    assert (mine / "01_one.ipynb").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("record", ["", "not json", "[]"])
def test_a_broken_record_overwrites_nothing(book, mine, record):
    give_all(book, mine)
    write(mine / "01_one.ipynb", "# My notes")
    (mine / RECORD).write_text(record, encoding="utf-8")
    before = {name: (mine / name).read_bytes() for name in names(mine)}
    give_all(book, mine)
    assert {name: (mine / name).read_bytes() for name in before} == before


def test_a_path_with_spaces(book, tmp_path):
    assert len(give_all(book, tmp_path / "my own copies")) == 2
