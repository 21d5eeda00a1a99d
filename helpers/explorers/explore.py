"""`explore`: controls for a figure whose code is the lesson."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import traitlets
from matplotlib.figure import Figure

from helpers import theme
from helpers.explorers.base import ExplorerWidget
from helpers.explorers.grid import Grid, check_arguments, describe
from helpers.explorers.page import esm
from helpers.figures import Encoded, encode, make_ready, write_frame

__all__ = ["Explorer", "explore"]

Draw = Callable[..., Any]

#: Seconds after which a picture has left the kernel.
_ON_ITS_WAY = 0.05


class _Frame(NamedTuple):
    """A drawn state."""

    picture: Encoded
    sentence: str


class Explorer(ExplorerWidget):
    """Controls and a picture: what `explore` makes of a draw function.

    Calling it calls the draw function. Each parameter is also a trait of its own, unless widgets
    have one of that name: ``explorer.kernel_size = 7``; ``explorer.set(kernel_size=7)`` always
    works.

    Attributes
    ----------
    value : dict
        The current parameters.
    grid : Grid
        The states that exist.
    error : Exception or None
        What the draw function last raised in the live widget.
    """

    module = "explore"
    _esm = esm("explore")

    parameters = traitlets.List().tag(sync=True)
    states = traitlets.List().tag(sync=True)
    frame = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        draw: Draw,
        grid: Grid,
        *,
        start: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.grid = grid
        self.error: Exception | None = None
        self.__wrapped__ = draw
        self._frames: dict[tuple[int, float], _Frame] = {}
        first = grid.find(start or {})
        values = grid.parameters(first)
        _settle_garbage_collector()
        # Drawn before anything is shown, so that the cell itself reports a mistake in it.
        frame = self._frame(first)
        super().__init__(
            name=draw.__name__,
            title=_title(draw),
            description=_first_line(draw),
            start=values,
            value=values,
            parameters=_controls(grid, labels or {}),
            states=[list(state) for state in grid.states],
            frame={**_message(first, frame), "data": frame.picture.data},
        )
        self._add_parameter_traits()
        self.observe(self._follow_value, "value")
        self.on_msg(self._receive)

    def __call__(self, **parameters: Any) -> Any:
        """Call the draw function itself."""
        return self.__wrapped__(**parameters)

    def set(self, **parameters: Any) -> None:
        """Move to other parameters; later ones follow to the nearest value that exists.

        Raises
        ------
        ValueError
            If a value is not in the grid, or does not exist for the parameters before it.
        """
        index = self.grid.find(self.value)
        for name in sorted(parameters, key=self._order):
            index = self.grid.move(index, name, parameters[name])
        self.value = self.grid.parameters(index)

    def redraw(self) -> None:
        """Forget every frame and draw anew, after something that the draw function uses changed."""
        self._frames.clear()
        self.send({"type": "stale"})

    def still(self) -> tuple[Figure, str]:
        """Draw the current state."""
        return self._draw(self.grid.find(self.value))

    def page_state(self, folder: Path) -> dict[str, Any]:
        """Draw every state into a file, and say which file shows which."""
        frames = []
        for index in range(len(self.grid.states)):
            figure, sentence = self._draw(index)
            picture = encode(figure, small=True, webp=True)
            frames.append(
                {
                    "src": write_frame(picture, folder),
                    "width": picture.width_css,
                    "height": picture.height_css,
                    "sentence": sentence,
                }
            )
        own = {"parameters": self.parameters, "states": self.states, "frames": frames}
        return {**super().page_state(folder), **own}

    @traitlets.validate("value")
    def _complete(self, proposal: Any) -> dict[str, Any]:
        """Accept a state of the grid only; parameters left out keep their values."""
        before = self.value if self.trait_has_value("value") else {}
        return self.grid.parameters(self.grid.find({**before, **proposal["value"]}))

    def _order(self, name: str) -> int:
        """Position of a parameter among the controls; a name that is unknown is told by `move`."""
        return self.grid.names.index(name) if name in self.grid.names else 0

    def _add_parameter_traits(self) -> None:
        """Make a trait of each parameter, for `observe`, `link` and plain assignment."""
        own = {name: traitlets.Any(self.value[name]) for name in self.grid.names}
        free = {name: trait for name, trait in own.items() if not hasattr(self, name)}
        self.add_traits(**free)
        self._free = tuple(free)
        if free:
            self.observe(self._follow_trait, list(free))

    def _follow_trait(self, change: Any) -> None:
        if change.new == self.value[change.name]:
            return
        try:
            self.set(**{change.name: change.new})
        except ValueError:
            self.set_trait(change.name, change.old)
            raise

    def _follow_value(self, change: Any) -> None:
        for name in self._free:
            setattr(self, name, change.new[name])

    def _receive(self, _: Any, content: Mapping[str, Any], buffers: Any) -> None:
        """Answer the front end, which asks for one state at a time, the one in view first.

        Drawing ahead is asked for by the front end while the reader looks at it, so that nothing
        is drawn ahead where nobody looks, and the kernel is free between two frames.
        """
        if content.get("type") != "draw":
            return
        with _collect_garbage_later():
            self._answer(int(content["state"]), float(content.get("scale", 2)))

    def _answer(self, index: int, scale: float) -> None:
        """Send a state's frame, or what went wrong while it was drawn."""
        try:
            frame = self._frame(index, scale)
        except Exception as error:
            # Shown beside the picture, and kept: an exception in a message handler would end up
            # in the server's log, where nobody sees it.
            self.error = error
            where = describe(self.grid.parameters(index))
            message = {"exception": type(error).__name__, "message": str(error), "where": where}
            self.send({"type": "error", "state": index, **message})
        else:
            self.send({"type": "frame", **_message(index, frame)}, [frame.picture.data])

    def _frame(self, index: int, scale: float = 2.0) -> _Frame:
        """Give the frame of a state, drawn if it was not yet."""
        key = (index, scale)
        if key not in self._frames:
            figure, sentence = self._draw(index)
            self._frames[key] = _Frame(encode(figure, scale=scale), sentence)
        return self._frames[key]

    def _draw(self, index: int) -> tuple[Figure, str]:
        """Call the draw function for a state, and check what it gives back."""
        draw, values = self.__wrapped__, self.grid.parameters(index)
        with theme.style(), _no_second_copy():
            result = draw(**values)
        return _checked(draw, result, values)


