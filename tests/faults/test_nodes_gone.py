"""Nodes are killed, stopped, cut off, away and back: everybody is told the truth in time, and nothing forks."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from replay.redis_reader import Chunk
from support.chaos import ChaosProxy
from support.fleet import DEAD_SECONDS, Fleet, nodes_seen_by, past, stream_command
from support.keystrokes import ECHO
from support.redis_node import read_all
from support.redis_server import RedisServer
from support.restarts import queue_seconds
from support.same import assert_same
from support.stream import stream, verify
from support.wait import wait_until
from support.weather import Plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.client import Client
    from support.restarts import Restarts

SHIFTED = Path(__file__).parents[1] / "support" / "shifted.py"
RATE = 20_000
AWAY_SECONDS = 15.0
"""Longer than it takes to be dead."""
YEAR = 365 * 86400
RETRY_SECONDS = 0.2


class Scene:
    """One node, a program on it, and who watches from the node that stays."""

    def __init__(self, node: Restarts, stays: Restarts, url: str, seed: int) -> None:
        self.node, self.stays, self.url, self.seed = node, stays, url, seed
        self.session = ""
        self.program: psutil.Process | None = None

    async def begin(self) -> None:
        self.session = (await self.node.create_session(command=stream_command(self.seed, RATE)))["session_id"]
        self.program = psutil.Process((await self.node.info(self.session))["pid"])

    def far(self) -> Client:
        return self.stays.client(self.session, retry_seconds=RETRY_SECONDS)

    def near(self) -> Client:
        return self.node.client(self.session, retry_seconds=RETRY_SECONDS)

    async def be_told(self, far: Client) -> None:
        """Wait until who watches from afar is told that the node is gone, from now on."""
        began, waited = time.monotonic(), queue_seconds(self.stays.pid)
        ended = await far.wait_ended(seconds=3 * DEAD_SECONDS)
        took = time.monotonic() - began - (queue_seconds(self.stays.pid) - waited)
        print(f"told after {took:.1f} s: {ended}")  # noqa: T201 - shown when it fails
        assert took < DEAD_SECONDS
        assert str(self.node.address[1]) in ended["reason"], "which node it was"
        assert (ended["exit_code"], ended["signal"]) == (None, None)

    async def be_lost(self, far: Client, *nodes: Restarts) -> None:
        """Fail unless all that far was shown is all there is, and stays so."""
        data = far.data
        assert_same(data, stream(self.seed, len(data)), "what was seen from afar")
        assert_same(await self.in_redis(), data, "what is in Redis")
        for node in (self.stays, *nodes):
            await wait_until(lambda node=node: self._is_lost(node), description="lost to all")  # type: ignore[misc]
            shown = await node.output(self.session)
            async with node.client(self.session) as late:
                await late.wait_ended()
            # The node itself has more, of the time when nobody could see it.
            for found in (shown, late.data):
                assert_same(found[: len(data)] if node is self.node else found, data, f"what {node.base_url} shows")
                assert_same(found, stream(self.seed, len(found)), f"what {node.base_url} shows")

        ahead = self.stays.client(self.session)  # it was at the node, and has seen what nobody else can
        ahead.transcript.position, ahead.transcript.epoch = len(data) + 1000, far.transcript.epoch
        async with ahead:
            await ahead.wait_ended()
        assert_same(ahead.data, data, "what is shown to who has more")

    async def _is_lost(self, node: Restarts) -> bool:
        answer = await node.http.get(f"/api/v1/sessions/{self.session}")
        assert answer.status_code in {200, 503}  # not every node knows at the same moment
        return bool(answer.json().get("state") == "lost")

    async def in_redis(self) -> bytes:
        items = [item for item in await read_all(self.url, f"{self.session}/main") if isinstance(item, Chunk)]
        return b"".join(item.data for item in items)

    async def wait_program_ended(self) -> None:
        program = self.program
        assert program is not None
        await wait_until(lambda: not program.is_running(), description="the program is ended")


async def be_killed(scene: Scene) -> None:
    """For good, as far as the others can tell; when it comes back after all, that is too late."""
    async with scene.far() as far:
        await past(far, further=RATE)
        await scene.node.kill()
        await scene.be_told(far)
    await scene.be_lost(far)
    await scene.node.start()
    await scene.wait_program_ended()
    await scene.be_lost(far, scene.node)


async def be_stopped(scene: Scene) -> None:
    """And go on when the others have buried it."""
    async with scene.near() as near, scene.far() as far:
        await past(far, further=RATE)
        scene.node.send_signal(signal.SIGSTOP)
        await scene.be_told(far)
        scene.node.send_signal(signal.SIGCONT)
        assert (await near.wait_ended())["exit_code"] is None
        await scene.wait_program_ended()
    assert near.data.startswith(far.data)
    await scene.be_lost(far)


async def be_cut_off(scene: Scene, redis: ChaosProxy) -> None:
    """From Redis: its own viewers see and type on until it learns that the others have buried it."""
    async with scene.near() as near, scene.far() as far:
        await past(far, further=RATE)
        redis.target = ("127.0.0.1", 1)
        redis.cut_all()
        await scene.be_told(far)
        await past(near, further=RATE)
        redis.target = address_of(scene.url)
        assert (await near.wait_ended())["exit_code"] is None
        await scene.wait_program_ended()
    assert near.data.startswith(far.data)
    await scene.be_lost(far)


async def be_away(scene: Scene) -> None:
    """Stopped on purpose, for longer than it takes to be dead: it is waited for."""
    async with scene.far() as far:
        await past(far, further=RATE)
        await scene.node.end(signal.SIGTERM)
        await asyncio.sleep(AWAY_SECONDS)
        assert far.ended is None
        await scene.node.start()
        began = time.monotonic()
        await past(far, further=RATE)
        assert time.monotonic() - began < DEAD_SECONDS
        far.send_input(b"q")
        assert (await far.wait_ended())["exit_code"] == 7
    verify(far.data, scene.seed)


async def see_its_clock_jump(scene: Scene, offset: Path) -> None:
    """Which loses no lease."""
    async with scene.far() as far:
        for shift in (5, YEAR, -YEAR):
            await asyncio.to_thread(offset.write_text, str(shift))
            await asyncio.sleep(AWAY_SECONDS / 3)
            await past(far, further=100)
        assert far.attaches == 1
        far.send_input(b"q")
        assert (await far.wait_ended())["exit_code"] == 7
    verify(far.data, scene.seed)


def address_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("redis://").rpartition(":")
    return host, int(port)


async def test_nodes_that_go_in_every_way_take_with_them_what_they_must_and_no_more(tmp_path: Path) -> None:
    """All at once, for each takes about 10 s of waiting; the sixth node stays."""
    offset = tmp_path / "offset"
    offset.write_text("0")
    with RedisServer(tmp_path, "--appendonly", "yes") as redis:
        async with ChaosProxy(address_of(redis.url), Plan(0)) as proxy:
            urls = [redis.url, redis.url, f"redis://{proxy.host}:{proxy.port}", redis.url, redis.url, redis.url]
            fleet = Fleet(
                tmp_path,
                urls=urls,
                programs={4: (str(SHIFTED), str(offset))},
                NODE_AWAY_SECONDS="60",
                MAX_CONCURRENT_SESSIONS_PER_USER="5",
            )
            async with fleet:
                *goers, stays = fleet.nodes
                scenes = [Scene(node, stays, redis.url, seed) for seed, node in enumerate(goers)]
                for scene in scenes:
                    await scene.begin()
                assert (await stays.http.post("/api/v1/sessions", json={})).status_code == 429
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(be_killed(scenes[0]))
                    tasks.create_task(be_stopped(scenes[1]))
                    tasks.create_task(be_cut_off(scenes[2], proxy))
                    tasks.create_task(be_away(scenes[3]))
                    tasks.create_task(see_its_clock_jump(scenes[4], offset))
                for _ in range(5):  # what ended or is lost counts no more
                    await stays.create_session(command=["cat"])
                await fleet.wait_whole()


async def test_viewers_find_another_node_and_an_owner_that_is_back_at_once(tmp_path: Path) -> None:
    """The node that viewers are at is killed, then the owner is, and is started again within the time of its lease."""
    with RedisServer(tmp_path) as redis:
        async with Fleet(tmp_path, redis.url, count=3) as fleet:
            owner, first, other = fleet.nodes
            session = (await owner.create_session(command=stream_command(9, RATE)))["session_id"]
            echo = (await owner.create_session(command=ECHO))["session_id"]
            async with fleet.entrance() as proxy:
                choices = [first, other]
                proxy.target = lambda _: choices[0].address
                via = (proxy.host, proxy.port)
                async with (
                    owner.client(session, via=via, retry_seconds=0.05) as client,
                    owner.client(echo, via=via, retry_seconds=0.05) as typist,
                ):
                    await typist.wait_for_output(b"READY")
                    await past(client, further=RATE // 4)
                    address = other.address
                    proxy.target = address
                    await first.kill()
                    for number in range(20):
                        typist.send_input(b"<%d>" % number)
                    await typist.wait_for_output(b"<19>")
                    await past(client, further=RATE // 4)
                    assert client.attaches == 2
                    await owner.kill()
                    for number in range(20, 40):
                        typist.send_input(b"<%d>" % number)
                    await owner.start()
                    await typist.wait_for_output(b"<39>")
                    await past(client, further=RATE // 4)
                    client.send_input(b"q")
                    assert (await client.wait_ended())["exit_code"] == 7
                verify(client.data, 9)
                assert_same(typist.data, b"READY" + b"".join(b"<%d>" % number for number in range(40)))


async def test_a_node_is_replaced_under_viewers_at_another(tmp_path: Path) -> None:
    """By another process, in one step, and by way of SIGTERM: its name, its programs and their viewers go on."""
    with RedisServer(tmp_path) as redis:
        async with Fleet(tmp_path, redis.url) as fleet:
            owner, other = fleet.nodes
            session = (await owner.create_session(command=stream_command(10, RATE)))["session_id"]
            echo = (await owner.create_session(command=ECHO))["session_id"]
            async with other.client(session) as client, other.client(echo) as typist:
                await typist.wait_for_output(b"READY")
                typed = b""
                changes: list[Callable[[], Awaitable[object]]] = [
                    owner.replace,
                    lambda: owner.restart(signal.SIGTERM),
                    other.replace,
                ]
                for number, change in enumerate(changes):
                    typist.send_input(b"<%d>" % number)
                    typed += b"<%d>" % number
                    await change()
                    await typist.wait_for_output(b"<%d>" % number)
                    await past(client, further=RATE // 10)
                client.send_input(b"q")
                assert (await client.wait_ended())["exit_code"] == 7
                assert len(await nodes_seen_by(other)) == 2
            verify(client.data, 10)
            assert_same(typist.data, b"READY" + typed)
