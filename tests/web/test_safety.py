"""What a terminal may not do to who looks at it, by pastes, clipboards, links and titles; what a viewer may not do."""

from __future__ import annotations

import base64
import os
import signal
import sys
from typing import TYPE_CHECKING

from support import recorder
from support.emulator import look_until
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.browser import Tab
    from support.element import Element
    from support.site import Site

CLIPBOARD = ["clipboard-read", "clipboard-write"]
EVIL = "harmless\x1b[201~rm -rf /\x9b201~\x00\x08\x7f\x85 end"


async def record(site: Site, place: Path, history: bytes = b"", **attributes: str) -> tuple[Tab, Element]:
    """Show a program that keeps what it is told, after it has printed something."""
    (place / recorder.HISTORY).write_bytes(history)
    session = await site.session(sys.executable, recorder.__file__, str(place))
    tab, (terminal,) = await site.embed({"session": session, **attributes}, permissions=CLIPBOARD)
    await terminal.until("^ready$")
    return tab, terminal


async def say(site: Site, terminal: Element, place: Path, data: bytes) -> None:
    """Have the program print something now; return when the terminal shows what follows it."""
    (place / recorder.LIVE).write_bytes(data + b"\r\nsaid\r\n")
    before = (await terminal.text()).count("said")
    os.kill((await site.service.info(await terminal.session()))["pid"], signal.SIGUSR1)

    async def is_shown() -> bool:
        return (await terminal.text()).count("said") > before

    await look_until(is_shown, "what the program said")


async def clipboard(tab: Tab) -> str:
    """Return what is in the clipboard."""
    return str(await tab.page.evaluate("navigator.clipboard.readText()"))


async def paste(tab: Tab, terminal: Element, text: str) -> None:
    """Paste as a user does: from the clipboard, by the keyboard."""
    await tab.page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    await terminal.focus()
    await tab.page.keyboard.press("Control+Shift+V")


async def heard(place: Path, end: bytes) -> bytes:
    """Return what the program was told, once it ends so."""
    file = place / recorder.HEARD

    def so_far() -> bytes:
        return file.read_bytes() if file.exists() else b""

    try:
        await wait_until(lambda: so_far().endswith(end), description=f"{end!r} to arrive")
    except AssertionError as error:
        error.add_note(f"heard {so_far()!r}")
        raise
    return so_far()


async def test_a_paste_loses_what_could_end_it_and_asks_if_it_has_lines(site: Site, tmp_path: Path) -> None:
    tab, terminal = await record(site, tmp_path, b"\x1b[?2004h")
    await paste(tab, terminal, EVIL)
    assert await heard(tmp_path, b"\x1b[201~") == b"\x1b[200~harmless[201~rm -rf /201~ end\x1b[201~"
    (tmp_path / recorder.HEARD).write_bytes(b"")
    await paste(tab, terminal, "one\ntwo\n")
    dialog = tab.page.get_by_role("dialog")
    await dialog.wait_for()
    await tab.shoot("question")
    await tab.page.keyboard.press("Escape")
    await dialog.wait_for(state="hidden")
    await terminal.type("nothing;")
    assert await heard(tmp_path, b";") == b"nothing;"
    await paste(tab, terminal, "one\ntwo\n")
    await dialog.get_by_role("button", name="Paste", exact=True).click()
    assert await heard(tmp_path, b"\x1b[201~") == b"nothing;\x1b[200~one\rtwo\r\x1b[201~"


async def test_a_program_writes_the_clipboard_after_a_yes_and_never_reads_it(site: Site, tmp_path: Path) -> None:
    old = b"\x1b]52;c;" + base64.b64encode(b"old") + b"\x07"
    tab, terminal = await record(site, tmp_path, old + b"\x1b]52;c;?\x07")
    await terminal.focus()
    await tab.page.evaluate("navigator.clipboard.writeText('mine')")
    question = tab.page.get_by_role("alertdialog", name="Clipboard")
    await say(site, terminal, tmp_path, b"\x1b]52;c;?\x07")
    assert await question.count() == 0  # neither for what is old nor for a read
    await say(site, terminal, tmp_path, b"\x1b]52;c;" + base64.b64encode("evil ü".encode()) + b"\x07")
    await question.wait_for()
    await tab.shoot("question")
    assert await clipboard(tab) == "mine"
    await question.get_by_role("button", name="Allow once").click()
    await question.wait_for(state="hidden")
    await look_until(lambda: wrote(tab, "evil ü"), "the program's text in the clipboard")
    await say(site, terminal, tmp_path, b"\x1b]52;c;" + base64.b64encode(b"again") + b"\x07")
    await question.get_by_role("button", name="Never").click()
    await say(site, terminal, tmp_path, b"\x1b]52;c;" + base64.b64encode(b"and again") + b"\x07")
    assert await question.count() == 0
    assert await clipboard(tab) == "evil ü"
    await terminal.type(".")
    assert await heard(tmp_path, b".") == b"."


async def wrote(tab: Tab, text: str) -> bool:
    return await clipboard(tab) == text


LINKS = {
    "web": "https://example.test/page",
    "mail": "mailto:ann@example.test",
    "script": "javascript:alert(document.domain)",
    "data": "data:text/html,<script>alert(1)</script>",
    "file": "file:///etc/passwd",
    "blob": "blob:null/1",
    "ssh": "ssh://example.test/",
}
OPENED = {"web", "mail"}


