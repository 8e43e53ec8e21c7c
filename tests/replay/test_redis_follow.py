"""A followed log is its owner's, over every server, whatever becomes of the messages."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from replay.errors import LogMissing
from replay.event import Event
from replay.redis_address import RedisAddress
from replay.redis_connection import TROUBLE, connect, disconnect
from replay.redis_scripts import APPEND, CLAIM, Call, Keys
from support.redis_cluster import RedisCluster
from support.redis_following import (
    FollowingNode,
    Mischief,
    Reader,
    assert_mirrors,
    keys_left,
    wait_level,
)
from support.redis_node import RedisNode
from support.redis_server import FLAVOURS, RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from replay.log import Log
    from replay.redis_follower import Follower


@pytest.fixture(scope="module", params=[*FLAVOURS, "cluster"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("redis")
    if request.param == "cluster":
        with RedisCluster(directory) as cluster:
            yield cluster.url
    else:
        with RedisServer(directory, flavour=request.param) as server:
            yield server.url


@pytest.fixture
def name(rng: random.Random) -> str:
    return f"session-{rng.getrandbits(64):x}-{time.monotonic_ns()}/main"


async def print_some(log: Log, rng: random.Random, times: int) -> None:
    """Append output and events, in bursts and alone, small and large."""
    for number in range(times):
        if rng.random() < 0.2:
            log.add_event("resize", {"rows": rng.randrange(9), "cols": number, "client_id": "ü"}, float(number))
        if rng.random() < 0.05:
            log.add_event("gap", {"reason": "torn"}, float(number))
        log.append(rng.randbytes(rng.choice((1, 10, 300, 5_000, 90_000))))
        while log.is_full:  # noqa: ASYNC110 - a condition, as a terminal waits for it
            await asyncio.sleep(0.001)
        if rng.random() < 0.5:
            await asyncio.sleep(rng.choice((0, 0.001, 0.003)))


async def test_it_has_what_was_there_and_what_comes(url: str, name: str, tmp_path: Path, rng: random.Random) -> None:
    async with RedisNode(url, tmp_path) as node, FollowingNode(url) as followers:
        log = await node.create(name, 256 * 1024)
        await print_some(log, rng, 40)
        await node.settle()
        followed = await followers.follow(name)
        assert_mirrors(followed.log, log)
        reader = Reader(followed.log)
        for _ in range(4):
            await print_some(log, rng, 20)
            await wait_level(followed.log, log)
            assert_mirrors(followed.log, log)
            assert followed.trouble is None
        assert bytes(reader.data[-1000:]) == log.read_range(log.head - 1000, log.head)
        left = await keys_left(url)
        assert all(milliseconds > 0 for milliseconds in left.values())
        assert 0 < left[Keys.of(name).followed] <= 15_000


async def test_bad_notifications_change_nothing_a_viewer_sees(
    url: str, name: str, tmp_path: Path, rng: random.Random
) -> None:
    mischief = Mischief(rng)
    async with RedisNode(url, tmp_path) as node, FollowingNode(url, deliver=mischief) as followers:
        log = await node.create(name, 16 * 1024 * 1024)
        await print_some(log, rng, 10)
        await node.settle()
        followed = await followers.follow(name)
        reader = Reader(followed.log)
        for _ in range(3):
            await print_some(log, rng, 60)
            await wait_level(followed.log, log)
        assert_mirrors(followed.log, log)
        assert bytes(reader.data) == log.read_range(0, log.head)
        indices = [event.index for event in reader.events]
        assert indices == sorted(set(indices))
        assert all(mischief.done.values()), mischief.done


async def test_what_nobody_heard_of_is_found(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path) as node, FollowingNode(url, deliver=lambda *_: False) as followers:
        log = await node.create(name)
        await node.settle()
        followed = await followers.follow(name)
        log.append(b"unheard")
        log.add_event("resize", {"rows": 1}, 1.0)
        await wait_level(followed.log, log, seconds=5)
        assert_mirrors(followed.log, log)


async def test_it_is_followed_while_it_floods(url: str, name: str, tmp_path: Path, rng: random.Random) -> None:
    async with RedisNode(url, tmp_path) as node, FollowingNode(url) as followers:
        log = await node.create(name, 1024 * 1024)
        followed = None
        for number in range(300):
            log.append(rng.randbytes(40_000))
            await asyncio.sleep(0)
            while log.is_full:  # noqa: ASYNC110 - a condition, as a terminal waits for it
                await asyncio.sleep(0.001)
            if number == 100:
                followed = await followers.follow(name)
        assert followed is not None
        await wait_level(followed.log, log)
        assert_mirrors(followed.log, log)


async def test_all_who_follow_a_log_share_it(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path) as node, FollowingNode(url, linger_seconds=0.2) as followers:
        log = await node.create(name)
        log.append(b"x")
        await node.settle()
        all_of_them = await asyncio.gather(*(followers.follow(name) for _ in range(5)))
        local = all_of_them[0].log
        assert all(followed.log is local for followed in all_of_them)
        for followed in all_of_them:
            followed.release()
            followed.release()
        again = await followers.follow(name)
        assert again.log is local, "it was kept warm"
        again.release()
        await wait_until(lambda: local.is_closed, description="nobody came back")
        anew = await followers.follow(name)
        assert anew.log is not local
        assert_mirrors(anew.log, log)


async def test_there_is_nothing_to_follow(url: str, name: str) -> None:
    async with FollowingNode(url) as followers:
        with pytest.raises(LogMissing):
            await followers.follow(name)


async def test_another_history_of_that_name_ends_it(url: str, name: str, tmp_path: Path) -> None:
    async with (
        RedisNode(url, tmp_path / "one") as one,
        RedisNode(url, tmp_path / "two") as two,
        FollowingNode(url) as followers,
    ):
        log = await one.create(name)
        log.append(b"the first history")
        await one.settle()
        followed = await followers.follow(name)
        told: list[Log] = []
        followed.changed = lambda: told.append(followed.log)
        other = await two.create(name)
        other.append(b"the second")
        await two.settle()
        await wait_until(lambda: told, description="it is told")
        assert followed.log.read_range(0, followed.log.head) == b"the first history"
        anew = await followers.follow(name)
        assert_mirrors(anew.log, other)
        followed.release()
        other.append(b" goes on")
        await wait_level(anew.log, other)
        assert_mirrors(anew.log, other)
        assert len(told) == 1


async def test_a_log_that_was_deleted_ends_it(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path) as node, FollowingNode(url, missing_seconds=0.5) as followers:
        log = await node.create(name)
        log.append(b"x")
        await node.settle()
        followed = await followers.follow(name)
        told: list[str | None] = []
        followed.changed = lambda: told.append(followed.trouble)
        log.close()
        await asyncio.to_thread(node.store.delete, name)
        await wait_until(lambda: told, description="it is told")
        assert told == ["Redis does not have the log at the moment"]
        with pytest.raises(LogMissing):
            await followers.follow(name)


async def test_what_redis_forgot_and_was_given_again_ends_nothing(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path, heartbeat_seconds=0.2) as node, FollowingNode(url) as followers:
        log = await node.create(name)
        log.add_event("resize", {"rows": 1}, 1.0)
        log.append(b"x" * 1000)
        log.add_event("resize", {"rows": 2}, 2.0)
        log.add_event("resize", {"rows": 3}, 2.0)
        await node.settle()
        followed = await followers.follow(name)
        followed.changed = lambda: pytest.fail("it goes on")
        client = connect(node.address)
        keys = Keys.of(name)
        await client.delete(keys.stream, keys.hash, keys.followed)
        await disconnect(client)
        log.append(b"y" * 1000)
        log.add_event("resize", {"rows": 4}, 4.0)
        await wait_level(followed.log, log)
        assert_mirrors(followed.log, log)


async def test_a_follower_held_up_for_too_long_goes_on_behind_a_gap(url: str, name: str, tmp_path: Path) -> None:
    def hear(follower: Follower, data: bytes, now: float) -> bool:
        return False if is_deaf else follower.hear(data, now)

    is_deaf = True
    async with RedisNode(url, tmp_path) as node, FollowingNode(url, deliver=hear) as followers:
        log = await node.create(name)
        log.append(b"x")
        await node.settle()
        followed = await followers.follow(name)
        reader = Reader(followed.log)
        log.append(b"y" * log.retention_bytes)
        log.add_event("resize", {"rows": 1}, 1.0)
        for _ in range(4):
            log.append(b"z" * log.retention_bytes)
            await node.settle()
        is_deaf = False
        log.append(b"!")
        await wait_level(followed.log, log)
        assert_mirrors(followed.log, log)
        assert len(reader.gaps) <= 2
        assert [event.fields for event in reader.events] == [{"rows": 1}], "it left the stream, and is known"


async def test_a_gap_of_the_owner_is_one_here(url: str, name: str) -> None:
    client = connect(RedisAddress.parse(url))
    keys, epoch = Keys.of(name), "0123456789abcdef"

    async def send(base: int, *items: str | bytes | int) -> None:
        call = Call(APPEND, keys, (epoch, 1, 0, 60_000, base, *items))
        assert (await client.execute_command(*call.words(whole=True)))[0] == b"stored"

    try:
        claim = Call(CLAIM, keys, (epoch, 1, 0, 64 * 1024, 60_000))
        await client.execute_command(*claim.words(whole=True))
        async with FollowingNode(url) as followers:
            await send(0, "d", 1, b"0123456789", "g", 1, 1_000_000, "d", 1, b"early")
            followed = await followers.follow(name)
            assert (followed.log.first, followed.log.head) == (1_000_000, 1_000_005)
            reader = Reader(followed.log)
            reader.stop()  # it sleeps through what comes
            await send(1_000_005, "g", 1, 3_000_000, "e", 1, b'[1,2999999,"resize",{"rows":1},1.5]', "d", 1, b"late")
            await wait_until(lambda: followed.log.head == 3_000_004, description="it is here")
            reader.read()
            assert reader.gaps == [(1_000_005, 3_000_000)]
            assert bytes(reader.data) == b"earlylate"
            assert reader.events == [Event(1, 2_999_999, "resize", {"rows": 1}, 1.5)]
    finally:
        await disconnect(client)


async def test_who_asks_while_redis_is_away_is_told() -> None:
    async with FollowingNode("redis://127.0.0.1:1") as followers:
        with pytest.raises(TROUBLE):
            await followers.follow("session/main")
    with pytest.raises(TROUBLE):
        await followers.follow("session/main")
