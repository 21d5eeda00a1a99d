"""Chromium for the browser tests and for the bench: found, started, watched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    # Whatever a page asks of another host fails, on a machine with a network as on one without:
    # the tests see the same everywhere.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
# Addresses that name no host: nothing leaves the machine.
LOCAL_SCHEMES = ("file", "data", "blob", "about", "chrome")


def executable() -> str | None:
    """Find Chromium, or None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running() -> Iterator[Browser]:
    """Start Chromium with an empty profile; it is closed at the end.

    Raises
    ------
    FileNotFoundError
        If no Chromium is found.
    """
    path = executable()
    if path is None:
        raise FileNotFoundError(f"No Chromium found: looked for {', '.join(NAMES)} on the PATH.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Log:
    """What the pages of a browser context asked for, and what they complained about.

    Attributes
    ----------
    requests
        Every address asked for, WebSockets included.
    failed
        Those that were not answered.
    errors
        Console errors and uncaught exceptions.
    """

    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def foreign(self, own: str = "") -> list[str]:
        """List the requests to another host than `own` (``"127.0.0.1:8888"``)."""
        return [
            address
            for address in self.requests
            if urlsplit(address).scheme not in LOCAL_SCHEMES and urlsplit(address).netloc != own
        ]


def watch(context: BrowserContext) -> Log:
    """Log what the pages of a context do from now on."""
    log = Log()

    def console(message: ConsoleMessage) -> None:
        if message.type == "error":
            log.errors.append(f"console: {message.text}")

    def page_opened(page: Page) -> None:
        page.on("websocket", lambda socket: log.requests.append(socket.url))

    context.on("page", page_opened)
    context.on("request", lambda request: log.requests.append(request.url))
    # A page that is left cancels what it still loads; that is no fault of the page.
    context.on(
        "requestfailed",
        lambda request: request.failure != "net::ERR_ABORTED" and log.failed.append(request.url),
    )
    context.on("console", console)
    context.on("weberror", lambda error: log.errors.append(f"exception: {error.error}"))
    return log


@dataclass(frozen=True)
class Visit:
    """A page of its own browser context, and the log of what it asked for and complained about."""

    page: Page
    log: Log


Open = Callable[..., Visit]


@contextmanager
def pages(browser: Browser) -> Iterator[Open]:
    """Give a function that opens pages in contexts of their own, which are closed at the end.

    The function takes an address or a file, and the options of Playwright's `new_context`, such as
    ``color_scheme="dark"``.
    """
    contexts = []

    def open_page(address: str | Path | None = None, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        log = watch(context)
        page = context.new_page()
        if address is not None:
            page.goto(address.as_uri() if isinstance(address, Path) else address)
        return Visit(page, log)

    try:
        yield open_page
    finally:
        for context in contexts:
            context.close()