def explore(
    *,
    where: Callable[..., bool] | None = None,
    start: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    **grid: Any,
) -> Callable[[Draw], Explorer]:
    """Give a draw function one control for each of its parameters.

    Show the explorer by making its name the last line of a cell. Every state is drawn once, and
    kept; the book holds a picture of each, so there are at most 16.

    Parameters
    ----------
    where : callable, optional
        Says which combinations exist, from the parameters it names:
        ``where=lambda channels, groups: channels % groups == 0``. Others cannot be chosen. A
        control offers what exists for the controls before it.
    start : mapping, optional
        The parameters shown first; those left out take their first value.
    labels : mapping, optional
        What stands beside a control, where the parameter's name is not enough.
    **grid : list or range
        For each argument of the draw function, the values it takes: numbers in the order of the
        slider, or strings or bools to choose from.

    Returns
    -------
    callable
        Takes the draw function, returns an `Explorer`. The draw function returns a `Figure`, or a
        figure and a sentence that says, with the numbers, what is to be seen.

    Raises
    ------
    TypeError, ValueError
        If a list of values is empty or not discrete, names do not match the draw function's
        arguments, there are more than 16 states or none, or the draw function returns no figure.

    Examples
    --------
    >>> @explore(power=[1, 2, 3])
    ... def parabola(power):
    ...     fig = theme.figure(3, 2)
    ...     fig.add_subplot().plot([x**power for x in range(5)])
    ...     return fig, f"At 4 the curve is at {4**power}."
    >>> parabola.value
    {'power': 1}
    >>> parabola.power = 3
    >>> parabola.still()[1]
    'At 4 the curve is at 64.'
    """
    states = Grid(grid, where)
    for name, given in (("start", start), ("labels", labels)):
        for key in given or {}:
            if key not in states.names:
                known = ", ".join(states.names)
                raise ValueError(f"{name} names `{key}`, which is not in the grid: {known}.")

    def decorate(draw: Draw) -> Explorer:
        if not callable(draw):
            raise TypeError(
                f"explore(...) decorates a draw function, and got {draw!r}. Write @explore(...) "
                "on the line above `def`."
            )
        check_arguments(draw, states.names)
        return Explorer(draw, states, start=start, labels=labels)

    return decorate


