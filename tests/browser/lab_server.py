"""JupyterLab as `make lab` and `make edit` start it, on a copy of the repository."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator

from tests.browser.chromium import Visit

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("book", "helpers", "notebooks", "pyproject.toml", "requirements.txt", "README.md")
START_SECONDS = 90
MILLISECONDS_TO_RUN = 120_000


@dataclass(frozen=True)
class Server:
    """A running JupyterLab.

    Attributes
    ----------
    host
        Address and port, ``"127.0.0.1:8888"``.
    token
        What opens it.
    folder
        The copy of the repository that it was started in.
    """

    host: str
    token: str
    folder: Path

    @property
    def address(self) -> str:
        """The address that opens JupyterLab, in a workspace without memory."""
        return f"http://{self.host}/lab?reset&token={self.token}"


def copy_of_the_repository(folder: Path) -> Path:
    """Copy what JupyterLab works on, so that no test changes the repository."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy2(source, target)
    return folder


@contextmanager
def serving(command: str, folder: Path, *, make: Sequence[str] = ()) -> Iterator[Server]:
    """Run ``python -m book lab`` or ``edit`` in a copy of the repository, until the end.

    Parameters
    ----------
    command
        ``"lab"`` or ``"edit"``.
    folder
        A copy of the repository; beside it a folder is made for JupyterLab's own settings, so that
        those of the user are neither read nor changed.
    make
        How make is called, where it should start JupyterLab: ``["make", "PYTHON=python3.12"]``.
    """
    port, token = _free_port(), secrets.token_hex(16)
    own = folder.parent / f"{folder.name}-jupyter"
    variables = {
        f"JUPYTER_{kind}_DIR": str(own / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")
    }
    flags = [
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        # `window.jupyterapp`: the tests run commands as the menus do, without looking for them.
        "--LabApp.expose_app_in_browser=True",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--allow-root")
    log = folder.parent / f"{folder.name}-{command}.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [*make, command, f"LAB_FLAGS={' '.join(flags)}"]
            if make
            else [sys.executable, "-m", "book", command, *flags],
            cwd=folder,
            # A group of its own, which is ended as a whole: make has a child.
            start_new_session=True,
            env={**os.environ, **variables, "IPYTHONDIR": str(own / "ipython")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}/api/status", token, log)
            yield Server(f"127.0.0.1:{port}", token, folder)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server and what belongs to it to stop; it takes its kernels with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _wait_until_ready(
    process: subprocess.Popen[bytes], address: str, token: str, log: Path
) -> None:
    request = urllib.request.Request(address, headers={"Authorization": f"token {token}"})
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


class Lab:
    """One JupyterLab in a browser page, with one notebook in front.

    Parameters
    ----------
    visit
        A page of the browser, with its log; nothing needs to be open in it.
    server
        The JupyterLab to talk to.
    """

    def __init__(self, visit: Visit, server: Server) -> None:
        self.page = visit.page
        self.log = visit.log
        self.server = server

    def open(self, path: str, factory: str = "Notebook") -> Lab:
        """Open a file in place of what is open, and wait until it stands there, its kernel idle."""
        if self.page.url == "about:blank":
            self.page.goto(self.server.address)
            self.page.wait_for_function("() => window.jupyterapp?.restored")
            self.page.evaluate("() => window.jupyterapp.restored")
        else:
            # Opening alone may count as a change (JupyterLab notes the version of Python), and a
            # changed page is not closed without a question.
            self.page.evaluate(
                "() => { window.jupyterapp.shell.currentWidget.context.model.dirty = false }"
            )
            self.command("application:close-all")
        self.command("docmanager:open", path=path, factory=factory)
        self.page.wait_for_function(
            """(path) => {
              const widget = window.jupyterapp.shell.currentWidget;
              return widget?.context?.isReady && widget.context.path === path
                && widget.content?.widgets?.length
                && widget.sessionContext.session?.kernel?.status === "idle";
            }""",
            arg=path,
            timeout=60_000,
        )
        return self

    def command(self, name: str, **arguments: Any) -> None:
        """Run one of JupyterLab's commands, and wait until it is done."""
        self.page.evaluate(
            "async ([name, given]) => { await window.jupyterapp.commands.execute(name, given) }",
            [name, arguments],
        )

    def run_all(self) -> None:
        """Run every cell, as far as they run: a cell that raises ends it."""
        self.page.set_default_timeout(MILLISECONDS_TO_RUN)
        self.command("notebook:run-all-cells")
        # The last output may come after the command has ended.
        self.page.wait_for_function(
            "() => [...window.jupyterapp.shell.currentWidget.content.model.cells]"
            ".every((cell) => cell.type !== 'code' || cell.executionState !== 'running')"
            " && window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
            " === 'idle'"
        )
        self.page.set_default_timeout(30_000)

    def run_code(self, code: str) -> str:
        """Run code in the kernel of the notebook in front, beside its cells; give what it prints.

        Raises
        ------
        RuntimeError
            If the code raises.
        """
        printed, raised = self.page.evaluate(
            """async (code) => {
              const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
              const future = kernel.requestExecute({ code, store_history: false });
              let printed = "";
              let raised = "";
              future.onIOPub = ({ header, content }) => {
                if (header.msg_type === "stream") printed += content.text;
                if (header.msg_type === "error") raised = `${content.ename}: ${content.evalue}`;
              };
              await future.done;
              return [printed, raised];
            }""",
            code,
        )
        if raised:
            raise RuntimeError(raised)
        return printed

    def save(self) -> None:
        """Save the notebook in front."""
        self.command("docmanager:save")

    def cells(self) -> list[dict[str, Any]]:
        """Give the cells of the notebook in front as they would be stored."""
        return self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells"
        )

    def show_cell(self, text: str) -> Locator:
        """Scroll to a cell, make it the active one, give it.

        It is the cell whose source is `text`, or else the first whose source holds it.
        """
        sources = [_source(cell) for cell in self.cells()]
        holds = (i for i, source in enumerate(sources) if text in source)
        index = sources.index(text) if text in sources else next(holds)
        self.page.evaluate(
            """async (index) => {
              const notebook = window.jupyterapp.shell.currentWidget.content;
              notebook.activeCellIndex = index;
              await notebook.scrollToItem(index, "start");
            }""",
            index,
        )
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    def dialogs(self) -> list[str]:
        """Give the text of every dialog that stands in front of the reader."""
        return self.page.locator(".jp-Dialog").all_inner_texts()


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)
