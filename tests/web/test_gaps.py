"""Where output is missing the terminal says so: how much, and at which line; everything behind it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.chaos import ChaosProxy
from support.lines import LOST, address, proxy
from support.site import PROMPT
from support.weather import CALM, Fate, Lane, Plan

if TYPE_CHECKING:
    from support.element import Element
    from support.site import Site

SLOW = Fate(down=Lane(bytes_per_second=200_000))
LINES = 150_000
FLOOD = f"clear; seq -f 'line %g of the flood' {LINES}; echo 'the 'end"


async def test_a_live_terminal_skips_ahead_and_says_how_much(site: Site) -> None:
    session = await site.session()
    async with proxy(site, Plan(seed=1, every=SLOW)) as line:
        wanted = {"session": session, "src": address(line), "mode": "live", "scrollback": str(LINES)}
        tab, (terminal,) = await site.embed(wanted)
        tab.watch.expect(*LOST)
        await terminal.until(PROMPT)
        await terminal.enter(FLOOD)
        await terminal.until("^the end\n" + PROMPT, seconds=60)
        gaps = await terminal.told("gap")
        assert {gap["reason"] for gap in gaps} == {"skipped"}
        lost = sum(gap["lostBytes"] for gap in gaps)
        assert lost > 1_000_000
        await terminal.element.locator("[part=statusbar]").get_by_text(f"skipped {lost / 1e6:.1f} MB").wait_for()
        await tab.shoot("skipped")
        await is_marked(terminal)
        await tab.shoot("marked")
        numbers = [int(line.split()[1]) for line in (await terminal.text()).splitlines() if line.startswith("line ")]
        assert numbers == sorted(numbers)
        assert numbers[-1] == LINES


async def test_what_is_kept_no_longer_is_told_after_a_long_absence(site: Site) -> None:
    session = await site.session(retention_bytes=65536)
    async with proxy(site) as line:
        port = line.port
        tab, (terminal,) = await site.embed({"session": session, "src": address(line)})
        tab.watch.expect(*LOST)
        await terminal.until(PROMPT)
        await terminal.enter("echo before")
        await terminal.until("^before$")
    await terminal.until_state("waiting")
    async with site.service.client(session) as other:
        other.send_line(FLOOD)
        await other.wait_for_output(b"the end\r\n")
    async with ChaosProxy(site.service.address, Plan(seed=1, storm=CALM), listen=("127.0.0.1", port)):
        await terminal.element.evaluate("element => element.reconnect()")
        await terminal.until("^the end\n" + PROMPT)
        (gap,) = await terminal.told("gap")
        assert gap["reason"] == "trimmed"
        assert gap["lostBytes"] == gap["last"] - gap["first"] > 2_000_000
        lost = f"skipped {gap['lostBytes'] / 1e6:.1f} MB"
        await terminal.element.locator("[part=statusbar]").get_by_text(lost).wait_for()
        await is_marked(terminal)
        await tab.shoot("marked")
        text = await terminal.text()
        assert "before" in text
        await terminal.enter("echo after")
        await terminal.until("^after$")


async def is_marked(terminal: Element) -> None:
    """Scroll to where output is missing first, and wait for the mark that says so."""
    row = await terminal.ask(
        """terminal => {
             const buffer = terminal.buffer.normal;
             let last = 0;
             for (let y = 0; y < buffer.length; y++) {
               const found = /^line (\\d+)/.exec(buffer.getLine(y).translateToString(true));
               if (found && Number(found[1]) !== last + 1) return y;
               if (found) last = Number(found[1]);
             }
             return null;
           }"""
    )
    assert row is not None
    await terminal.ask("(terminal, row) => terminal.scrollToLine(Math.max(0, row - 10))", row)
    mark = terminal.element.get_by_role("separator").filter(has_text="skipped")
    await mark.first.wait_for()
