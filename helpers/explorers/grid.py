"""The states of an explorer: which values its parameters take, and which of them go together.

Pure functions of plain values. `esm/explore.js` has the same two, `choices` and `nearest`, and a
test holds the pairs together.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["MOST_STATES", "Grid", "choices", "nearest"]

MOST_STATES = 16
"""The book holds one picture for each state, so a grid stays small."""
_MOST_COMBINATIONS = 10_000

State = tuple[int, ...]


def nearest(states: Sequence[State], wanted: Sequence[float], ordered: Sequence[bool]) -> int:
    """Find the state that comes closest to a wanted one.

    Earlier parameters come first: the first parameter is kept if at all possible, then the
    second. Distance is counted in steps for ordered values, and as same or different for others.

    Parameters
    ----------
    states : sequence of tuple of int
        The states that exist, each as positions in the parameters' values.
    wanted : sequence of float
        The wanted positions.
    ordered : sequence of bool
        For each parameter, whether its values have an order.

    Returns
    -------
    int
        Position of the nearest state in `states`; the earlier of two equally near.

    Examples
    --------
    >>> nearest([(0, 0), (0, 2), (1, 1)], (0, 1), (True, True))
    0
    """

    def distance(state: State) -> tuple[float, ...]:
        return tuple(
            abs(has - want) if in_order else float(has != want)
            for has, want, in_order in zip(state, wanted, ordered, strict=True)
        )

    return min(range(len(states)), key=lambda index: distance(states[index]))


def choices(states: Sequence[State], state: State, parameter: int) -> list[int]:
    """List the positions a control offers: what exists for the controls before it.

    Parameters
    ----------
    states : sequence of tuple of int
        The states that exist.
    state : tuple of int
        The current one.
    parameter : int
        Which control.

    Returns
    -------
    list of int
        Positions in the parameter's values, in order.

    Examples
    --------
    >>> choices([(0, 0), (0, 2), (1, 1)], (0, 0), 1)
    [0, 2]
    """
    before = state[:parameter]
    return sorted({other[parameter] for other in states if other[:parameter] == before})


class Grid:
    """The parameters of an explorer, their values, and the states that exist.

    Attributes
    ----------
    names : tuple of str
        The parameters, in the order of the controls.
    values : dict of str to list
        The values of each.
    states : list of tuple of int
        Every state that exists, as positions in the values, the first parameter slowest.
    ordered : tuple of bool
        Whether a parameter's values are numbers, which have an order.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        where: Callable[..., bool] | None = None,
    ) -> None:
        if not parameters:
            raise ValueError(
                "the grid is empty: name at least one parameter with its values, for example "
                "@explore(kernel_size=[1, 3, 5, 7])."
            )
        self.values = {name: _values(name, given) for name, given in parameters.items()}
        self.names = tuple(self.values)
        self.ordered = tuple(_kind(found[0]) == "number" for found in self.values.values())
        self.states = self._existing(where)

    def parameters(self, index: int) -> dict[str, Any]:
        """Give the values of the parameters in a state."""
        state = self.states[index]
        return {name: self.values[name][at] for name, at in zip(self.names, state, strict=True)}

    def find(self, wanted: Mapping[str, Any]) -> int:
        """Find the state with these values, or say which value or combination does not exist.

        Parameters
        ----------
        wanted : mapping of str to value
            The parameters; those left out take the value that comes first.

        Returns
        -------
        int
            Position in `states`.

        Raises
        ------
        ValueError
            If a name or a value is not in the grid, or the values do not go together.
        """
        positions = {name: self.position(name, value) for name, value in wanted.items()}
        for index, state in enumerate(self.states):
            if all(state[self.names.index(name)] == at for name, at in positions.items()):
                return index
        asked = describe(wanted)
        offers = "; ".join(describe(self.parameters(i)) for i in range(len(self.states)))
        raise ValueError(f"{asked} do not go together: `where` leaves {offers}.")

    def position(self, name: str, value: Any) -> int:
        """Find a value among those of a parameter."""
        if name not in self.values:
            raise ValueError(
                f"there is no parameter `{name}`{_did_you_mean(name, self.names)}; "
                f"the grid has {', '.join(self.names)}."
            )
        for index, known in enumerate(self.values[name]):
            if known == value and _kind(known) == _kind(value):
                return index
        raise ValueError(f"{name}={value!r} is not in the grid: choose one of {self.values[name]}.")

    def move(self, index: int, name: str, value: Any) -> int:
        """Set one parameter, and let later ones move to the nearest value that exists.

        Raises
        ------
        ValueError
            If the name or the value is not in the grid, or the value does not exist for the
            parameters before it.
        """
        position = self.position(name, value)
        at, wanted = self.names.index(name), list(self.states[index])
        wanted[at] = position
        offered = choices(self.states, self.states[index], at)
        if wanted[at] not in offered:
            before = {n: self.parameters(index)[n] for n in self.names[:at]}
            existing = ", ".join(repr(self.values[name][i]) for i in offered)
            raise ValueError(
                f"{name}={value!r} does not exist with {describe(before)}: choose {existing}."
            )
        return nearest(self.states, wanted, self.ordered)

    def _existing(self, where: Callable[..., bool] | None) -> list[State]:
        """List the states that `where` leaves, at most `MOST_STATES` of them."""
        sizes = [len(found) for found in self.values.values()]
        total = math.prod(sizes)
        product = " x ".join(map(str, sizes))
        if total > _MOST_COMBINATIONS:
            raise ValueError(_too_many(total, product))
        states = list(itertools.product(*map(range, sizes)))
        if where is not None:
            asks = _arguments_of_where(where, self.names)
            states = [state for state in states if self._holds(where, asks, state)]
            if not states:
                raise ValueError(
                    f"`where` leaves none of the {total} combinations of {', '.join(self.names)}: "
                    "it must be true for at least one."
                )
        if len(states) > MOST_STATES:
            raise ValueError(_too_many(len(states), product))
        return states

    def _holds(self, where: Callable[..., bool], asks: Sequence[str], state: State) -> bool:
        """Ask `where` about one state."""
        values = {n: self.values[n][at] for n, at in zip(self.names, state, strict=True)}
        try:
            return bool(where(**{name: values[name] for name in asks}))
        except Exception as error:
            error.add_note(f"raised by `where` for {describe(values)}")
            raise


