"""Mail comes once and in order whatever becomes of Redis, as long as both processes live."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from nodes.channel import WINDOW_BYTES
from nodes.errors import Unreachable
from support.mail_nodes import Nodes
from support.redis_cluster import RedisCluster
from support.redis_server import RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

BACK_SECONDS = 5.0
STREAM_SECONDS = 0.004


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as made:
        yield made
        for key in made.call("KEYS", "*"):
            assert made.call("PTTL", key) > 0, f"{key!r} has no time to live"


@pytest.fixture
def nodes(server: RedisServer) -> Nodes:
    return Nodes(server.url)


class Talk:
    """Two nodes that write to each other all the time."""

    def __init__(self, nodes: Nodes) -> None:
        self.one, self.other = nodes.make(), nodes.make()
        self.sent = 0
        self._stop = asyncio.Event()

    async def speak(self) -> None:
        while not self._stop.is_set():
            self.one.note(self.other, b"%d" % self.sent)
            self.other.note(self.one, b"%d" % self.sent)
            self.sent += 1
            await asyncio.sleep(STREAM_SECONDS)

    async def go_on(self, count: int = 20) -> None:
        """Wait until so many more have come each way."""
        for node, sender in ((self.one, self.other), (self.other, self.one)):
            now = len(node.bodies(sender))
            await node.got(sender, now + count)

    async def end(self, seconds: float) -> None:
        """Stop, and fail unless all has come within some time, each once and in order."""
        self._stop.set()
        wanted = [b"%d" % number for number in range(self.sent)]
        for node, sender in ((self.one, self.other), (self.other, self.one)):
            assert await node.got(sender, self.sent, seconds=seconds) == wanted
            assert node.resets == []
        for node, to in ((self.one, self.other), (self.other, self.one)):
            await wait_until(
                lambda: not node.mail.backlog_bytes(to.node_id),  # noqa: B023
                description="all is acknowledged",
                timeout=seconds,
            )


@contextlib.asynccontextmanager
async def talking(nodes: Nodes) -> AsyncIterator[Talk]:
    """Have two nodes write to each other; in the end all has to have come."""
    talk = Talk(nodes)
    async with talk.one, talk.other:
        speaking = asyncio.create_task(talk.speak())
        try:
            await talk.go_on()
            yield talk
            await talk.end(BACK_SECONDS)
        finally:
            talk._stop.set()
            await speaking


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(work, *args)


async def test_redis_killed_with_all_inboxes_loses_nothing(nodes: Nodes, server: RedisServer) -> None:
    async with talking(nodes) as talk:
        for _ in range(3):
            await in_thread(server.kill)
            await asyncio.sleep(0.2)
            await in_thread(server.start)
            begun = time.monotonic()
            await talk.go_on()
            assert time.monotonic() < begun + BACK_SECONDS


async def test_inboxes_that_vanish_unnoticed_lose_nothing(nodes: Nodes, server: RedisServer) -> None:
    async with talking(nodes) as talk:
        for _ in range(20):
            await in_thread(server.call, "FLUSHALL")
            await asyncio.sleep(0.02)
        await talk.go_on()
        await in_thread(server.call, "FLUSHALL")


async def test_connections_that_are_cut_lose_nothing(nodes: Nodes, server: RedisServer) -> None:
    async with talking(nodes):
        for _ in range(4):
            for command in ("xread", "eval", "xdel"):
                for client in await in_thread(server.call, "CLIENT LIST"):
                    if client["cmd"] == command:
                        await in_thread(server.call, "CLIENT", "KILL", "ID", client["id"])
                await asyncio.sleep(0.02)
        await in_thread(server.call, "CLIENT", "KILL", "TYPE", "normal")


async def test_a_frozen_redis_holds_mail_up_and_loses_nothing(nodes: Nodes, server: RedisServer) -> None:
    async with talking(nodes) as talk:
        server.signal(signal.SIGSTOP)
        await asyncio.sleep(3)
        server.signal(signal.SIGCONT)
        begun = time.monotonic()
        await talk.go_on()
        assert time.monotonic() < begun + BACK_SECONDS


async def test_a_redis_that_refuses_to_write_holds_mail_up_and_loses_nothing(nodes: Nodes, server: RedisServer) -> None:
    async with talking(nodes) as talk:
        for refuse, allow in (
            (("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0)),
            (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE")),
            (("CLIENT", "PAUSE", 60_000, "WRITE"), ("CLIENT", "UNPAUSE")),
        ):
            await in_thread(server.call, *refuse)
            await asyncio.sleep(0.3)
            await in_thread(server.call, *allow)
            begun = time.monotonic()
            await talk.go_on()
            assert time.monotonic() < begun + BACK_SECONDS


async def test_nodes_begin_without_redis(nodes: Nodes, server: RedisServer) -> None:
    server.kill()
    async with nodes.make() as one, nodes.make() as other:
        one.note(other, b"early")
        with pytest.raises(Unreachable):
            await one.mail.call(other.node_id, "any", b"x", seconds=0.3)
        await in_thread(server.start)
        assert await other.got(one, 1, seconds=BACK_SECONDS) == [b"early"]
        assert one.resets == other.resets == []


async def test_a_silent_node_is_given_up_but_not_while_redis_is_away(nodes: Nodes, server: RedisServer) -> None:
    one, other = nodes.make(dead_seconds=1.5), nodes.make(dead_seconds=1.5)
    async with one:
        async with other:
            one.note(other, b"1")
            await other.got(one, 1)
            await other.kill()
        one.note(other, b"2")
        await asyncio.sleep(0.2)
        await in_thread(server.kill)
        await asyncio.sleep(2)
        assert one.resets == []
        await in_thread(server.start)
        begun = time.monotonic()
        with pytest.raises(Unreachable):
            await one.mail.call(other.node_id, "any", b"x", seconds=30)
        assert 1 < time.monotonic() - begun < 1.5 + BACK_SECONDS
        assert one.resets == [other.node_id]
        assert one.mail.backlog_bytes(other.node_id) == 0


async def test_a_node_that_stood_still_is_told_and_goes_on(nodes: Nodes, tmp_path: Path) -> None:
    """Given up while it could not know: a process that is stopped for longer than others wait."""
    one = nodes.make("one", dead_seconds=1.5)
    async with one:
        script = tmp_path / "echo.py"
        script.write_text(ECHO)
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), str(nodes.url), env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        )
        try:
            await wait_until(lambda: one.notes == [("echo", b"here")], description="it is there")
            process.send_signal(signal.SIGSTOP)
            one.mail.send("echo", "note", b"2")
            await wait_until(lambda: one.resets == ["echo"], description="it is given up")
            one.mail.send("echo", "note", b"3")
            process.send_signal(signal.SIGCONT)
            await wait_until(lambda: one.notes[-1:] == [("echo", b"3")], description="it goes on")
            assert [body for _, body in one.notes].count(b"told") == 1
            assert one.resets == ["echo"]
        finally:
            process.kill()
            await process.wait()


ECHO = """
import asyncio, sys
from nodes.redis_mail import RedisMail
from replay.redis_address import RedisAddress