async def test_links_of_programs_lead_to_the_web_and_mail_only(site: Site, tmp_path: Path) -> None:
    text = "\r\n".join(f"\x1b]8;;{uri}\x1b\\{name} link\x1b]8;;\x1b\\" for name, uri in LINKS.items())
    tab, terminal = await record(site, tmp_path, text.encode())
    await tab.page.evaluate(
        "() => { window.opened = []; window.open = (...words) => { window.opened.push(words); return null; }; }"
    )
    told = []
    for row, (name, uri) in enumerate(LINKS.items()):
        await point_at(tab, terminal, row, 2)
        tip = tab.page.get_by_role("tooltip")
        await tip.wait_for()
        told.append(await tip.inner_text())
        assert uri in told[-1]
        assert ("is not opened" in told[-1]) is (name not in OPENED)
        await tab.shoot(f"tip-{name}")
        await tab.page.mouse.down()
        await tab.page.mouse.up()
        await tab.page.keyboard.down("Control")
        await tab.page.mouse.down()
        await tab.page.mouse.up()
        await tab.page.keyboard.up("Control")
        await tab.page.mouse.move(1, 1)
        await tip.wait_for(state="hidden")
    assert await tab.page.evaluate("window.opened") == [
        [LINKS[name], "_blank", "noopener,noreferrer"] for name in LINKS if name in OPENED
    ]
    assert tab.watch.loads == 1


async def test_a_link_that_says_another_address_asks_first(site: Site, tmp_path: Path) -> None:
    link = b"\x1b]8;;https://evil.test/\x1b\\https://bank.com/login\x1b]8;;\x1b\\"
    tab, terminal = await record(site, tmp_path, link)
    await tab.page.evaluate("() => { window.opened = []; window.open = (url) => { window.opened.push(url); }; }")
    await point_at(tab, terminal, 0, 4)
    await tab.page.get_by_role("tooltip").get_by_text("leads to evil.test").wait_for()
    await tab.page.keyboard.down("Control")
    await tab.page.mouse.down()
    await tab.page.mouse.up()
    await tab.page.keyboard.up("Control")
    dialog = tab.page.get_by_role("dialog")
    await dialog.wait_for()
    await tab.shoot("question")
    assert "https://evil.test/" in await dialog.inner_text()
    await tab.page.keyboard.press("Enter")  # the first choice is the safe one
    await dialog.wait_for(state="hidden")
    assert await tab.page.evaluate("window.opened") == []


async def point_at(tab: Tab, terminal: Element, row: int, column: int) -> None:
    """Move the pointer onto a cell of the screen."""
    rows, cols = (await terminal.screen()).size
    box = await terminal.element.locator(".xterm-screen").bounding_box()
    assert box is not None
    x = box["x"] + (column + 0.5) * box["width"] / cols
    await tab.page.mouse.move(x, box["y"] + (row + 0.5) * box["height"] / rows)


async def test_a_title_is_one_line_and_hides_nothing(site: Site, tmp_path: Path) -> None:
    title = "good\u202e evil\u200b \u2066<b>bold</b>\u2069\x08 " + "long " * 200
    tab, terminal = await record(site, tmp_path)
    before = await tab.page.title()
    await say(site, terminal, tmp_path, f"\x1b]2;{title}\x07".encode())
    told = (await terminal.until_told("title"))["title"]
    assert told.startswith("good evil <b>bold</b> long long")
    assert len(told) <= 256
    assert told.isprintable()
    assert await terminal.element.locator("b").count() == 0
    assert await tab.page.title() == before
    await tab.shoot("title")
    assert await say_and_hear(site, terminal, tmp_path, b"\x1b[21t\x1b[20t\x1b[14t\x1b[18t\x1b[3;0;0t") == b"."


async def say_and_hear(site: Site, terminal: Element, place: Path, data: bytes) -> bytes:
    """Return what the program is told when it says something, up to a period that is typed behind."""
    await say(site, terminal, place, data)
    await terminal.type(".")
    return await heard(place, b".")


async def test_who_only_looks_sends_nothing(site: Site, tmp_path: Path) -> None:
    modes = b"\x1b[?1000h\x1b[?1004h\x1b[?2004h"
    tab, viewer = await record(site, tmp_path, modes, access="viewer")
    _, (writer,) = await site.embed({"session": await viewer.session()})
    await viewer.type("typed by who only looks")
    await paste(tab, viewer, "pasted")
    await tab.page.mouse.click(100, 100)
    await viewer.element.evaluate(
        "element => { element.send('sent'); element.paste('pasted'); element.key('Escape'); }"
    )
    await say(site, viewer, tmp_path, b"\x1b[c\x1b[6n\x1b]11;?\x07")
    await viewer.element.get_by_text("read only").wait_for()
    await tab.shoot("read-only")
    await writer.element.evaluate("element => element.send('<end>')")
    told = await heard(tmp_path, b"<end>")
    assert b"typed" not in told
    assert b"pasted" not in told
    assert b"sent" not in told
    assert told.count(b"\x1b[?") == 1  # the writer's answers
    assert told.count(b"\x1b[M") == 0