@cache
def _settle_garbage_collector() -> None:
    """Leave what the imports made out of the collector's rounds, once in a kernel.

    Figures are full of cycles, so that drawing them sets off full collections; each would walk
    through all of PyTorch and matplotlib, and let a reader wait 0.2 s for a picture of 0.05 s.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def _collect_garbage_later() -> Iterator[None]:
    """Put off the collector's rounds, 0.04 s and more, until the picture is on its way.

    Another thread of the kernel sends it, and that thread too would wait for the collector.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            try:
                asyncio.get_running_loop().call_later(_ON_ITS_WAY, _when_idle)
            except RuntimeError:  # outside a kernel nothing is sent
                gc.enable()


def _when_idle() -> None:
    """Do what need not be waited for, once a picture is on its way."""
    make_ready()
    gc.enable()


@contextmanager
def _no_second_copy() -> Iterator[None]:
    """Close what a draw function opens with pyplot, which would show it again below the cell."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    before = set(pyplot.get_fignums()) if pyplot else set()
    try:
        yield
    finally:
        pyplot = sys.modules.get("matplotlib.pyplot")
        for number in set(pyplot.get_fignums()) - before if pyplot else ():
            pyplot.close(number)


def _checked(draw: Draw, result: Any, values: Mapping[str, Any]) -> tuple[Figure, str]:
    """Give the figure and the sentence of a result, or say what the draw function should return."""
    sentence: Any = f"{_first_line(draw) or _title(draw)} ({describe(values)})."
    if isinstance(result, tuple) and len(result) == 2:
        result, sentence = result
    call = f"{draw.__name__}({describe(values)})"
    if not isinstance(result, Figure):
        hint = "end it with `return fig`"
        if getattr(result, "figure", None) is not None:
            hint = "return its figure, `ax.figure`"
        raise TypeError(
            f"{call} returned {type(result).__name__}, not a matplotlib Figure: {hint}, or with a "
            "sentence that says what is to be seen, `return fig, sentence`."
        )
    if not isinstance(sentence, str) or not sentence.strip():
        raise TypeError(
            f"{call} returned {sentence!r} beside the figure, where the sentence belongs that says "
            "what is to be seen."
        )
    return result, " ".join(sentence.split())


def _controls(grid: Grid, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Say what the front end needs to know about each control."""
    controls = []
    for name, ordered in zip(grid.names, grid.ordered, strict=True):
        values = grid.values[name]
        texts = [{True: "yes", False: "no"}[v] if isinstance(v, bool) else str(v) for v in values]
        label = labels.get(name, name.replace("_", " "))
        kind = "range" if ordered else "radio"
        controls.append(
            {"name": name, "label": label, "kind": kind, "values": values, "texts": texts}
        )
    return controls


def _message(index: int, frame: _Frame) -> dict[str, Any]:
    """Describe a frame for the front end, without its bytes."""
    picture = frame.picture
    size = {"width": picture.width_css, "height": picture.height_css}
    return {"state": index, "mime": picture.mime, **size, "sentence": frame.sentence}


def _title(draw: Draw) -> str:
    return draw.__name__.strip("_").replace("_", " ").capitalize()


def _first_line(draw: Draw) -> str:
    lines = (draw.__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""
