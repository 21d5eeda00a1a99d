"""The linked figure of notebook 09: what is shipped, what is said, and the code that is shown."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers.data import load_digits
from helpers.experiments import trained
from helpers.explorers import LearnedMixing
from helpers.explorers.learned_mixing import learned, window
from helpers.models import layer_mixing
from tests.test_esm import run  # noqa: F401

Run = Callable[[str, str, Any], Any]


def exact(figure: LearnedMixing) -> np.ndarray:
    """Lift the layer from the trained network itself: no rounding, no figure."""
    value = figure.value
    image = load_digits()[1].images[[figure.places[str(value["image"])]]]
    model = trained(value["network"], value["training_images"])
    term = value["head"] if value["network"] == "ViT" else value["kernel"]
    return layer_mixing(model, image, value["layer"]).token[0, term - 1].detach().numpy()


@pytest.mark.parametrize("size", [100, 4000])
@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_the_rounding_moves_no_weight_of_a_head_by_half_a_hundredth(size: int, layer: int) -> None:
    for image, head in itertools.product((0, 3, 4, 7), (1, 2)):
        figure = LearnedMixing(training_images=size, layer=layer, image=image, head=head)
        moved = np.abs(figure.shown()["token"] - exact(figure)).max()
        assert 0 < moved < 5e-3


def test_the_rounding_moves_no_weight_of_a_filter_by_a_thousandth() -> None:
    for size, layer, kernel in itertools.product((100, 4000), range(1, 7), (1, 20, 32)):
        start = {"training_images": size, "layer": layer, "kernel": kernel}
        figure = LearnedMixing(network="ConvNeXt", **start)
        np.testing.assert_allclose(figure.shown()["token"], exact(figure), rtol=0, atol=1e-3)


def test_the_digits_shown_are_those_of_their_names_and_were_not_trained_on() -> None:
    _, test = load_digits()
    figure = LearnedMixing()
    for digit, place in figure.places.items():
        assert test.labels[place] == int(digit)
        pixels = np.array(figure.pictures[digit].split(), dtype=float) / 255
        np.testing.assert_allclose(pixels, test.images[place].flatten(), rtol=0, atol=1e-6)
    assert len(figure.places) == 4


def test_a_filter_is_shown_with_all_its_numbers() -> None:
    filters = learned()["filters"]
    assert len(filters) == 12
    for text in filters.values():
        assert len(text.split()) == 32 * 9


def test_the_window_is_that_of_a_three_by_three_convolution() -> None:
    layer = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
    torch.nn.init.ones_(layer.weight)
    inputs = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5)
    assert torch.equal(layer(inputs).flatten(1).T, window(4, 5))


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ({"network": "ResNet"}, r"network='ResNet' must be one of 'ViT', 'ConvNeXt'"),
        ({"layer": 5}, r"layer=5, with network='ViT', must be an integer from 1 to 4"),
        (
            {"network": "ConvNeXt", "layer": 7},
            r"layer=7, with network='ConvNeXt', must be an integer from 1 to 6",
        ),
        ({"image": 5}, r"image=5 must be one of 0, 3, 4, 7"),
        ({"head": 0}, r"head=0 must be an integer from 1 to 2"),
        ({"kernel": 33}, r"kernel=33 must be an integer from 1 to 32"),
        ({"query": True}, r"query=True must be an integer from 0 to 48"),
        ({"filter": 3}, r"has the parameters network, .*, and got .*filter"),
    ],
)
def test_what_does_not_exist_is_refused(start: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LearnedMixing(**start)


def executed(text: str, names: dict[str, Any]) -> list[tuple[float, float]]:
    """Run the code of a panel line by line; pair each bare expression with what is said of it."""
    found = []
    for line in text.splitlines():
        [statement] = ast.parse(line).body
        if isinstance(statement, ast.Expr):
            found.append((float(eval(line, names)), float(line.partition("#")[2])))
        else:
            exec(line, names)
    return found


STATES = [
    {"network": "ViT", "layer": 1},
    {"network": "ViT", "layer": 4, "head": 2, "image": 7, "query": 0, "training_images": 100},
    {"network": "ConvNeXt", "layer": 1, "kernel": 5, "query": 6},
    {"network": "ConvNeXt", "layer": 6, "kernel": 32, "image": 3},
]


def described(figure: LearnedMixing) -> dict[str, Any]:
    """Give what the front end's words are made of, from PyTorch."""
    shown, query = figure.shown(), figure.value["query"]
    return {
        "row": shown["token"][query].tolist(),
        "inside": shown["inside"][query],
        "even": shown["even"][query],
        "all": shown["inside"].mean(),
        "evenAll": shown["even"].mean(),
    }


def test_the_code_runs_and_says_its_numbers(run: Run) -> None:  # noqa: F811
    figures = [LearnedMixing(**state) for state in STATES]
    data = []
    for figure in figures:
        words = described(figure)
        place = figure.places[str(figure.value["image"])]
        data.append([figure.value, place, words["row"], words["inside"]])
    texts = run("learned_mixing", "data.map((d) => m.code(...d))", data)
    for text in texts:
        names = {"trained": trained, "test": load_digits()[1], "F": F}
        names |= {"layer_mixing": layer_mixing, "window": window().float()}
        found = executed(text, names)
        assert len(found) == 2
        for value, said in found:
            # The panel's numbers come from the rounded data.
            assert value == pytest.approx(said, abs=6e-3)
        assert all(len(line) <= 76 for line in text.splitlines())


def test_both_languages_say_the_same_sentence(run: Run) -> None:  # noqa: F811
    figures = [LearnedMixing(**state) for state in STATES]
    data = [[figure.value, described(figure), False] for figure in figures]
    found = run("learned_mixing", "data.map((d) => m.sentence(...d))", data)
    assert found == [figure.still()[1] for figure in figures]
    assert len(set(found)) == len(found)


def test_the_data_of_the_page_is_small() -> None:
    assert sum(len(text) for part in learned().values() for text in part.values()) < 350_000
