"""The README's pictures are what the code draws today."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from book import paths, pictures


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)


@pytest.mark.parametrize("path", list(pictures.draw()), ids=lambda path: path.name)
def test_stored_picture_is_current(path) -> None:
    drawn, stored = _pixels(pictures.draw()[path].data), _pixels(path.read_bytes())
    assert drawn.shape == stored.shape, f"{path.name} is stale: run make refresh"
    # Fonts are rendered a little differently by another FreeType; a moved box is not a little.
    assert np.abs(drawn - stored).mean() < 2, f"{path.name} is stale: run make refresh"


def test_a_changed_picture_is_noticed() -> None:
    current = _pixels(pictures.draw()[pictures.TWO_BLOCKS].data)
    assert np.abs(current - np.roll(current, 20, axis=0)).mean() > 2


def test_readme_shows_it_with_a_text() -> None:
    readme = paths.README.read_text(encoding="utf-8")
    shown = pictures.TWO_BLOCKS.relative_to(paths.ROOT).as_posix()
    assert f".]({shown})" in readme
