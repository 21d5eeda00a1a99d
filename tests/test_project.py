"""The project's own files agree with each other: lists of packages, the lock, README, Makefile."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from book import lock, paths

PYPROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
ENVIRONMENT = yaml.safe_load((paths.ROOT / "environment.yml").read_text(encoding="utf-8"))
MAKEFILE = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
LOCK = paths.LOCK.read_text(encoding="utf-8")
README = paths.README.read_text(encoding="utf-8")

# The same project under the name that conda-forge gives it.
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def locked() -> dict[str, list[str]]:
    """The versions of each package in the lock: several where they depend on the Python."""
    versions: dict[str, list[str]] = {}
    for line in LOCK.splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            version = str(requirement.specifier).removeprefix("==")
            versions.setdefault(canonicalize_name(requirement.name), []).append(version)
    return versions


# ---- Packages -----------------------------------------------------------------------------------


def conda_packages() -> dict[str, Requirement]:
    lines = [line for line in ENVIRONMENT["dependencies"] if isinstance(line, str)]
    found = requirements(lines)
    return {CONDA_NAMES.get(name, name): requirement for name, requirement in found.items()}


def test_conda_installs_the_same_packages():
    assert set(conda_packages()) - {"python", "pip"} == set(requirements(PROJECT["dependencies"]))


def test_conda_installs_versions_that_pyproject_allows():
    declared = requirements(PROJECT["dependencies"])
    ours = conda_packages()
    assert {name: str(ours[name].specifier) for name in declared} == {
        name: str(requirement.specifier) for name, requirement in declared.items()
    }


def test_conda_installs_the_same_python():
    specifier = conda_packages()["python"].specifier
    assert "3.11.0" in specifier
    assert "3.10.9" not in specifier
    assert PROJECT["requires-python"] == ">=3.11"


def test_conda_installs_this_package():
    (pip,) = (entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))
    assert pip == ["-e ."]


def all_declared() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    return [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]


def test_lock_holds_every_declared_package_in_its_range():
    versions = locked()
    wrong = [
        f"{requirement} but locked {found}"
        for requirement in map(Requirement, all_declared())
        if not (found := versions.get(canonicalize_name(requirement.name)))
        or not all(version in requirement.specifier for version in found)
    ]
    assert wrong == [], "run `make lock`"


def test_lock_is_the_same_on_every_machine():
    """No local version labels, GPU packages, options, hosts or paths."""
    body = LOCK.removeprefix(lock.HEADER)
    assert body == lock.clean(body)
    assert re.findall(r"==\S*\+\S*|^(?:nvidia|cuda|triton).*|.*[/@\\].*", body, re.MULTILINE) == []


def test_a_lock_of_one_machine_would_be_noticed():
    dirty = (
        "torch==2.13.0+cpu\nnvidia-nccl-cu13==2.1\ntriton==3\n--find-links /opt\n# via x\na==1\n"
    )
    assert lock.clean(dirty) == "torch==2.13.0\na==1\n"


# ---- Commands -----------------------------------------------------------------------------------


def targets() -> list[str]:
    return re.findall(r"^([a-z]+):.*##", MAKEFILE, re.MULTILINE)


def test_the_makefile_has_every_command():
    reader = {"help", "setup", "lab", "test", "book", "slides", "clean"}
    author = {"edit", "student", "refresh", "sync", "experiments", "bench", "lock"}
    assert set(targets()) == reader | author


@pytest.mark.parametrize("target", sorted(set(targets()) - {"help"}))
def test_readme_names_the_command(target):
    assert re.search(rf"make {target}\b", README), f"README.md does not mention `make {target}`"


def test_every_target_is_phony():
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == set(targets())


def test_make_help_lists_every_command():
    listed = subprocess.run(
        ["make", "help"], cwd=paths.ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert [target for target in targets() if f"make {target} " not in listed] == []


def test_make_says_what_to_do_without_a_python(tmp_path):
    (tmp_path / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    run = subprocess.run(
        ["make", "PYTHON=no-such-python", "setup"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "Install Python 3.11 or newer" in run.stderr


def old_python(folder, text: str):
    """A program that answers as a Python would that is not good enough."""
    program = folder / "old python"
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            'case "$2" in *version_info*) exit 1;; esac; echo "Python 3.9.2"',
            "is Python 3.9.2. Name a newer one",
        ),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ],
    ids=["old", "without venv"],
)
def test_make_says_what_is_wrong_with_a_python(tmp_path, answers, message):
    (tmp_path / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    run = subprocess.run(
        ["make", f"PYTHON={old_python(tmp_path, answers)}", "setup"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert message in run.stderr


def test_ci_runs_make_test():
    script = paths.ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert text.rstrip().endswith("exec make test")
    assert "REQUIRE_BROWSER=1" in text
    assert os.access(script, os.X_OK)


# ---- README -------------------------------------------------------------------------------------


def test_readme_names_every_notebook():
    assert [path.name for path in paths.notebooks() if path.name not in README] == []


def test_readme_links_only_to_files_that_exist():
    links = re.findall(r"\]\((?!\w+:|#)([^)\s#]+)", README)
    links += re.findall(r'src="(?!\w+:)([^"]+)"', README)
    assert [link for link in links if not (paths.ROOT / link).exists()] == []
