"""What nbval lacks: coverage of several kernels, pictures, and cells that were never run."""

from __future__ import annotations

from collections.abc import Generator

import nbval._cover5
import pytest
from nbval.plugin import IPyNbCell

from tests import guards

# nbval starts each kernel's coverage by loading the data of the kernel before, and saves them all
# to one file, so that the last kernel wins. Without the load, and with a file for each process,
# pytest-cov combines them.
_FIXES = {"__cov.load()\n": "", "data_suffix='.nbval'": "data_suffix=True"}


def pytest_configure() -> None:
    """Mend nbval's coverage; fail where a new nbval has other code there."""
    setup = nbval._cover5._python_setup
    for wrong, right in _FIXES.items():
        if wrong not in setup and right not in setup:
            raise pytest.UsageError(f"nbval has changed: tests/nbval_plugin.py expects {wrong!r}")
        setup = setup.replace(wrong, right)
    nbval._cover5._python_setup = setup


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a cell that nbval passed although it was never run, or shows another picture."""
    yield
    if not isinstance(item, IPyNbCell) or not item.cell.source.strip():
        return
    if item.cell.execution_count is None:
        item.raise_cell_error("The cell was not run when the notebook was stored: `make refresh`.")
    if item.options["check"]:
        faults = guards.changed_pictures(item.cell.outputs, item.test_outputs or [])
        if faults:
            item.raise_cell_error("Pictures differ: " + "; ".join(faults))
