"""Whatever happens between a page and the service, the terminal goes on: no reload, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support import recorder
from support.chaos import ChaosProxy
from support.emulator import look_until
from support.lines import LOST, address, cut, proxy
from support.site import PROMPT, program
from support.wait import wait_until
from support.weather import CALM, End, Fate, Plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.element import Element
    from support.site import Site

QUIET_SECONDS = 0.3
NUMBERS = (
    "n=0; while :; do n=$((n + 1)); printf '\\033[3%dmline %d \\033[1m— 終 ü\\033[0m\\n' $((n % 8)) $n; "
    "sleep 0.02; done"
)
LINES_A_SECOND = 50  # and no more: a line takes its sleep and something
"""A program that counts."""


def heard(place: Path) -> bytes:
    """Return what the recorder was told."""
    return (place / recorder.HEARD).read_bytes()


async def looks_settled(terminal: Element) -> Any:
    """Return how a program's screen looks when it has drawn it."""
    last = None

    async def is_same() -> bool:
        nonlocal last
        before = last
        await asyncio.sleep(QUIET_SECONDS)
        last = await terminal.look()
        return bool(last == before)

    await look_until(is_same, "the screen to stay as it is")
    return last


async def looks_like(terminal: Element, expected: Any, when: str) -> None:
    """Wait until a screen looks so."""

    async def is_same() -> bool:
        return bool(await terminal.look() == expected)

    try:
        await look_until(is_same, f"the screen as it was: {when}", seconds=15)
    except AssertionError as error:
        seen = await terminal.look()
        for row, (is_, was) in enumerate(zip(seen.pop("cells"), expected["cells"], strict=False)):
            if is_ != was:
                error.add_note(f"row {row} is\n{is_}\nand was\n{was}")
        error.add_note(f"{seen}\n{ {**expected, 'cells': ...} }")
        raise


async def has_lines(terminal: Element, count: int, *, seconds: float) -> None:
    """Wait for so many lines of the program that counts."""

    async def are_there() -> bool:
        return (await terminal.text()).count("line ") >= count

    await look_until(are_there, f"{count} lines", seconds=seconds)


@pytest.mark.full
async def test_a_terminal_cut_a_hundred_times_is_the_twin_of_one_never_cut(
    site: Site, size: Callable[[int, int], int]
) -> None:
    session = await site.session("sh", "-c", f"{NUMBERS} & read stop; kill $!; wait; echo the end", size_policy="fixed")
    async with proxy(site) as line:
        fields = {"session": session, "scrollback": "100000"}
        tab, (dropped, twin) = await site.embed({**fields, "src": address(line)}, fields)
        tab.watch.expect(*LOST)
        for number in range(size(40, 100)):
            await cut(line, dropped, (End.RST, End.FIN)[number % 2])
        assert line.statistics.cuts >= size(40, 100)
        await tab.shoot("after-the-last-cut")
        await twin.enter("")
        for terminal in (dropped, twin):
            await terminal.until("^the end$")
        assert (await dropped.text()).splitlines() == (await twin.text()).splitlines()
        assert await dropped.serialize() == await twin.serialize()
        assert "line 1 — 終 ü" in (await dropped.text()).splitlines()
        assert await dropped.told("gap") == []
        assert tab.watch.loads == 1


@pytest.mark.full
async def test_vim_looks_the_same_after_every_reload(
    site: Site, tmp_path: Path, size: Callable[[int, int], int]
) -> None:
    text = "".join(f"def function_{number}(value):  # 終端機 {number}\n    return {number}\n" for number in range(300))
    (tmp_path / "text.py").write_text(text)
    tab, terminal = await site.shell()
    await terminal.enter(f"cd {tmp_path}; {program('vim')} --clean -n -i NONE '+syntax on' '+set number' text.py")
    await terminal.until("def function_0")
    await terminal.type("120G:split\n20Gvjj")
    await terminal.until("-- VISUAL --")
    expected = await looks_settled(terminal)
    await tab.shoot("before")
    rounds = size(10, 20)
    for number in range(rounds):
        await tab.page.reload()
        (terminal,) = site.elements(tab, 1)
        await terminal.until_state("open")
        await looks_like(terminal, expected, f"reload {number}")
    await tab.shoot("after")
    assert tab.watch.loads == rounds + 1
    await terminal.press("Escape")
    await terminal.type(":qa!\n")
    await terminal.until(PROMPT)
    assert (await terminal.screen()).kind == "normal"


