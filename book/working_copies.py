"""The reader's own copies of the notebooks, in ``my/``: added to, never overwritten."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

RECORD = ".given.json"


@dataclass(frozen=True)
class Given:
    """One notebook that was put into the reader's folder.

    Attributes
    ----------
    original
        The file name in the book.
    copy
        The file name in the reader's folder.
    """

    original: str
    copy: str

    @property
    def sentence(self) -> str:
        """What to tell the reader."""
        if self.copy == self.original:
            return f"my/{self.copy} is new."
        return (
            f"{self.original} has changed in the book: the new one is my/{self.copy}, "
            f"and your own copy is as you left it."
        )


def content_digest(path: Path) -> str:
    """Digest what a notebook says: its cells and their tags, not their outputs.

    Read as JSON, because importing nbformat takes longer than everything else here.
    """
    cells = [
        (cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("tags", []))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def give(notebooks: list[Path], folder: Path) -> list[Given]:
    """Put a copy of each notebook that the reader does not have yet into the reader's folder.

    A file that is there is never written to. A notebook that has changed since the reader got it
    is added beside the reader's copy, under a name that says so. A copy that the reader has
    deleted is given again: that is how to start a page afresh.

    Parameters
    ----------
    notebooks
        The notebooks of the book.
    folder
        The reader's folder; it is made if it is missing.

    Returns
    -------
    list of Given
        What was added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = _read_record(folder)
    added = []
    for original in notebooks:
        digest = content_digest(original)
        known = record.setdefault(original.name, {})
        if any((folder / name).exists() for name, given in known.items() if given == digest):
            continue
        copy = _free_name(original, folder)
        # "x": a file that appeared in between is not overwritten either.
        with (folder / copy).open("x", encoding="utf-8") as file:
            file.write(original.read_text(encoding="utf-8"))
        known[copy] = digest
        added.append(Given(original.name, copy))
    if added:
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return added


def _free_name(original: Path, folder: Path) -> str:
    """Name the copy: as the original, or ``NN_name-updated``, ``NN_name-updated-2``, ..."""
    names = [original.name, f"{original.stem}-updated{original.suffix}"]
    number = 2
    while True:
        for name in names:
            if not (folder / name).exists():
                return name
        names = [f"{original.stem}-updated-{number}{original.suffix}"]
        number += 1


def _read_record(folder: Path) -> dict[str, dict[str, str]]:
    """Read which content was given under which name; empty where the record is unreadable.

    Without a record every notebook counts as new: the reader gets copies beside their own.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return record if isinstance(record, dict) else {}
