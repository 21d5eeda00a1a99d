"""The whole ledger as a table: each claim with its verdicts, and behind each its evidence.

Two more forms of it: a count by verdict, and the map of which notebook treats which claim.
"""

from __future__ import annotations

import html
import os
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.claims.core import Checked, Claim, Verdict, Words

#: The variable that is set while notebooks run for the book, where they become pages.
FRAMES_VARIABLE = "ONE_BLOCK_FRAMES"

_TEXT = "margin:0 0 0.6em"
_BORDER = "border-top:1px solid rgba(128,128,128,0.5)"
_CELL = (
    "text-align:left;vertical-align:top;white-space:normal;overflow-wrap:anywhere;"
    f"padding:0.5em 0.3em 0;{_BORDER}"
)
_TABLE = "table-layout:fixed;width:100%;max-width:46em;border-collapse:collapse"
_CAPTION = "text-align:left;caption-side:top;white-space:normal"


def find_links(names: Iterable[str], folder: str = ".") -> dict[str, str]:
    """Give the address of each notebook that there is, by its name.

    An address is always that of the notebook, ``05_name.ipynb``. The book and the slides turn it
    into that of their page, and take the link off where they have none; so while a notebook runs
    for them (`FRAMES_VARIABLE` is set), every name is linked.
    """
    anywhere = bool(os.environ.get(FRAMES_VARIABLE))
    paths = {name: Path(folder) / f"{name}.ipynb" for name in names}
    return {name: path.as_posix() for name, path in paths.items() if anywhere or path.exists()}


def link(name: str, links: dict[str, str]) -> str:
    """Write a notebook's name as HTML, linked where there is something to link to."""
    if name not in links:
        return html.escape(name)
    return f'<a href="{html.escape(links[name])}">{html.escape(name)}</a>'


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

    def only(self, *verdicts: str) -> Ledger:
        """Give the parts with one of these verdicts, and the claims that have such a part.

        Raises
        ------
        ValueError
            If a verdict is none of the book's; the message lists them.

        Examples
        --------
        >>> from helpers.claims import LEDGER
        >>> check_all([LEDGER["C1"], LEDGER["C7"]]).only("right in part").tally()
        Verdict                Parts  Claims
        right in part              1  C7
        all                        1
        """
        wanted = [Verdict(_known(verdict)) for verdict in verdicts]
        rows = (
            replace(row, parts=tuple(part for part in row.parts if part.part.verdict in wanted))
            for row in self.rows
        )
        return replace(self, rows=tuple(row for row in rows if row.parts))

    def tally(self) -> Tally:
        """Count the parts by verdict."""
        found: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
        for row in self.rows:
            for part in row.parts:
                found[part.part.verdict].append(row.claim.id)
        return Tally({verdict: tuple(ids) for verdict, ids in found.items() if ids})

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
        return (
            f'<table class="ob-ledger" style="{_TABLE}"><caption style="{_CAPTION}">The ledger: '
            "every proof and every break has just been run.</caption>"
            '<colgroup><col style="width:2.9em"><col></colgroup>'
            '<thead><tr><th scope="col" style="text-align:left;padding:0.3em">Id</th>'
            '<th scope="col" style="text-align:left;padding:0.3em">'
            "What the essay says, and what is true</th></tr></thead><tbody>"
            + "".join(self._row(row) for row in self.rows)
            + "</tbody></table>"
        )

    def _row(self, row: Checked) -> str:
        claim = row.claim
        parts = "".join(_part(claim.id, part) for part in row.parts)
        names = ", ".join(link(name, self.links) for name in claim.notebooks)
        return (
            f'<tr data-claim="{claim.id}"><th scope="row" style="{_CELL}">{claim.id}</th>'
            f'<td style="{_CELL}"><p style="{_TEXT}">The essay: '
            f"<em>{html.escape(claim.said)}</em></p>{parts}"
            f'<p style="{_TEXT}">Taught in {names}</p></td></tr>'
        )


@dataclass(frozen=True)
class Tally:
    """How many parts of claims have which verdict, and of which claims they are."""

    found: dict[Verdict, tuple[str, ...]]

    @property
    def total(self) -> int:
        """All parts."""
        return sum(map(len, self.found.values()))

    def __repr__(self) -> str:
        lines = [f"{'Verdict':22}{'Parts':>6}  Claims"]
        for verdict, ids in self.found.items():
            lines.append(f"{verdict:22}{len(ids):6}  {', '.join(dict.fromkeys(ids))}")
        return "\n".join([*lines, f"{'all':22}{self.total:6}"])

    def _repr_html_(self) -> str:
        cell = f"text-align:left;vertical-align:top;white-space:normal;padding:0.3em;{_BORDER}"
        head = "".join(
            f'<th scope="col" style="{cell}">{name}</th>' for name in ("Verdict", "Parts", "Claims")
        )
        body = "".join(
            f'<tr><th scope="row" style="{cell}">{str(verdict).capitalize()}</th>'
            f'<td style="{cell}">{len(ids)}</td>'
            f'<td style="{cell}">{", ".join(dict.fromkeys(ids))}</td></tr>'
            for verdict, ids in self.found.items()
        )
        return (
            f'<table class="ob-tally" style="max-width:46em;border-collapse:collapse">'
            f'<caption style="{_CAPTION}">Verdicts: {self.total} parts of claims in all.</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def _known(verdict: str) -> str:
    if verdict not in list(Verdict):
        raise ValueError(
            f"no verdict {verdict!r}: there are {', '.join(map(repr, map(str, Verdict)))}."
        )
    return verdict


def _wrap(text: str, first: str, then: str) -> list[str]:
    return textwrap.wrap(
        text, 84, initial_indent=first, subsequent_indent=then, break_on_hyphens=False
    )


def _part(id: str, part: Words) -> str:
    about = f"{html.escape(part.part.about)}: " if part.part.about else ""
    shown = "".join(
        f"<li><em>{name}.</em> {html.escape(text)}</li>"
        for name, text in part.rows
        if name != "Verdict"
    )
    # Where there are twenty of them, each fold says whose evidence it holds.
    whose = part.part.about or str(part.part.verdict)
    return (
        f'<p style="{_TEXT}">{about}<strong>{part.verdict}.</strong> '
        f"{html.escape(part.part.statement)}</p>"
        f'<details style="{_TEXT}"><summary aria-label="Proof and break of {id}: '
        f'{html.escape(whose)}">Proof and break</summary>'
        f'<ul style="padding-left:1.2em;margin:0.3em 0">{shown}</ul></details>'
    )


def check_all(claims: Iterable[Claim], folder: str = ".") -> Ledger:
    """Run every proof and break, and look which notebooks there are in `folder`."""
    rows = tuple(claim.checked() for claim in claims)
    names = dict.fromkeys(name for row in rows for name in row.claim.notebooks)
    return Ledger(rows, find_links(names, folder))
