"""Another site that embeds terminals of the service: `tests/web/pages/embed.html` in a real browser."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from support.element import Element

if TYPE_CHECKING:
    from support.browser import Browser, Tab
    from support.pages import Pages
    from support.service import Service

SHELL = ["bash", "--norc", "--noprofile"]
ENVIRONMENT = {"LANG": "C.UTF-8", "PS1": "$ ", "TERM": "xterm-256color"}
PROMPT = r"\$ $"


def program(name: str) -> str:
    """Return the path of a program; skip the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Site:
    """The pages of another site, whose origin the service allows."""

    def __init__(self, browser: Browser, service: Service, pages: Pages) -> None:
        self.browser = browser
        self.service = service
        self._origin = pages.origin

    @property
    def elsewhere(self) -> str:
        """The address of a page of this site that has nothing to do with terminals."""
        return f"{self._origin}/elsewhere.html"

    def address(self, *terminals: dict[str, str]) -> str:
        """Return the address of a page that shows terminals, given by their attributes."""
        fields = [("service", self.service.base_url), *(("terminal", json.dumps(each)) for each in terminals)]
        return f"{self._origin}/embed.html?{urlencode(fields)}"

    async def embed(self, *terminals: dict[str, str], **options: Any) -> tuple[Tab, list[Element]]:
        """Show terminals in a new page; return when all are attached. `options` are the browser context's."""
        tab = await self.browser.open(self.address(*terminals), **options)
        elements = self.elements(tab, len(terminals))
        for element in elements:
            await element.until_state("open")
        return tab, elements

    def elements(self, tab: Tab, count: int) -> list[Element]:
        """Return the first elements of a page."""
        found = tab.page.locator("terminal-session")
        return [Element(found.nth(number)) for number in range(count)]

    async def session(self, *command: str, **fields: Any) -> str:
        """Create a session that runs a command, or a shell; return its id."""
        wanted = {"command": command or SHELL, **fields, "env": ENVIRONMENT | fields.get("env", {})}
        return str((await self.service.create_session(**wanted))["session_id"])

    async def shell(self, **attributes: str) -> tuple[Tab, Element]:
        """Show a new shell in a new page; return when it has prompted."""
        tab, (terminal,) = await self.embed({"session": await self.session(), **attributes})
        await terminal.until(PROMPT)
        return tab, terminal