def check_arguments(draw: Callable[..., Any], names: Sequence[str]) -> None:
    """Check that a draw function takes exactly the grid's parameters.

    Raises
    ------
    TypeError
        If it needs an argument that the grid lacks, or does not take one that it has.
    """
    taken = inspect.signature(draw).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in taken):
        accepted = list(names)
    else:
        accepted = [p.name for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in names:
        if name not in accepted:
            raise TypeError(
                f"the grid has `{name}`, which the draw function `{draw.__name__}` does not take"
                f"{_did_you_mean(name, accepted)}; it takes {', '.join(accepted) or 'nothing'}."
            )
    for p in taken:
        variable = p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        if p.default is p.empty and not variable and p.name not in names:
            raise TypeError(
                f"the draw function `{draw.__name__}` needs `{p.name}`, and the grid gives it no "
                f"values: add {p.name}=[...] to @explore, or give the argument a default."
            )


def describe(values: Mapping[str, Any]) -> str:
    """Write values as they stand in a call: ``kernel_size=3, groups=2``."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _values(name: str, given: Any) -> list[Any]:
    """Give a parameter's values as a list, or say what is wrong with them."""
    example = f"list the values, for example {name}=[1, 3, 5, 7]"
    if isinstance(given, tuple):
        raise TypeError(
            f"{name}={given!r} is a tuple, which ipywidgets reads as a range from low to high. "
            f"An explorer has one picture for each value: {example}."
        )
    if hasattr(given, "traits") and hasattr(given, "comm"):
        raise TypeError(f"{name} is a widget ({type(given).__name__}): {example}.")
    if isinstance(given, (str, bool, numbers.Number)):
        raise TypeError(f"{name}={given!r} is a single value: {example}.")
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, (list, range)):
        raise TypeError(f"{name} is a {type(given).__name__}, which is not discrete: {example}.")
    found = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not found:
        raise ValueError(f"{name} has no values: {example}.")
    kinds = [_kind(value) for value in found]
    for value, kind in zip(found, kinds, strict=True):
        if kind == "other":
            raise TypeError(
                f"{name} holds {value!r}: a value is a finite number, a string or a bool, "
                "so that a control can offer it. Name it by a string and look it up in the draw "
                "function."
            )
    if len(set(kinds)) > 1:
        raise TypeError(f"{name} mixes {' and '.join(sorted(set(kinds)))} values: {found}.")
    if len(set(found)) < len(found):
        raise ValueError(f"{name} holds a value twice: {found}.")
    return found


def _kind(value: Any) -> str:
    """Say what sort of value it is."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number" if math.isfinite(value) else "other"
    return "string" if isinstance(value, str) else "other"


def _arguments_of_where(where: Callable[..., bool], names: Sequence[str]) -> list[str]:
    """List the parameters that `where` asks for, or say which is not in the grid."""
    if not callable(where):
        raise TypeError(
            f"where={where!r} is not a function: write a condition on the parameters, for example "
            "where=lambda channels, groups: channels % groups == 0."
        )
    taken = inspect.signature(where).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in taken):
        return list(names)
    for p in taken:
        if p.name not in names:
            raise TypeError(
                f"`where` asks for `{p.name}`, which is not in the grid"
                f"{_did_you_mean(p.name, names)}; the grid has {', '.join(names)}."
            )
    return [p.name for p in taken]


def _too_many(count: int, product: str) -> str:
    return (
        f"the grid has {count} states ({product} values), and an explorer at most {MOST_STATES}: "
        "the book holds one picture for each. Give fewer values, or say with `where` which go "
        "together."
    )


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""
