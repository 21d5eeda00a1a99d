"""An explorer on a page, moved and read as a reader does: alike in JupyterLab, book and deck."""

from __future__ import annotations

import re
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect

TABS = 400


@dataclass(frozen=True)
class Seen:
    """What an explorer shows.

    Attributes
    ----------
    readout
        The sentence below the figure.
    figure
        A screenshot of the figure itself.
    source
        The address of its picture; empty where it has none.
    """

    readout: str
    figure: bytes
    source: str


class Card:
    """One explorer of a page.

    Parameters
    ----------
    page
        The page.
    name
        The explorer's own name.
    """

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.root: Locator = page.locator(f'.ob-card[data-name="{name}"]')
        self.readout = self.root.locator(".ob-readout")
        self.figure = self.root.locator(".ob-body")

    def control(self, parameter: str) -> Locator:
        """Give the slider of a parameter."""
        return self.root.locator(f'.ob-control[data-parameter="{parameter}"] input[type="range"]')

    def value(self, parameter: str) -> Locator:
        """Give the text that says where a slider stands."""
        return self.root.locator(f'.ob-control[data-parameter="{parameter}"] .ob-value')

    def button(self, name: str) -> Locator:
        """Give a button by what stands on it, or by its name for those who do not see it."""
        return self.root.get_by_role("button", name=name)

    def choose(self, parameter: str, text: str) -> None:
        """Click the choice of a parameter whose text begins so."""
        control = self.root.locator(f'.ob-control[data-parameter="{parameter}"]')
        control.locator("label", has_text=re.compile(f"^{text}")).click()

    def settled(self) -> Card:
        """Wait until the picture in view is that of the state asked for, and is drawn."""
        handle = self.root.element_handle(timeout=30_000)
        self.page.wait_for_function(
            """(card) => {
              if (card.dataset.kind !== "explore") return true;
              const picture = card.querySelector(".ob-picture img");
              return card.dataset.shown !== undefined && card.dataset.shown === card.dataset.state
                && picture?.complete && picture.naturalWidth > 0;
            }""",
            arg=handle,
        )
        return self

    def seen(self) -> Seen:
        """Look at the explorer, once it has settled."""
        self.settled()
        picture = self.root.locator(".ob-picture img")
        return Seen(
            readout=self.readout.inner_text(),
            figure=self.figure.screenshot(),
            source=(picture.get_attribute("src") or "") if picture.count() else "",
        )

    def press(self, key: str) -> Card:
        """Press a key and wait for what it changes to be in view."""
        before = self.readout.inner_text()
        self.page.keyboard.press(key)
        expect(self.readout).not_to_have_text(before)
        return self.settled()


def tab_to(target: Locator) -> None:
    """Press Tab until the target has the focus, opening what is folded around it on the way."""
    page, wanted = target.page, target.element_handle()
    for _ in range(TABS):
        at = page.evaluate(
            """(wanted) => {
              const at = document.activeElement;
              if (at === wanted) return "there";
              const folded = at.tagName === "SUMMARY" && at.parentElement.contains(wanted);
              return folded && !at.parentElement.open ? "folded" : "elsewhere";
            }""",
            wanted,
        )
        if at == "there":
            return
        if at == "folded":
            page.keyboard.press("Enter")
        page.keyboard.press("Tab")
    raise AssertionError(f"{TABS} presses of Tab did not reach {target}")


def answers_a_key(card: Card) -> bool:
    """Move the first control of an explorer from the keyboard; say whether anything changed."""
    card.root.scroll_into_view_if_needed()
    control = card.root.locator(
        "input:not([disabled]), [role=application], td[tabindex='0'], button"
    ).first
    before = (card.settled().readout.inner_text(), card.figure.inner_html())
    control.focus()
    for key in ("ArrowRight", "ArrowLeft", "ArrowDown", "Enter"):
        card.page.keyboard.press(key)
        card.page.wait_for_timeout(60)
        if (card.settled().readout.inner_text(), card.figure.inner_html()) != before:
            return True
    return False
