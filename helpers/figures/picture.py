"""Show a figure in a notebook with the sentence that says what is to be seen."""

from __future__ import annotations

import base64
import html
import sys
from typing import Any

from matplotlib.figure import Figure

from helpers.figures.encoding import encode, frames_folder, write_frame

__all__ = ["Picture", "close_pyplot", "show"]


class Picture:
    """A drawn figure with its alternative text: what `show` returns and a notebook displays.

    Attributes
    ----------
    figure : Figure
        The figure, for a test that wants to look at its axes.
    alt : str
        What is to be seen in it.
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        self.figure = figure
        self.alt = alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # text/html and not image/png: JupyterLab and nbconvert give a stored PNG no alt text.
        folder = frames_folder()
        picture = encode(self.figure, small=True, webp=folder is not None)
        if folder is None:
            source = f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode()}"
        else:
            source = write_frame(picture, folder)
        tag = (
            f'<img class="ob-figure dark-light" alt="{html.escape(self.alt)}" '
            f'width="{picture.width_css}" height="{picture.height_css}" '
            f'style="max-width:100%;height:auto;background:#fff" src="{source}">'
        )
        return {"text/html": tag, "text/plain": self.alt}


def show(fig: Figure, alt: str) -> Picture:
    """Show a figure together with a sentence that says what is to be seen.

    The sentence is read out by a screen reader and printed where pictures are not shown. Write
    the conclusion ("every row holds the same 9 weights"), not the kind ("a heat map").

    Parameters
    ----------
    fig : Figure
        The figure, made with `helpers.theme.figure`, `helpers.figures.panels` or matplotlib.
    alt : str
        The sentence.

    Returns
    -------
    Picture
        What a notebook displays when it is the last value of a cell.

    Raises
    ------
    TypeError
        If `fig` is not a figure, or `alt` not a string.
    ValueError
        If `alt` is empty.

    Examples
    --------
    >>> from helpers import theme
    >>> show(theme.figure(3, 2), "An empty card.")
    An empty card.
    """
    if not isinstance(fig, Figure):
        raise TypeError(
            f"show(fig, alt) needs a matplotlib Figure, and got {type(fig).__name__}. "
            "For axes, pass `ax.figure`."
        )
    if not isinstance(alt, str):
        raise TypeError(f"alt is the sentence that is read out: a str, not {type(alt).__name__}.")
    if not alt.strip():
        raise ValueError(
            "alt is empty. Say in a sentence what is to be seen in the figure, for those who "
            "cannot see it: what follows from it, with the numbers."
        )
    close_pyplot(fig)
    return Picture(fig, " ".join(alt.split()))


def close_pyplot(fig: Figure) -> None:
    """Take a figure out of pyplot's list, so that no second copy shows at the end of the cell."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(fig)
