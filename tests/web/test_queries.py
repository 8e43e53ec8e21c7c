"""Programs' questions: what is asked in old output is answered by nobody, what is asked now by exactly one viewer."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import recorder
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.element import Element
    from support.site import Site

RECORDER = Path(recorder.__file__)
VIEWERS = 5
MARK = b"<mark>"
ATTACH_ANEW = """() => {
  for (const old of document.querySelectorAll("terminal-session")) {
    const attributes = { session: old.getAttribute("session") };
    old.remove();
    window.add(attributes);
  }
}"""
QUESTIONS = {
    b"\x1b[c": rb"\x1b\[\?[\d;]+c",
    b"\x1b[>c": rb"\x1b\[>[\d;]+c",
    b"\x1b[5n": rb"\x1b\[0n",
    b"\x1b[6n": rb"\x1b\[\d+;\d+R",
    b"\x1b[?6n": rb"\x1b\[\?\d+;\d+R",
    b"\x1b[?25$p": rb"\x1b\[\?25;\d\$y",
    b"\x1b]10;?\x07": rb"\x1b\]10;rgb:[0-9a-f/]+(\x07|\x1b\\)",
    b"\x1b]11;?\x07": rb"\x1b\]11;rgb:[0-9a-f/]+(\x07|\x1b\\)",
    b"\x1b]4;1;?\x07": rb"\x1b\]4;1;rgb:[0-9a-f/]+(\x07|\x1b\\)",
    b"\x1bP$qm\x1b\\": rb"\x1bP1\$r[\d;]*m\x1b\\",
}
"""What xterm.js answers, and how."""
UNANSWERED = [b"\x1bP+q544e;436f\x1b\\", b"\x1b[18t", b"\x1b[14t", b"\x1b]52;c;?\x07", b"\x1b]50;?\x07", b"\x1b[21t"]
"""What it must not answer, or cannot."""
HISTORY = b"".join([b"old output\r\n", *QUESTIONS, *UNANSWERED, b"\x1b[?25h"]) * 20


async def hear_all(terminals: list[Element], place: Path) -> bytes:
    """Return what the program was told since the last time.

    Every viewer types a mark, which arrives behind whatever its emulator answered before.
    """
    for terminal in terminals:
        await terminal.element.evaluate("(element, mark) => element.send(mark)", MARK.decode())
    file = place / recorder.HEARD
    await wait_until(
        lambda: file.exists() and file.read_bytes().count(MARK) == len(terminals), description="what every viewer typed"
    )
    told = file.read_bytes()
    file.write_bytes(b"")  # the program appends
    return told.replace(MARK, b"")


async def ask(site: Site, session: str, place: Path, question: bytes, mark: bytes) -> None:
    """Have the program print a question now, and a mark."""
    (place / recorder.LIVE).write_bytes(question + b"\r\n" + mark + b"\r\n")
    os.kill((await site.service.info(session))["pid"], signal.SIGUSR1)


@pytest.mark.full
async def test_old_questions_are_not_answered_and_new_ones_once(
    site: Site, tmp_path: Path, size: Callable[[int, int], int]
) -> None:
    (tmp_path / recorder.HISTORY).write_bytes(HISTORY)
    session = await site.session(sys.executable, str(RECORDER), str(tmp_path))
    tab, terminals = await site.embed(*[{"session": session}] * VIEWERS)
    for number in range(size(6, 20)):  # times five viewers: a hundred attaches
        if number:
            await tab.page.evaluate(ATTACH_ANEW)
        for terminal in terminals:
            await terminal.until_state("open")
            await terminal.until("^ready$")
        assert await hear_all(terminals, tmp_path) == b"", f"attach {number}"
        if number % 2:  # questions asked between two attaches: answered then, and old to the next ones
            await ask(site, session, tmp_path, b"".join(QUESTIONS), b"ready")
            assert await hear_all(terminals, tmp_path) != b""
    await tab.shoot("five-viewers")
    for terminal in terminals:
        await terminal.until_told("viewers", lambda told: len(told["viewers"]) == VIEWERS and told["responder"])
    for number, (question, answer) in enumerate(QUESTIONS.items()):
        await ask(site, session, tmp_path, question, b"asked %d" % number)
        for terminal in terminals:
            await terminal.until(f"^asked {number}$")
        told = await hear_all(terminals, tmp_path)
        assert re.fullmatch(answer, told), f"{question!r} was answered by {told!r}"
    await ask(site, session, tmp_path, b"".join(UNANSWERED), b"silence")
    for terminal in terminals:
        await terminal.until("^silence$")
    assert await hear_all(terminals, tmp_path) == b""
