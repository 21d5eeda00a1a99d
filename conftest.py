"""For all tests: the same environment everywhere, and nbval mended."""

from __future__ import annotations

import os
import sys

from book.execute import COMPARABLE

# Before anything imports torch. The kernels that nbval starts inherit it.
os.environ.update(COMPARABLE)

pytest_plugins = ["tests.nbval_plugin"]


def pytest_runtest_setup() -> None:
    """Let every test draw the same numbers in every run: one that fails can be looked at again."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
