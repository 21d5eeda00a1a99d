"""Exercises from both sides: solutions pass; stubs and wrong answers are told why they do not."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import jupytext
import pytest

from helpers.exercises import EXERCISES, Status, check, exercise
from helpers.exercises.core import Exercise, register

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9]*.ipynb"))
CODE = re.compile(r"```python\n(.*?)```", re.S)
ANSWER = re.compile(r'check\("(\d\d\.\d)", (\w+)\)')


def _page(id: str) -> Any:
    (path,) = [p for p in NOTEBOOKS if p.name.startswith(id[:2])]
    return jupytext.read(path)


def _names_on_the_page(notebook: Any) -> dict[str, Any]:
    """Run the page's import cell: what a reader's answer may use."""
    namespace: dict[str, Any] = {}
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    exec(first.source, namespace)
    return namespace


def _stub(id: str) -> tuple[str, str]:
    """Give the stub cell's source without its check, and the name of the answer in it."""
    for cell in _page(id).cells:
        found = ANSWER.search(cell.source)
        if cell.cell_type == "code" and found and found[1] == id:
            return cell.source[: found.start()], found[2]
    raise AssertionError(f"no cell checks exercise {id}")


def _solution(id: str) -> str:
    for cell in _page(id).cells:
        if cell.cell_type == "markdown" and f"<summary>Solution {id}</summary>" in cell.source:
            assert "solution" in cell.metadata.get("tags", []), "the student edition would keep it"
            assert cell.source.lstrip().startswith("<details>"), "the solution is not folded"
            return CODE.search(cell.source)[1]
    raise AssertionError(f"no solution of exercise {id} on the page")


@pytest.mark.parametrize("id", sorted(EXERCISES))
def test_solution_on_the_page_passes(id: str) -> None:
    namespace = _names_on_the_page(_page(id))
    _, name = _stub(id)
    exec(_solution(id), namespace)
    feedback = check(id, namespace[name])
    assert feedback.status is Status.RIGHT, feedback
    assert feedback.message


@pytest.mark.parametrize("id", sorted(EXERCISES))
def test_untouched_stub_is_not_attempted(id: str) -> None:
    namespace = _names_on_the_page(_page(id))
    source, name = _stub(id)
    exec(source, namespace)
    assert check(id, namespace[name]).status is Status.NOT_ATTEMPTED


@pytest.mark.parametrize("id", sorted(EXERCISES))
def test_each_exercise_is_shown_with_its_hints(id: str) -> None:
    sources = "\n".join(cell.source for cell in _page(id).cells)
    assert f'exercise("{id}")' in sources
    assert exercise(id)._repr_html_().count("<details>") == 3


CHAPTERS = sorted({id[:2] for id in EXERCISES})


def _answers(name: str) -> list[Any]:
    """List (id, answer, ...) of every chapter's ``WRONG`` or ``RIGHT``, under readable ids."""
    cases = []
    for chapter in CHAPTERS:
        for id, answers in _of_chapter(chapter, name).items():
            for n, answer in enumerate(answers, 1):
                case = answer if name == "WRONG" else (answer,)
                cases.append(pytest.param(id, *case, id=f"{id}-{n}"))
    return cases


def _of_chapter(chapter: str, name: str) -> dict[str, list[Any]]:
    """Give ``{id: [(answer, what it is told), ...]}``, or for RIGHT ``{id: [answer, ...]}``."""
    return getattr(importlib.import_module(f"tests.test_exercises_ch{chapter}"), name, {})


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_has_wrong_answers(chapter: str) -> None:
    ids = {id for id in EXERCISES if id.startswith(chapter)}
    wrong = _of_chapter(chapter, "WRONG")
    assert set(wrong) == ids
    assert all(len(answers) >= 2 for answers in wrong.values())
    assert set(_of_chapter(chapter, "RIGHT")) <= ids


@pytest.mark.parametrize(("id", "answer", "names"), _answers("WRONG"))
def test_wrong_answer_is_told_what_is_wrong(id: str, answer: Any, names: str) -> None:
    feedback = check(id, answer)
    assert feedback.status is Status.WRONG, feedback
    assert re.search(names, feedback.message), feedback.message


@pytest.mark.parametrize(("id", "answer"), _answers("RIGHT"))
def test_other_right_answers_are_right(id: str, answer: Any) -> None:
    feedback = check(id, answer)
    assert feedback.status is Status.RIGHT, feedback


def test_an_answer_that_raises_is_quoted() -> None:
    def broken(tokens, height, width):
        return tokens.no_such_method()

    message = check("01.1", broken).message
    assert "AttributeError" in message
    assert "tokens.no_such_method()" in message


def test_unknown_exercise_lists_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"there are .*01\.1, 01\.2"):
        check("99.9", ...)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"difficulty": 4}, "difficulty is 4"),
        ({"minutes": 0}, "minutes is 0"),
        ({"hints": ("one",)}, "expected 3 hints"),
    ],
)
def test_bad_exercises_are_refused(change: dict[str, Any], says: str) -> None:
    fields: dict[str, Any] = {
        "id": "99.1",
        "goal": "",
        "difficulty": 1,
        "minutes": 1,
        "hints": ("", "", ""),
        "checker": str,
    }
    with pytest.raises(ValueError, match=says):
        Exercise(**(fields | change))


def test_ids_are_unique() -> None:
    with pytest.raises(ValueError, match=r"two exercises 01\.1"):
        register(EXERCISES["01.1"])
