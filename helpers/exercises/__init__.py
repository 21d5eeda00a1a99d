"""Exercises that answer back: `exercise` shows one with its hints, `check` checks an answer."""

from __future__ import annotations

from helpers.exercises import ch01  # noqa: F401 - fills the register
from helpers.exercises.core import EXERCISES, Exercise, Feedback, Status, check, exercise

__all__ = ["EXERCISES", "Exercise", "Feedback", "Status", "check", "exercise"]
