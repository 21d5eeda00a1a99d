"""Run notebooks: once per change for book and slides, and anew for what is stored."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from book import paths
from book.inputs import digest, files_under

# Large sums differ between processors and thread counts. On one thread and without the processor's
# own instructions, what is printed is the same on every machine (the Makefile's tests do likewise).
COMPARABLE = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
}
FRAMES_VARIABLE = "ONE_BLOCK_FRAMES"
SECONDS_PER_CELL = 120


@contextmanager
def environment(**variables: str):
    """Set environment variables for a while, for the kernels started in it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def run(notebook: NotebookNode, name: str, folder: Path = paths.NOTEBOOKS) -> NotebookNode:
    """Run every cell of a notebook in a fresh kernel.

    Parameters
    ----------
    notebook
        The notebook; it is changed in place.
    name
        What to call it in an error.
    folder
        Where it runs: its own folder, as in JupyterLab.

    Returns
    -------
    NotebookNode
        The same notebook, with outputs.

    Raises
    ------
    RuntimeError
        If a cell raises: names the notebook, shows the cell and what it raised.
    """
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        # Not its remark on how it talks to this process, which would stand in every log.
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise RuntimeError(f"{name} does not run.\n{error}") from None
    # The kernel may split one print into any number of messages.
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _merged_streams(cell.outputs)
    return notebook


def run_all(jobs: Iterable[tuple[NotebookNode, Path]]) -> list[NotebookNode]:
    """Run several notebooks in their folders, two at a time (each computes on one thread)."""
    with environment(**COMPARABLE), ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda job: run(job[0], job[1].name, job[1].parent), jobs))


def _merged_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            merged.append(output)
    return merged


def executed() -> dict[str, NotebookNode]:
    """Run the notebooks for book and slides, each only if something it depends on has changed.

    The explorers see the environment variable ``ONE_BLOCK_FRAMES`` and give the static form: html,
    with their pictures as files in that folder.

    Returns
    -------
    dict
        The executed notebook of each name, with the prose as it is now: a change of prose alone
        runs nothing.
    """
    sources = {path.stem: nbformat.read(path, as_version=4) for path in paths.notebooks()}
    # Any of these can change every output.
    shared = digest([*files_under(paths.HELPERS), paths.LOCK, Path(__file__)])
    keys = {name: _key(notebook, shared) for name, notebook in sources.items()}
    paths.FRAMES.mkdir(parents=True, exist_ok=True)
    _forget_all_but(set(keys.values()))

    stale = [name for name, key in keys.items() if not _complete(_stored(key))]
    if stale:
        print(f"Running {', '.join(stale)}", flush=True)
    with environment(**{FRAMES_VARIABLE: str(paths.FRAMES)}):
        fresh = run_all((_without_outputs(sources[n]), paths.NOTEBOOKS / n) for n in stale)
    for name, notebook in zip(stale, fresh, strict=True):
        outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
        partial = _stored(keys[name]).with_suffix(".partial")
        partial.write_text(json.dumps(outputs), encoding="utf-8")
        partial.replace(_stored(keys[name]))

    for name, notebook in sources.items():
        outputs = nbformat.from_dict(json.loads(_stored(keys[name]).read_text(encoding="utf-8")))
        code = (cell for cell in notebook.cells if cell.cell_type == "code")
        for number, (cell, cell_outputs) in enumerate(zip(code, outputs, strict=True), start=1):
            cell.outputs = cell_outputs
            cell.execution_count = number
    _forget_unused_frames()
    return sources


def frames_of(notebooks: Iterable[NotebookNode]) -> list[Path]:
    """List the frame files that the outputs of these notebooks name."""
    text = "".join(json.dumps(notebook) for notebook in notebooks)
    return sorted(path for path in paths.FRAMES.iterdir() if path.name in text)


def _stored(key: str) -> Path:
    return paths.EXECUTED / f"{key}.json"


def _complete(stored: Path) -> bool:
    """Whether outputs are stored, and the frames that they name with them."""
    if not stored.exists():
        return False
    names = re.findall(r"frames/([\w.]+)", stored.read_text(encoding="utf-8"))
    return all((paths.FRAMES / name).exists() for name in names)


def _without_outputs(notebook: NotebookNode) -> NotebookNode:
    copy = nbformat.from_dict(json.loads(json.dumps(notebook)))
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return copy


def _key(notebook: NotebookNode, shared: str) -> str:
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps([shared, *code]).encode()).hexdigest()[:24]


def _forget_all_but(keys: set[str]) -> None:
    for path in paths.EXECUTED.glob("*.json"):
        if path.stem not in keys:
            path.unlink()


def _forget_unused_frames() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in paths.EXECUTED.glob("*.json"))
    for frame in paths.FRAMES.iterdir():
        if frame.name not in text:
            frame.unlink()
