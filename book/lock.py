"""The exact versions that everybody installs: ``requirements.txt``."""

from __future__ import annotations

import re
import subprocess
import sys

from book import paths

HEADER = """\
# The exact versions of everything, for every platform and Python 3.11 or newer.
# Made by `make lock` from pyproject.toml; do not edit.
"""

# PyTorch's CUDA packages: several GB, wanted only by a machine that has a GPU, and there PyTorch
# names them itself.
_GPU_ONLY = re.compile(r"^(nvidia|cuda|triton)(-|=|\b)", re.IGNORECASE)
# "2.13.0+cpu" exists only where somebody offers that wheel; the public index has "2.13.0".
_LOCAL_LABEL = re.compile(r"(==[^+\s;]+)\+[\w.]+")


def clean(requirements: str) -> str:
    r"""Remove from a lock what holds on one machine only.

    Parameters
    ----------
    requirements
        The text of a requirements file.

    Returns
    -------
    str
        The same requirements without comments and options, local version labels and the packages
        that only a GPU build of PyTorch needs.

    Examples
    --------
    >>> clean("torch==2.13.0+cpu ; python_version >= '3.11'")
    "torch==2.13.0 ; python_version >= '3.11'\n"
    >>> clean("nvidia-cublas==13.1 ; sys_platform == 'linux'\n# via torch\n--index-url x")
    ''
    """
    lines = (line.rstrip() for line in requirements.splitlines())
    kept = (
        _LOCAL_LABEL.sub(r"\1", line)
        for line in lines
        if line and not line.lstrip().startswith(("#", "-")) and not _GPU_ONLY.match(line)
    )
    return "".join(f"{line}\n" for line in kept)


def lock() -> None:
    """Write ``requirements.txt`` from ``pyproject.toml``."""
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml"),
        *("--all-extras", "--universal", "--python-version", "3.11", "--upgrade"),
        *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
        "--quiet",
    ]
    compiled = subprocess.run(
        command, cwd=paths.ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    text = HEADER + clean(compiled)
    old = paths.LOCK.read_text(encoding="utf-8") if paths.LOCK.exists() else ""
    paths.LOCK.write_text(text, encoding="utf-8")
    changed = sorted(set(text.splitlines()) ^ set(old.splitlines()))
    print("\n".join(changed) if changed else "requirements.txt: nothing to change")
