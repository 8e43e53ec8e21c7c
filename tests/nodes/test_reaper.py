"""What a dead node left is ended once, by one of the living, and nothing else is."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from nodes.errors import Full
from nodes.redis_directory import RedisDirectory
from nodes.redis_registry import Pace
from nodes.redis_scripts import LIVING, NODES, node_key, session_key
from replay.event import Event
from replay.redis_address import RedisAddress
from replay.redis_copy import State as CopyState
from replay.redis_seal import seal
from support.entries import make_entry
from support.redis_keys import keys_with_life
from support.redis_node import RedisNode, read_all
from support.registries import Member, members
from support.wait import wait_until
from terminal_service.clock import Clock
from terminal_service.recovery import restore_session
from terminal_service.session import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.redis_cluster import RedisCluster
    from support.redis_server import RedisServer


async def test_what_a_dead_node_had_is_lost_once_and_its_logs_end(
    server: RedisServer | RedisCluster, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        one, two, three = await stack.enter_async_context(members(server.url, "one", "two", "three"))
        node = await stack.enter_async_context(RedisNode(server.url, tmp_path))
        log = await node.create("t0/main")
        log.append(b"last words")
        await node.settle()
        mine = make_entry("mine", node_id="one")
        theirs = [make_entry(f"t{number}", node_id="three", user=f"u{number % 3}") for number in range(150)]
        ended = make_entry("ended", node_id="three", living=False)
        await one.directory.save([mine])
        await three.directory.save([*theirs, ended])
        three.stop()
        await wait_until(lambda: one.reaper.reaped + two.reaper.reaped, description="the reaping to begin")
        await wait_until(lambda: _nodes(server) == {b"one", b"two"}, description="it to be done")
        assert sorted([one.reaper.reaped, two.reaper.reaped]) == [0, 150], "one has done it all, each once"

        lost = await one.find("t0")
        reason = "its node host-of-three:1 is gone"
        assert not lost.is_living
        view = json.loads(lost.view)
        assert (view["state"], view["end_reason"], view["pid"], view["viewers"]) == ("lost", reason, None, [])
        assert view["history"][-1]["reason"] == reason
        session = restore_session("t0", json.loads(lost.record), clock=Clock(), ttl_seconds=1, max_lifetime_seconds=1)
        assert (session.state, session.end_reason) == (State.LOST, reason)
        assert [change.state for change in session.history] == [State.PENDING, State.LOST]
        assert await one.find("mine") == mine
        assert await one.find("ended") == ended

        await two.directory.claim("new", "u0", limit_all=2, limit_user=1)  # the lost are counted no more
        with pytest.raises(Full):
            await two.directory.claim("newer", "u1", limit_all=2, limit_user=1)

        last = (await read_all(server.url, "t0/main"))[-1]
        assert isinstance(last, Event)
        assert (last.kind, last.position) == ("ended", 10)
        assert (last.fields["reason"], last.fields["state"], last.fields["exit_code"]) == (reason, "lost", None)
        log.append(b"of a node that was only stopped")
        await wait_until(lambda: node.ended == [("t0/main", CopyState.FENCED)], description="its writer to be refused")
        assert sorted(await three.directory.save(theirs)) == sorted(entry.session_id for entry in theirs)
        life = dict(keys_with_life(server))
        assert all(life[session_key(entry.session_id)] <= 600_000 for entry in theirs)


def _nodes(server: Any) -> set[bytes]:
    place = server.owner_of(NODES) if hasattr(server, "owner_of") else server
    return set(place.call("SMEMBERS", NODES))


async def test_it_is_told_and_done_within_ten_seconds_of_the_last_renewal(plain: RedisServer) -> None:
    pace = Pace()
    async with members(plain.url, "one", "two", "three", pace=pace) as (one, two, three):
        await three.directory.save([make_entry(f"t{number}", node_id="three") for number in range(100)])
        three.stop()
        begun = asyncio.get_running_loop().time()
        await wait_until(lambda: one.reaper.reaped + two.reaper.reaped == 100, description="all to be lost")
        took = asyncio.get_running_loop().time() - begun
        assert pace.lease + pace.missing - pace.turn < took < 10


async def test_a_node_that_is_back_in_time_keeps_what_it_has(plain: RedisServer) -> None:
    async with members(plain.url, "one", "two") as (one, two):
        entries = [make_entry(f"t{number}", node_id="two") for number in range(3)]
        await two.directory.save(entries)
        two.stop()
        await wait_until(lambda: not plain.call("EXISTS", node_key("two", "lease")), description="the lease to be over")
        again = Member(plain.url, "two")
        async with asyncio.TaskGroup() as group:
            group.create_task(again.run())
            await again.registry.ready.wait()
            one.reaper.reap("two")  # whoever is told wrongly does no harm
            await wait_until(lambda: not one.reaper._dead, description="the reaper to find it living")
            assert not await again.directory.save(entries)
            again.stop()
        assert not one.lost
        assert one.reaper.reaped == 0
        await again.directory.close()


async def test_one_that_is_back_late_has_lost_what_it_had_and_keeps_what_is_new(plain: RedisServer) -> None:
    async with members(plain.url, "one", "two") as (one, two):
        old, new = make_entry("old", node_id="two"), make_entry("new", node_id="two")
        await two.directory.save([old])
        two.stop()
        await wait_until(lambda: one.reaper.reaped == 1, description="it to be reaped")
        again = Member(plain.url, "two")
        async with asyncio.TaskGroup() as group:
            group.create_task(again.run())
            await wait_until(lambda: again.own == [["old"]], description="it to be told")
            assert await again.directory.save([old, new]) == ["old"]
            one.reaper.reap("two")
            await wait_until(lambda: not one.reaper._dead, description="the reaper to find it living")
            assert (await one.find("new")).is_living
            again.stop()
        await again.directory.close()


@dataclass
class Stuck:
    """A seal that is never done, as of a reaper that dies in the middle."""

    sealed: int = 0

    async def __call__(self, client: Any, name: str, **how: Any) -> Any:
        if self.sealed >= 10:
            await asyncio.Event().wait()
        self.sealed += 1
        return await seal(client, name, **how)

    def is_stuck(self) -> bool:
        return self.sealed >= 10


async def test_when_the_reaper_dies_another_goes_on(plain: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.redis_reaper.TURN_SECONDS", 0.3)
    async with _directory(plain.url, "dead") as directory:
        await directory.save([make_entry(f"t{number}", node_id="dead") for number in range(100)])
        stuck = Stuck()
        first, second = Member(plain.url, "one", seal=stuck), Member(plain.url, "two")
        async with asyncio.TaskGroup() as group:
            dying = group.create_task(first.reaper.run())
            first.reaper.reap("dead")
            await wait_until(stuck.is_stuck, description="it to be in the middle")
            group.create_task(second.reaper.run())
            second.reaper.reap("dead")
            dying.cancel()
            await wait_until(lambda: not second.reaper._dead, description="the other one to be done")
            second.reaper.stop()
        assert second.reaper.reaped == 100
        assert plain.call("ZCARD", LIVING) == 0
        rest = [key for key in dict(keys_with_life(plain)) if key.endswith((":doomed", ":reaper"))]
        assert not rest


async def test_a_node_that_leaves_for_good_leaves_nothing_living(plain: RedisServer) -> None:
    async with members(plain.url, "one", "two") as (one, two):
        await two.directory.save([make_entry("t", node_id="two")])
        two.reaper.stop()
        await two.registry.leave(0)
        await wait_until(lambda: one.reaper.reaped == 1, description="it to be reaped", timeout=2)


async def test_an_entry_that_is_damaged_is_lost_too(plain: RedisServer) -> None:
    async with _directory(plain.url, "dead") as directory:
        await directory.save([make_entry("a", node_id="dead"), make_entry("b", node_id="dead")])
        plain.call("HSET", session_key("a"), "view", b"{]\xff")
        member = Member(plain.url, "one")
        async with asyncio.TaskGroup() as group:
            group.create_task(member.reaper.run())
            member.reaper.reap("dead")
            await wait_until(lambda: member.reaper.reaped == 2, description="both to be lost")
            member.reaper.stop()
        assert not (await directory.find("a")).is_living  # type: ignore[union-attr]


@asynccontextmanager
async def _directory(url: str, node_id: str) -> AsyncIterator[RedisDirectory]:
    directory = RedisDirectory(RedisAddress.parse(url), node_id)
    try:
        yield directory
    finally:
        await directory.close()
