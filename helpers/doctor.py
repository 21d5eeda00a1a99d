"""Is this machine ready for the book? Looks, says what it found, and never raises.

This module needs nothing but Python itself, so that it can say what is missing. What the book needs
is read from the package's own metadata, not from a list that would grow old.
"""

from __future__ import annotations

import html
import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Finding", "Missing", "Report", "examine", "heartbeat", "needs"]

#: The book's own name as a package.
PACKAGE = "one-block-two-names"
#: How to put things right, in one line.
REPAIR = (
    "Either this notebook runs in another Python than the book's (in JupyterLab: menu Kernel, "
    "Change Kernel), or the installation is incomplete: delete the folder .venv and run make lab "
    "again, or, with conda, conda env update -f environment.yml."
)

_ROOT = Path(__file__).resolve().parent.parent
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?$")
_LIMIT = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*([0-9][0-9A-Za-z.*+!-]*)")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    name
        What it is.
    ready
        Whether it will do.
    problem
        What is wrong with it, in a sentence; empty where nothing is.
    detail
        The versions, for who asks.
    """

    name: str
    ready: bool
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """What the doctor found: prints verdicts only, so that it reads alike on every machine."""

    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether everything will do."""
        return all(finding.ready for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The whole in a sentence."""
        ill = [finding.name for finding in self.findings if not finding.ready]
        if not ill:
            return "This machine is ready: everything that the book needs is here, and it computes."
        return f"Not ready yet: {', '.join(ill)}. {REPAIR}"

    def details(self) -> None:
        """Print what was found, with its versions: for who asks for help."""
        print(f"Python {sys.version.split()[0]} on {sys.platform}")
        for finding in self.findings:
            print(f"{finding.name:24} {finding.detail}")

    def __repr__(self) -> str:
        lines = [
            f"{finding.name:24} {'ready' if finding.ready else finding.problem}"
            for finding in self.findings
        ]
        return "\n".join([*lines, "", self.verdict])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left;font-weight:600">'
            f'{html.escape(finding.name)}</th><td style="text-align:left;white-space:normal">'
            f"{'&#10003; ready' if finding.ready else '&#10007; ' + html.escape(finding.problem)}"
            "</td></tr>"
            for finding in self.findings
        )
        return (
            '<table class="ob-doctor" style="max-width:46em"><caption style="text-align:left;'
            f'caption-side:top">What was looked at</caption>{rows}</table>'
            f'<p role="status"><strong>{html.escape(self.verdict)}</strong></p>'
        )


@dataclass(frozen=True)
class Missing:
    """Stands in for what could not be imported: shown, it says what is missing."""

    name: str
    why: str

    def __call__(self, *_: Any, **__: Any) -> Missing:
        """Take any arguments, and stay missing."""
        return self

    def __format__(self, _: str) -> str:
        return repr(self)

    def __getattr__(self, name: str) -> Missing:
        if name.startswith("_"):  # not an attribute that IPython or copy asks for
            raise AttributeError(name)
        return self

    def __repr__(self) -> str:
        return f"{self.name} cannot be shown here: {self.why} {REPAIR}"


def needs(module: str, name: str = "") -> Any:
    """Import something, or give something that says why that was not possible.

    Parameters
    ----------
    module, name
        As in ``from module import name``; without a name, as in ``import module``.

    Returns
    -------
    object
        What was asked for, or a `Missing`.

    Examples
    --------
    >>> needs("math", "sqrt")(9.0)
    3.0
    >>> needs("no_such_package", "Figure")()
    Figure cannot be shown here: No module named 'no_such_package'. Either ...
    """
    try:
        found = importlib.import_module(module)
        return getattr(found, name) if name else found
    except Exception as error:  # an old package may raise anything while it is imported
        return Missing(name or module, _sentence(error))


def examine(package: str = PACKAGE) -> Report:
    """Look at Python, at the packages that the book needs, and at whether PyTorch computes.

    Parameters
    ----------
    package
        The package whose requirements are looked up.

    Returns
    -------
    Report
        Whatever is missing, old or broken stands in it; nothing is raised.
    """
    required, python = _requirements(package)
    findings = [_python(python)]
    if required:
        findings += [_package(name, limits) for name, limits in required]
    else:
        findings.append(
            Finding("the book itself", False, "is not installed, so its needs are not known.", "-")
        )
    findings.append(_attempt("PyTorch computes", _computes))
    findings.append(_attempt("the book's helpers", _helpers))
    return Report(tuple(findings))


# ---- What is needed, and what is there -----------------------------------------------------------


def _requirements(package: str) -> tuple[list[tuple[str, str]], str]:
    """Read which packages are needed, with their limits, and which Python: from the metadata."""
    lines, python = _installed(package) or _declared() or ([], "")
    found = []
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match and "extra" not in (match[3] or ""):
            found.append((match[1], match[2].strip()))
    return found, python


def _installed(package: str) -> tuple[list[str], str] | None:
    try:
        here = metadata.distribution(package)
        return list(here.requires or ()), here.metadata["Requires-Python"] or ""
    except Exception:
        return None


def _declared(folder: Path = _ROOT) -> tuple[list[str], str] | None:
    """Read the same from pyproject.toml, where the package is used without being installed."""
    try:
        import tomllib

        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        return list(project["dependencies"]), project["requires-python"]
    except Exception:
        return None


def _python(limits: str) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return _judged("Python", version, limits)


def _package(name: str, limits: str) -> Finding:
    try:
        version = metadata.version(name)
    except Exception:
        version = None
    if not version:  # no package, or what is left of one: a folder without its metadata
        return Finding(name, False, "is missing.", f"missing, needs {limits or 'any version'}")
    return _judged(name, version, limits)


def _judged(name: str, version: str, limits: str) -> Finding:
    detail = f"{version}, needs {limits or 'any version'}"
    if _within(version, limits):
        return Finding(name, True, "", detail)
    return Finding(name, False, f"is {version}, and the book needs {limits}.", detail)


def _within(version: str, limits: str) -> bool:
    """Whether a version keeps to limits such as ``>=8.1.5,<9``.

    Only the numbers of a release count. `packaging` would know more, and may be what is missing.

    Examples
    --------
    >>> _within("8.1.9", ">=8.1.5,<9"), _within("2.13.0+cpu", "==2.13.0"), _within("9.0", "<9")
    (True, True, False)
    """
    have = _numbers(version)
    for sign, limit in _LIMIT.findall(limits):
        wanted = _numbers(limit)
        length = max(len(have), len(wanted))
        one, other = (numbers + (0,) * (length - len(numbers)) for numbers in (have, wanted))
        fits = {
            ">=": one >= other,
            "<=": one <= other,
            ">": one > other,
            "<": one < other,
            "!=": one != other,
            "==": one == other if "*" not in limit else have[: len(wanted)] == wanted,
            "~=": one >= other and have[: len(wanted) - 1] == wanted[:-1],
        }[sign]
        if not fits:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"[0-9]+(?:\.[0-9]+)*", version.split("+")[0].split("!")[-1])
    return tuple(map(int, release[0].split("."))) if release else ()


# ---- Does it run? ----------------------------------------------------------------------------


def _attempt(name: str, run: Callable[[], str]) -> Finding:
    try:
        problem = run()
    except Exception as error:
        problem = _sentence(error)
    return Finding(name, not problem, problem, problem or "yes")


def _computes() -> str:
    """Multiply, bend and differentiate once, and compare with what it must give."""
    import torch
    from torch import nn

    conv, image = nn.Conv2d(3, 4, 1).double(), torch.ones(1, 3, 2, 2).double().requires_grad_()
    out = conv(image)
    out.sum().backward()
    by_hand = conv.weight.sum((1, 2, 3)) + conv.bias
    if not torch.allclose(out[0, :, 0, 0], by_hand, atol=1e-12):
        return "it runs, and gives a wrong sum."
    if not torch.allclose(image.grad[0, :, 0, 0], conv.weight.sum((0, 2, 3)), atol=1e-12):
        return "it runs, and gives a wrong gradient."
    return ""


def _helpers() -> str:
    for module in ("mixing", "claims", "exercises", "explorers", "figures"):
        importlib.import_module(f"helpers.{module}")
    return ""


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."


# ---- Are widgets alive? ------------------------------------------------------------------------

#: Shown wherever no widget takes its place: in a page of the book, or in a front end without them.
_NO_WIDGET = (
    "No widget is alive here, because you are looking at a stored page. In a running notebook run "
    "this cell. If you still read this then, the front end shows no widgets: restart JupyterLab "
    "from the book's own environment (make lab), reload the page in the browser, and run the cell "
    "again. In VS Code, choose the kernel of that environment."
)
_IN_THE_BOOK = (
    "This is a page without a kernel, so there is nothing to test. The figures of the book move "
    "here all the same."
)

_HEART = """
function render({ model, el }) {
  const line = document.createElement("p");
  line.setAttribute("role", "status");
  line.className = "ob-heartbeat";
  line.textContent = "The widget is drawn. Waiting for the kernel to answer ...";
  el.replaceChildren(line);
  const late = setTimeout(() => {
    line.textContent = "The widget is drawn, but the kernel does not answer. If a cell is still " +
      "running, wait for it. Else restart the kernel (menu Kernel) and run this cell again.";
  }, 8000);
  const answered = () => {
    if (model.get("answer") < 1) return;
    clearTimeout(late);
    line.textContent = "\\u2713 Alive: the widget asked the kernel, and the kernel answered.";
    line.dataset.alive = "yes";
  };
  model.on("change:answer", answered);
  model.set("question", model.get("question") + 1);
  model.save_changes();
  return () => {
    clearTimeout(late);
    model.off("change:answer", answered);
  };
}
export default { render };
"""


def heartbeat() -> Any:
    """Make a widget that asks the kernel and turns into "alive" when it has been answered.

    Returns
    -------
    object
        The widget. Where no widget can take its place, it shows a sentence that says what to do; a
        `Missing` where anywidget cannot be imported.
    """
    try:
        return _heart()()
    except Exception as error:
        return Missing("The test of the widgets", _sentence(error))


def _heart() -> type:
    """Make the widget's class: only here, because anywidget may be missing."""
    import os

    import anywidget
    import traitlets

    class Heartbeat(anywidget.AnyWidget):
        """Answers each question with its number."""

        _esm = _HEART
        question = traitlets.Int(0).tag(sync=True)
        answer = traitlets.Int(0).tag(sync=True)

        @traitlets.observe("question")
        def _reply(self, change: Any) -> None:
            self.answer = change["new"]

        def __repr__(self) -> str:
            return _NO_WIDGET

        def _repr_mimebundle_(self, **_: Any) -> Any:
            # The variable is set while the notebooks run for the book and the slides.
            if os.environ.get("ONE_BLOCK_FRAMES"):
                return {"text/html": f"<p>{_IN_THE_BOOK}</p>", "text/plain": _IN_THE_BOOK}, {}
            data, about = super()._repr_mimebundle_()
            return {**data, "text/plain": _NO_WIDGET, "text/html": f"<p>{_NO_WIDGET}</p>"}, about

    return Heartbeat
