"""Each fault, put into a good notebook, is caught by a guard or by nbval."""

from __future__ import annotations

import base64
import copy
import re
import subprocess
import sys
from io import BytesIO

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode
from PIL import Image

from book import paths
from book.store import as_twin
from tests import guards

PAGE = paths.NOTEBOOKS / "01_pointwise_is_linear.ipynb"


@pytest.fixture(scope="module")
def page() -> NotebookNode:
    return nbformat.read(PAGE, as_version=4)


@pytest.fixture
def mutant(page) -> NotebookNode:
    return copy.deepcopy(page)


def first(page: NotebookNode, wanted) -> NotebookNode:
    return next(cell for _, cell in guards.code_cells(page) if wanted(cell))


def has_picture(cell: NotebookNode) -> bool:
    return bool(guards.pictures(cell.get("outputs", [])))


def prints_number(cell: NotebookNode) -> bool:
    return any(
        output.output_type == "stream" and re.search(r"\d", output.text) for output in cell.outputs
    )


# ---- Caught by nbval ----------------------------------------------------------------------------


def digit_changed(cell: NotebookNode) -> None:
    output = next(output for output in cell.outputs if output.output_type == "stream")
    output.text = re.sub(r"\d", lambda match: str((int(match[0]) + 1) % 10), output.text, count=1)


def stripped(cell: NotebookNode) -> None:
    cell.outputs, cell.execution_count = [], None


def outputs_removed(cell: NotebookNode) -> None:
    cell.outputs = []


MUTATIONS = {
    digit_changed: "mismatch 'stdout'",
    stripped: "was not run",
    outputs_removed: "Unexpected output fields",
}


@pytest.fixture(scope="module")
def nbval_output(page, tmp_path_factory) -> str:
    """What nbval says, as `make test` calls it, of the page's beginning and of its mutant.

    The beginning goes to the third cell that prints a number, without pictures: quick to run. In
    the mutant each of the three has another fault.
    """
    numbers = [cell for _, cell in guards.code_cells(page) if prints_number(cell)][:3]
    beginning = copy.deepcopy(page)
    beginning.cells = [
        cell for cell in page.cells[: page.cells.index(numbers[-1]) + 1] if not has_picture(cell)
    ]
    folder = tmp_path_factory.mktemp("mutants")
    nbformat.write(beginning, folder / "unchanged.ipynb")
    mutant = copy.deepcopy(beginning)
    mutants = [cell for _, cell in guards.code_cells(mutant) if prints_number(cell)]
    for mutation, cell in zip(MUTATIONS, mutants, strict=True):
        mutation(cell)
    nbformat.write(mutant, folder / "mutant.ipynb")
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "--no-cov"),
            *("--nbval-sanitize-with", "tests/nbval_sanitize.cfg", "-p", "tests.nbval_plugin"),
            *("-p", "no:cacheprovider", "--color=no", f"--rootdir={paths.ROOT}", str(folder)),
        ],
        cwd=paths.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout


def failures(nbval_output: str, name: str) -> list[str]:
    return re.findall(rf"^FAILED .*{name}\.ipynb::.*$", nbval_output, re.MULTILINE)


def test_nbval_passes_the_page_as_it_is(nbval_output):
    assert failures(nbval_output, "unchanged") == [], nbval_output


def test_nbval_catches_each_mutation(nbval_output):
    assert len(failures(nbval_output, "mutant")) == len(MUTATIONS), nbval_output


@pytest.mark.parametrize("message", MUTATIONS.values(), ids=[m.__name__ for m in MUTATIONS])
def test_nbval_says_what_is_wrong(message, nbval_output):
    assert message in nbval_output, nbval_output


# ---- Caught by the guards -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "guard",
    [guards.unrun_cells, guards.lost_pictures, guards.widget_views, guards.pictures_without_alt],
    ids=lambda guard: guard.__name__,
)
def test_guards_pass_the_page_as_it_is(page, guard):
    assert guard(page) == []


def test_a_stripped_cell_is_caught(mutant):
    cell = first(mutant, lambda cell: cell.outputs)
    cell.outputs, cell.execution_count = [], None
    assert len(guards.unrun_cells(mutant)) == 1


def test_every_removed_picture_is_caught(page):
    """Not only the first: the guard must know of each cell that it shows a picture."""
    for index, cell in enumerate(page.cells):
        if cell.cell_type != "code" or not has_picture(cell):
            continue
        mutant = copy.deepcopy(page)
        for output in mutant.cells[index].outputs:
            data = output.get("data", {})
            data.pop("image/png", None)
            data.pop("text/html", None)
        assert len(guards.lost_pictures(mutant)) == 1, guards.where(index + 1, cell)


def test_an_empty_picture_is_caught(mutant):
    blank = BytesIO()
    Image.new("RGB", (64, 64), "white").save(blank, "PNG")
    output = nbformat.v4.new_output(
        "display_data",
        {"image/png": base64.b64encode(blank.getvalue()).decode(), "text/plain": "Nothing."},
    )
    first(mutant, has_picture).outputs.append(output)
    assert len(guards.broken_pictures(mutant)) == 1


def test_a_replaced_picture_is_caught(page):
    one = first(page, has_picture)
    other = first(page, lambda cell: has_picture(cell) and cell is not one)
    assert guards.changed_pictures(one.outputs, one.outputs) == []
    assert guards.changed_pictures(one.outputs, other.outputs) != []
    assert guards.changed_pictures(one.outputs, []) != []


