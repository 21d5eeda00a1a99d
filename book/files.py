"""Write files so that what has not changed keeps its time: what is built from it stays too."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path


def write_if_changed(path: Path, text: str) -> bool:
    """Write a text file; return whether it was not that text already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return True


def copy_exactly(sources: Iterable[Path], folder: Path) -> None:
    """Make a folder hold copies of exactly these files."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {source.name: source for source in sources}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, source in wanted.items():
        copy = folder / name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copyfile(source, copy)
