"""The visual language: colours by role, colour maps, sizes, and figures in the book's style.

Token mixing is blue, channel mixing is orange, functions of one token are green, skip connections
are black, and nothing else uses these colours. One inch of a figure is 96 pixels of a page, so a
text of 11 pt in a figure is a text of 11 pt on the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure

__all__ = [
    "CARD",
    "CHANNEL",
    "FIXED",
    "INK",
    "MUTED",
    "POINTWISE",
    "SIGNED",
    "SKIP",
    "TOKEN",
    "WEIGHTS",
    "css_maps",
    "css_variables",
    "figure",
    "ink_on",
    "style",
    "use",
]

TOKEN = "#0072B2"
"""Token mixing: A, an attention map, a depthwise filter."""
CHANNEL = "#D55E00"
"""Channel mixing: W, a Linear, a 1x1 convolution."""
POINTWISE = "#009E73"
"""A function of one token without mixing: norm, activation."""
SKIP = "#000000"
"""A skip connection."""

INK = "#1B1E23"
MUTED = "#555C64"
FIXED = "#8A9097"
CARD = "#FFFFFF"

NEGATIVE, ZERO, POSITIVE = "#6B2A8C", "#F6F5F2", "#7A6200"

SIGNED = LinearSegmentedColormap.from_list(
    "signed", [NEGATIVE, "#B192C1", ZERO, "#BFB079", POSITIVE]
)
"""Signed values: purple below zero, gold above, zero almost white."""
WEIGHTS = mpl.colormaps["cividis"]
"""Values from zero upwards, such as attention weights."""

CSS_PIXELS_PER_INCH = 96
SMALL, TEXT, TITLE = 11, 12, 13
"""Sizes of text in points; at a slide's scale of 1.46 the smallest is 16 pt."""
SLIDE_SCALE = 1.46

# Colours of text are darker (on a light page) or lighter (on a dark one) than the colour of the
# same role in a picture, because text needs a contrast of 4.5 to 1 and a mark only 3 to 1.
_LIGHT = {
    "token": TOKEN,
    "channel": CHANNEL,
    "pointwise": POINTWISE,
    "token-text": "#005F96",
    "channel-text": "#A84700",
    "pointwise-text": "#00704F",
    "negative": NEGATIVE,
    "zero": "#FFFFFF",
    "positive": POSITIVE,
    "picture-low": "#B4B9BF",
    "picture-high": "#FFFFFF",
    "ink": INK,
    "muted": MUTED,
    "line": "#C9CED4",
    "border": "#767D85",
    "card": CARD,
    "raised": "#F3F5F7",
    "focus": "#1B1E23",
    "select": "#1B1E23",
    "alert": "#A3122B",
}
_DARK = {
    "token": "#56A9DC",
    "channel": "#F08A3C",
    "pointwise": "#3DBF97",
    "token-text": "#7CC4F0",
    "channel-text": "#FFA868",
    "pointwise-text": "#5FD6B0",
    "negative": "#B583D3",
    "zero": "#1D2126",
    "positive": "#CBB04A",
    "picture-low": "#1D2126",
    "picture-high": "#646A72",
    "ink": "#ECEFF2",
    "muted": "#B3BAC2",
    "line": "#464D55",
    "border": "#8D959E",
    "card": "#1D2126",
    "raised": "#2A3037",
    "focus": "#FFFFFF",
    "select": "#FFFFFF",
    "alert": "#FF8C9B",
}

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT,
    "axes.titlesize": TITLE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": TEXT,
    "axes.edgecolor": FIXED,
    "axes.labelcolor": INK,
    # Curves that stand for no role get none of the roles' colours.
    "axes.prop_cycle": cycler(color=[INK, NEGATIVE, POSITIVE, FIXED]),
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": CARD,
    "figure.facecolor": CARD,
    "figure.dpi": CSS_PIXELS_PER_INCH,
    "figure.constrained_layout.use": False,
    "figure.autolayout": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "hatch.linewidth": 0.8,
    "hatch.color": FIXED,
    "image.interpolation": "nearest",
    "savefig.bbox": None,
    "mathtext.default": "it",
}

