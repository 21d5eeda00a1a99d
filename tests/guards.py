"""What must hold of every stored notebook, beyond what running it can tell.

Each guard is a function of parsed notebooks that returns the faults it finds, one sentence each.
nbval compares outputs, but not pictures, widget views or metadata, and passes a cell that was never
run: these guards close the gaps.
"""

from __future__ import annotations

import ast
import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from io import BytesIO

import numpy as np
from nbformat import NotebookNode
from PIL import Image, UnidentifiedImageError

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
TAGS = {"hide-input", "hide-output", "solution", "nbval-ignore-output", "raises-exception"}
LARGEST_NOTEBOOK = 300_000
LARGEST_FILE = 1_000_000

_DATA_PICTURE = re.compile(r'src="data:image/\w+;base64,([^"]*)"')
_IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ALT = re.compile(r"""\balt=(?:"\s*[^"\s][^"]*"|'\s*[^'\s][^']*')""")

# ---- Helpers --------------------------------------------------------------------------------


def code_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """Give the code cells that hold code, each with its number among all cells."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and cell.source.strip():
            yield number, cell


def where(number: int, cell: NotebookNode) -> str:
    """Name a cell for a reader of the fault: its number and its first line."""
    first = next((line for line in cell.source.splitlines() if line.strip()), "")
    return f"cell {number} ({first.strip()[:60]})"


def text_of(value: str | list[str]) -> str:
    """Join what a notebook may store as lines."""
    return value if isinstance(value, str) else "".join(value)


def pictures(outputs: Iterable[NotebookNode]) -> list[bytes]:
    """Collect the pictures of a cell's outputs, as stored (empty bytes where not decodable)."""
    found = []
    for output in outputs:
        data = output.get("data", {})
        encoded = _DATA_PICTURE.findall(text_of(data.get("text/html", "")))
        if "image/png" in data:
            encoded.append(text_of(data["image/png"]))
        for text in encoded:
            try:
                found.append(base64.b64decode(text.strip(), validate=False))
            except binascii.Error:
                found.append(b"")
    return found


def as_image(picture: bytes) -> Image.Image | None:
    """Decode a picture completely; None where that fails."""
    try:
        image = Image.open(BytesIO(picture))
        image.load()
    except (UnidentifiedImageError, OSError, ValueError):
        return None
    return image.convert("RGB")


def printed(cell: NotebookNode) -> str:
    """Join everything that the outputs of a cell say in text."""
    parts = []
    for output in cell.get("outputs", []):
        parts.append(text_of(output.get("text", "")))
        parts += [
            text_of(value) for mime, value in output.get("data", {}).items() if "text/" in mime
        ]
        parts += output.get("traceback", [])
    return "\n".join(parts)


# ---- Outputs --------------------------------------------------------------------------------


def unrun_cells(notebook: NotebookNode) -> list[str]:
    """Find code cells that were not run, or not in order: nbval passes them whatever they print.

    A cell with a count and without the output it should have is nbval's to find.
    """
    faults = []
    for count, (number, cell) in enumerate(code_cells(notebook), start=1):
        if cell.execution_count is None:
            faults.append(f"{where(number, cell)} was not run: `make refresh`")
        elif cell.execution_count != count:
            faults.append(f"{where(number, cell)} was run out of order: `make refresh`")
    return faults


def widget_views(notebook: NotebookNode) -> list[str]:
    """Find stored widget views and states: reopened, they show an error in place of the still."""
    faults = ["the notebook stores widget state"] if "widgets" in notebook.metadata else []
    for number, cell in code_cells(notebook):
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell.outputs):
            faults.append(f"{where(number, cell)} stores a widget view")
    return faults


def lost_pictures(notebook: NotebookNode) -> list[str]:
    """Find cells whose code ends in a figure or an explorer, and that store no picture."""
    faults = []
    explorers: set[str] = set()
    makers: set[str] = set()
    for number, cell in code_cells(notebook):
        tree = _parse(cell.source)
        _collect_explorers(tree, makers, explorers)
        if _shows_picture(tree, makers, explorers) and not pictures(cell.outputs):
            faults.append(f"{where(number, cell)} should show a picture, and stores none")
    return faults


def broken_pictures(notebook: NotebookNode) -> list[str]:
    """Find stored pictures that do not decode, or show nothing."""
    faults = []
    for number, cell in code_cells(notebook):
        for picture in pictures(cell.outputs):
            image = as_image(picture)
            if image is None:
                faults.append(f"{where(number, cell)} stores a picture that cannot be read")
            elif np.ptp(np.asarray(image)) == 0:
                faults.append(f"{where(number, cell)} stores a picture of one colour")
    return faults


