"""The front end's files: an ES module for each kind of explorer, a script and a style for pages."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from helpers import theme

__all__ = ["esm", "modules", "page_script", "page_style"]

_FOLDER = Path(__file__).parent / "esm"
_NOT_MODULES = ("shared", "host")


def modules() -> tuple[str, ...]:
    """List the front-end modules: ``explore`` and the linked figures.

    Examples
    --------
    >>> "explore" in modules()
    True
    """
    return tuple(p.stem for p in sorted(_FOLDER.glob("*.js")) if p.stem not in _NOT_MODULES)


@cache
def esm(name: str) -> str:
    """Give the text of a front-end module, the same in JupyterLab, in the book and on slides.

    Parameters
    ----------
    name : str
        One of `modules`.

    Returns
    -------
    str
        An ES module without imports: the shared controls, then the module's own text.

    Raises
    ------
    ValueError
        If there is no such module.

    Examples
    --------
    >>> "export default" in esm("explore")
    True
    """
    if name not in modules():
        raise ValueError(f"there is no front-end module {name!r}: choose {', '.join(modules())}.")
    return f"{_text_of('shared')}\n{_text_of(name)}"


def _text_of(part: str) -> str:
    return (_FOLDER / f"{part}.js").read_text("utf-8")


def page_script() -> str:
    """Give the classic script that brings all explorers of a page to life, without a kernel.

    It holds the modules' text, with what they share once, and imports it through blob addresses,
    because a page opened from ``file://`` may not import a module from a file.

    Returns
    -------
    str
        The script, for a file that every page of the book and every deck loads.
    """
    shared = json.dumps(_text_of("shared"))
    sources = json.dumps({name: _text_of(name) for name in modules()}, indent=0)
    constants = f"const SHARED = {shared};\nconst SOURCES = {sources};"
    return f"(() => {{\n{constants}\n{_text_of('host')}\n}})();\n"


def _style_files() -> list[Path]:
    """List the sheets: the one for every explorer, then each module's own, where it has one."""
    own = (_FOLDER / f"{name}.css" for name in modules())
    return [_FOLDER / "explorers.css", *(path for path in own if path.exists())]


@cache
def page_style() -> str:
    """Give the style sheet of all explorers, with the colours of `helpers.theme`.

    A page says in three ways that it is dark: the book's theme, JupyterLab, or the reader's
    system where nobody else decides. Slides are always light.

    Returns
    -------
    str
        CSS, for JupyterLab as well as for the pages.
    """
    dark = theme.css_variables(dark=True)
    nobody_decides = (
        "html:not([data-theme]) body:not([data-jp-theme-light]):not(.reveal-viewport) .ob-card"
    )
    return "\n".join(
        [
            f".ob-card {{ color-scheme: light; {theme.css_variables()} }}",
            f"@media (prefers-color-scheme: dark) {{ {nobody_decides} "
            f"{{ color-scheme: dark; {dark} }} }}",
            f'html[data-theme="dark"] .ob-card, body[data-jp-theme-light="false"] .ob-card '
            f"{{ color-scheme: dark; {dark} }}",
            f".ob-card {{ {theme.css_maps()} }}",
            *(path.read_text("utf-8") for path in _style_files()),
        ]
    )
