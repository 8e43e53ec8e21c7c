"""A program on another machine while the link is cut again and again: every byte once, in both directions."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from typing import TYPE_CHECKING

import pytest

from backends.base import ExitStatus, Lost
from backends.durable.patience import LinkPatience
from support.far import Far, reached, run
from support.terminals import is_alive
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from backends.durable.link import RemoteLink
    from support.far import FarTerminal

RING_BYTES = 128 * 1024
"""Small, so that little gets through between two cuts."""

RAW = "stty raw -echo; echo ready; "


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far(tmp_path)


def numbered(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


async def cut_often(far: Far, link: RemoteLink, terminal: FarTerminal, rng: random.Random, cuts: int) -> None:
    """Cut at random moments of a flood: before the greeting, in the middle of it, in the middle of a frame."""
    for count in range(cuts):
        await asyncio.sleep(rng.choice([0, 0.002, 0.01, 0.03]) * rng.random())
        if terminal.pty.is_over:
            assert count >= cuts / 3, "the flood was too short"
            return
        await far.cut_and_open(link, until_up=rng.random() < 0.7)


@pytest.mark.full
async def test_output_arrives_once_whenever_the_link_is_cut(
    far: Far, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    lines, cuts = size(1_000_000, 10_000_000), size(30, 300)
    async with reached(far, ring_bytes=RING_BYTES) as link:
        terminal = await run(link, f"stty -opost; seq 1 {lines}; exit 7")
        await cut_often(far, link, terminal, rng, cuts)
        assert await terminal.wait(60) == ExitStatus(code=7)
        assert terminal.output == numbered(lines)


@pytest.mark.full
async def test_input_arrives_once_whenever_the_link_is_cut(
    far: Far, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    data = numbered(size(1_500_000, 15_000_000))
    async with reached(far, ring_bytes=RING_BYTES) as link:
        terminal = await run(link, f"{RAW} head -c {len(data)} | sha256sum")
        await terminal.sink.until(b"ready")
        typing = asyncio.create_task(terminal.type(data))
        await cut_often(far, link, terminal, rng, size(30, 300))
        await typing
        assert await terminal.wait(60) == ExitStatus(code=0)
        assert hashlib.sha256(data).hexdigest().encode() in terminal.output


@pytest.mark.full
async def test_both_directions_at_once(far: Far, rng: random.Random, size: Callable[[int, int], int]) -> None:
    data = numbered(size(600_000, 6_000_000))
    async with reached(far, ring_bytes=RING_BYTES) as link:
        terminal = await run(link, f"{RAW} exec head -c {len(data)}")
        start = await terminal.sink.until(b"ready\n")
        typing = asyncio.create_task(terminal.type(data))
        await cut_often(far, link, terminal, rng, size(30, 300))
        await typing
        assert await terminal.wait(60) == ExitStatus(code=0)
        assert terminal.output[start:] == data


async def test_a_program_waits_while_nobody_is_there_and_the_ring_is_full(far: Far) -> None:
    async with reached(far, ring_bytes=65536) as link:
        terminal = await run(link, "stty -opost; read go; echo $$; seq 1 200000")
        far.is_blocked = True
        terminal.pty.write(b"go\n")
        await terminal.sink.until(b"\n5000\n")
        far.cut()
        await far.until_full(terminal.pty, 65536)
        assert is_alive(terminal.pty.pid or 0)
        far.is_blocked = False
        assert await terminal.wait() == ExitStatus(code=0)
        assert terminal.output.endswith(numbered(200000))


async def test_what_is_said_while_the_link_is_cut_is_done_once_it_is_back(far: Far) -> None:
    async with reached(far) as link:
        script = "trap 'echo usr' USR1; echo ready; while :; do read line && echo got $line && stty size; done"
        terminal = await run(link, script)
        await terminal.sink.until(b"ready")
        far.is_blocked = True
        far.cut()
        await wait_until(lambda: not link.is_up, description="the cut is noticed")
        terminal.pty.resize(31, 101)
        terminal.pty.signal(signal.SIGUSR1)
        assert terminal.pty.write(b"hello\n") == 0, "whoever keeps it keeps it better than a process that may die"
        typing = asyncio.create_task(terminal.type(b"hello\n"))
        terminal.pty.annotate("another note")
        far.is_blocked = False
        await typing
        await terminal.sink.until(b"usr")
        await terminal.sink.until(b"got hello")
        await terminal.type(b"\n")  # only now: a signal to the foreground is for whatever runs there
        await terminal.sink.until(b"31 101")
        await far.cut_and_return(link)
        assert terminal.output.count(b"usr\r\n") == 1
        assert [remains.tag.note for remains in await link.survivors()] == ["another note"]
        await terminal.pty.close(1)
        assert await terminal.wait() == ExitStatus(signal=signal.SIGHUP)


async def test_a_program_is_started_once_wherever_its_start_is_cut(far: Far, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    async with reached(far) as link:
        for count in range(1, 13):
            starting = asyncio.create_task(run(link, f"echo started >> {starts}; echo hello; exec sleep 1000"))
            await asyncio.sleep(0.001 * count)  # from before the request to after the answer
            far.cut()
            terminal = await starting
            await terminal.sink.until(b"hello")
            assert starts.read_text() == "started\n" * count
            assert terminal.output == b"hello\r\n"
            await terminal.pty.close(0.1)


async def test_a_dead_holder_is_told_as_a_lost_node(far: Far) -> None:
    async with reached(far) as link:
        terminal = await run(link, "echo hello; exec sleep 1000")
        await terminal.sink.until(b"hello")
        os.kill(await far.pid(), signal.SIGKILL)
        status = await terminal.wait()
        assert status.lost is Lost.NODE
        assert "holder" in status.message
        assert terminal.pty.write(b"x") == 1, "nobody will ever read it"
        another = await run(link, "exit 5")
        assert await another.wait() == ExitStatus(code=5)


async def test_a_link_that_cannot_be_had_again_is_told_as_lost(far: Far) -> None:
    patience = LinkPatience(give_up_seconds=0.3, retry_seconds=(0.01, 0.1))
    async with reached(far, patience=patience) as link:
        terminal = await run(link, "echo hello; exec sleep 1000")
        await terminal.sink.until(b"hello")
        far.is_blocked = True
        far.cut()
        status = await terminal.wait()
        assert status.lost is Lost.LINK
        assert "the way is closed" in status.message
        far.is_blocked = False


async def test_a_silent_link_is_cut(far: Far) -> None:
    patience = LinkPatience(silence_seconds=0.5, retry_seconds=(0.01, 0.1))
    async with reached(far, patience=patience) as link:
        terminal = await run(link, "echo hello; read line; exit 4")
        await terminal.sink.until(b"hello")
        stopped = far.streams[-1].pid
        os.kill(stopped, signal.SIGSTOP)  # as a machine that has lost its network: nobody is told
        terminal.pty.write(b"\n")
        assert await terminal.wait() == ExitStatus(code=4)
        assert link.cuts == 1


async def test_an_idle_holder_that_has_nothing_ends(far: Far) -> None:
    link = far.link()
    await link.start()
    terminal = await run(link, "exit 0")
    await terminal.wait()
    pid = await far.pid()
    await link.close()
    await wait_until(lambda: not is_alive(pid), description="the holder has ended")


async def test_the_memory_of_a_holder_is_bounded(far: Far) -> None:
    async with reached(far) as link:
        pid = await far.pid()
        terminal = await run(link, "seq 1 2000000")
        for _ in range(5):
            await asyncio.sleep(0.1)
            await far.cut_and_return(link)
        await terminal.wait(60)
        assert peak_bytes(pid) < 20 << 20


def peak_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - as short as it is
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
