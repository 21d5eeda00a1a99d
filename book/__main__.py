"""The commands behind the Makefile: ``python -m book COMMAND``.

On a machine without make (Windows) these are the commands themselves.
"""

from __future__ import annotations

import argparse
import sys


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m book", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in {
        "lab": "read the book in JupyterLab, on your own copies in my/; further flags go to it",
        "edit": "write the book in JupyterLab, on notebooks/; further flags go to it",
        "book": "the static book, in _build/book/index.html",
        "slides": "the slides, in _build/slides/NN_name.html",
        "student": "the notebooks without their solutions, in _build/student/",
        "refresh": "run the notebooks and store their outputs",
        "sync": "bring each notebook and its Markdown twin together",
        "lock": "choose new exact versions for requirements.txt",
    }.items():
        command = commands.add_parser(name, help=text, add_help=name not in ("lab", "edit"))
        if name == "refresh":
            command.add_argument("only", nargs="?", default="", help="such as 01: one notebook")
    return parser


def _build_book() -> None:
    from book.pages import build_book

    build_book()


def _build_slides() -> None:
    from book.deck import build_slides

    build_slides()


def main() -> int:
    """Run one command; return the exit status."""
    parser = _parser()
    arguments, flags = parser.parse_known_args()
    command = arguments.command
    if flags and command not in ("lab", "edit"):
        parser.error(f"unknown arguments: {' '.join(flags)}")
    # Each command imports what it needs: `lab` opens without Sphinx, `lock` without PyTorch.
    match command:
        case "lab" | "edit":
            from book import lab

            return lab.start(command, flags)
        case "book":
            from book import inputs, paths

            inputs.unless_up_to_date(paths.BOOK, _build_book)
        case "slides":
            from book import inputs, paths

            inputs.unless_up_to_date(paths.SLIDES, _build_slides)
        case "student":
            from book.store import student_edition

            student_edition()
        case "refresh":
            from book import pictures
            from book.store import refresh

            pictures.store()
            refresh(arguments.only)
        case "sync":
            from book.store import sync

            sync()
        case "lock":
            from book.lock import lock

            lock()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, ValueError, FileNotFoundError) as error:
        sys.exit(f"{error}")
