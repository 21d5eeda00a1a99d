"""For all tests: the same environment everywhere, and nbval mended."""

from __future__ import annotations

import os

from book.execute import COMPARABLE

# Before anything imports torch. The kernels that nbval starts inherit it.
os.environ.update(COMPARABLE)

pytest_plugins = ["tests.nbval_plugin"]
