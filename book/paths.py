"""Where everything of the book is."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

NOTEBOOKS = ROOT / "notebooks"
HELPERS = ROOT / "helpers"
TESTS = ROOT / "tests"
LOCK = ROOT / "requirements.txt"
README = ROOT / "README.md"
WORKING_COPIES = ROOT / "my"

BUILD = ROOT / "_build"
EXECUTED = BUILD / "executed"
FRAMES = EXECUTED / "frames"
SOURCE = BUILD / "source"
BOOK = BUILD / "book"
SLIDES = BUILD / "slides"
STUDENT = BUILD / "student"

STATIC = ROOT / "book" / "static"
DECK = ROOT / "book" / "slides"
TEMPLATES = ROOT / "book" / "templates"


def notebooks(only: str = "") -> list[Path]:
    """List the notebooks of the book in the order of reading.

    Parameters
    ----------
    only
        The beginning of a file name, such as ``"01"``; all notebooks where it is empty.

    Returns
    -------
    list of Path

    Raises
    ------
    FileNotFoundError
        If no notebook's name begins with `only`.
    """
    found = sorted(path for path in NOTEBOOKS.glob("*.ipynb") if path.name.startswith(only))
    if only and not found:
        names = ", ".join(path.stem for path in notebooks()) or "none"
        raise FileNotFoundError(
            f"No notebook in notebooks/ has a name that begins with {only!r}. There are: {names}."
        )
    return found


def helper_notebooks() -> list[Path]:
    """List the notebooks that test the helpers; they have no twin and no page."""
    return sorted(TESTS.glob("test_*.ipynb"))
