"""Durable sessions whose service ends and starts anew: the next process goes on at the very byte."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from backends.base import ExitStatus, Lost, Order, Program
from support.durable_place import QUICK, DurableBackend, Way
from support.holders import holder_pid
from support.sink import CollectingSink
from support.terminals import Terminal
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.base import Environment

SESSION = "session-1"


class Service:
    """A process of the service, as far as its backend goes."""

    def __init__(self, directory: Path, way: Way, **options: Any) -> None:
        self.backend = DurableBackend(directory, way=way, **options)
        self.told: list[str] = []
        self.environment: Environment | None = None

    async def start(self, script: str) -> Terminal:
        sink = CollectingSink()
        environment = await self._open()
        program = Program(SESSION, command=["sh", "-c", script], note="a note")
        return Terminal(await environment.spawn(program, sink), sink)

    async def go_on(self, position: int) -> Terminal:
        sink = CollectingSink()
        environment = await self._open()
        survivor = await self.backend.recall(SESSION)
        assert survivor is not None
        assert survivor.session_id == SESSION
        return Terminal(await environment.adopt(survivor, sink, position), sink)

    async def _open(self) -> Environment:
        self.environment = await self.backend.open(Order(SESSION, tell=lambda notice: self.told.append(notice.kind)))
        return self.environment

    async def end(self) -> None:
        if self.environment is not None:
            await self.environment.close()
        await self.backend.stop()


@asynccontextmanager
async def successors(directory: Path, way: Way) -> AsyncIterator[tuple[Service, Service]]:
    """Give two processes of one service, one after the other; what is left is ended."""
    first, second = Service(directory, way), Service(directory, way)
    try:
        yield first, second
    finally:
        await second.end()
        await first.backend.close()


def make_way(directory: Path) -> Way:
    return Way(directory / "home")


async def test_a_program_goes_on_at_the_very_byte_after_a_kill(tmp_path: Path) -> None:
    way = make_way(tmp_path)
    async with successors(tmp_path, way) as (first, second):
        before = await first.start("stty -opost; seq 1 3000; read line; seq 3001 6000; exit 7")
        await before.sink.until(b"\n3000\n")
        way.cut()  # whatever is on its way, neither side will know
        await first.backend.close()
        after = await second.go_on(len(before.output))
        await after.type(b"\n")
        assert await after.wait() == ExitStatus(code=7)
        assert before.output + after.output == b"".join(
            b"%d\n" % number for number in range(1, 3001)
        ) + b"\n" + b"".join(b"%d\n" % number for number in range(3001, 6001))


async def test_what_was_printed_between_them_is_there_and_so_is_how_it_ended(tmp_path: Path) -> None:
    way = make_way(tmp_path)
    async with successors(tmp_path, way) as (first, second):
        before = await first.start("stty -opost -echo; echo ready; read line; seq 1 3000; exit 3")
        await before.sink.until(b"ready\n")
        await before.type(b"\n")
        way.cut()
        await first.backend.close()
        after = await second.go_on(len(before.output))
        assert await after.wait() == ExitStatus(code=3)
        expected = b"ready\n" + b"".join(b"%d\n" % number for number in range(1, 3001))
        assert before.output + after.output in (expected, expected.removeprefix(b"ready\n"))


async def test_a_program_that_was_let_go_has_all_its_input_and_the_count_goes_on(tmp_path: Path) -> None:
    way = make_way(tmp_path)
    async with successors(tmp_path, way) as (first, second):
        before = await first.start("stty raw -echo; echo ready; exec head -c 20")
        await before.sink.until(b"ready\n")
        await before.type(b"0123456789")
        await before.pty.detach()
        assert before.pty.written == 10
        await first.backend.close()
        after = await second.go_on(len(before.output))
        assert after.pty.written == 10
        await after.type(b"abcdefghij")
        assert await after.wait() == ExitStatus(code=0)
        assert (before.output + after.output).endswith(b"ready\n0123456789abcdefghij")


async def test_a_place_out_of_reach_is_waited_for_and_told(tmp_path: Path) -> None:
    way = make_way(tmp_path)
    async with successors(tmp_path, way) as (first, second):
        before = await first.start("echo ready; read line; exit 5")
        await before.sink.until(b"ready\r\n")
        await before.type(b"12345")
        await before.pty.detach()
        await first.backend.close()
        way.is_closed = True
        going_on = asyncio.create_task(second.go_on(len(before.output)))
        await wait_until(lambda: second.told == ["link_lost"], description="the cut is told")
        way.is_closed = False
        after = await going_on
        assert after.pty.written == 5, "it is known before anything is typed"
        await after.type(b"\n")
        assert await after.wait() == ExitStatus(code=5)
        assert second.told == ["link_lost", "link_back"]


async def test_a_program_that_is_not_there_any_more_is_lost(tmp_path: Path) -> None:
    way = make_way(tmp_path)
    async with successors(tmp_path, way) as (first, second):
        before = await first.start("echo ready; exec sleep 1000")
        await before.sink.until(b"ready\r\n")
        await first.backend.close()
        (directory,) = first.backend.holder_directories()
        os.kill(holder_pid(directory) or 0, signal.SIGKILL)
        after = await second.go_on(len(before.output))
        status = await after.wait()
        assert (status.code, status.signal, status.lost) == (None, None, Lost.NODE)
        assert "not there any more" in status.message


async def test_a_place_that_is_never_reached_again_is_a_lost_link(tmp_path: Path) -> None:
    way = make_way(tmp_path)
    async with successors(tmp_path, way) as (first, _):
        before = await first.start("echo ready; exec sleep 1000")
        await before.sink.until(b"ready\r\n")
        await first.backend.close()
        way.is_closed = True
        third = Service(tmp_path, way, durable_give_up_seconds=0.3, patience=QUICK)
        after = await third.go_on(len(before.output))
        status = await after.wait()
        assert (status.code, status.signal, status.lost) == (None, None, Lost.LINK)
        assert "the way is closed" in status.message
        assert third.told == ["link_lost", "link_given_up"]
        way.is_closed = False
        await third.backend.close()


async def test_one_that_nobody_waits_for_any_longer_is_left_to_the_next(tmp_path: Path) -> None:
    way = make_way(tmp_path)
    async with successors(tmp_path, way) as (first, second):
        before = await first.start("echo ready; read line; exit 5")
        await before.sink.until(b"ready\r\n")
        await first.backend.close()
        for turns in (0, 1, 5, 50, 500):
            service = Service(tmp_path, way)
            going_on = asyncio.create_task(service.go_on(len(before.output)))
            await asyncio.sleep(turns / 1000)  # from before the way is asked for to after it is found
            going_on.cancel()
            await asyncio.wait([going_on])
            await service.backend.close()
        after = await second.go_on(len(before.output))
        await after.type(b"\n")
        assert await after.wait() == ExitStatus(code=5)