def changed_pictures(
    stored: Iterable[NotebookNode], fresh: Iterable[NotebookNode], tolerance: float = 3.0
) -> list[str]:
    """Compare the pictures of a cell's stored outputs with those of a fresh run.

    Parameters
    ----------
    stored, fresh
        The outputs of the same cell.
    tolerance
        How far two pictures may differ on average, in grey levels of 255, when both are shrunk to
        64 x 64: more than another font renderer does, less than another curve.

    Returns
    -------
    list of str
    """
    before, after = pictures(stored), pictures(fresh)
    if len(before) != len(after):
        return [f"the cell stores {len(before)} pictures, and draws {len(after)}"]
    faults = []
    for old, new in zip(before, after, strict=True):
        if old == new:
            continue
        images = [as_image(old), as_image(new)]
        if None in images:
            faults.append("a picture cannot be read")
        elif images[0].size != images[1].size:
            faults.append(f"a picture was {images[0].size} pixels, and is {images[1].size}")
        else:
            small = [np.asarray(image.convert("L").resize((64, 64)), float) for image in images]
            difference = np.abs(small[0] - small[1]).mean()
            if difference > tolerance:
                faults.append(f"a picture has changed, by {difference:.1f} grey levels")
    return faults


def pictures_without_alt(notebook: NotebookNode) -> list[str]:
    """Find pictures that say nothing to who cannot see them."""
    faults = []
    for number, cell in enumerate(notebook.cells, start=1):
        html = cell.source if cell.cell_type == "markdown" else ""
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            html += text_of(data.get("text/html", ""))
            sentence = text_of(data.get("text/plain", ""))
            # An explorer's still is a PNG beside the sentence that says what it shows.
            if "image/png" in data and (not sentence.strip() or sentence.startswith(("<", "Fig"))):
                faults.append(f"{where(number, cell)} stores a picture without a sentence")
        if any(not _ALT.search(tag) for tag in _IMG.findall(html)):
            faults.append(f"{where(number, cell)} shows an <img> without alt text")
        if cell.cell_type == "markdown" and re.search(r"!\[\s*\]\(", cell.source):
            faults.append(f"{where(number, cell)} shows a picture without alt text")
    return faults


_OF_ONE_MACHINE = {
    "a path of one machine": re.compile(
        r"(?<![\w.])/(?:home|root|tmp|Users|work|var|opt|mnt)/\w|\b[A-Z]:\\\w|site-packages"
    ),
    "a memory address": re.compile(r"\b0x[0-9a-f]{6,}\b"),
}


def of_one_machine(notebook: NotebookNode) -> list[str]:
    """Find outputs that another machine would not give: paths and memory addresses."""
    return [
        f"{where(number, cell)} prints {what}: {match[0]}"
        for number, cell in code_cells(notebook)
        for what, pattern in _OF_ONE_MACHINE.items()
        if (match := pattern.search(printed(cell)))
    ]


def warnings_and_errors(notebook: NotebookNode) -> list[str]:
    """Find stored warnings, and errors in cells that do not announce one."""
    faults = []
    for number, cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                faults.append(f"{where(number, cell)} stores a warning: {output.text[:80]!r}")
            elif output.output_type == "error" and "raises-exception" not in _tags(cell):
                faults.append(f"{where(number, cell)} stores an error: {output.ename}")
    return faults


# ---- Cells ----------------------------------------------------------------------------------


def half_hidden(notebook: NotebookNode) -> list[str]:
    """Find answers folded for one reader only: the book reads the tag, JupyterLab the metadata."""
    faults = []
    for number, cell in code_cells(notebook):
        tagged = "hide-output" in _tags(cell)
        folded = bool(cell.metadata.get("jupyter", {}).get("outputs_hidden"))
        if tagged != folded:
            has, lacks = ("hide-output", "outputs_hidden") if tagged else ("outputs_hidden", "tag")
            faults.append(f"{where(number, cell)} has {has} and not {lacks}")
    return faults


def unknown_tags(notebook: NotebookNode) -> list[str]:
    """Find tags that nothing reads: a misspelt one gives an answer away."""
    return [
        f"{where(number, cell)} has the unknown tag {tag!r}"
        for number, cell in enumerate(notebook.cells, start=1)
        for tag in sorted(set(_tags(cell)) - TAGS)
    ]


def untagged_solutions(notebook: NotebookNode) -> list[str]:
    """Find solutions that the student edition would hand out, and tags on what is no solution."""
    faults = []
    for number, cell in enumerate(notebook.cells, start=1):
        is_solution = cell.cell_type == "markdown" and bool(
            re.search(r"<summary>\s*(?:<\w+>)?\s*Solution", cell.source)
        )
        tagged = "solution" in _tags(cell)
        if is_solution and not tagged:
            faults.append(f"{where(number, cell)} holds a solution without the tag")
        if tagged and not is_solution:
            faults.append(f"{where(number, cell)} is tagged as a solution and holds none")
    return faults


_SHOWN_RAW = {
    "a directive": r"^\s*(?:`{3,}|~{3,}|:{3,})\s*\{",
    "a colon fence": r"^\s*:{3,}",
    "a role": r"\{[a-z][\w:.-]*\}`",
    "a block break": r"^\+\+\+",
    "a MyST comment": r"^%",
    "a target": r"^\([\w-]+\)=\s*$",
    "a GitHub alert": r"^\s*>\s*\[![A-Z]+\]",
    "a footnote": r"\[\^[\w-]+\]",
    "a task list": r"^\s*[-*]\s+\[[ xX]\]\s",
    "LaTeX brackets": r"\\\(|\\\[|\\\)|\\\]",
    "an emoji code": r"(?<![\w:]):[a-z_]+:(?![\w:])",
    "a script or style": r"<(?:script|style)\b",
}


