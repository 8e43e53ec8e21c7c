"""What goes wrong while the console is open: a key is wanted, the service was updated, sessions end elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Route

    from support.console import Console, Opens
    from support.shared import SharedService

KEY = "a-key-that-nobody-else-has-0123456789"
SETTINGS = {"API_KEYS": f"ann:{KEY}"}
HEADERS = {"X-API-Key": KEY}
UNAUTHENTICATED = ("401", "HTTP Authentication failed")


async def _open(console: Opens) -> Console:
    """Open a console whose visitor has no key yet."""
    page = await console()
    page.tab.watch.expect(*UNAUTHENTICATED)
    return page


async def _sign_in(page: Console, key: str) -> None:
    await page.page.get_by_label("API key", exact=True).fill(key)
    await page.press("Enter")


async def test_who_has_a_key_signs_in_when_there_is_something_to_do_and_out_again(console: Opens) -> None:
    page = await _open(console)
    dialog = page.page.get_by_role("dialog", name="Sign in")
    await _sign_in(page, "wrong")
    await dialog.get_by_text("The key is not known.").wait_for()
    await page.press("Escape")
    await dialog.wait_for(state="hidden")
    await page.button("Start a terminal").click()  # declined before, and asked again for this
    await _sign_in(page, KEY)
    await dialog.wait_for(state="hidden")
    await page.button("Start a terminal").click()
    (terminal,) = await page.until_panes(1)
    await page.until_terminal()
    await terminal.enter("echo mine $((40 + 2))")
    await terminal.until("^mine 42$")

    await page.page.reload()
    (terminal,) = await page.until_panes(1)
    await terminal.until("^mine 42$")
    await page.button("Sign out").click()
    await dialog.wait_for()
    await page.tab.shoot("signed-out")
    assert "mine" not in await page.panes.first.inner_text()


async def test_a_page_older_than_its_service_says_so_and_offers_to_reload(console: Opens) -> None:
    page = await _open(console)
    page.tab.watch.expect("404")
    await _sign_in(page, KEY)
    asked = 0

    async def gone(route: Route) -> None:
        nonlocal asked
        asked += 1
        await route.fulfill(status=404)

    lost = re.compile(r"/assets/(metrics_view|addon-search)")
    await page.page.route(lost, gone)
    await page.button("Start a terminal").click()
    (terminal,) = await page.until_panes(1)
    await page.until_terminal()
    await page.press("Control+Shift+F")
    await page.page.keyboard.type("x")
    await page.page.get_by_text("the search could not be loaded").wait_for()
    await page.press("Escape")
    await page.until_terminal()
    await page.do("metrics")
    await page.page.get_by_text("The service was updated since this page was opened.").wait_for()
    assert asked == 2  # and not with every change of the page
    await page.page.unroute(lost)
    await page.tab.shoot("outdated")
    await page.button("Reload").click()
    await page.page.get_by_role("heading", name="Metrics").wait_for()
    assert page.address.startswith("/metrics/")
    await page.do("terminals")
    await terminal.until_state("open")


async def test_what_becomes_of_sessions_elsewhere_is_seen_and_no_menu_keeps_the_keyboard(
    console: Opens, service: SharedService
) -> None:
    page = await _open(console)
    await _sign_in(page, KEY)
    await page.button("Start a terminal").click()
    (terminal,) = await page.until_panes(1)
    more = page.page.get_by_role("button", name="More for Terminal")
    await more.click()
    await page.page.get_by_role("menuitem", name="Rename…").wait_for()
    await page.press("Escape")
    await page.page.get_by_role("menuitem", name="Rename…").wait_for(state="hidden")
    assert (await page.focus())[0] == "button"

    answer = await service.http.delete(f"/api/v1/sessions/{await terminal.session()}")
    assert answer.status_code == 204
    await terminal.until_state("ended")
    await page.page.get_by_text(re.compile("^0 running ·")).wait_for()
    await page.button("New session here").click()
    await page.until_panes(1)
    await page.page.get_by_text(re.compile("^1 running ·")).wait_for()
