"""Which nodes live: who is seen, who is dead and when, and that nobody is who is not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nodes.base import NodeState
from nodes.errors import Away, NameTaken
from nodes.memory_registry import MemoryRegistry
from nodes.redis_registry import Pace, _Looks
from nodes.redis_scripts import node_key
from support.lone_node import FAST, make_facts
from support.redis_keys import flush
from support.redis_server import RedisServer
from support.registries import Node, living, running
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.redis_cluster import RedisCluster

DEATH_SECONDS = FAST.lease + FAST.turn + FAST.missing


@asynccontextmanager
async def process(url: str, node_id: str, home: str = "") -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.lone_node", url, node_id, home),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["tests", "."])},
        cwd=Path(__file__).parents[2],
    )
    try:
        yield Process(started)
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()
        started._transport.close()  # type: ignore[attr-defined]


class Process:
    """A node in a process of its own."""

    def __init__(self, started: asyncio.subprocess.Process) -> None:
        self._started = started

    async def heard(self) -> Any:
        assert self._started.stdout is not None
        async with asyncio.timeout(30):
            return json.loads(await self._started.stdout.readline())

    def signal(self, number: int) -> None:
        self._started.send_signal(number)


async def test_a_node_that_is_alone_knows_itself() -> None:
    registry = MemoryRegistry(make_facts("one"))
    async with asyncio.TaskGroup() as group:
        group.create_task(registry.run())
        await registry.ready.wait()
        registry.announce(sessions=3)
        registry.announce(state=NodeState.DRAINING)
        assert registry.nodes()["one"].sessions == 3
        assert registry.nodes()["one"].state is NodeState.DRAINING
        assert registry.is_living("one")
        assert not registry.is_living("two")
        await registry.leave(5)


async def test_nodes_see_each_other_and_what_they_say(server: RedisServer | RedisCluster) -> None:
    async with living(server.url, "one", "two", "three") as (one, two, three):
        two.registry.announce(sessions=7)
        two.registry.announce(state=NodeState.DRAINING)
        for node in (one, three):
            await wait_until(
                lambda node=node: node.registry.nodes()["two"] == two.registry.nodes()["two"],  # type: ignore[misc]
                description="the news to come",
            )
            assert node.registry.is_living("two")
            assert node.registry.place("two") == "host-of-two:1"
        await two.registry.leave(0)
        for node in (one, three):
            await wait_until(lambda node=node: node.lost == ["two"], description="to be told at once", timeout=1)  # type: ignore[misc]
            assert not node.registry.is_living("two")


async def test_one_that_does_not_renew_is_dead_to_all_in_time(plain: RedisServer) -> None:
    async with living(plain.url, "one", "two", "three") as (one, two, three):
        three.registry.stop()
        begun = asyncio.get_running_loop().time()
        for node in (one, two):
            await wait_until(lambda node=node: node.lost == ["three"], description="to be told", timeout=20)  # type: ignore[misc]
        took = asyncio.get_running_loop().time() - begun
        assert FAST.lease + FAST.missing - FAST.turn < took < DEATH_SECONDS + 1
        assert one.sees("one", "two")
        assert two.sees("one", "two")


@pytest.mark.parametrize("event", ["frozen", "restarted", "emptied"])
async def test_redis_that_was_away_or_forgets_kills_nobody(tmp_path: Path, event: str) -> None:
    with RedisServer(tmp_path) as server:
        async with living(server.url, "one", "two", "three") as nodes:
            if event == "frozen":
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(DEATH_SECONDS)  # what is tested is that time does nothing
                server.signal(signal.SIGCONT)
            elif event == "restarted":
                server.kill()
                await asyncio.sleep(DEATH_SECONDS)  # as above
                await asyncio.to_thread(server.start)
            else:
                flush(server)
            await wait_until(lambda: all(node.registry.trouble is None for node in nodes), description="all well")
            await asyncio.sleep(FAST.missing + 2 * FAST.turn)
            for node in nodes:
                assert node.sees("one", "two", "three")
                assert not node.lost
                assert not node.own


async def test_one_that_is_away_is_waited_for_and_its_next_process_takes_over_at_once(plain: RedisServer) -> None:
    async with living(plain.url, "one", "two") as (one, two):
        await two.registry.leave(60)
        await wait_until(
            lambda: one.registry.nodes()["two"].state is NodeState.AWAY, description="to be seen away", timeout=1
        )
        await asyncio.sleep(FAST.lease)  # longer than a lease
        assert one.registry.is_living("two")
        async with running(Node(plain.url, "two")) as heir:
            async with asyncio.timeout(0.5):
                await heir.registry.ready.wait()
            await wait_until(
                lambda: one.registry.nodes()["two"].state is NodeState.ACTIVE, description="to be seen back"
            )
        assert not one.lost


async def test_one_that_does_not_come_back_in_time_is_dead(plain: RedisServer) -> None:
    async with living(plain.url, "one", "two") as (one, two):
        await two.registry.leave(0.5)
        await wait_until(lambda: one.lost == ["two"], description="to be told", timeout=DEATH_SECONDS)


async def test_one_that_was_killed_is_back_at_once_at_its_home(plain: RedisServer) -> None:
    async with process(plain.url, "two", "home") as former:
        assert await former.heard() == ["ready"]
        former.signal(signal.SIGKILL)
        async with running(Node(plain.url, "two", home="home")) as heir, asyncio.timeout(0.5):
            await heir.registry.ready.wait()


async def test_a_name_is_refused_as_long_as_its_process_lives(plain: RedisServer) -> None:
    async with process(plain.url, "two", "home") as former:
        assert await former.heard() == ["ready"]
        copy = Node(plain.url, "two", home="another")
        with pytest.raises(NameTaken):
            await copy.registry.run()
        assert not copy.registry.ready.is_set()
        assert not copy.own


async def test_the_name_of_a_dead_process_is_free_after_its_lease(plain: RedisServer) -> None:
    async with process(plain.url, "two", "home") as former:
        assert await former.heard() == ["ready"]
        former.signal(signal.SIGKILL)
        async with running(Node(plain.url, "two", home="another")) as heir, asyncio.timeout(FAST.lease + 1):
            await heir.registry.ready.wait()


async def test_one_whose_name_is_taken_is_told_and_ends(plain: RedisServer) -> None:
    async with process(plain.url, "two", "home") as former:
        assert await former.heard() == ["ready"]
        async with running(Node(plain.url, "two", home="home")):
            assert await former.heard() == ["own", None]
            assert await former.heard() == ["taken"]


async def test_one_that_was_stopped_for_too_long_learns_what_it_has_lost(plain: RedisServer) -> None:
    async with process(plain.url, "two") as stopped:
        assert await stopped.heard() == ["ready"]
        async with running(Node(plain.url, "one")) as one:
            await wait_until(lambda: one.sees("one", "two"), description="to be seen")
            stopped.signal(signal.SIGSTOP)
            await wait_until(lambda: one.lost == ["two"], description="to be told", timeout=20)
            plain.call("SADD", node_key("two", "reaped"), "a", "b")  # as a reaper does
            plain.call("PEXPIRE", node_key("two", "reaped"), 60_000)
            stopped.signal(signal.SIGCONT)
            kind, sessions = await heard_first(stopped, "own")
            assert (kind, sorted(sessions)) == ("own", ["a", "b"])
            await wait_until(lambda: one.sees("one", "two"), description="to be seen again")
            await wait_until(
                lambda: not plain.call("EXISTS", node_key("two", "reaped")), description="it to be told once"
            )


async def heard_first(node: Process, kind: str) -> Any:
    while (heard := await node.heard())[0] != kind:
        pass
    return heard


async def test_who_begins_later_finds_those_that_died_before(plain: RedisServer) -> None:
    async with living(plain.url, "one"):
        pass
    async with running(Node(plain.url, "two")) as two:
        await wait_until(lambda: two.lost == ["one"], description="to be told", timeout=20)


async def test_it_begins_without_redis_and_leaves_without(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with running(Node(server.url, "one")) as node:
        await wait_until(lambda: node.registry.trouble, description="trouble to be seen")
        await asyncio.to_thread(server.start)
        await wait_until(node.registry.ready.is_set, description="to be known", timeout=5)
        server.kill()
        with pytest.raises(Away):
            await node.registry.leave(5)


def test_only_looks_without_a_break_and_without_trouble_count() -> None:
    looks = _Looks(Pace())
    lease = json.dumps({"gone": False, "place": "p", "state": "active", "backends": ["local"], "sessions": 0})
    looks.see({"two": lease, "three": lease}, 0)
    for now in (1, 2, 3, 4):
        looks.see({"two": None, "three": None}, now)
    assert looks.due() == 4.5
    looks.see({"two": OSError(), "three": None}, 4.4)
    assert looks.bury(4.5) == ["three"]
    looks.see({"two": None, "three": None}, 5)
    assert looks.due() == 8.5
    looks.see({"two": None}, 50)
    assert not looks.bury(50), "this process was stopped"
    looks.forget_missing()
    assert looks.due() is None
    assert looks.nodes.keys() == {"two"}
