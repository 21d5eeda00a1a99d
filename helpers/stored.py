"""What a notebook keeps of its widgets when it is stored: the still and the sentence.

JupyterLab's save hook calls this inside the server, so it imports neither PyTorch nor matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterable

from nbformat import NotebookNode

__all__ = ["WIDGET_VIEW", "strip_widget_views"]

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def strip_widget_views(notebook: NotebookNode) -> NotebookNode:
    """Take the widgets out of a notebook that is to be stored; stills and sentences stay.

    A trusted notebook that stores a widget view shows, when it is opened again without being run,
    "Error displaying widget: model not found" in place of the still.

    Parameters
    ----------
    notebook : NotebookNode
        A notebook of nbformat 4; it is not changed.

    Returns
    -------
    NotebookNode
        A copy without widget views and without widget state.

    Examples
    --------
    >>> from nbformat.v4 import new_code_cell, new_notebook, new_output
    >>> output = new_output("display_data", {WIDGET_VIEW: {}, "text/plain": "A sentence."})
    >>> stripped = strip_widget_views(new_notebook(cells=[new_code_cell(outputs=[output])]))
    >>> list(stripped.cells[0].outputs[0].data)
    ['text/plain']
    """
    stored = NotebookNode(notebook)
    stored.metadata = NotebookNode({k: v for k, v in notebook.metadata.items() if k != "widgets"})
    stored.cells = [_strip_cell(cell) for cell in notebook.cells]
    return stored


def _strip_cell(cell: NotebookNode) -> NotebookNode:
    """Copy a cell without the widget views among its outputs."""
    if cell.cell_type != "code":
        return cell
    return NotebookNode({**cell, "outputs": list(_strip_outputs(cell.outputs))})


def _strip_outputs(outputs: Iterable[NotebookNode]) -> Iterable[NotebookNode]:
    for output in outputs:
        if WIDGET_VIEW not in output.get("data", {}):
            yield output
            continue
        data = {mime: value for mime, value in output.data.items() if mime != WIDGET_VIEW}
        # A plain ipywidget has nothing but its repr besides the view; that text stays.
        if data:
            yield NotebookNode({**output, "data": NotebookNode(data)})
