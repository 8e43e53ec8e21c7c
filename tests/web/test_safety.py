"""What a terminal may not do to who looks at it, by pastes, clipboards, links and titles; what a viewer may not do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from support import recorder
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
