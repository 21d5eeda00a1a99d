"""Exercises: what they ask, three staged hints, and a check that says what is wrong.

A check never raises at the reader: whatever an answer does, the reply is a sentence. It never
changes or keeps the answer either, so running all cells again loses nothing.
"""

from __future__ import annotations

import html
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: What the stub of an exercise holds until the reader writes an answer.
NOT_YET = (None, Ellipsis)


class Status(StrEnum):
    """How an answer stands."""

    NOT_ATTEMPTED = "not attempted yet"
    WRONG = "not yet right"
    RIGHT = "right"


class Wrong(Exception):
    """Raised by a checker: the sentence tells the reader what is wrong with the answer."""


class NotAttempted(Exception):
    """Raised by a checker that has found the stub still in place."""


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Parameters
    ----------
    id
        Notebook and number, ``"01.1"``.
    goal
        One sentence: what the answer does.
    difficulty
        1 (a line or two), 2 (think first) or 3 (put several ideas together).
    minutes
        What a reader needs who has read the page.
    hints
        A nudge, a plan, and code: each gives more away.
    checker
        Takes the answer. Returns what the reader has now shown, as a sentence; raises `Wrong` with
        a sentence otherwise.

    Raises
    ------
    ValueError
        If difficulty is not 1 to 3, minutes not positive, or there are not three hints.
    """

    id: str
    goal: str
    difficulty: int
    minutes: int
    hints: tuple[str, str, str]
    checker: Callable[[Any], str]

    def __post_init__(self) -> None:
        if self.difficulty not in (1, 2, 3):
            raise ValueError(f"{self.id}: difficulty is {self.difficulty}, expected 1, 2 or 3.")
        if self.minutes <= 0:
            raise ValueError(f"{self.id}: minutes is {self.minutes}, expected more than 0.")
        if len(self.hints) != 3:
            raise ValueError(f"{self.id}: expected 3 hints (nudge, plan, code).")


@dataclass(frozen=True)
class Feedback:
    """What a check says: a status and a sentence, readable as text and in the notebook."""

    id: str
    status: Status
    message: str

    def __repr__(self) -> str:
        return f"Exercise {self.id}: {self.status}. {self.message}".rstrip()

    def _repr_html_(self) -> str:
        mark = {Status.RIGHT: "&#10003;", Status.WRONG: "&#10007;", Status.NOT_ATTEMPTED: "&#9675;"}
        return (
            f'<div class="ob-feedback" data-status="{self.status.name.lower()}" role="status">'
            f"<strong>{mark[self.status]} Exercise {self.id}: {self.status}.</strong> "
            f'<span style="white-space:pre-wrap">{html.escape(self.message)}</span></div>'
        )


@dataclass(frozen=True)
class Card:
    """What is asked, how hard it is, and the hints, folded one behind the other."""

    exercise: Exercise

    def __repr__(self) -> str:
        one = self.exercise
        return (
            f"Exercise {one.id} (difficulty {one.difficulty} of 3, about {one.minutes} minutes). "
            f"{one.goal}"
        )

    def _repr_html_(self) -> str:
        one = self.exercise
        dots = "&#9679;" * one.difficulty + "&#9675;" * (3 - one.difficulty)
        nudge, plan, code = (html.escape(hint) for hint in one.hints)
        return (
            f'<div class="ob-exercise"><p><strong>Exercise {one.id}</strong> '
            f'<span role="img" aria-label="difficulty {one.difficulty} of 3">{dots}</span> '
            f"about {one.minutes} minutes</p><p>{html.escape(one.goal)}</p>"
            f"<details><summary>Hint 1: a nudge</summary><p>{nudge}</p>"
            f"<details><summary>Hint 2: a plan</summary><p>{plan}</p>"
            f"<details><summary>Hint 3: code</summary><pre><code>{code}</code></pre>"
            "</details></details></details></div>"
        )


#: Every exercise of the book by its id; the modules beside this one fill it.
EXERCISES: dict[str, Exercise] = {}


def register(exercise: Exercise) -> Exercise:
    """Put an exercise into the book.

    Raises
    ------
    ValueError
        If its id is taken.
    """
    if exercise.id in EXERCISES:
        raise ValueError(f"there are two exercises {exercise.id}.")
    EXERCISES[exercise.id] = exercise
    return exercise


def exercise(id: str) -> Card:
    """Show an exercise: its goal, difficulty, minutes and folded hints.

    Raises
    ------
    KeyError
        If there is no such exercise; the message lists those there are.

    Examples
    --------
    >>> exercise("01.1")
    Exercise 01.1 (difficulty 1 of 3, about 5 minutes). ...
    """
    return Card(_find(id))


def check(id: str, answer: Any) -> Feedback:
    """Check an answer and say what is wrong with it, if anything.

    Parameters
    ----------
    id
        The exercise, ``"01.1"``.
    answer
        What the exercise asks for: a function, a module, a value. ``...`` and ``None`` mean that
        you have not tried yet.

    Returns
    -------
    Feedback
        Its `status` and a sentence. An answer that raises is reported, never passed on.

    Raises
    ------
    KeyError
        If there is no such exercise.

    Examples
    --------
    >>> check("01.1", ...)
    Exercise 01.1: not attempted yet. Write your answer in place of the ..., then run the cell.
    """
    one = _find(id)
    try:
        if is_stub(answer):
            raise NotAttempted
        return Feedback(id, Status.RIGHT, one.checker(answer))
    except NotAttempted:
        return Feedback(
            id,
            Status.NOT_ATTEMPTED,
            "Write your answer in place of the ..., then run the cell.",
        )
    except Wrong as error:
        return Feedback(id, Status.WRONG, str(error))
    except (Exception, SystemExit) as error:  # whatever the reader's code raises is named
        return Feedback(id, Status.WRONG, _describe(error))


def call(answer: Callable[..., Any], *arguments: Any) -> Any:
    """Call the reader's function; the stub's ``...`` counts as not attempted.

    Raises
    ------
    Wrong
        If the answer cannot be called, or returns nothing.
    NotAttempted
        If it still returns the stub's ``...``.
    """
    if not callable(answer):
        raise Wrong(f"Expected a function, got {type(answer).__name__}.")
    result = answer(*arguments)
    if result is Ellipsis:
        raise NotAttempted
    if result is None:
        raise Wrong("Your function returned None: is a return missing?")
    return result


def is_stub(value: Any) -> bool:
    """Whether a value is what an untouched exercise holds."""
    return any(value is stub for stub in NOT_YET)


def _find(id: str) -> Exercise:
    if id not in EXERCISES:
        raise KeyError(f"there is no exercise {id!r}; there are {', '.join(sorted(EXERCISES))}.")
    return EXERCISES[id]


def _describe(error: BaseException) -> str:
    """Say which line of the reader's code raised what. Frames of this package are left out."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if "/helpers/" not in f.filename.replace("\\", "/")]
    theirs = [f for f in theirs if "site-packages" not in f.filename]
    where = f" in the line `{theirs[-1].line}`" if theirs and theirs[-1].line else ""
    return f"Your code raised {type(error).__name__}{where}: {error}"