@pytest.mark.full
async def test_what_is_typed_offline_arrives_once(site: Site, tmp_path: Path) -> None:
    (tmp_path / recorder.HISTORY).write_bytes(b"")
    session = await site.session(sys.executable, recorder.__file__, str(tmp_path))
    async with proxy(site) as line:
        port = line.port
        tab, (terminal,) = await site.embed({"session": session, "src": address(line)})
        tab.watch.expect(*LOST, "net::ERR_INTERNET_DISCONNECTED")
        await terminal.until("^ready$")
        await terminal.type("first ")
        await wait_until(lambda: heard(tmp_path) == b"first ", description="what was typed online")
        await tab.page.context.set_offline(True)
    # The line is gone, and so is the network as far as the page can tell.
    await terminal.until_told("state", lambda told: told["state"] == "waiting")
    for word in ("second ", "third ", "ö終 "):
        await terminal.type(word)
    assert await terminal.element.evaluate("element => element.client.pendingInputBytes") == len(
        "second third ö終 ".encode()
    )
    await tab.shoot("offline")
    assert heard(tmp_path) == b"first "
    async with ChaosProxy(site.service.address, Plan(seed=1, storm=CALM), listen=("127.0.0.1", port)) as line:
        await tab.page.context.set_offline(False)
        await terminal.until_state("open")
        for _ in range(5):
            await cut(line, terminal)
        await terminal.type("last")
        await wait_until(lambda: heard(tmp_path).endswith(b"last"), description="what was typed at last")
    assert heard(tmp_path).decode() == "first second third ö終 last"
    assert tab.watch.loads == 1


async def test_a_line_that_died_in_silence_is_replaced(site: Site, tmp_path: Path) -> None:
    (tmp_path / recorder.HISTORY).write_bytes(b"")
    session = await site.session(sys.executable, recorder.__file__, str(tmp_path))
    half_open = Fate(freeze_seconds=3600)
    async with proxy(site, Plan(seed=1, every=half_open)) as line:
        tab, (terminal,) = await site.embed({"session": session, "src": address(line)})
        tab.watch.expect(*LOST)
        await terminal.until("^ready$")
        before = line.statistics.connections
        line.cut_all(End.FREEZE)  # nobody is told
        typed = ""

        async def types_into_nothing() -> bool:
            nonlocal typed
            typed += "x"
            await terminal.type("x")
            await asyncio.sleep(0.25)
            return line.statistics.connections > before

        await look_until(types_into_nothing, "a new connection", seconds=60)
        await terminal.until_state("open")
        await terminal.type(".")
        await wait_until(lambda: heard(tmp_path).endswith(b"."), description="what was typed")
        assert heard(tmp_path).decode() == typed + "."


@pytest.mark.full
async def test_a_page_that_was_frozen_catches_up(site: Site, size: Callable[[int, int], int]) -> None:
    session = await site.session("sh", "-c", f"{NUMBERS} & read stop; kill $!; wait; echo the end", size_policy="fixed")
    async with proxy(site) as line:
        fields = {"session": session, "scrollback": "100000"}
        twin_tab, (twin,) = await site.embed(fields)
        tab, (frozen,) = await site.embed({**fields, "src": address(line)})
        tab.watch.expect(*LOST)
        devtools = await tab.devtools()
        await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
        asleep = (await twin.text()).count("line ")
        line.cut_all()
        seconds = size(10, 120)
        await has_lines(twin, asleep + seconds * LINES_A_SECOND, seconds=seconds * 10)
        await devtools.send("Page.setWebLifecycleState", {"state": "active"})
        await twin.enter("")
        for terminal in (frozen, twin):
            await terminal.until("^the end$")
        assert (await frozen.text()).splitlines()[-100:] == (await twin.text()).splitlines()[-100:]
        assert await frozen.serialize() == await twin.serialize()
        assert await frozen.told("gap") == []
        assert tab.watch.loads == twin_tab.watch.loads == 1


async def test_a_page_comes_back_from_the_back_forward_cache(site: Site) -> None:
    tab, terminal = await site.shell()
    session = await terminal.session()
    await terminal.enter("echo before")
    await terminal.until("^before$")
    await tab.page.evaluate("() => addEventListener('pageshow', (event) => { window.wasCached = event.persisted; })")
    await tab.page.goto(site.elsewhere)
    async with site.service.client(session) as client:
        client.send_line("echo mean''while")
        await client.wait_for_output(b"meanwhile")
    await tab.page.go_back(wait_until="commit")  # a page from the cache is not loaded
    await look_until(lambda: tab.page.evaluate("window.wasCached"), "the page to be shown from the cache")
    await terminal.until_state("open")
    await terminal.until("^meanwhile$")
    await terminal.enter("echo after")
    await terminal.until("^after$")
    assert (await terminal.text()).count("meanwhile") == 1
    assert await terminal.told("gap") == []
