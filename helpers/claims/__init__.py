"""The ledger of the essay's claims, each with a proof and a break that run.

`LEDGER` holds them by id, `claim` gives one, `ledger` the whole as a table. A module for each
claim, or for two or three that belong together.
"""

from __future__ import annotations

from helpers.claims import (
    building,
    feed_forward,
    heads,
    history,
    morph,
    neighbours,
    pointwise,
    sizes,
    small_kernels,
    wiring,
)
from helpers.claims.core import Break, Checked, Claim, Part, Verdict
from helpers.claims.evidence import Count, Counts, Measured, Source, Sources
from helpers.claims.map import Map, make_map
from helpers.claims.pointwise import prove_pointwise_is_linear, prove_tail_is_feed_forward
from helpers.claims.table import Ledger, Tally, check_all

__all__ = [
    "LEDGER",
    "Break",
    "Checked",
    "Claim",
    "Count",
    "Counts",
    "Ledger",
    "Map",
    "Measured",
    "Part",
    "Source",
    "Sources",
    "Tally",
    "Verdict",
    "claim",
    "claims_map",
    "ledger",
    "prove_pointwise_is_linear",
    "prove_tail_is_feed_forward",
]

_MODULES = (
    pointwise,
    heads,
    building,
    neighbours,
    history,
    wiring,
    feed_forward,
    sizes,
    small_kernels,
    morph,
)

#: The claims by id, C1 to C11, in the order of the ledger.
LEDGER: dict[str, Claim] = {one.id: one for module in _MODULES for one in module.CLAIMS}


def claim(id: str) -> Claim:
    """Give one claim of the ledger.

    Raises
    ------
    KeyError
        If the ledger has no such claim; the message lists those it has.

    Examples
    --------
    >>> claim("C1").parts[0].verdict
    <Verdict.EXACT: 'exact'>
    """
    if id not in LEDGER:
        raise KeyError(f"the ledger has no claim {id!r}; it has {', '.join(LEDGER)}.")
    return LEDGER[id]


def ledger(folder: str = ".") -> Ledger:
    """Recompute every claim and give the whole ledger as a table.

    Parameters
    ----------
    folder
        Where the notebooks are, as seen from the page that shows the table. Those that exist there
        are linked.

    Raises
    ------
    AssertionError
        If a proof or a break does not hold.
    """
    return check_all(LEDGER.values(), folder)


def claims_map(folder: str = ".") -> Map:
    """Give the map of the book: which notebook treats which claim. Nothing is recomputed.

    Parameters
    ----------
    folder
        Where the notebooks are, as seen from the page that shows the map.

    Examples
    --------
    >>> claims_map("no_such_folder").stops[0].claims
    ('C1', 'C2')
    """
    return make_map(LEDGER, folder)
