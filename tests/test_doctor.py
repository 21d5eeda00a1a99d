"""The doctor: right about versions, quiet about digits, and never raising whatever is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from helpers import doctor
from helpers.doctor import Missing, examine, heartbeat, needs

ROOT = Path(__file__).resolve().parent.parent
NUMBER = st.integers(0, 12)
VERSION = st.lists(NUMBER, min_size=1, max_size=3).map(lambda n: ".".join(map(str, n)))
LIMIT = st.tuples(st.sampled_from([">=", "<=", ">", "<", "==", "!="]), VERSION).map("".join)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(version=VERSION, limits=st.lists(LIMIT, max_size=2).map(",".join))
def test_limits_are_read_as_packaging_reads_them(version: str, limits: str) -> None:
    assert doctor._within(version, limits) == SpecifierSet(limits).contains(version)


@pytest.mark.parametrize(
    ("version", "limits", "fits"),
    [
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.12.1", "==2.13.0", False),
        ("0.11.3", "==0.11.*", True),
        ("1.5.2", "~=1.4", True),
        ("2.0", "~=1.4", False),
        ("9.0.0rc1", ">=9", True),
        ("odd", ">=1", False),
        ("1.0", "", True),
    ],
)
def test_limits_of_every_form(version: str, limits: str, fits: bool) -> None:
    assert doctor._within(version, limits) is fits


def test_here_everything_is_ready() -> None:
    report = examine()
    assert report.ready, report
    assert "This machine is ready" in repr(report)
    assert {finding.name for finding in report.findings} >= {"Python", "torch", "anywidget"}


def test_what_is_looked_up_is_what_the_book_declares() -> None:
    names = {name for name, _ in doctor._requirements(doctor.PACKAGE)[0]}
    declared, python = doctor._declared()
    assert names == {line.partition(">")[0].partition("=")[0] for line in declared}
    assert python == doctor._requirements(doctor.PACKAGE)[1] == ">=3.11"


def test_the_printed_report_holds_no_version(capsys: pytest.CaptureFixture[str]) -> None:
    report = examine()
    version = metadata.version("torch")
    assert version not in repr(report)
    assert version not in report._repr_html_()
    report.details()
    assert version in capsys.readouterr().out


def test_a_missing_and_an_old_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "anywidget":
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "matplotlib" else metadata.distribution(name).version

    monkeypatch.setattr(doctor.metadata, "version", version)
    report = examine()
    said = {finding.name: finding.problem for finding in report.findings if not finding.ready}
    assert said["anywidget"] == "is missing."
    assert said["matplotlib"].startswith("is 1.0, and the book needs")
    assert report.verdict.startswith("Not ready yet: anywidget, matplotlib. Either")
    assert "&#10007; is missing." in report._repr_html_()


def test_what_is_left_of_a_package_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder without its metadata, as a broken installation leaves it: its version is None.
    monkeypatch.setattr(doctor.metadata, "version", lambda name: None)
    assert "torch                    is missing." in repr(doctor.examine())


def test_without_metadata_the_project_file_is_read(tmp_path: Path) -> None:
    assert examine("no-such-package").ready
    assert doctor._declared(tmp_path) is None


def test_without_anything_to_read_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_declared", lambda: None)
    report = examine("no-such-package")
    assert not report.ready
    assert "its needs are not known" in repr(report)


WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None  # importing it raises ImportError
from helpers import doctor
report = doctor.examine()
assert not report.ready
print(report)
print(doctor.needs("helpers.explorers", "TwoBlocks")())
print(repr(doctor.heartbeat()))
"""


@pytest.mark.parametrize("missing", ["anywidget", "torch", "matplotlib,numpy,torch,anywidget"])
def test_in_a_python_without_a_package_nothing_raises(missing: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT, missing],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Not ready yet" in done.stdout
    assert "TwoBlocks cannot be shown here" in done.stdout
    if "anywidget" in missing:
        assert "The test of the widgets cannot be shown here" in done.stdout


def test_missing_stays_missing() -> None:
    missing = needs("no_such_package", "block")
    assert isinstance(missing, Missing)
    assert repr(missing(1, kernel_size=7).parameters).startswith("block cannot be shown here")
    assert f"{missing:.0%}".startswith("block cannot")
    assert not hasattr(missing, "_repr_html_")
    assert repr(needs("no_such_package")).startswith("no_such_package cannot")
    assert needs("math").sqrt(4) == 2


def test_a_wrong_sum_is_no_ready_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "allclose", lambda *_, **__: False)
    assert "gives a wrong sum" in repr(examine())
    answers = iter([True, False])
    monkeypatch.setattr(torch, "allclose", lambda *_, **__: next(answers))
    assert "gives a wrong gradient" in repr(examine())


def test_the_heart_answers_what_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    heart = heartbeat()
    heart.question = 3
    assert heart.answer == 3
    data, _ = heart._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "run this cell" in data["text/html"]
    monkeypatch.setenv("ONE_BLOCK_FRAMES", "somewhere")
    data, _ = heart._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"}
    assert "without a kernel" in data["text/plain"]
