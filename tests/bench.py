"""`make bench`: the book measured against its budgets, as a table. Nothing is asserted.

    python -m tests.bench                     everything (several minutes)
    python -m tests.bench --only latency      one part: start, notebooks, latency, linked, build,
                                              weight (more than one, with commas)

How latency is measured. Chromium presses a real key. A listener takes the event's own time stamp,
which is when the browser got the key, so that the time Playwright takes does not count. For an
explorer the clock stops when the picture in the output has another address, is decoded, and the
frame that shows it has been painted: `requestAnimationFrame`, then the first task after that frame.
A linked figure has no picture: its own script runs from the first listener of the event to the
last one of its card, and its pixels are there after the next painted frame. An empty key handler,
measured in the same way, is the floor below all of these; it depends on the screen's 60 frames a
second and on the machine.

The same draw function stands behind `explore` and behind a plain `ipywidgets.interact`, in the same
JupyterLab. "New" is a state that neither the page nor the kernel has: the explorer forgets
everything before each key, and the page counts as hidden, where nothing is drawn ahead. "As met" is
what a reader has: the explorer is fresh, is looked at for a second, and is then moved from end to
end and back.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import psutil
from nbclient import NotebookClient
from playwright.sync_api import Locator, Page, expect

from book import paths
from book.execute import COMPARABLE, environment
from tests.browser import chromium, lab_server, pages
from tests.browser.explorer import Card
from tests.browser.lab_server import Lab

NOTEBOOK = "01_pointwise_is_linear"
EXPLORE, PARAMETER = "beyond_one_pixel", "kernel_size"
NO_MEANING = "Shift"
NOTE = """
Times are of this machine, now: on a shared one they change from run to run, by half and more. Run
twice, and trust ratios (explore against interact, measured side by side) more than milliseconds.
"""


class Row(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    budget: str = ""


Rows = Iterator[Row]


# ---- Start ---------------------------------------------------------------------------------------


def start() -> Rows:
    """Clone, install, start: what a newcomer waits for, with the packages in uv's cache.

    What is not committed is not in the clone.
    """
    make = ["make", "--no-print-directory", f"PYTHON={_base_python()}"]
    with _temporary() as folder:
        clone = folder / "clone"
        cloned = _seconds(lambda: _run(["git", "clone", "--quiet", str(paths.ROOT), str(clone)]))
        installed = _seconds(lambda: _run([*make, "setup"], clone))
        again = _seconds(lambda: _run([*make, "setup"], clone))
        begin = time.perf_counter()
        with lab_server.serving("lab", clone, make=make):
            ready = time.perf_counter() - begin
        begin = time.perf_counter()
        with lab_server.serving("lab", clone, make=make):
            ready_again = time.perf_counter() - begin
    yield Row("clean clone to a ready JupyterLab", f"{cloned + installed + ready:.1f} s", "60 s")
    yield Row("  git clone, make setup, make lab", f"{cloned:.1f}, {installed:.1f}, {ready:.1f} s")
    yield Row("  second make setup, make lab", f"{again:.2f}, {ready_again:.1f} s", "at once")


def _base_python() -> str:
    """Give the Python behind this environment: the newcomer's own."""
    return getattr(sys, "_base_executable", sys.executable)


# ---- Notebooks -----------------------------------------------------------------------------------


def notebooks() -> Rows:
    """Run each notebook in a fresh kernel; then ask how much memory the kernel holds."""
    total = 0.0
    with environment(**COMPARABLE):
        for path in paths.notebooks():
            long = path.name.startswith(("09", "10"))
            seconds, mebibytes = _run_notebook(path)
            total += seconds
            yield Row(f"{path.stem}: run", f"{seconds:.1f} s", "60 s" if long else "20 s")
            yield Row("  kernel, resident", f"{mebibytes:.0f} MiB", "" if long else "500 MiB")
    yield Row("all notebooks, one after the other", f"{total:.1f} s", "240 s")


