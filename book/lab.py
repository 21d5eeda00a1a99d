"""Start JupyterLab, for readers on their own copies and for authors on the notebooks."""

from __future__ import annotations

import os
import subprocess
import sys

from book import paths
from book.working_copies import give

CONFIG = paths.ROOT / "book" / "jupyter_lab_config.py"


def start(command: str, flags: list[str]) -> int:
    """Open JupyterLab and wait until it is closed.

    Parameters
    ----------
    command
        ``"lab"`` opens the reader's copies in ``my/``, ``"edit"`` the repository at ``notebooks/``.
    flags
        Further flags for JupyterLab, such as ``["--port", "9000"]``.

    Returns
    -------
    int
        JupyterLab's exit status.
    """
    if command == "lab":
        for given in give(paths.notebooks(), paths.WORKING_COPIES):
            print(given.sentence)
        place = [f"--ServerApp.root_dir={paths.WORKING_COPIES}"]
    else:
        # JupyterLab refuses to open a pair whose files differ: let the younger one win before.
        from book.store import sync

        sync()
        place = [
            f"--ServerApp.root_dir={paths.ROOT}",
            "--LabApp.default_url=/lab/tree/notebooks",
        ]
    # Which tabs were open: for each command its own, and not the reader's other projects'.
    place.append(f"--LabApp.workspaces_dir={paths.ROOT / '.jupyter' / command}")
    sys.stdout.flush()
    arguments = ["-m", "jupyterlab", f"--config={CONFIG}", *place, *flags]
    if os.name == "posix":
        # JupyterLab takes this process's place, so that Ctrl-C and signals reach it alone.
        os.execv(sys.executable, [sys.executable, *arguments])
    return subprocess.run([sys.executable, *arguments], check=False).returncode