def unsettled_votes(notebook: NotebookNode) -> list[str]:
    """Find closing votes of a lecture that no slide settles: the exercise's own solution."""
    faults, vote = [], ""
    for number, cell in enumerate(notebook.cells, start=1):
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        if cell.source.startswith("### Find the errors") and kind == "slide":
            vote = f"{where(number, cell)} is a vote without a slide with its solution"
        elif vote and "solution" in _tags(cell):
            if kind != "subslide" or "- **" not in cell.source:
                faults.append(vote)
            vote = ""
    return [*faults, vote] if vote else faults


def shown_raw(notebook: NotebookNode) -> list[str]:
    """Find prose that JupyterLab, GitHub, the book or the slides would show as it is written."""
    faults = []
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "markdown":
            continue
        prose = _without_code(cell.source)
        for what, pattern in _SHOWN_RAW.items():
            match = re.search(pattern, prose, re.MULTILINE)
            if match:
                faults.append(f"{where(number, cell)} has {what}: {match[0].strip()!r}")
    return faults


def untitled(notebook: NotebookNode) -> list[str]:
    """Find a notebook whose first cell is not its title, or that has several titles."""
    titles = [
        number
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "markdown"
        and re.search(r"^# \S", _without_code(cell.source), re.MULTILINE)
    ]
    if titles != [1] or not notebook.cells[0].source.startswith("# "):
        return [f"a page has one title, at the start of its first cell; found in cells {titles}"]
    return []


# ---- Files ----------------------------------------------------------------------------------


def twin_differs(notebook: NotebookNode, twin: NotebookNode) -> list[str]:
    """Compare a notebook with its Markdown twin, both parsed.

    Jupytext compares the kernel specification with its order of keys, and so does this.
    """
    faults = []
    kernels = [list(page.metadata.get("kernelspec", {}).items()) for page in (notebook, twin)]
    if kernels[0] != kernels[1]:
        faults.append(f"the twin names another kernel: {kernels[1]}, not {kernels[0]}")
    if len(notebook.cells) != len(twin.cells):
        faults.append(f"{len(notebook.cells)} cells, and {len(twin.cells)} in the twin")
    for number, (cell, other) in enumerate(zip(notebook.cells, twin.cells, strict=False), start=1):
        for what in ("cell_type", "source", "metadata"):
            if cell[what] != other[what]:
                faults.append(f"{where(number, cell)}: the twin has another {what}")
                break
    return faults


def too_large(name: str, size: int) -> list[str]:
    """Find a notebook that carries what belongs in the book build, or another file too large."""
    limit = LARGEST_NOTEBOOK if name.endswith(".ipynb") else LARGEST_FILE
    return [f"{name} is {size / 1000:.0f} kB, over {limit / 1000:.0f} kB"] if size >= limit else []


# ---- What a cell's code says ----------------------------------------------------------------


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _without_code(source: str) -> str:
    """Blank out fenced code and inline code; an opening fence keeps its info string."""
    lines, fence = [], ""
    for line in source.splitlines():
        mark = re.match(r"\s*(`{3,}|~{3,})", line)
        if fence:
            if mark and mark[1].startswith(fence) and line.strip() == mark[1]:
                fence = ""
            lines.append("")
        else:
            fence = mark[1] if mark else ""
            lines.append(line if mark else re.sub(r"(?<!\})`[^`]*`", "", line))
    return "\n".join(lines)


def _parse(source: str) -> ast.Module:
    """Parse a cell's code, its magics and shell lines blanked out."""
    lines = ["" if re.match(r"\s*[%!]", line) else line for line in source.splitlines()]
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def _root(node: ast.AST) -> str:
    """Name the variable or function that an expression starts from: ``a`` of ``a.b(c)``."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _collect_explorers(tree: ast.Module, makers: set[str], explorers: set[str]) -> None:
    """Add what this code imports from helpers.explorers, and the explorers it makes with it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "helpers.explorers":
            makers |= {name.asname or name.name for name in node.names}
        elif isinstance(node, ast.FunctionDef):
            if any(_root(decorator) in makers for decorator in node.decorator_list):
                explorers.add(node.name)
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and _root(node.value) in makers
        ):
            explorers |= {target.id for target in node.targets if isinstance(target, ast.Name)}


def _shows_picture(tree: ast.Module, makers: set[str], explorers: set[str]) -> bool:
    """Whether the last line of a cell shows a figure or an explorer."""
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return False
    last = tree.body[-1].value
    if isinstance(last, ast.Call):
        function = last.func
        name = function.attr if isinstance(function, ast.Attribute) else _root(function)
        return name == "show" or _root(function) in makers
    return isinstance(last, ast.Name) and last.id in explorers
