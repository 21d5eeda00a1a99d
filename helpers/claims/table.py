"""The whole ledger as one table: each claim with its verdicts, and behind each its evidence."""

from __future__ import annotations

import html
import os
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from helpers.claims.core import Checked, Claim, Words

#: The variable that is set while notebooks run for the book, where they become pages.
FRAMES_VARIABLE = "ONE_BLOCK_FRAMES"

_TEXT = "margin:0 0 0.6em"
_BORDER = "border-top:1px solid rgba(128,128,128,0.5)"
_CELL = (
    "text-align:left;vertical-align:top;white-space:normal;overflow-wrap:anywhere;"
    f"padding:0.5em 0.3em 0;{_BORDER}"
)


@dataclass(frozen=True)
class Ledger:
    """Every claim, its proofs and breaks having just held, with links to the notebooks.

    Parameters
    ----------
    rows
        The checked claims.
    links
        Where each notebook that exists is found, by its name.
    """

    rows: tuple[Checked, ...]
    links: dict[str, str]

    def __repr__(self) -> str:
        return "\n".join(line for row in self.rows for line in self._lines(row))

    def _lines(self, row: Checked) -> list[str]:
        claim = row.claim
        lines = _wrap(claim.said, f"{claim.id:4}", "    ")
        for part in row.parts:
            about = f"{part.part.about}: " if part.part.about else ""
            text = f"{about}{part.verdict}. {part.part.statement}"
            lines += _wrap(text, "    - ", "      ")
        taught = _wrap(f"Taught in {', '.join(claim.notebooks)}", "    ", "      ")
        return [*lines, *taught, ""]

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="text-align:left;width:{width}">{name}</th>'
            for name, width in (
                ("Claim", "3.2em"),
                ("What the essay says, and what is true", "auto"),
            )
        )
        return (
            '<table class="ob-ledger" style="table-layout:fixed;width:100%;max-width:46em;'
            'border-collapse:collapse"><caption style="text-align:left">The ledger: every row '
            "recomputed when this page was run.</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>"
            + "".join(self._row(row) for row in self.rows)
            + "</tbody></table>"
        )

    def _row(self, row: Checked) -> str:
        claim = row.claim
        parts = "".join(_part(part) for part in row.parts)
        names = ", ".join(self._name(name) for name in claim.notebooks)
        return (
            f'<tr id="ledger-{claim.id}"><th scope="row" style="{_CELL}">{claim.id}</th>'
            f'<td style="{_CELL}"><p style="{_TEXT}">The essay: '
            f"<em>{html.escape(claim.said)}</em></p>{parts}"
            f'<p style="{_TEXT}">Taught in {names}</p></td></tr>'
        )

    def _name(self, name: str) -> str:
        if name not in self.links:
            return html.escape(name)
        return f'<a href="{html.escape(self.links[name])}">{html.escape(name)}</a>'


def _wrap(text: str, first: str, then: str) -> list[str]:
    return textwrap.wrap(
        text, 84, initial_indent=first, subsequent_indent=then, break_on_hyphens=False
    )


def _part(part: Words) -> str:
    about = f"{html.escape(part.part.about)}: " if part.part.about else ""
    shown = "".join(
        f"<li><em>{name}.</em> {html.escape(text)}</li>"
        for name, text in part.rows
        if name != "Verdict"
    )
    return (
        f'<p style="{_TEXT}">{about}<strong>{part.verdict}.</strong> '
        f"{html.escape(part.part.statement)}</p>"
        f'<details style="{_TEXT}"><summary>Proof and break</summary>'
        f'<ul style="padding-left:1.2em">{shown}</ul></details>'
    )


def check_all(claims: Iterable[Claim], folder: str = ".") -> Ledger:
    """Run every proof and break, and look which notebooks there are in `folder`.

    In the book the links go to its pages, elsewhere to the notebooks.
    """
    rows = tuple(claim.checked() for claim in claims)
    ending = ".html" if os.environ.get(FRAMES_VARIABLE) else ".ipynb"
    names = dict.fromkeys(name for row in rows for name in row.claim.notebooks)
    links = {
        name: (Path(folder) / f"{name}{ending}").as_posix()
        for name in names
        if (Path(folder) / f"{name}.ipynb").exists()
    }
    return Ledger(rows, links)
