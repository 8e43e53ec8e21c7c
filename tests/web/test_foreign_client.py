"""Clients that know nothing of us work: xterm.js with its own attach addon, both unchanged, at `terminal.v1.raw`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.emulator import Emulator

if TYPE_CHECKING:
    from support.browser import Browser, Tab
    from support.pages import Pages
    from support.shared import SharedService

SHELL = ["bash", "--norc", "--noprofile"]
ENVIRONMENT = {"LANG": "C.UTF-8", "PS1": "$ "}
COLOURS = r"printf 'one \033[1;31mred\033[0m \033[4;38;5;208morange\033[0m \033[38;2;10;200;30;44mtrue\033[0m end\n'"
FLOOD_LINES = 20_000


async def attach(browser: Browser, pages: Pages, service: SharedService) -> tuple[Tab, Emulator]:
    """Open a shell in the other site's page."""
    session = await service.create_session(command=SHELL, rows=24, cols=80, env=ENVIRONMENT)
    socket = f"{service.base_url.replace('http', 'ws', 1)}/ws/terminal/{session['session_id']}"
    tab = await browser.open(f"{pages.origin}/attach.html?socket={socket}")
    terminal = Emulator(tab.page.locator("#terminal"), "() => terminal")
    await terminal.until(r"\$ $")
    return tab, terminal


async def test_typing_is_echoed_and_colours_arrive(browser: Browser, pages: Pages, service: SharedService) -> None:
    tab, terminal = await attach(browser, pages, service)
    await tab.page.keyboard.type(COLOURS)
    await tab.page.keyboard.press("Enter")
    await terminal.until("^one red orange true end$")
    await tab.shoot("colours")
    cells = await terminal.cells("one red orange true end")
    assert [
        (cells[at].chars, cells[at].foreground, cells[at].background, sorted(cells[at].style)) for at in (0, 4, 8, 15)
    ] == [
        ("o", None, None, []),
        ("r", 1, None, ["bold"]),
        ("o", 208, None, ["underline"]),
        ("t", "#0ac81e", 4, []),
    ]


async def test_text_of_many_scripts_passes_both_ways(browser: Browser, pages: Pages, service: SharedService) -> None:
    tab, terminal = await attach(browser, pages, service)
    text = "grüße 終端機 шелл e\u0301 \U0001f600 نص"
    await tab.page.keyboard.insert_text(f"echo '<{text}>'")
    await tab.page.keyboard.press("Enter")
    await terminal.until("^<grüße")
    await tab.shoot("scripts")
    cells = await terminal.cells("<grüße 終端機")
    assert "".join(cell.chars or " " * cell.width for cell in cells).startswith(f"<{text}>")
    assert [cell.width for cell in cells[7:13]] == [2, 0, 2, 0, 2, 0]


async def test_a_mouse_report_passes_as_bytes(browser: Browser, pages: Pages, service: SharedService) -> None:
    # X10 coordinates beyond 127 are no UTF-8: xterm.js sends them in a binary frame.
    tab, terminal = await attach(browser, pages, service)
    await tab.page.keyboard.type(r"printf '\033[?1000h'; stty raw -echo; head -c 6 | od -An -tx1; stty sane")
    await terminal.until("stty sane$")
    await terminal.ask("terminal => terminal.resize(120, 24)")
    await tab.page.keyboard.press("Enter")
    await terminal.ask(
        """terminal => new Promise((done) => {
             const until = () => terminal.modes.mouseTrackingMode === "none" ? setTimeout(until, 10) : done();
             until();
           })"""
    )
    box = await tab.page.locator(".xterm-screen").bounding_box()
    assert box is not None
    column = box["width"] / 120
    await tab.page.mouse.move(box["x"] + 109.5 * column, box["y"] + 5)
    await tab.page.mouse.down()
    # Button 0 at column 110 (0x8e is 142 = 110 + 32) of the first line.
    await terminal.until("1b 5b 4d 20 8e 21")


async def test_a_flood_arrives_whole(browser: Browser, pages: Pages, service: SharedService) -> None:
    tab, terminal = await attach(browser, pages, service)
    await terminal.ask(f"terminal => {{ terminal.options.scrollback = {2 * FLOOD_LINES}; }}")
    await tab.page.keyboard.type(f"seq -f 'line %g' {FLOOD_LINES}")
    await tab.page.keyboard.press("Enter")
    await terminal.until(rf"^line {FLOOD_LINES}\n\$ $")
    text = await terminal.text()
    assert text.splitlines()[1:-1] == [f"line {number}" for number in range(1, FLOOD_LINES + 1)]
