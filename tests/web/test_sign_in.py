"""A service that wants a key: the console asks for it, keeps it in the tab alone, and shows terminals by tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.console import Console, Opens

KEY = "ann-has-a-key-of-her-own"
SETTINGS = {"API_KEYS": f"ann:{KEY},bob:bob-has-another-key"}
HEADERS = {"X-API-Key": KEY}
REFUSED = ("answered 401: ", "Failed to load resource: .* 401", "HTTP Authentication failed")


async def sign_in(page: Console, key: str) -> None:
    """Answer the question for a key."""
    dialog = page.page.get_by_role("dialog", name="Sign in")
    await dialog.get_by_label("API key").fill(key)
    await dialog.get_by_role("button", name="Sign in").click()


async def test_a_key_is_asked_for_kept_in_the_tab_and_never_in_an_address(console: Opens) -> None:
    page = await console()
    page.tab.watch.expect(*REFUSED)
    dialog = page.page.get_by_role("dialog", name="Sign in")
    await dialog.wait_for()
    await page.is_accessible("asked")
    await sign_in(page, "wrong")
    await dialog.get_by_role("alert").wait_for()
    await page.is_accessible("wrong")
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.page.on("websocket", lambda socket: asked.append(socket.url))
    await sign_in(page, KEY)
    await dialog.wait_for(state="hidden")
    await page.button("Start a terminal").click()
    (terminal,) = await page.until_panes(1)
    await terminal.enter("echo I am in: $((40 + 2))")
    await terminal.until("^I am in: 42$")
    await page.page.reload()
    (terminal,) = await page.until_panes(1)
    await terminal.until("^I am in: 42$")
    await page.tab.shoot("signed-in")
    assert asked
    assert not [url for url in asked if KEY in url]
    assert await page.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    other = await console()  # a tab of another context knows nothing
    other.tab.watch.expect(*REFUSED)
    await other.page.get_by_role("dialog", name="Sign in").wait_for()


async def test_who_signs_out_is_asked_again(console: Opens) -> None:
    page = await console()
    page.tab.watch.expect(*REFUSED)
    await sign_in(page, KEY)
    await page.button("Start a terminal").click()
    await page.until_panes(1)
    await page.do("sign out")
    await page.page.get_by_role("dialog", name="Sign in").wait_for()
    assert KEY not in await page.page.evaluate("JSON.stringify(sessionStorage)")
    await page.tab.shoot("signed-out")
