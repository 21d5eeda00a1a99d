"""Book and slides are built again after every change, and only then."""

from __future__ import annotations

import pytest

from book import inputs, paths


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of empty files."""
    for name in ("notebooks/01.ipynb", "helpers/a.py", "helpers/esm/a.js", "book/conf.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("README.md", "requirements.txt"):
        (tmp_path / name).touch()
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "HELPERS", tmp_path / "helpers")
    monkeypatch.setattr(paths, "README", tmp_path / "README.md")
    monkeypatch.setattr(paths, "LOCK", tmp_path / "requirements.txt")
    return tmp_path


@pytest.fixture
def builds(project):
    """Call it to ask for the pages; it tells how often they were built."""
    count = 0

    def ask() -> int:
        def build() -> None:
            nonlocal count
            count += 1
            (project / "_build" / "book").mkdir(parents=True, exist_ok=True)

        inputs.unless_up_to_date(project / "_build" / "book", build)
        return count

    return ask


def test_nothing_changed_nothing_built(builds):
    assert [builds(), builds(), builds()] == [1, 1, 1]


@pytest.mark.parametrize(
    "name",
    [
        "notebooks/01.ipynb",
        "notebooks/02.ipynb",
        "helpers/esm/a.js",
        "book/conf.py",
        "README.md",
        "requirements.txt",
    ],
)
def test_any_change_is_built(builds, project, name):
    builds()
    (project / name).write_text("changed", encoding="utf-8")
    assert [builds(), builds()] == [2, 2]


def test_a_removed_file_is_a_change(builds, project):
    builds()
    (project / "helpers" / "a.py").unlink()
    assert builds() == 2


def test_what_python_keeps_is_no_change(builds, project):
    builds()
    (project / "helpers" / "__pycache__").mkdir()
    (project / "helpers" / "__pycache__" / "a.pyc").touch()
    assert builds() == 1


def test_removed_pages_are_built_again(builds, project):
    builds()
    (project / "_build" / "book").rmdir()
    assert builds() == 2


def test_after_a_failure_it_is_built_again(builds, project):
    builds()

    def fail() -> None:
        raise RuntimeError("no")

    (project / "README.md").write_text("changed", encoding="utf-8")
    with pytest.raises(RuntimeError):
        inputs.unless_up_to_date(project / "_build" / "book", fail)
    (project / "README.md").write_text("", encoding="utf-8")
    assert builds() == 2