def _run_notebook(path: Path) -> tuple[float, float]:
    """Give the seconds that a notebook takes, kernel included, and the kernel's MiB at its end."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    begin = time.perf_counter()
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        seconds = time.perf_counter() - begin
        kernel = psutil.Process(client.km.provisioner.pid)
        return seconds, kernel.memory_info().rss / 2**20


# ---- Latency in JupyterLab -----------------------------------------------------------------------

# A page-wide stopwatch: `arm` waits for one event, `result` says what it took.
STOPWATCH = """
window.stopwatch = {
  arm(kind, picture) {
    const painted = () => new Promise((done) => requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => done(performance.now());
      port2.postMessage(0);
    }));
    const changed = async (before) => {
      for (;;) {
        const now = document.querySelector(picture);
        if (now?.src && now.src !== before) {
          await now.decode().catch(() => {});
          if (now.isConnected) return painted();
        }
        await new Promise(requestAnimationFrame);
      }
    };
    // A slider's own `input` follows in the same task as the key.
    let scriptEnd = 0;
    const ends = () => { scriptEnd = performance.now(); };
    const card = document.activeElement.closest(".ob-card") ?? window;
    for (const name of [kind, "input"]) card.addEventListener(name, ends);
    this.result = new Promise((done) => {
      addEventListener(kind, async (event) => {
        const [begin, scriptBegin] = [event.timeStamp, performance.now()];
        const pixels = picture ? changed(document.querySelector(picture)?.src) : painted();
        const end = await pixels;
        for (const name of [kind, "input"]) card.removeEventListener(name, ends);
        done({ script: scriptEnd - scriptBegin, pixels: end - begin });
      }, { capture: true, once: true });
    });
  },
};
"""


class Times(NamedTuple):
    """What one event took, in milliseconds."""

    script: float
    pixels: float


def timed(page: Page, act: Callable[[], object], kind: str, picture: str = "") -> Times:
    """Do something once, and give how long its event took.

    Parameters
    ----------
    page
        A page with the stopwatch.
    act
        Presses a key, or moves the mouse.
    kind
        The event to wait for: ``"keydown"``, ``"pointerover"``.
    picture
        A selector of the picture that must change; without it, the next painted frame counts.
    """
    page.evaluate("([kind, picture]) => window.stopwatch.arm(kind, picture)", [kind, picture])
    act()
    return Times(**page.evaluate("() => window.stopwatch.result"))


def pressed(page: Page, key: str, picture: str = "") -> Times:
    """Press a key, and give how long it took to its pixels."""
    return timed(page, lambda: page.keyboard.press(key), "keydown", picture)


def latency(samples: int) -> Rows:
    """Measure key to new pixels in JupyterLab, for `explore` and for a plain `interact`."""
    with _temporary() as folder, chromium.running() as browser, chromium.pages(browser) as visit:
        copy = folder / "repository"
        copy.mkdir()
        lab_server.copy_of_the_repository(copy)
        _write_bench_notebook(copy / "my" / "bench.ipynb")
        with lab_server.serving("lab", copy) as server:
            lab = Lab(visit(), server).open("bench.ipynb")
            lab.run_all()
            lab.page.evaluate(STOPWATCH)
            # In turns, so that a busy minute of the machine meets all of them.
            ways = {way.__name__: way for way in (_new, _seen, _as_met, _plain, _kernel_part)}
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(max(1, samples // SWEEP)):
                for name, way in ways.items():
                    times[name] += way(lab)
            floor = _floor(lab.page, samples)
            drawn = lab.run_code("print(drawn_for_a_key)").strip()
    new, seen, met, plain, kernel = times.values()
    yield Row("key to pixels: an empty key handler", _milliseconds(floor))
    yield Row("explore, a state not seen yet", _milliseconds(new), "100 ms")
    yield Row("  of them drawn after the key", f"{drawn} of {len(new)}")
    yield Row("  the kernel's part of it: draw and encode", _milliseconds(kernel))
    yield Row("explore, a state seen before", _milliseconds(seen), "50 ms")
    yield Row("explore as met, drawing ahead", _milliseconds(met), "100 ms")
    yield Row("plain interact, the same figure", _milliseconds(plain))
    for name, times in (("new", new), ("seen", seen), ("as met", met)):
        ratios = np.percentile(plain, (50, 95)) / np.percentile(times, (50, 95))
        yield Row(f"  interact / explore, {name}", f"{ratios[0]:.1f}x, {ratios[1]:.1f}x")


def _write_bench_notebook(path: Path) -> None:
    """Put the notebook's own explorer beside the same figure in a plain `interact`."""
    page = nbformat.read(paths.NOTEBOOKS / f"{NOTEBOOK}.ipynb", as_version=4)
    code = [cell.source for cell in page.cells if cell.cell_type == "code"]
    explorer = next(source for source in code if f"def {EXPLORE}" in source)
    interact = f"""
import ipywidgets
from IPython.display import display
get_ipython().run_line_magic("matplotlib", "inline")
drawn, drawn_for_a_key = [], 0
draw = {EXPLORE}.__wrapped__
def counted(**parameters):
    drawn.append(parameters)
    return draw(**parameters)
{EXPLORE}.__wrapped__ = counted
def plain(**parameters):
    fig, sentence = draw(**parameters)
    display(fig)
    print(sentence)
_ = ipywidgets.interact(plain, **{{
    name: ipywidgets.SelectionSlider(options=values) if len(values) > 2 else values
    for name, values in {EXPLORE}.grid.values.items()
}})
"""
    sources = [code[0], f"{explorer}\n{EXPLORE}", interact]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources], metadata=page.metadata
    )
    path.parent.mkdir()
    nbformat.write(notebook, path)


