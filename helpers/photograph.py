"""The photograph on which the book's figures show what a layer does to a real image."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["CREDIT", "photograph", "photograph_file"]

CREDIT = "Photograph: danielbuechele, CC BY 2.0, by way of scikit-learn; cropped and reduced."
"""Author, licence and changes in one line, for wherever the photograph is shown."""

_FILE = Path(__file__).parent / "images" / "china.jpg"
_SIDE = 224


def photograph_file() -> Path:
    """Give the file of the photograph, 224 x 224 pixels; its licence is in ``china.txt`` beside it.

    Returns
    -------
    Path
        A JPEG file of less than 30 kB, inside the package.

    Examples
    --------
    >>> photograph_file().with_suffix(".txt").exists()
    True
    """
    return _FILE


@cache
def _pixels() -> np.ndarray:
    with Image.open(_FILE) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def photograph(side: int = _SIDE) -> np.ndarray:
    """Load the photograph, red, green and blue from 0 to 1.

    Parameters
    ----------
    side : int
        Height and width of the result, a divisor of 224: each of its pixels is the mean of a square
        of the photograph's.

    Returns
    -------
    numpy.ndarray, shape (3, side, side)
        Channels first, float64. It is a new array each time.

    Raises
    ------
    ValueError
        If `side` does not divide 224.

    Examples
    --------
    >>> photograph(14).shape
    (3, 14, 14)
    """
    if side not in range(1, _SIDE + 1) or _SIDE % side:
        raise ValueError(
            f"side={side}: the photograph has {_SIDE} pixels a side; choose a divisor, for example "
            "224, 112, 56, 28, 14 or 7."
        )
    step = _SIDE // side
    squares = _pixels().reshape(side, step, side, step, 3)
    return np.ascontiguousarray(squares.mean((1, 3)).transpose(2, 0, 1))
