"""What axe finds on a page: the serious and critical violations, less the exceptions by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SERIOUS = ("serious", "critical")
# A style sheet beside a page from file:// cannot be read again: axe would wait for it in vain.
OPTIONS = {"resultTypes": ["violations"], "preload": False}


def violations(
    page: Page, within: str = "body", exceptions: Mapping[tuple[str, str], str] | None = None
) -> list[str]:
    """List the serious and critical violations inside some elements.

    Parameters
    ----------
    page
        The page as it stands.
    within
        A CSS selector of what is looked at; there must be such an element.
    exceptions
        For a rule and a selector, why a violation there is not ours to mend. An exception that
        nothing needs any more is listed too, so that the list stays true.

    Returns
    -------
    list of str
        The rule, the element and axe's own words, for each.
    """
    exceptions = exceptions or {}
    # Half a megabyte of script: a page that has it already is asked at once.
    axe = Axe("null") if page.evaluate("() => Boolean(window.axe)") else Axe()
    result = axe.run(page, context={"include": [[within]]}, options=OPTIONS)
    unused = dict(exceptions)
    found = []
    for violation in result.response["violations"]:
        if violation["impact"] not in SERIOUS:
            continue
        for node in violation["nodes"]:
            excused = [key for key in exceptions if _excuses(page, key, violation["id"], node)]
            for key in excused:
                unused.pop(key, None)
            if not excused:
                where, why = " ".join(map(str, node["target"])), node["failureSummary"]
                found.append(f"{violation['id']}: {where}\n{node['html'][:200]}\n{why}")
    return found + [f"an exception that nothing needs: {key}" for key in unused]


def _excuses(page: Page, key: tuple[str, str], rule: str, node: dict[str, Any]) -> bool:
    named, selector = key
    return named == rule and page.locator(str(node["target"][0])).first.evaluate(
        "(element, selector) => Boolean(element.closest(selector))", selector
    )
