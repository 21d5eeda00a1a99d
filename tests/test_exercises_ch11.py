"""Wrong and right answers to the exercises of notebook 11."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from helpers.claims import Verdict
from helpers.exercises import Status, check
from helpers.exercises.ch11 import VERDICTS

RIGHT_VERDICTS = {letter: str(verdict) for letter, (verdict, _) in VERDICTS.items()}
ORDER = [1, 2, 3, 4, 5, 0]


def _sides(conv: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return conv(image[:, ORDER]), conv(image)[:, ORDER]


def _swapped(conv: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return conv(image[:, ORDER]), conv(image)


def _of_pixels(conv: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return conv(image.roll(1, 3)), conv(image).roll(1, 3)


WRONG = [
    ("11.1", {**RIGHT_VERDICTS, "e": "right in part"}, "one 3x3 reaches one pixel"),
    ("11.1", {**RIGHT_VERDICTS, "b": "exact"}, "as they took in layer scale"),
    ("11.1", dict.fromkeys("abcde", "exact"), "4 of the five are off"),
    ("11.1", {**RIGHT_VERDICTS, "c": "partly"}, "'partly', for c, is none of the verdicts"),
    ("11.1", {"a": "exact"}, "No verdict yet for b, c, d, e"),
    ("11.1", {**RIGHT_VERDICTS, "f": "exact"}, "no statement f"),
    ("11.1", ["exact"], "Give a dict"),
    ("11.2", {"a", "b"}, "Proof a compares outputs"),
    ("11.2", {"b"}, "there is another"),
    ("11.2", "cd", "Proof d counts"),
    ("11.2", {"x"}, "no proof x"),
    ("11.2", 2, "as a set"),
    ("11.3", _swapped, "not the statement's two sides"),
    ("11.3", _of_pixels, "differ even for|nothing is broken"),
    ("11.3", lambda conv, image: (conv(image), conv(image)), "nothing is broken"),
    ("11.3", lambda conv, image: conv(image), "Return two tensors"),
    ("11.3", lambda conv, image: (conv(image), "right"), "one is a str"),
    ("11.3", lambda conv, image: (conv(image), conv(image)[:, :3]), r"one has \(2, 3, 7, 8\)"),
    ("11.3", lambda conv, image: None, "returned None"),
    ("11.3", lambda conv, image: (image[9], image), "raised IndexError"),
    ("11.3", "sides", "Expected a function"),
]
RIGHT = [
    ("11.1", RIGHT_VERDICTS),
    (
        "11.1",
        {
            "A.": Verdict.EXACT,
            **{k: v.capitalize() + "." for k, v in RIGHT_VERDICTS.items() if k != "a"},
        },
    ),
    ("11.2", {"b", "c"}),
    ("11.2", "b and c"),
    ("11.2", ["(c)", "b."]),
    ("11.3", _sides),
    ("11.3", lambda conv, image: [side.clone() for side in _sides(conv, image)][::-1]),
]


@pytest.mark.parametrize(("id", "answer", "names"), WRONG)
def test_wrong_answer_is_told_what_is_wrong(id: str, answer: Any, names: str) -> None:
    feedback = check(id, answer)
    assert feedback.status is Status.WRONG, feedback
    assert re.search(names, feedback.message), feedback.message


@pytest.mark.parametrize(("id", "answer"), RIGHT)
def test_right_answer_is_right(id: str, answer: Any) -> None:
    feedback = check(id, answer)
    assert feedback.status is Status.RIGHT, feedback


def test_a_small_break_is_no_break() -> None:
    def barely(conv: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = _sides(conv, image)
        return right + 0.01 * (left - right), right

    feedback = check("11.3", barely)
    assert feedback.status is Status.WRONG
    assert "of the largest value only" in feedback.message


@pytest.mark.parametrize(
    ("id", "answer"), [("11.1", {"a": ..., "b": None}), ("11.2", set()), ("11.3", lambda c, i: ...)]
)
def test_untouched_answers_are_not_attempted(id: str, answer: Any) -> None:
    assert check(id, answer).status is Status.NOT_ATTEMPTED
