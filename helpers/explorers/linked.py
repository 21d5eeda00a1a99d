"""Base of the linked figures: several views of one small computation that share a selection.

The front end does its small arithmetic itself, in the function `compute` of its module, so that
hovering needs no kernel. PyTorch is the source of truth: a test runs `compute` for every entry of
`LinkedFigure.grid` and compares with `LinkedFigure.reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from helpers.explorers.base import ExplorerWidget
from helpers.explorers.page import esm

__all__ = ["Choice", "LinkedFigure"]

#: What one parameter may be; or a function that says so, given the parameters before it.
Choice = Sequence[Any] | Callable[[Mapping[str, Any]], Sequence[Any]]

#: A list of more numbers than this, evenly spaced, is told by its ends.
_TOLD_ONE_BY_ONE = 8


class LinkedFigure(ExplorerWidget):
    """A widget with a front-end module of its own.

    To make one: put ``esm/<name>.js`` beside the others, with ``export function compute(...)`` and
    ``export default { render }``; subclass with ``module = "<name>"``; name in `data` the synced
    traits that the front end reads; give the first `value` to ``super().__init__``; write
    `choices`, `still`, `grid` and `reference`.

    Parameters
    ----------
    **traits
        The first value of each trait. *Reset* goes back to this `value`.
    """

    data: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # anywidget makes a subclass of every instance's class; only a new module needs its text.
        if "module" in cls.__dict__:
            cls._esm = esm(cls.module)
        super().__init_subclass__(**kwargs)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.start = self.value

    def choices(self) -> Mapping[str, Choice]:
        """List what each parameter in `value` may be, in their order.

        Returns
        -------
        mapping of str to Choice
            A range, any other sequence, or a function that is given the parameters before this
            one, which by then are known to be right.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method choices().")

    def objection(self, value: Mapping[str, Any]) -> str:
        """Say what is wrong with parameters each of which is right by itself; nothing is ``""``."""
        return ""

    @traitlets.validate("value")
    def _valid_value(self, proposal: Any) -> dict[str, Any]:
        """Give the value in the order and with the types of `choices`; raise where it is none."""
        given: Mapping[str, Any] = proposal["value"]
        figure, choices = type(self).__name__, self.choices()
        if set(given) != set(choices):
            raise ValueError(
                f"{figure} has the parameters {', '.join(choices)}, and got "
                f"{', '.join(map(str, given))}."
            )
        value: dict[str, Any] = {}
        for name, choice in choices.items():
            before = _Asked(value)
            allowed = choice(before) if callable(choice) else choice
            found = _found(given[name], allowed)
            if not found:
                raise ValueError(
                    f"{figure}: {name}={given[name]!r}{before} must be {_expected(allowed)}."
                )
            value[name] = found[0]
        if says := self.objection(value):
            raise ValueError(f"{figure}: {says}")
        return value

    @classmethod
    def grid(cls) -> list[dict[str, Any]]:
        """List the parameters, as plain values, for which `compute` is held against PyTorch."""
        raise NotImplementedError(f"{cls.__name__} needs a class method grid().")

    @classmethod
    def reference(cls, **parameters: Any) -> dict[str, Any]:
        """Compute in PyTorch what the front end's `compute` gives for the same parameters."""
        raise NotImplementedError(f"{cls.__name__} needs a class method reference().")

    def page_state(self, folder: Path) -> dict[str, Any]:
        """Give the figure's own data besides what every explorer has."""
        return {**super().page_state(folder), **{name: getattr(self, name) for name in self.data}}


class _Asked(dict[str, Any]):
    """A dict that remembers what it was asked for: what a choice depends on, an error names."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        super().__init__(known)
        self.asked: dict[str, None] = {}  # in the order of the questions, each once

    def __getitem__(self, name: str) -> Any:
        self.asked[name] = None
        return super().__getitem__(name)

    def __str__(self) -> str:
        asked = ", ".join(f"{name}={self[name]!r}" for name in list(self.asked))
        return f", with {asked}," if asked else ""


def _found(given: Any, allowed: Sequence[Any]) -> list[Any]:
    """Look a value up: its twin among the allowed ones, or nothing. True is not 1."""
    if isinstance(allowed, range):  # without going through it: some are long
        number = isinstance(given, Real) and not isinstance(given, bool)
        whole = number and float(given).is_integer() and int(given) in allowed
        return [int(given)] if whole else []
    flag = isinstance(given, bool)
    return [one for one in allowed if isinstance(one, bool) == flag and one == given]


def _expected(allowed: Sequence[Any]) -> str:
    """Say which values are allowed: a range by its ends, others one by one."""
    if isinstance(allowed, range):
        return f"an integer from {allowed[0]} to {allowed[-1]}"
    if len(allowed) > _TOLD_ONE_BY_ONE and all(isinstance(one, Real) for one in allowed):
        steps = {after - before for before, after in pairwise(allowed)}
        if len(steps) == 1:
            return f"a number from {allowed[0]:g} to {allowed[-1]:g}, in steps of {steps.pop():g}"
    words = ", ".join(map(repr, allowed))
    return words if len(allowed) == 1 else f"one of {words}"