EXPLORE_PICTURE = f'.ob-card[data-name="{EXPLORE}"] .ob-picture img'
PLAIN_PICTURE = ".widget-interact .jp-OutputArea img"
# The slider has four values: from the low end to the high one and back.
KEYS = ["ArrowRight"] * 3 + ["ArrowLeft"] * 3
SWEEP = len(KEYS)


def _floor(page: Page, samples: int) -> list[float]:
    return [pressed(page, NO_MEANING).pixels for _ in range(samples)]


def _explorer(lab: Lab) -> Card:
    """Go to the explorer, its slider with the focus at the low end."""
    lab.show_cell(f"def {EXPLORE}")
    card = Card(lab.page, EXPLORE)
    card.root.scroll_into_view_if_needed()
    card.control(PARAMETER).focus()
    lab.page.keyboard.press("Home")
    return card.settled()


def _forget(lab: Lab) -> None:
    """Make page and kernel forget every picture, and wait until the current state is drawn."""
    picture = lab.page.locator(EXPLORE_PICTURE)
    before = picture.get_attribute("src")
    lab.run_code(f"{EXPLORE}.redraw()")
    expect(picture).not_to_have_attribute("src", before)


def _new(lab: Lab) -> list[float]:
    """Press keys for states that nobody has drawn; the kernel counts those it draws for a key."""
    card = _explorer(lab)
    lab.page.evaluate(
        "() => Object.defineProperty(document, 'hidden', { value: true, configurable: true })"
    )
    times = []
    for key in KEYS:
        _forget(lab)
        lab.run_code("drawn.clear()")
        times.append(pressed(lab.page, key, EXPLORE_PICTURE).pixels)
        card.settled()
        lab.run_code("drawn_for_a_key += len(drawn) == 1")
    lab.page.evaluate("() => { delete document.hidden }")
    return times


def _seen(lab: Lab) -> list[float]:
    """Press keys for states that the page has shown before."""
    card = _explorer(lab)
    for key in KEYS:
        lab.page.keyboard.press(key)
        card.settled()
    return _at_a_readers_pace(card, 100)


def _as_met(lab: Lab) -> list[float]:
    """Press keys as a reader does: a fresh explorer, a second to look, then from end to end."""
    card = _explorer(lab)
    _forget(lab)
    lab.page.wait_for_timeout(1000)
    return _at_a_readers_pace(card, 300)


def _at_a_readers_pace(card: Card, pause: int) -> list[float]:
    times = []
    for key in KEYS:
        times.append(pressed(card.page, key, EXPLORE_PICTURE).pixels)
        card.settled()
        card.page.wait_for_timeout(pause)
    return times


