"""Nothing of the element and the console hinders anybody: axe objects to nothing, in every state, dark and light."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from support.axe import objections
from support.chaos import ChaosProxy
from support.lines import LOST, address, proxy
from support.site import PROMPT
from support.weather import CALM, Plan

if TYPE_CHECKING:
    from support.browser import Tab
    from support.console import Console, Opens
    from support.element import Element
    from support.shared import SharedService
    from support.site import Site

SCHEMES = pytest.mark.parametrize("scheme", ["dark", "light"])
MANY = "printf '\\033[1;31mred \\033[32mgreen \\033[34mblue \\033[35mmagenta \\033[36mcyan\\033[0m plain\\n'"


async def is_accessible(tab: Tab, moment: str) -> None:
    """Take a picture, and fail for anything that axe finds."""
    await tab.shoot(moment)
    found = await objections(tab.page)
    assert not found, f"{moment}: " + "\n".join(found)


async def paste(tab: Tab, terminal: Element, text: str) -> None:
    """Have a text pasted."""
    await terminal.focus()
    await terminal.element.evaluate("(element, text) => { element.paste(text); }", text)
    await tab.page.get_by_role("dialog").wait_for()


@SCHEMES
async def test_a_terminal_in_every_state(site: Site, scheme: str) -> None:
    session = await site.session()
    async with proxy(site) as line:
        port = line.port
        tab, (terminal,) = await site.embed(
            {"session": session, "src": address(line), "theme": scheme}, color_scheme=scheme
        )
        tab.watch.expect(*LOST)
        await terminal.until(PROMPT)
        await terminal.enter(MANY)
        await terminal.until("^red green")
        await is_accessible(tab, f"connected-{scheme}")
        await paste(tab, terminal, "one\ntwo\n")
        await is_accessible(tab, f"paste-{scheme}")
        await tab.page.keyboard.press("Escape")
        await terminal.press("Control+Shift+F")
        await tab.page.get_by_role("search").wait_for()
        await tab.page.keyboard.type("red")
        await is_accessible(tab, f"find-{scheme}")
        await tab.page.keyboard.press("Escape")
        await terminal.enter(f"printf '\\033]52;c;{base64.b64encode(b'text').decode()}\\a'")
        question = tab.page.get_by_role("alertdialog", name="Clipboard")
        await question.wait_for()
        await is_accessible(tab, f"clipboard-{scheme}")
        await question.get_by_role("button", name="Never").click()
    await terminal.until_state("waiting")
    await terminal.type("typed while nobody listens")
    await is_accessible(tab, f"lost-{scheme}")
    async with ChaosProxy(site.service.address, Plan(seed=1, storm=CALM), listen=("127.0.0.1", port)):
        await terminal.element.evaluate("element => element.reconnect()")
        await terminal.until_state("open")
        await site.service.delete(session)
        await terminal.until_state("ended")
        await is_accessible(tab, f"ended-{scheme}")


@SCHEMES
async def test_terminals_that_only_show_or_never_come(site: Site, scheme: str) -> None:
    session = await site.session(rows=10, cols=40, size_policy="fixed")
    attributes = {"session": session, "theme": scheme}
    tab, (viewer, small) = await site.embed({**attributes, "access": "viewer"}, attributes, color_scheme=scheme)
    await small.until(PROMPT)
    await viewer.until(PROMPT)
    await is_accessible(tab, f"read-only-and-letterboxed-{scheme}")
    unknown = await site.browser.open(
        site.address({"session": "no-such-session", "theme": scheme}), color_scheme=scheme
    )
    (refused,) = site.elements(unknown, 1)
    await refused.until_state("refused")
    await is_accessible(unknown, f"refused-{scheme}")


@SCHEMES
async def test_a_terminal_for_screen_readers(site: Site, scheme: str) -> None:
    attributes = {"session": await site.session(), "screen-reader": "", "theme": scheme}
    tab, (terminal,) = await site.embed(attributes, color_scheme=scheme)
    await terminal.until(PROMPT)
    await terminal.enter("echo what is $((40 + 2))")
    await terminal.until("^what is 42$")
    said = tab.page.locator(".live-region, [aria-live=assertive]").filter(has_text="what is 42")
    await said.wait_for(state="attached")
    await is_accessible(tab, f"screen-reader-{scheme}")


@SCHEMES
async def test_the_dialogs_and_menus_of_the_console(console: Opens, service: SharedService, scheme: str) -> None:
    view = await service.create_session(name="the build", labels={"team": "web"})
    page = await console("/sessions", color_scheme=scheme)
    row = page.page.get_by_role("row", name="running the build")
    await row.wait_for()
    await row.focus()
    await page.press(" ")
    await page.page.get_by_text(view["session_id"]).first.wait_for()
    await page.is_accessible(f"details-{scheme}")
    await page.press(".")
    menu = page.page.get_by_role("menu")
    await menu.wait_for()
    await page.is_accessible(f"menu-{scheme}")
    await menu.get_by_role("menuitem", name="Change…").click()
    await _dialog(page, f"change-{scheme}")
    await row.focus()
    await page.press("F2")
    await page.page.get_by_role("textbox", name="Name").wait_for()
    await page.is_accessible(f"rename-{scheme}")
    await page.press("Escape")
    await row.focus()
    await page.press("Delete")
    await _dialog(page, f"end-{scheme}")
    await page.button("New session with options").click()
    dialog = page.page.get_by_role("dialog", name="New session")
    await dialog.wait_for()
    await dialog.get_by_text("Advanced").click()
    await _dialog(page, f"create-{scheme}")


async def _dialog(page: Console, moment: str) -> None:
    """Look at the dialog that is open, and leave it."""
    dialog = page.page.get_by_role("dialog")
    await dialog.wait_for()
    await page.is_accessible(moment)
    await page.press("Escape")
    await dialog.wait_for(state="hidden")