async def main():
    mail = RedisMail(RedisAddress.parse(sys.argv[1]), "echo", dead_seconds=30)
    mail.on_note("note", lambda sender, body: mail.send(sender, "note", body))
    mail.on_reset(lambda node: mail.send(node, "note", b"told"))
    mail.send("one", "note", b"here")
    await mail.run()

asyncio.run(main())
"""


async def test_an_inbox_holds_what_is_unread_and_has_a_time_to_live(nodes: Nodes, server: RedisServer) -> None:
    one, other = nodes.make(), nodes.make()
    key = f"ts:node:{{{other.node_id}}}:inbox"

    async def entries() -> list[Any]:
        found: list[Any] = await in_thread(server.call, "XRANGE", key, "-", "+")
        return found

    async def is_empty() -> bool:
        return not await entries()

    async def is_full() -> bool:
        return len(await entries()) >= WINDOW_BYTES // (256 * 1024) - 2

    async with one:
        async with other:
            one.note(other, *(b"%d" % number for number in range(100)))
            await other.got(one, 100)
            await wait_until(is_empty, description="what is read is removed")
            assert 0 < await in_thread(server.call, "PTTL", key) <= 60_000
            await other.kill()
        for _ in range(100):
            one.note(other, bytes(100_000))
        await wait_until(is_full, description="what the window holds is there")
        await asyncio.sleep(1.5)
        weight = sum(len(fields[b"m"]) for _, fields in await entries())
        assert weight <= WINDOW_BYTES + 1000, "the rest waits, and nothing was sent twice"
        assert 0 < await in_thread(server.call, "PTTL", key) <= 60_000


async def test_a_reader_that_is_slow_holds_what_the_window_holds(nodes: Nodes, server: RedisServer) -> None:
    """Handlers that take their time: the inbox is bounded, and all comes."""

    def linger(_: str, body: bytes) -> None:
        until = time.perf_counter() + 0.003
        while time.perf_counter() < until:
            pass  # it holds up the event loop, as a slow handler does
        seen.append(len(body))

    seen: list[int] = []
    most = 0
    async with nodes.make() as one, nodes.make() as other:
        other.mail.on_note("slow", linger)
        for _ in range(200):
            one.mail.send(other.node_id, "slow", bytes(100_000))
        while len(seen) < 200:
            found = await in_thread(server.call, "MEMORY", "USAGE", f"ts:node:{{{other.node_id}}}:inbox")
            most = max(most, found or 0)
            await asyncio.sleep(0.01)
        await wait_until(lambda: not one.mail.backlog_bytes(other.node_id), description="all is acknowledged")
    assert most <= 2 * WINDOW_BYTES, "entries, and what the allocator adds"
    assert seen == [100_000] * 200


async def test_an_inbox_that_moves_to_another_shard_loses_nothing(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        async with talking(Nodes(cluster.url)) as talk:
            for node in (talk.one, talk.other):
                await in_thread(cluster.move_slot_of, f"ts:node:{{{node.node_id}}}:inbox")
                await talk.go_on()