def _plain(lab: Lab) -> list[float]:
    """Press keys on the slider of a plain `interact`."""
    lab.show_cell("ipywidgets.interact")
    handle = lab.page.locator(".widget-interact .noUi-handle").first
    handle.scroll_into_view_if_needed()
    # JupyterLab would keep the arrow keys for itself; `explore` says the same of its own slider.
    handle.evaluate("(element) => { element.dataset.lmSuppressShortcuts = 'true' }")
    handle.focus()
    times = []
    for key in KEYS:
        times.append(pressed(lab.page, key, PLAIN_PICTURE).pixels)
        lab.page.wait_for_timeout(100)
    return times


def _kernel_part(lab: Lab) -> list[float]:
    """Time in the kernel, for every state, what a state not seen yet costs there."""
    code = f"""
import time
for index in range(len({EXPLORE}.grid.states)):
    {EXPLORE}._frames.clear()
    begin = time.perf_counter()
    {EXPLORE}._frame(index, 1.0)
    print(1000 * (time.perf_counter() - begin))
"""
    return [float(line) for line in lab.run_code(code).split()]


# ---- Linked figures ------------------------------------------------------------------------------


def linked(samples: int) -> Rows:
    """Measure every linked figure in the book, from the disk: keys on its controls, and hover."""
    with chromium.running() as browser, chromium.pages(browser) as visit:
        floor: list[Times] = []
        for page_file in _built_pages():
            page = pages.ready(visit(page_file))
            pages.unfold(page)
            page.evaluate(STOPWATCH)
            page.wait_for_load_state("networkidle")
            floor = floor or [pressed(page, NO_MEANING) for _ in range(samples)]
            for root in page.locator(".ob-card:not([data-kind='explore'])").all():
                name = root.get_attribute("data-name")
                root.scroll_into_view_if_needed()
                yield _p95(f"{name}, by key", _keys_on_controls(root, samples))
                if hover := _hover(root, samples):
                    yield _p95(f"{name}, by hover", hover)
            page.context.close()
    yield _p95("an empty key handler", floor, budget="")


def _p95(name: str, times: list[Times], budget: str = "8 ms, 33 ms") -> Row:
    script, pixels = (np.percentile([time[i] for time in times], 95) for i in (0, 1))
    return Row(f"linked, {name}: script, pixels p95", f"{script:.1f}, {pixels:.0f} ms", budget)


