"""The map of the book: which notebook asks what, and which claims it treats."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path

from helpers.claims.core import Claim
from helpers.claims.table import find_links, link

#: The notebook that holds the whole ledger.
_ALL = "11_claims_ledger"
_CELL = "text-align:left;vertical-align:top;white-space:normal;overflow-wrap:anywhere;padding:0.3em"


@dataclass(frozen=True)
class Stop:
    """One notebook: its name, its question (empty where it is not there), the claims it treats."""

    notebook: str
    question: str
    claims: tuple[str, ...]


@dataclass(frozen=True)
class Map:
    """The notebooks in the order of reading, linked where they are."""

    stops: tuple[Stop, ...]
    links: dict[str, str]

    def __repr__(self) -> str:
        return "\n".join(
            f"{stop.notebook:28} {', '.join(stop.claims):16} {stop.question}".rstrip()
            for stop in self.stops
        )

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="{_CELL}">{name}</th>' for name in ("Notebook", "Claims")
        )
        rows = "".join(
            f'<tr><td style="{_CELL}">{link(stop.notebook, self.links)}<br>'
            f"{html.escape(stop.question)}</td>"
            f'<td style="{_CELL}">{", ".join(stop.claims)}</td></tr>'
            for stop in self.stops
        )
        return (
            '<table class="ob-map" style="width:100%;max-width:46em;border-collapse:collapse">'
            '<caption style="text-align:left;caption-side:top">Which notebook treats which claim'
            f'</caption><colgroup><col><col style="width:7em"></colgroup><thead><tr>{head}</tr>'
            f"</thead><tbody>{rows}</tbody></table>"
        )


def make_map(claims: dict[str, Claim], folder: str = ".") -> Map:
    """Put the claims to the notebooks that treat them, and read each notebook's question.

    Parameters
    ----------
    claims
        By id, in the order of the ledger.
    folder
        Where the notebooks are.
    """
    names = sorted({name for claim in claims.values() for name in claim.notebooks} | {_ALL})
    stops = []
    for name in names:
        ids = tuple(id for id, claim in claims.items() if name in claim.notebooks)
        stops.append(Stop(name, _question(Path(folder) / f"{name}.ipynb"), ids or ("all",)))
    return Map(tuple(stops), find_links(names, folder))


def _question(path: Path) -> str:
    """Read the title of a notebook, less its number; empty where that is not possible."""
    try:
        source = json.loads(path.read_text("utf-8"))["cells"][0]["source"]
    except (OSError, ValueError, LookupError):
        return ""
    title = "".join(source).strip().splitlines()[:1]
    return title[0].lstrip("# ").partition(" \N{MIDDLE DOT} ")[2] if title else ""
