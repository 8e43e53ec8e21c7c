"""Lines between a page and the service that a test can cut."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from support.chaos import ChaosProxy
from support.wait import wait_until
from support.weather import CALM, End, Plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.element import Element
    from support.site import Site

LOST = (r"WebSocket connection to 'ws://127\.0\.0\.1:\d+/ws/terminal/[^']*' failed", r"net::ERR_(CONNECTION|EMPTY)")
"""What Chromium itself says when a line is cut."""


@contextlib.asynccontextmanager
async def proxy(site: Site, plan: Plan | None = None) -> AsyncIterator[ChaosProxy]:
    """Run a line to the service that a test can cut; pages may ask it."""
    async with ChaosProxy(site.service.address, plan or Plan(seed=1, storm=CALM)) as line:
        site.browser.origins.add(address(line))
        yield line


def address(line: ChaosProxy) -> str:
    """Return the address of the service through a line."""
    return f"http://{line.host}:{line.port}"


async def cut(line: ChaosProxy, terminal: Element, end: End = End.RST) -> None:
    """Cut the line and wait until the terminal is attached anew."""
    before = line.statistics.connections
    line.cut_all(end)
    await wait_until(lambda: line.statistics.connections > before, description="a new connection")
    await terminal.until_state("open")
