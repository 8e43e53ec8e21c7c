"""What a page in a browser complains of, asks for and does: every tab of a test has one of these listening.

A test fails on what it did not expect. Expected is what matches a pattern given to `expect`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playwright.async_api import ConsoleMessage, Page, Request, Response, WebSocket

ABORTED = "net::ERR_ABORTED"
"""A request that the page itself gave up, as it does when it is left."""
GRAVE = frozenset({"error", "warning", "assert"})
INSIDE = frozenset({"about", "blob", "data"})
"""Schemes that leave no browser."""


class Watch:
    """Listen to a page. `origins`: where it may ask for anything; `loads`: how often a document was loaded into it."""

    def __init__(self, page: Page, origins: Iterable[str]) -> None:
        self.loads = 0
        self.sockets = 0
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self._origins = {urlsplit(origin).netloc for origin in origins}
        self._expected: list[re.Pattern[str]] = []
        page.on("domcontentloaded", self._loaded)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._note(f"uncaught {error.name}: {error.message}\n{error.stack or ''}"))
        page.on("crash", lambda _: self._note("the page crashed"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", self._opened)

    def expect(self, *patterns: str) -> None:
        """Take what these regular expressions find in it for granted."""
        self._expected += [re.compile(pattern) for pattern in patterns]

    @property
    def unexpected(self) -> list[str]:
        """What the test did not expect."""
        return [each for each in self.problems if not any(known.search(each) for known in self._expected)]

    def _note(self, problem: str) -> None:
        self.problems.append(problem)

    def _loaded(self, _: Page) -> None:
        self.loads += 1

    def _said(self, message: ConsoleMessage) -> None:
        # A violation of the page's Content-Security-Policy is told as an error here.
        if message.type in GRAVE:
            place = message.location
            self._note(f"console {message.type}: {message.text} ({place['url']}:{place['lineNumber']})")

    def _failed(self, request: Request) -> None:
        if request.failure != ABORTED:
            self._note(f"failed: {request.method} {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self._note(f"answered {response.status}: {response.request.method} {response.url}")

    def _opened(self, socket: WebSocket) -> None:
        self.sockets += 1
        self._asked(socket.url)

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in INSIDE:
            return
        self.hosts.add(parts.netloc)
        if parts.netloc not in self._origins:
            self._note(f"asked another host: {url}")
