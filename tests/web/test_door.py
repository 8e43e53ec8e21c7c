"""How pages get at the element and at terminals where keys are asked for; and how much they load for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import Error

from support.element import Element
from support.pages import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.browser import Browser
    from support.pages import Pages
    from support.shared import SharedService

KEY = "ann-has-a-key-of-her-own"
SETTINGS = {"API_KEYS": f"ann:{KEY}"}
HEADERS = {"X-API-Key": KEY}

BUDGET_BYTES = 250 * 1000
"""What a page transfers, at most, before it shows a terminal: the element with everything it imports at once."""

EMBED = """async ([service, key]) => {
  await import(`${service}/embed/terminal-session.js`);
  const ask = async (path, body) => {
    const headers = { "X-API-Key": key, "Content-Type": "application/json" };
    const answer = await fetch(service + path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    return await answer.json();
  };
  const { session_id: session } = await ask("/api/v1/sessions", { command: ["cat"] });
  const element = document.createElement("terminal-session");
  element.setAttribute("src", service);
  element.setAttribute("session", session);
  element.ticket = async () => (await ask(`/api/v1/sessions/${session}/tickets`, { role: "writer" })).ticket;
  element.style.height = "24rem";
  document.body.append(element);
}"""
ATTACH = """([service, session, ticket]) => new Promise((done) => {
  const socket = new WebSocket(`${service.replace("http", "ws")}/ws/terminal/${session}?ticket=${ticket}`);
  socket.onmessage = (event) => done(JSON.parse(event.data).type);
  socket.onclose = (event) => done(event.code);
})"""


@pytest.fixture
def stranger(pages: Pages) -> Iterator[Pages]:
    """Serve a site of an origin that the service does not allow."""
    with serving(pages.files) as strange:
        yield strange


async def ticket_for(service: SharedService, session: str) -> str:
    answer = await service.http.post(f"/api/v1/sessions/{session}/tickets", json={})
    return str(answer.json()["ticket"])


async def test_a_page_of_an_allowed_origin_embeds_a_terminal_and_attaches_again_and_again(
    browser: Browser, service: SharedService, pages: Pages, bundle: Path
) -> None:
    del bundle  # it is built
    tab = await browser.open(f"{pages.origin}/elsewhere.html")
    await tab.page.evaluate(EMBED, [service.base_url, KEY])
    terminal = Element(tab.page.locator("terminal-session"))
    await terminal.until_state("open")
    await terminal.enter("typed from afar")
    await terminal.until("typed from afar\ntyped from afar")
    await tab.shoot("embedded")
    for _ in range(3):
        await terminal.element.evaluate("element => element.reconnect()")
        await terminal.until_state("open")
    await terminal.enter("and again")
    await terminal.until("and again\nand again")


async def test_a_page_of_another_origin_gets_neither_the_element_nor_a_terminal(
    browser: Browser, service: SharedService, pages: Pages, stranger: Pages
) -> None:
    session = (await service.create_session(command=["cat"]))["session_id"]
    browser.origins.add(stranger.origin)
    tab = await browser.open(f"{stranger.origin}/elsewhere.html")
    tab.watch.expect("403", "blocked by CORS policy", "net::ERR_FAILED", "WebSocket connection to")
    with pytest.raises(Error, match="Failed to fetch dynamically imported module"):
        await tab.page.evaluate(EMBED, [service.base_url, KEY])
    ticket = await ticket_for(service, session)
    assert await tab.page.evaluate(ATTACH, [service.base_url, session, ticket]) == 1006
    friend = await browser.open(f"{pages.origin}/elsewhere.html")
    assert await friend.page.evaluate(ATTACH, [service.base_url, session, ticket]) == "attached"


async def test_what_a_page_loads_for_a_terminal_is_within_its_budget(service: SharedService, bundle: Path) -> None:
    del bundle
    left, sizes = ["terminal-session.js"], dict[str, int]()
    while left:
        name = left.pop()
        if name in sizes:
            continue
        answer = await service.http.get(f"/embed/{name}", headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        sizes[name] = int(answer.headers["content-length"])
        left += imported(answer.text)
    assert sum(sizes.values()) <= BUDGET_BYTES, sizes


def imported(script: str) -> list[str]:
    """Return the files a built module imports at once; what it imports when it is needed stands in `import(…)`."""
    found: list[Any] = re.findall(r"""(?:\bfrom|\bimport)\s*["']\./([^"']+)["']""", script)
    return found


def test_imports_are_found_as_bundlers_write_them() -> None:
    script = (
        """import{a as b}from"./one.js";import "./two.js";export * from './three.js';import("./later.js");("./text")"""
    )
    assert imported(script) == ["one.js", "two.js", "three.js"]
