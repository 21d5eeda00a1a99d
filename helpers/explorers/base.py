"""What both kinds of explorer share: the widget, and the forms in which its output is kept.

A running kernel shows the widget. A stored notebook holds a still and a sentence. The book and the
slides hold HTML with the frames in separate files, which the page's script brings to life.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets
from matplotlib.figure import Figure

from helpers.explorers.page import page_style
from helpers.figures import encode, frames_folder, write_frame
from helpers.stored import WIDGET_VIEW, strip_widget_views

__all__ = ["WIDGET_VIEW", "ExplorerWidget", "strip_widget_views"]

MimeBundle = tuple[dict[str, Any], dict[str, Any]]


class ExplorerWidget(anywidget.AnyWidget):
    """A widget whose front end is one ES module, and which is readable without a kernel.

    A subclass names its front end in `module` and `_esm`, says in `page_state` what the front end
    needs to know, and draws itself in `still`.

    Attributes
    ----------
    value : dict
        The current parameters, for `observe`. Setting it from Python moves the explorer.
    start : dict
        The parameters to which *Reset* goes back.
    name : str
        A name without spaces, for the address of a shared state.
    title, description : str
        What stands above the controls.
    """

    module: ClassVar[str]
    #: Pixels of the stored still for one of the page. It stands in a notebook only until its cell
    #: is run: where a page stores several large ones, fewer do.
    stored_scale: ClassVar[float] = 2.0
    _css = page_style()

    name = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)
    start = traitlets.Dict().tag(sync=True)
    value = traitlets.Dict().tag(sync=True)

    def still(self) -> tuple[Figure, str]:
        """Draw the current state, and say in a sentence what is to be seen.

        Returns
        -------
        fig : Figure
        sentence : str
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method still().")

    def page_state(self, folder: Path) -> dict[str, Any]:
        """Give what the front end reads when there is no kernel.

        Parameters
        ----------
        folder : Path
            Where frames can be written, with `helpers.figures.write_frame`.

        Returns
        -------
        dict
            Plain values; the same keys as the widget's synced traits.
        """
        keys = ("name", "title", "description", "start", "value")
        return {key: getattr(self, key) for key in keys}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.value}>"

    def _repr_mimebundle_(self, **_: Any) -> MimeBundle:
        folder = frames_folder()
        return self._live_bundle() if folder is None else (self._page_bundle(folder), {})

    def _live_bundle(self) -> MimeBundle:
        """Give the widget view, and what stays without it: a still and a sentence."""
        fig, sentence = self.still()
        picture = encode(fig, scale=self.stored_scale, small=True)
        data, metadata = super()._repr_mimebundle_()
        data["text/plain"] = sentence
        data["image/png"] = base64.b64encode(picture.data).decode()
        # The picture has more pixels than the page shows: this keeps its text at its size.
        size = {"width": picture.width_css, "height": picture.height_css}
        return data, {**metadata, "image/png": size}

    def _page_bundle(self, folder: Path) -> dict[str, Any]:
        """HTML that shows the still by itself, and the state for the page's script."""
        fig, sentence = self.still()
        picture = encode(fig, small=True, webp=True)
        image = (
            f'<img class="ob-still dark-light" loading="lazy" alt="{html.escape(sentence)}" '
            f'width="{picture.width_css}" height="{picture.height_css}" '
            f'src="{write_frame(picture, folder)}">'
        )
        # "<" would end the script element wherever a text holds "</script>".
        state = json.dumps(self.page_state(folder), allow_nan=False).replace("<", "\\u003c")
        name = html.escape(self.name)
        block = (
            f'<div class="ob-explorer" data-module="{self.module}" data-name="{name}">'
            f'{image}<p class="ob-sentence">{html.escape(sentence)}</p>'
            f'<script type="application/json">{state}</script></div>'
        )
        return {"text/html": block, "text/plain": sentence}
