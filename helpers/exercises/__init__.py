"""Exercises that answer back: `exercise` shows one with its hints, `check` checks an answer."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from helpers.exercises.core import EXERCISES, Exercise, Feedback, Status, check, exercise

__all__ = ["EXERCISES", "Exercise", "Feedback", "Status", "check", "exercise"]

# Each chapter's module puts its exercises into the register.
for _chapter in iter_modules(__path__):
    if _chapter.name.startswith("ch"):
        import_module(f"{__name__}.{_chapter.name}")
