"""Tell whether what was built is still up to date, by a digest of everything it is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from book import paths


def digest(files: Iterable[Path]) -> str:
    """Digest the names and contents of files of the repository."""
    total = hashlib.sha256()
    for path in sorted(set(files)):
        content = path.read_bytes()
        total.update(f"{path.relative_to(paths.ROOT).as_posix()} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def files_under(folder: Path) -> list[Path]:
    """List the files of a folder and its folders, less what Python keeps there."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
    ]


def of_all_pages() -> list[Path]:
    """List what book and slides are made from."""
    return [
        *files_under(paths.NOTEBOOKS),
        *files_under(paths.HELPERS),
        *files_under(paths.ROOT / "book"),
        paths.README,
        paths.LOCK,
    ]


def unless_up_to_date(folder: Path, build: Callable[[], None]) -> None:
    """Build a folder of pages, or say that nothing has changed since it was built.

    Parameters
    ----------
    folder
        Where `build` writes. What it was made from is noted beside it.
    build
        Writes the folder; what it was made from is noted only if it raises nothing.
    """
    note = folder.with_suffix(".made-from")
    made_from = digest(of_all_pages())
    if folder.is_dir() and note.exists() and note.read_text(encoding="utf-8") == made_from:
        print(f"{folder.relative_to(paths.ROOT)}/ is up to date")
        return
    note.unlink(missing_ok=True)
    build()
    note.write_text(made_from, encoding="utf-8")