def test_a_slightly_changed_picture_is_caught():
    """A block of a tenth of the width and height, in an otherwise equal picture."""
    before, after = Image.new("RGB", (400, 400), "white"), Image.new("RGB", (400, 400), "white")
    after.paste("black", (100, 100, 140, 200))
    assert guards.changed_pictures([as_output(before)], [as_output(after)]) != []


def as_output(image: Image.Image) -> NotebookNode:
    file = BytesIO()
    image.save(file, "PNG")
    encoded = base64.b64encode(file.getvalue()).decode()
    return nbformat.v4.new_output("display_data", {"image/png": encoded})


def test_a_stored_widget_view_is_caught(mutant):
    output = first(mutant, has_picture).outputs[0]
    output.data[guards.WIDGET_VIEW] = {"model_id": "1", "version_major": 2, "version_minor": 0}
    assert len(guards.widget_views(mutant)) == 1


def test_stored_widget_state_is_caught(mutant):
    mutant.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    assert len(guards.widget_views(mutant)) == 1


def test_a_picture_without_alt_text_is_caught(mutant):
    cell = next(cell for cell in mutant.cells if cell.cell_type == "markdown")
    cell.source += '\n\n<img src="a.png" alt="">'
    assert len(guards.pictures_without_alt(mutant)) == 1


@pytest.mark.parametrize(
    "edit",
    [
        lambda twin: twin.cells[0].update(source=twin.cells[0].source + " Edited."),
        lambda twin: twin.cells.pop(),
        lambda twin: twin.cells[0].metadata.update(tags=["solution"]),
        lambda twin: twin.metadata.kernelspec.update(display_name="Another Python"),
        lambda twin: twin.metadata.update(
            kernelspec=NotebookNode(reversed(twin.metadata.kernelspec.items()))
        ),
    ],
    ids=["text", "cell", "tag", "kernel", "order of keys"],
)
def test_an_edited_twin_is_caught(page, edit):
    twin = jupytext.reads(as_twin(page), fmt="md:myst")
    assert guards.twin_differs(page, twin) == []
    edit(twin)
    assert len(guards.twin_differs(page, twin)) == 1


def test_an_answer_given_away_is_caught(mutant):
    cell = first(mutant, lambda cell: "hide-output" in cell.metadata.get("tags", []))
    del cell.metadata["jupyter"]
    assert len(guards.half_hidden(mutant)) == 1


def test_a_misspelt_tag_is_caught(mutant):
    mutant.cells[0].metadata["tags"] = ["hide_output"]
    assert len(guards.unknown_tags(mutant)) == 1


def test_a_solution_without_its_tag_is_caught(mutant):
    cell = next(cell for cell in mutant.cells if "solution" in cell.metadata.get("tags", []))
    cell.metadata["tags"] = []
    assert len(guards.untagged_solutions(mutant)) == 1


def test_a_closing_vote_that_no_slide_settles_is_caught():
    notebook = nbformat.read(paths.NOTEBOOKS / "03_groups_and_heads.ipynb", as_version=4)
    at = next(n for n, c in enumerate(notebook.cells) if "### Find the errors" in c.source)
    settles = next(c for c in notebook.cells[at:] if "solution" in c.metadata.get("tags", []))
    assert guards.unsettled_votes(notebook) == []
    settles.metadata["slideshow"]["slide_type"] = "skip"
    assert len(guards.unsettled_votes(notebook)) == 1


@pytest.mark.parametrize(
    "prose",
    [
        "```{note}\nA directive.\n```",
        ":::{note}\nA directive.\n:::",
        "See {ref}`here`.",
        "(a-target)=",
        "> [!NOTE]\n> An alert.",
        "A footnote.[^1]",
        "- [ ] to do",
        r"Inline \(x\)",
        "% a comment",
        "<script>1</script>",
    ],
)
def test_prose_that_one_reader_shows_raw_is_caught(mutant, prose):
    assert guards.shown_raw(mutant) == []
    mutant.cells.append(nbformat.v4.new_markdown_cell(prose))
    assert guards.shown_raw(mutant) != []


def test_prose_in_code_is_not_mistaken(mutant):
    mutant.cells.append(
        nbformat.v4.new_markdown_cell("`[^1]`, `:a:`\n\n```python\n# - [ ] x\n% y\n```")
    )
    assert guards.shown_raw(mutant) == []


@pytest.mark.parametrize("text", ["/home/ada/x.py", "<object at 0x7f3a12345678>", r"C:\Users\ada"])
def test_an_output_of_one_machine_is_caught(mutant, text):
    cell = first(mutant, lambda cell: True)
    cell.outputs.append(nbformat.v4.new_output("stream", name="stdout", text=text))
    assert len(guards.of_one_machine(mutant)) == 1


def test_a_stored_warning_is_caught(mutant):
    cell = first(mutant, lambda cell: True)
    cell.outputs.append(nbformat.v4.new_output("stream", name="stderr", text="UserWarning: no"))
    assert len(guards.warnings_and_errors(mutant)) == 1


def test_a_heavy_file_is_caught():
    assert guards.too_large("notebooks/a.ipynb", 299_999) == []
    assert guards.too_large("notebooks/a.ipynb", 300_000) != []
    assert guards.too_large("helpers/a.npz", 300_000) == []
    assert guards.too_large("helpers/a.npz", 1_000_000) != []
