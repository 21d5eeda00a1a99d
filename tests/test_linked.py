"""What every linked figure takes as its value, and how it refuses the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from helpers import explorers
from helpers.explorers import LinkedFigure
from helpers.explorers.linked import Choice

LINKED: list[type[LinkedFigure]] = [
    one
    for one in vars(explorers).values()
    if isinstance(one, type) and issubclass(one, LinkedFigure) and one is not LinkedFigure
]
START = {"side": 4, "pixel": 0, "layer": "conv", "skip": False, "score": 0.5}


class Toy(LinkedFigure):
    """A figure with one parameter of each kind."""

    module = "one_pixel"

    def __init__(self, **start: Any) -> None:
        super().__init__(name="toy", value={**START, **start})

    def choices(self) -> Mapping[str, Choice]:
        return {
            "side": [1, 4, 8],
            "pixel": lambda value: range(value["side"] ** 2),
            "layer": ("conv", "attention"),
            "skip": (False, True),
            "score": tuple(n / 4 for n in range(-8, 9)),
        }

    def objection(self, value: Mapping[str, Any]) -> str:
        wrong = value["layer"] == "conv" and value["skip"]
        return "layer='conv' has no skip here: set layer='attention'." if wrong else ""


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ({"side": 5}, "Toy: side=5 must be one of 1, 4, 8."),
        ({"side": True}, "Toy: side=True must be one of 1, 4, 8."),
        ({"side": "4"}, "Toy: side='4' must be one of 1, 4, 8."),
        ({"pixel": 16}, "Toy: pixel=16, with side=4, must be an integer from 0 to 15."),
        ({"pixel": -1}, "Toy: pixel=-1, with side=4, must be an integer from 0 to 15."),
        ({"pixel": 0.5}, "Toy: pixel=0.5, with side=4, must be an integer from 0 to 15."),
        ({"pixel": False}, "Toy: pixel=False, with side=4, must be an integer from 0 to 15."),
        ({"pixel": None}, "Toy: pixel=None, with side=4, must be an integer from 0 to 15."),
        (
            {"pixel": float("nan")},
            "Toy: pixel=nan, with side=4, must be an integer from 0 to 15.",
        ),
        ({"layer": "pool"}, "Toy: layer='pool' must be one of 'conv', 'attention'."),
        ({"skip": 1}, "Toy: skip=1 must be one of False, True."),
        ({"score": 0.1}, "Toy: score=0.1 must be a number from -2 to 2, in steps of 0.25."),
        ({"score": "0"}, "Toy: score='0' must be a number from -2 to 2, in steps of 0.25."),
        ({"skip": True}, "Toy: layer='conv' has no skip here: set layer='attention'."),
        ({"size": 2}, "Toy has the parameters side, pixel, layer, skip, score, and got side, "),
        ({"side": 5, "pixel": 99}, "Toy: side=5 must"),  # the first that is wrong
    ],
)
def test_what_is_wrong_is_named_and_what_would_be_right(start: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
        Toy(**start)


def test_a_value_has_the_order_and_the_types_of_the_choices() -> None:
    figure = Toy()
    figure.value = {
        "score": 1,
        "skip": True,
        "layer": "attention",
        "pixel": np.int64(63),
        "side": 8.0,
    }
    assert repr(list(figure.value.items())) == repr(
        [("side", 8), ("pixel", 63), ("layer", "attention"), ("skip", True), ("score", 1.0)]
    )
    assert figure.start == START


def test_a_refused_value_leaves_the_last_one() -> None:
    figure = Toy(pixel=3)
    with pytest.raises(ValueError, match="pixel=16"):
        figure.value = {**figure.value, "pixel": 16}
    assert figure.value["pixel"] == 3


def test_a_figure_without_choices_says_what_it_needs() -> None:
    class Half(LinkedFigure):
        module = "one_pixel"

    with pytest.raises(NotImplementedError, match=r"Half needs a method choices\(\)"):
        Half(name="half", value={"a": 1})


@pytest.mark.parametrize("figure", LINKED, ids=lambda figure: figure.module)
def test_every_figure_goes_back_to_where_it_started(figure: type[LinkedFigure]) -> None:
    made = figure()
    assert list(made.choices()) == list(made.value)
    assert made.start == made.value == figure(**made.value).start
    name, choice = [(n, c) for n, c in made.choices().items() if not callable(c)][-1]
    other = next(one for one in choice if one != made.value[name])
    assert figure(**{name: other}).start[name] == other


@pytest.mark.parametrize("figure", LINKED, ids=lambda figure: figure.module)
def test_every_figure_refuses_what_is_too_much_or_missing(figure: type[LinkedFigure]) -> None:
    made = figure()
    refused = f"^{figure.__name__} has the parameters {', '.join(made.value)}, and got "
    with pytest.raises(ValueError, match=refused):
        figure(nothing=1)
    with pytest.raises(ValueError, match=refused):
        made.value = dict(list(made.value.items())[1:])
    for name in made.value:
        with pytest.raises(ValueError, match=rf"^{figure.__name__}: {name}='no'"):
            made.value = {**made.start, name: "no"}
