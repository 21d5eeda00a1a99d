"""Base of the linked figures: several views of one small computation that share a selection.

The front end does its small arithmetic itself, in the function `compute` of its module, so that
hovering needs no kernel. PyTorch is the source of truth: a test runs `compute` for every entry of
`LinkedFigure.grid` and compares with `LinkedFigure.reference`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from helpers.explorers.base import ExplorerWidget
from helpers.explorers.page import esm

__all__ = ["LinkedFigure"]


class LinkedFigure(ExplorerWidget):
    """A widget with a front-end module of its own.

    To make one: put ``esm/<name>.js`` beside the others, with ``export function compute(...)`` and
    ``export default { render }``; subclass with ``module = "<name>"``; name in `data` the synced
    traits that the front end reads; write `still`, `grid` and `reference`.
    """

    data: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # anywidget makes a subclass of every instance's class; only a new module needs its text.
        if "module" in cls.__dict__:
            cls._esm = esm(cls.module)
        super().__init_subclass__(**kwargs)

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