_in_force = False


@contextmanager
def style() -> Iterator[None]:
    """Draw in the book's style inside a ``with`` block, and leave matplotlib as it was.

    Examples
    --------
    >>> with style():
    ...     fig = figure(3, 2)
    """
    global _in_force
    if _in_force:
        # Setting and restoring 300 parameters takes milliseconds, and figures nest their pieces.
        yield
        return
    _in_force = True
    try:
        with mpl.rc_context(_STYLE):
            yield
    finally:
        _in_force = False


def use() -> None:
    """Draw everything in the book's style from here on: one line in a notebook's first cell."""
    mpl.rcParams.update(_STYLE)


def figure(width: float = 7.2, height: float = 3.2) -> Figure:
    """Make an empty figure in the book's style, without pyplot.

    pyplot keeps every figure alive and shows a second copy at the end of the cell; a plain
    `Figure` does neither.

    Parameters
    ----------
    width, height : float
        Size in inches; one inch is 96 pixels of a page. A column of the book is 7.2 inches wide.

    Returns
    -------
    Figure
        With an Agg canvas, on a white card.

    Raises
    ------
    ValueError
        If a size is not positive, or above 20 inches (probably pixels).

    Examples
    --------
    >>> figure(3, 2).get_size_inches().tolist()
    [3.0, 2.0]
    """
    for name, size in (("width", width), ("height", height)):
        if not 0 < size <= 20:
            raise ValueError(
                f"{name}={size} inches is not a size for a figure on a page: give inches between "
                f"0 and 20 (one inch is {CSS_PIXELS_PER_INCH} pixels, a column is 7.2 inches)."
            )
    with style():
        fig = Figure(figsize=(width, height), dpi=CSS_PIXELS_PER_INCH, facecolor=CARD)
        FigureCanvasAgg(fig)
    return fig


def ink_on(colour: tuple[float, ...]) -> str:
    """Choose the colour of a number printed on a coloured cell.

    Parameters
    ----------
    colour : tuple of float
        Red, green and blue of the cell, from 0 to 1; more entries are ignored.

    Returns
    -------
    str
        `INK` or white, whichever has the higher contrast.

    Examples
    --------
    >>> ink_on((1, 1, 1)) == INK, ink_on((0, 0, 0))
    (True, '#FFFFFF')
    """
    # Relative luminance as the Web Content Accessibility Guidelines 2.1 define it.
    rgb = np.asarray(colour[:3], dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return INK if (luminance + 0.05) ** 2 > 1.05 * 0.062 else "#FFFFFF"


def css_variables(*, dark: bool = False) -> str:
    """Give the colours as CSS custom properties, for the pages' side of a figure.

    Parameters
    ----------
    dark : bool
        The colours for a dark page.

    Returns
    -------
    str
        Declarations such as ``--ob-token: #0072B2;``, without a selector.

    Examples
    --------
    >>> css_variables().split(";")[0]
    '--ob-token: #0072B2'
    """
    colours = _DARK if dark else _LIGHT
    return " ".join(f"--ob-{name}: {colour};" for name, colour in colours.items())


def css_maps(stops: int = 9) -> str:
    """Give the colour maps as CSS custom properties: colours with spaces between them.

    Parameters
    ----------
    stops : int
        How many colours for each map, evenly spaced; between them one interpolates.

    Returns
    -------
    str
        ``--ob-map-signed``, ``--ob-map-weights`` and ``--ob-map-picture``, without a selector.

    Examples
    --------
    >>> css_maps(3).split(";")[0]
    '--ob-map-signed: #6b2a8c #f6f4f1 #7a6200'
    """
    maps = {"signed": SIGNED, "weights": WEIGHTS, "picture": mpl.colormaps["gray"]}
    places = np.linspace(0, 1, stops)
    return " ".join(
        f"--ob-map-{name}: {' '.join(to_hex(colours(at)) for at in places)};"
        for name, colours in maps.items()
    )
