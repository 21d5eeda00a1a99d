"""The pictures of README.md: drawn by the book's own code, stored beside the static files."""

from __future__ import annotations

from pathlib import Path

from book import paths
from helpers.figures import Encoded, encode, two_blocks

TWO_BLOCKS = paths.ROOT / "book" / "static" / "two_blocks.png"


def draw() -> dict[Path, Encoded]:
    """Draw every picture of the README; gives the file of each and what belongs into it."""
    return {TWO_BLOCKS: encode(two_blocks(), small=True)}


def store() -> None:
    """Write the pictures whose pixels have changed."""
    for path, picture in draw().items():
        if not path.exists() or path.read_bytes() != picture.data:
            path.write_bytes(picture.data)
            print(f"{path.name}: drawn anew")
