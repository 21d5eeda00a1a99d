"""From a matplotlib figure to the bytes of a picture: quick for live use, small for storage."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from helpers import theme

__all__ = ["FRAMES_VARIABLE", "Encoded", "encode", "frames_folder", "write_frame"]

FRAMES_VARIABLE = "ONE_BLOCK_FRAMES"
"""Environment variable that names the folder for frames while book and slides are made."""

_EXTENSION = {"image/png": "png", "image/webp": "webp"}
# A palette counts as lossless to the eye when no channel of any pixel moves by more than this.
_PALETTE_TOLERANCE = 8


class Encoded(NamedTuple):
    """A picture: its bytes, their type, and the size at which a page shows it."""

    data: bytes
    mime: str
    width_css: int
    height_css: int


def encode(fig: Figure, *, scale: float = 2.0, small: bool = False, webp: bool = False) -> Encoded:
    """Draw a figure into the bytes of a picture.

    Parameters
    ----------
    fig : Figure
        What to draw; its size in inches is kept, so frames of one figure never jump.
    scale : float
        Pixels of the picture for one pixel of the page: 2 is sharp on every screen.
    small : bool
        Search for the smallest encoding, which takes longer: for what is stored.
    webp : bool
        Allow lossless WebP among the small encodings, for pictures that are files of a page.

    Returns
    -------
    Encoded
        ``(data, mime, width_css, height_css)``.

    Examples
    --------
    >>> encode(theme.figure(3, 2)).width_css
    288
    """
    width, height = (round(side * theme.CSS_PIXELS_PER_INCH) for side in fig.get_size_inches())
    image = _rasterise(fig, scale)
    data, mime = _smallest(image, webp=webp) if small else (_png(image, quick=True), "image/png")
    return Encoded(data, mime, width, height)


def frames_folder() -> Path | None:
    """Give the folder for frames while book and slides are made, else None."""
    folder = os.environ.get(FRAMES_VARIABLE)
    return Path(folder) if folder else None


def write_frame(picture: Encoded, folder: Path) -> str:
    """Write a picture as a file named by its content, and give its address for a page.

    Parameters
    ----------
    picture : Encoded
        What to write.
    folder : Path
        Where; it is made when it is not there.

    Returns
    -------
    str
        ``frames/<hash>.<extension>``, relative to the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(picture.data).hexdigest()[:20]
    name = f"{digest}.{_EXTENSION[picture.mime]}"
    path = folder / name
    if not path.exists():
        # Several kernels may write the same frame at once: a rename is never half a file.
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_bytes(picture.data)
        partial.replace(path)
    return f"frames/{name}"


def _rasterise(fig: Figure, scale: float) -> Image.Image:
    """Draw the figure at a scale, and give its own canvas and resolution back afterwards."""
    canvas, dpi = fig.canvas, fig.dpi
    try:
        agg = FigureCanvasAgg(fig)
        fig.dpi = theme.CSS_PIXELS_PER_INCH * scale
        with theme.style():
            agg.draw()
        pixels = np.asarray(agg.buffer_rgba())
        # A figure may be transparent; on the white card it must stay readable in a dark page.
        if pixels[..., 3].min() == 255:
            return Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
        picture = Image.fromarray(pixels)
        card = Image.new("RGBA", picture.size, theme.CARD)
        return Image.alpha_composite(card, picture).convert("RGB")
    finally:
        fig.dpi = dpi
        fig.set_canvas(canvas)


def _png(image: Image.Image, *, quick: bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **({"compress_level": 1} if quick else {"optimize": True}))
    return buffer.getvalue()


def _smallest(image: Image.Image, *, webp: bool) -> tuple[bytes, str]:
    """Give the smallest of PNG, palette PNG where nothing visible is lost, and lossless WebP."""
    found = [(_png(image, quick=False), "image/png")]
    palette = _smallest_palette(image)
    if palette is not None:
        found.append((_png(palette, quick=False), "image/png"))
    if webp:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", lossless=True, method=4)
        found.append((buffer.getvalue(), "image/webp"))
    return min(found, key=lambda pair: len(pair[0]))


def _smallest_palette(image: Image.Image) -> Image.Image | None:
    """Give the picture in as few colours as the eye does not miss, or None if 256 are too few."""
    found, pixels = None, np.asarray(image, np.int16)
    for colours in (256, 128, 64, 32):
        palette = image.quantize(
            colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        shift = np.abs(np.asarray(palette.convert("RGB"), np.int16) - pixels)
        if shift.max() > _PALETTE_TOLERANCE:
            break
        found = palette
    return found
