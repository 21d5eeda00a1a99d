"""Wrong and right answers to the exercises of notebook 11."""

from __future__ import annotations

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


WRONG = {
    "11.1": [
        ({**RIGHT_VERDICTS, "e": "right in part"}, "one 3x3 reaches one pixel"),
        ({**RIGHT_VERDICTS, "b": "exact"}, "as they took in layer scale"),
        (dict.fromkeys("abcde", "exact"), "4 of the five are off"),
        ({**RIGHT_VERDICTS, "c": "partly"}, "'partly', for c, is none of the verdicts"),
        ({"a": "exact"}, "No verdict yet for b, c, d, e"),
        ({**RIGHT_VERDICTS, "f": "exact"}, "no statement f"),
        (["exact"], "Give a dict"),
    ],
    "11.2": [
        ({"a", "b"}, "Proof a compares outputs"),
        ({"b"}, "there is another"),
        ("cd", "Proof d counts"),
        ({"x"}, "no proof x"),
        (2, "as a set"),
    ],
    "11.3": [
        (_swapped, "not the statement's two sides"),
        (_of_pixels, "differ even for|nothing is broken"),
        (lambda conv, image: (conv(image), conv(image)), "nothing is broken"),
        (lambda conv, image: conv(image), "Return two tensors"),
        (lambda conv, image: (conv(image), "right"), "one is a str"),
        (lambda conv, image: (conv(image), conv(image)[:, :3]), r"one has \(2, 3, 7, 8\)"),
        (lambda conv, image: None, "returned None"),
        (lambda conv, image: (image[9], image), "raised IndexError"),
        ("sides", "Expected a function"),
    ],
}
RIGHT = {
    "11.1": [
        RIGHT_VERDICTS,
        {
            "A.": Verdict.EXACT,
            **{k: v.capitalize() + "." for k, v in RIGHT_VERDICTS.items() if k != "a"},
        },
    ],
    "11.2": [
        {"b", "c"},
        "b and c",
        ["(c)", "b."],
    ],
    "11.3": [
        _sides,
        lambda conv, image: [side.clone() for side in _sides(conv, image)][::-1],
    ],
}


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
