"""Whether a page's formulas are typeset."""

from __future__ import annotations

from playwright.sync_api import Page


def typeset(page: Page) -> None:
    """Wait until MathJax has set every formula."""
    page.evaluate("() => window.MathJax?.startup?.promise")


def faults(page: Page, within: str) -> list[str]:
    """List what is still raw TeX inside an element, and what MathJax could not read."""
    return page.evaluate(
        r"""(within) => {
          const errors = document.querySelectorAll("mjx-merror, [data-mjx-error]");
          const copy = document.querySelector(within).cloneNode(true);
          const others = "pre, code, script, style, mjx-container";
          for (const element of copy.querySelectorAll(others)) element.remove();
          const raw = copy.textContent.match(/\$|\\\(|\\\[|\\[a-z]{3,}/g) ?? [];
          return [...[...errors].map((error) => error.outerHTML), ...raw];
        }""",
        within,
    )
