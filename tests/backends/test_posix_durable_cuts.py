"""Durable sessions whose link is cut again and again: every byte once, in both directions."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from backends.base import ExitStatus
from support.durable_place import DurableBackend, Way
from support.terminals import Terminals, opened
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from backends.durable.link import RemoteLink
    from support.terminals import Terminal

BUFFER_BYTES = 64 * 1024
"""Small, so that little gets through between two cuts."""

RAW = "stty raw -echo; echo ready; "

pytestmark = pytest.mark.full


@pytest.fixture
async def terminals(tmp_path: Path) -> AsyncIterator[Terminals]:
    async with opened(DurableBackend(tmp_path, durable_buffer_bytes=BUFFER_BYTES)) as terminals:
        yield terminals


def numbered(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


async def cut_often(terminals: Terminals, terminal: Terminal, rng: random.Random, cuts: int) -> None:
    """Cut at random moments: while the bridge is being started, before the greeting, in the middle of a frame."""
    assert isinstance(terminals.backend, DurableBackend)
    way = terminals.backend.way
    over = asyncio.create_task(terminal.pty.wait())
    for count in range(cuts):
        opened_before = len(way.executions)
        await asyncio.sleep(rng.choice([0, 0.002, 0.01, 0.03]) * rng.random())
        if over.done():
            assert count >= cuts / 3, "it was too short"
            break
        way.cut()
        await until_made_again(way, opened_before, over)
        if rng.random() < 0.7:  # else the next cut meets it while it is being made
            await until_up(terminals.backend.target.link(), over)
    over.cancel()


async def until_made_again(way: Way, opened_before: int, over: asyncio.Task[ExitStatus]) -> None:
    await wait_until(lambda: len(way.executions) > opened_before or over.done(), description="the link is made again")


async def until_up(link: RemoteLink, over: asyncio.Task[ExitStatus]) -> None:
    await wait_until(lambda: link.is_up or over.done(), description="the link is there again")


async def test_output_arrives_once_whenever_the_link_is_cut(
    terminals: Terminals, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    lines, cuts = size(500_000, 10_000_000), size(6, 300)
    terminal = await terminals.sh(f"stty -opost; seq 1 {lines}; exit 7")
    await cut_often(terminals, terminal, rng, cuts)
    assert await terminal.wait(100) == ExitStatus(code=7)
    assert terminal.output == numbered(lines)


async def test_input_arrives_once_whenever_the_link_is_cut(
    terminals: Terminals, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    data = numbered(size(600_000, 10_000_000))
    terminal = await terminals.sh(f"{RAW} head -c {len(data)} | sha256sum")
    await terminal.sink.until(b"ready")
    typing = asyncio.create_task(terminal.type(data))
    await cut_often(terminals, terminal, rng, size(6, 300))
    await typing
    assert await terminal.wait(100) == ExitStatus(code=0)
    assert hashlib.sha256(data).hexdigest().encode() in terminal.output
    assert terminal.pty.written == len(data)


async def test_both_directions_at_once(
    terminals: Terminals, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    data = numbered(size(400_000, 6_000_000))
    terminal = await terminals.sh(f"{RAW} exec head -c {len(data)}")
    start = await terminal.sink.until(b"ready\n")
    typing = asyncio.create_task(terminal.type(data))
    await cut_often(terminals, terminal, rng, size(6, 300))
    await typing
    assert await terminal.wait(100) == ExitStatus(code=0)
    assert terminal.output[start:] == data