def _keys_on_controls(root: Locator, samples: int) -> list[Times]:
    """Press arrow keys on each control and each matrix of a figure, in turns of equal number."""
    selector = "input[type=range]:not([disabled]), [role=application], td[tabindex='0']"
    controls = [control for control in root.locator(selector).all() if control.is_visible()]
    controls = controls or root.locator("button, input").all()[:1]
    times = []
    for control in controls:
        control.focus()
        for key, _ in zip(itertools.cycle(KEYS), range(max(6, samples // len(controls)))):
            times.append(pressed(root.page, key))
    return times


def _hover(root: Locator, samples: int) -> list[Times]:
    """Move the mouse over the places of a figure's first matrix, table or diagram."""
    target = root.locator(".ob-cells, .ob-table, .ob-body svg").first
    if not target.count() or not target.is_visible():
        return []
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    times = []
    for number in range(samples):
        x = box["x"] + box["width"] * ((5 * number + 3) % 13 + 0.5) / 13
        y = box["y"] + box["height"] * ((3 * number + 1) % 11 + 0.5) / 11
        move = "pointermove"
        times.append(timed(root.page, lambda x=x, y=y: root.page.mouse.move(x, y), move))
    return times


# ---- Building ------------------------------------------------------------------------------------


def build() -> Rows:
    """Build the book and the slides in a copy, from nothing and again with nothing changed."""
    with _temporary() as folder:
        copy = folder / "repository"
        copy.mkdir()
        lab_server.copy_of_the_repository(copy)
        book, slides = ([sys.executable, "-m", "book", name] for name in ("book", "slides"))
        cold = _seconds(lambda: _run(book, copy))
        deck = _seconds(lambda: _run(slides, copy))
        warm = _seconds(lambda: _run(book, copy))
    yield Row("book, from nothing", f"{cold:.1f} s", "240 s")
    yield Row("slides after it, from the same execution", f"{deck:.1f} s")
    yield Row("book, nothing changed", f"{warm:.1f} s", "15 s")


# ---- Weight --------------------------------------------------------------------------------------


def weight() -> Rows:
    """Weigh what each page of the book loads at first, and the pictures of each explorer."""
    with chromium.running() as browser, chromium.pages(browser) as visit:
        for page_file in _built_pages():
            yield from _weight_of(page_file, visit)


def _weight_of(page_file: Path, visit: chromium.Open) -> Rows:
    opened = visit(page_file)
    opened.page.wait_for_load_state("networkidle")
    asked = {Path(address[7:].partition("?")[0]) for address in opened.log.requests}
    opened.page.context.close()
    own, others = {}, {}
    for path in sorted(path for path in asked if path.is_file()):
        names = ("explorers.js", "explorers.css", "book.css")
        is_own = path == page_file or path.name in names or path.parent.name == "frames"
        (own if is_own else others)[path] = len(gzip.compress(path.read_bytes()))
    what = f"{page_file.stem}: first load, own, gzipped"
    yield Row(what, _kilobytes(own.values()), "300 kB")
    html = own.pop(page_file)
    pictures = [size for path, size in own.items() if path.parent.name == "frames"]
    scripts = [size for path, size in own.items() if path.parent.name != "frames"]
    parts = f"{_kilobytes([html])}, {_kilobytes(scripts)}, {_kilobytes(pictures)}"
    yield Row("  HTML with data, script and style, pictures", parts)
    if page_file == _built_pages()[0]:
        yield Row("  the theme and MathJax beside it", _kilobytes(others.values()))
    for name, frames in _frames(page_file):
        sizes = [(page_file.parent / frame).stat().st_size for frame in frames]
        yield Row(f"  frames of {name} ({len(sizes)})", _kilobytes(sizes), "600 kB")


def _frames(page_file: Path) -> Iterator[tuple[str, list[str]]]:
    """Give the name of each `explore` of a page, and the pictures of its states."""
    explorers = re.findall(
        r'class="ob-explorer" data-module="explore" data-name="(\w+)">.*?'
        r'<script type="application/json">(.*?)</script>',
        page_file.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    for name, state in explorers:
        yield name, sorted({frame["src"] for frame in json.loads(state)["frames"]})


@cache
def _built_pages() -> list[Path]:
    """Build the book in the repository, if anything has changed, and give its notebooks' pages."""
    _run([sys.executable, "-m", "book", "book"], paths.ROOT)
    return [paths.BOOK / f"{path.stem}.html" for path in paths.notebooks()]


# ---- The table -----------------------------------------------------------------------------------


def _milliseconds(times: list[float]) -> str:
    p50, p95 = np.percentile(times, (50, 95))
    return f"p50 {p50:.0f}, p95 {p95:.0f} ms"


def _kilobytes(sizes) -> str:
    return f"{sum(sizes) / 1000:.0f} kB"


def _seconds(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


@contextmanager
def _temporary() -> Iterator[Path]:
    # A kernel that is still writing as it ends is no reason to fail at the very end.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def main() -> None:
    """Print the table, each part as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="parts, with commas between them")
    parser.add_argument("--samples", type=int, default=60, help="keys for each latency")
    arguments = parser.parse_args()
    parts: dict[str, Callable[[], Rows]] = {
        "start": start,
        "notebooks": notebooks,
        "latency": lambda: latency(arguments.samples),
        "linked": lambda: linked(arguments.samples),
        "build": build,
        "weight": weight,
    }
    wanted = arguments.only.split(",") if arguments.only else list(parts)
    for name in wanted:
        if name not in parts:
            parser.error(f"there is no part {name!r}; there are {', '.join(parts)}")
    print(f"{'':64}{'measured':26}budget")
    for name in wanted:
        for row in parts[name]():
            print(f"{row.what:64}{row.measured:26}{row.budget}", flush=True)
    print(NOTE)


if __name__ == "__main__":
    main()
