"""The operator matrix: its code runs, its counts are right, and no state is drawn wrong."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers.explorers import OperatorMatrix
from helpers.mixing import matrix_by_probing
from tests.test_esm import Run, run  # noqa: F401

SETTINGS = ("layer", "kernel_size", "stride", "padding", "order", "heads")


def test_depthwise_then_pointwise_fills_the_cells_of_the_dense_convolution() -> None:
    cases = [case for case in OperatorMatrix.grid() if case["layer"] == "separable"]
    assert len(cases) == 10
    for case in cases:
        product = OperatorMatrix.reference(**case)
        dense = OperatorMatrix.reference(**{**case, "layer": "dense"})
        filled = [np.array(one["spatial"]) > 0 for one in (product, dense)]
        np.testing.assert_array_equal(*filled)
        assert product["numbers"] == 4 * case["kernel_size"] ** 2 + 16


def test_convolution_shares_over_positions_and_attention_over_channels() -> None:
    for layer, columns in (("depthwise", "in_channel"), ("attention", "in_pixel")):
        [case, *_] = [
            case
            for case in OperatorMatrix.grid()
            if (case["layer"], case["kernel_size"], case["stride"], case["heads"])
            == (layer, 3, 1, 1)
        ]
        spatial = np.array(OperatorMatrix.reference(**{**case, "order": "channels"})["spatial"])
        blocks = spatial.reshape(4, -1, 4, 16)
        for number in np.unique(spatial)[1:]:
            at = np.argwhere(blocks == number)
            assert len({tuple(row) for row in at[:, [0, 2]]}) == (1 if "channel" in columns else 4)
            if layer == "attention":
                assert len({tuple(row) for row in at[:, [1, 3]]}) == 1


def test_the_code_in_the_panel_gives_what_the_panel_says(run: Run) -> None:  # noqa: F811
    cases = OperatorMatrix.grid()
    answers = [OperatorMatrix.reference(**case) for case in cases]
    at = [
        {"row": 1, "column": 0, "name": "?", "numbers": one["numbers"], "filled": one["filled"]}
        for one in answers
    ]
    data = [
        [{name: case[name] for name in SETTINGS}, one] for case, one in zip(cases, at, strict=True)
    ]
    codes = run("operator_matrix", "data.map(([value, at]) => m.code(value, 4, 4, at))", data)
    for case, answer, code in zip(cases, answers, codes, strict=True):
        image = torch.tensor(case["image"])[None]
        names: dict[str, Any] = {
            "torch": torch, "nn": nn, "image": image, "matrix_by_probing": matrix_by_probing,
        }  # fmt: skip
        said = re.findall(r"^(.+?)   # ([\d,]+)$", code, re.MULTILINE)
        assert len(said) == (1 if case["layer"] == "attention" else 2)
        exec(code, names)
        for expression, number in said:
            assert int(eval(expression, names)) == int(number.replace(",", "")), code
        matrix = names["M"].detach()
        expected = np.array(answer["matrix"])
        assert matrix.shape == expected.shape
        np.testing.assert_array_equal(matrix.numpy() != 0, expected != 0, err_msg=code)
        if case["layer"] == "attention":
            np.testing.assert_allclose(matrix.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"layer": "conv"}, "layer='conv' must be one of 'dense', 'depthwise'"),
        ({"kernel_size": 7}, "kernel_size=7 must be one of 1, 3, 5"),
        ({"kernel_size": 5, "padding": "none"}, "padding='none', with kernel_size=5, must be"),
        ({"stride": 2, "out_pixel": 4}, "out_pixel=4, with .* must be an integer from 0 to 3"),
        ({"size": 3}, "has the parameters layer, .* and got .*size"),
    ],
)
def test_a_state_that_does_not_exist_is_refused_by_name(start: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OperatorMatrix(**start)


def test_no_two_weights_are_the_same_number() -> None:
    figure = OperatorMatrix()
    for name in ("dense", "depthwise", "pointwise"):
        numbers = np.array(getattr(figure, name)).ravel()
        assert len(np.unique(numbers)) == len(numbers), name


def test_no_row_of_attention_is_like_another() -> None:
    [case] = [c for c in OperatorMatrix.grid() if c["layer"] == "attention" and c["heads"] == 1]
    matrix = OperatorMatrix.reference(**{**case, "order": "channels"})["matrix"]
    rows = np.array(matrix)[:16, :16]
    np.testing.assert_allclose(rows.sum(1), 1)
    apart = [np.abs(one - other).sum() / 2 for n, one in enumerate(rows) for other in rows[n + 1 :]]
    # Uniform rows would be 0 apart; here at least a sixth of the weight lies elsewhere.
    assert min(apart) > 1 / 6
    fig, _ = OperatorMatrix(layer="attention").still()
    block = fig.axes[0].images[0].get_array()[:16, :16]
    strength = 1 - np.asarray(block).min(-1)
    assert all(np.ptp(column) > 0.1 for column in strength.T), "a column of one shade is a stripe"
