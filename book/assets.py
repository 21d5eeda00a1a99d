"""The scripts and styles that book and slides load, all from files beside them."""

from __future__ import annotations

import shutil
from importlib.metadata import files
from pathlib import Path

from book.files import write_if_changed
from helpers import theme
from helpers.explorers import page_script, page_style

# Of MathJax 3: TeX in, HTML out, its fonts, the TeX extensions that it loads when a formula asks
# for one, and its menu's accessibility tools. The rest of the package's 24 MB is for other inputs
# and outputs.
_MATHJAX_PARTS = ("tex-chtml.js", "output/chtml/fonts", "input/tex/extensions", "a11y", "sre")
_REVEAL_PARTS = ("dist/reveal.js", "dist/reveal.css", "dist/reset.css", "plugin/notes/notes.js")


def write_explorers(folder: Path) -> None:
    """Write the explorers' one script and one stylesheet, and the book's colours for the page."""
    colours = (
        f":root {{ {theme.css_variables()} }}\n"
        f'html[data-theme="dark"] {{ {theme.css_variables(dark=True)} }}\n'
    )
    write_if_changed(folder / "colours.css", colours)
    write_if_changed(folder / "explorers.js", page_script())
    write_if_changed(folder / "explorers.css", page_style())


def copy_mathjax(folder: Path) -> None:
    """Copy MathJax out of the package sphinx-mathjax-offline."""
    source = _folder_of("sphinx-mathjax-offline", "mathjax/tex-chtml.js")
    _copy_parts(source, _MATHJAX_PARTS, folder)


def copy_reveal(folder: Path) -> None:
    """Copy reveal.js out of the package sphinx-revealjs."""
    source = _folder_of("sphinx-revealjs", "revealjs/dist/reveal.js", levels=2)
    _copy_parts(source, _REVEAL_PARTS, folder)


def _folder_of(distribution: str, end: str, levels: int = 1) -> Path:
    """Find the folder `levels` above the one file of a distribution whose path ends so."""
    found = [path for path in files(distribution) or () if path.as_posix().endswith(end)]
    if len(found) != 1:
        raise FileNotFoundError(
            f"The package {distribution} should hold one file {end}; it holds {len(found)}. "
            f"Run `make setup`, or look for where a new version of it keeps that file."
        )
    return Path(found[0].locate()).parents[levels - 1]


def _copy_parts(source: Path, parts: tuple[str, ...], target: Path) -> None:
    for part in parts:
        copy = target / part
        if copy.exists():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, copy)
        else:
            shutil.copy2(source / part, copy)
