"""What a log in Redis promises, over every server."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from replay.errors import LogMissing
from replay.event import Event
from replay.redis_address import RedisAddress
from replay.redis_connection import connect, disconnect
from replay.redis_copy import CHUNK_BYTES, PROOF_BYTES, State
from replay.redis_persister import BACKLOG_BYTES, MARGIN_BYTES, Durability
from replay.redis_reader import Chunk, Cursor, Hole, RedisReader
from support.redis_kinds import KINDS, serving
from support.redis_node import RETENTION_BYTES, RedisNode, assert_same, read_all
from support.redis_server import RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(request.param, tmp_path_factory.mktemp("redis")) as group:
        yield group.url


@pytest.fixture
def name(rng: random.Random) -> str:
    return f"session-{rng.getrandbits(64):x}-{time.monotonic_ns()}/main"


async def keys_of(url: str, name: str) -> dict[str, int]:
    """Return the keys of a log with the milliseconds they have to live."""
    session_id, _, terminal_id = name.partition("/")
    client = connect(RedisAddress.parse(url))
    try:
        keys = [f"ts:{{{session_id}}}:{terminal_id}:{end}" for end in ("out", "log")]
        return {key: await client.execute_command("PTTL", key) for key in keys if await client.exists(key)}
    finally:
        await disconnect(client)


async def test_output_and_events_are_in_redis_in_order_with_their_times(url: str, name: str, tmp_path: Path) -> None:
    before = time.time()
    async with RedisNode(url, tmp_path) as node:
        log = await node.create(name)
        begun = log.add_event("resize", {"rows": 1, "cols": 2, "client_id": "ü"}, 1.5)
        log.append(b"hello ")
        middle = log.add_event("resize", {"rows": 3, "cols": 4, "client_id": "c"}, 2.5)
        log.append(b"world")
        await node.settle()
        items = await assert_same(url, log, name)
    assert [item for item in items if isinstance(item, Event)] == [begun, middle]
    assert [(item.start, item.data) for item in items if isinstance(item, Chunk)] == [(0, b"hello "), (6, b"world")]
    assert all(before - 1 <= item.at <= time.time() + 1 for item in items if isinstance(item, Chunk))


async def test_every_key_has_a_time_to_live_that_the_owner_refreshes(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path, ttl_seconds=2.0, heartbeat_seconds=0.1) as node:
        log = await node.create(name)
        await node.settle()
        log.append(b"x")
        await node.settle()
        begun = asyncio.get_running_loop().time()
        assert len(await keys_of(url, name)) == 2
        while asyncio.get_running_loop().time() < begun + 2.5:
            assert all(0 < left <= 2000 for left in (await keys_of(url, name)).values())
            await asyncio.sleep(0.1)
        assert len(await keys_of(url, name)) == 2, "kept alive beyond its time by the owner alone"


async def test_redis_keeps_about_the_bytes_that_are_retained(
    url: str, name: str, tmp_path: Path, rng: random.Random
) -> None:
    async with RedisNode(url, tmp_path) as node:
        log = await node.create(name, 256 * 1024)
        for _ in range(40):
            log.append(rng.randbytes(rng.randrange(1, 100_000)))
            await node.settle()
        items = await assert_same(url, log, name)
    kept = sum(len(item.data) for item in items if isinstance(item, Chunk))
    assert 256 * 1024 <= kept <= 256 * 1024 + 2 * CHUNK_BYTES
    assert max(len(item.data) for item in items if isinstance(item, Chunk)) <= CHUNK_BYTES


async def test_a_range_is_read_from_any_position(url: str, name: str, tmp_path: Path, rng: random.Random) -> None:
    async with RedisNode(url, tmp_path) as node:
        log = await node.create(name, 1024 * 1024)
        for _ in range(50):
            log.append(rng.randbytes(rng.randrange(1, 30_000)))
            await asyncio.sleep(0)
        await node.settle()
        client = connect(node.address)
        reader = RedisReader(client)
        try:
            for _ in range(20):
                start, end = sorted(rng.randrange(log.head + 1) for _ in range(2))
                assert await reader.read_range(name, start, end) == log.read_range(start, end)
            facts = await reader.facts(name)
            assert (facts.epoch, facts.head, facts.retention_bytes) == (log.epoch, log.head, log.retention_bytes)
            assert await reader.read(name, Cursor(log.head)) == ([], Cursor(log.head))
            with pytest.raises(LogMissing):
                await reader.facts("nobody/main")
        finally:
            await disconnect(client)


async def test_what_is_no_longer_kept_is_told_as_a_hole(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path) as node:
        log = await node.create(name)
        log.append(b"x" * (4 * RETENTION_BYTES))
        await node.settle()
        items = await read_all(url, name, Cursor(5))
    assert isinstance(items[0], Hole)
    assert items[0].start == 5
    assert isinstance(items[1], Chunk)
    assert items[1].start == items[0].end


async def test_another_process_goes_on_where_the_last_one_was_killed(
    url: str, name: str, tmp_path: Path, rng: random.Random
) -> None:
    async with RedisNode(url, tmp_path) as node:
        log = await node.create(name, 1024 * 1024)
    for _ in range(5):
        async with RedisNode(url, tmp_path) as node:
            log = await node.open(name)
            log.append(rng.randbytes(rng.randrange(1, 200_000)))
            log.add_event("resize", {"rows": 1, "cols": rng.randrange(9), "client_id": "c"}, 1.0)
            if rng.random() < 0.5:
                await node.settle()
            log.append(b"written and not copied")  # killed here
    async with RedisNode(url, tmp_path) as node:
        log = await node.open(name)
        missing = log.head - log.stored
        await node.settle()
        await assert_same(url, log, name)
        assert node.persister.figures.stored_bytes <= PROOF_BYTES + missing, "only what was new was sent"


async def test_a_log_without_its_file_is_fetched_from_redis(
    url: str, name: str, tmp_path: Path, rng: random.Random
) -> None:
    async with RedisNode(url, tmp_path / "one") as node:
        log = await node.create(name, 256 * 1024)
        for _ in range(30):
            log.append(rng.randbytes(rng.randrange(1, 60_000)))
            log.add_event("resize", {"rows": 1, "cols": rng.randrange(9), "client_id": "c"}, 1.0)
        await node.settle()
        epoch, first, head, index = log.epoch, log.first, log.head, log.next_index
        kept, size = log.read_range(first, head), log.last_event("resize", head)
    async with RedisNode(url, tmp_path / "two") as node:
        again = await node.open(name, is_over=True)
        assert (again.epoch, again.first, again.head, again.next_index) == (epoch, first, head, index)
        assert again.read_range(first, head) == kept
        assert again.last_event("resize", head) == size
        await node.settle()
        assert node.ended == []


async def test_one_whose_program_lives_goes_on_behind_a_gap(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path / "one") as node:
        log = await node.create(name)
        log.append(b"before")
        await node.settle()
    async with RedisNode(url, tmp_path / "two") as node:
        again = await node.open(name)
        told = again.last_event("gap", again.head)
        assert told is not None
        assert told.position == 6
        again.append(b" after")
        await node.settle()
        await assert_same(url, again, name)
        assert again.read_range(0, again.head) == b"before after"


async def test_a_log_deleted_is_gone_from_redis_too(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path) as node:
        log = await node.create(name)
        log.append(b"x")
        await node.settle()
        log.close()
        await asyncio.to_thread(node.store.delete, name)
        await wait_until(lambda: _is_gone(url, name), description="no key is left")
        with pytest.raises(LogMissing):
            await node.open(name)


async def _is_gone(url: str, name: str) -> bool:
    return not await keys_of(url, name)


async def test_a_writer_with_a_newer_one_behind_it_stops_and_changes_nothing(
    url: str, name: str, tmp_path: Path
) -> None:
    async with RedisNode(url, tmp_path / "one") as old, RedisNode(url, tmp_path / "two") as new:
        mine = await old.create(name)
        mine.append(b"common ")
        await old.settle()
        theirs = await new.open(name)
        theirs.append(b"theirs")
        await new.settle()
        mine.append(b"forked history, longer than theirs")
        await wait_until(lambda: old.ended, description="the old writer is told")
        assert old.ended == [(name, State.FENCED)]
        assert mine.trouble == State.FENCED.value
        mine.append(b"more")
        theirs.append(b", and on")
        await new.settle()
        await assert_same(url, theirs, name)
        assert new.ended == []


async def test_other_bytes_at_the_same_positions_are_refused(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path) as node:
        log = await node.create(name)
        log.append(b"a" * 1000)
        await node.settle()
    ring = tmp_path / (name + ".ring")
    ring.write_bytes(ring.read_bytes().replace(b"a" * 1000, b"a" * 500 + b"b" * 500))
    async with RedisNode(url, tmp_path) as node:
        log = await node.open(name)
        log.append(b"more")
        await wait_until(lambda: node.ended, description="the fork is told")
        assert node.ended == [(name, State.FORKED)]
        items = await read_all(url, name)
    assert b"".join(item.data for item in items if isinstance(item, Chunk)) == b"a" * 1000


async def test_what_redis_forgot_it_is_given_again(url: str, name: str, tmp_path: Path) -> None:
    async with RedisNode(url, tmp_path, heartbeat_seconds=0.2) as node:
        log = await node.create(name)
        log.append(b"x" * 1000)
        log.add_event("resize", {"rows": 1, "cols": 2, "client_id": "c"}, 1.0)
        await node.settle()
        client = connect(node.address)
        for key in await keys_of(url, name):
            await client.delete(key)
        await disconnect(client)
        await wait_until(lambda: _is_back(url, name), description="an idle log is back")
        await node.settle()
        await assert_same(url, log, name)


async def _is_back(url: str, name: str) -> bool:
    return len(await keys_of(url, name)) == 2


async def test_many_logs_are_copied_at_once(url: str, name: str, tmp_path: Path, rng: random.Random) -> None:
    async with RedisNode(url, tmp_path) as node:
        logs = {f"{name.removesuffix('/main')}-{n}/main": None for n in range(20)}
        opened = {each: await node.create(each) for each in logs}
        for _ in range(200):
            log = rng.choice(list(opened.values()))
            log.append(rng.randbytes(rng.randrange(1, 3000)))
            if rng.random() < 0.2:
                log.add_event("resize", {"rows": 1, "cols": rng.randrange(9), "client_id": "c"}, 1.0)
            if rng.random() < 0.3:
                await asyncio.sleep(0)
        await node.settle()
        for each, log in opened.items():
            await assert_same(url, log, each)


async def test_nothing_is_appended_beyond_the_spool_while_redis_is_away(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with RedisNode(server.url, tmp_path / "logs") as node:
        log = await node.create()
        rooms: list[int] = []
        log.on_room = lambda: rooms.append(log.head - log.stored)
        block = b"y" * 60_000
        while not log.is_full:
            log.append(block)
        assert BACKLOG_BYTES < log.head <= BACKLOG_BYTES + len(block)
        for _ in range(MARGIN_BYTES // len(block) - 2):  # what is on its way when the terminal is told to wait
            log.append(block)
        await wait_until(lambda: log.trouble is not None, description="trouble is told")
        server.start()
        try:
            await node.settle()
            assert rooms
            assert node.persister.figures.gap_bytes == 0
            assert log.trouble is None
            await assert_same(server.url, log)
        finally:
            server.kill()


async def test_with_durability_memory_nobody_waits_and_the_gap_is_told(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    server.start()
    async with RedisNode(server.url, tmp_path / "logs", durability=Durability("memory")) as node:
        log = await node.create()
        log.append(b"first")
        await node.settle()
        server.kill()
        block = b"y" * 60_000
        for _ in range(3 * (BACKLOG_BYTES + MARGIN_BYTES) // len(block)):
            log.append(block)
            assert not log.is_full
        server.start()
        try:
            await node.settle()
            items = await read_all(server.url)
        finally:
            server.kill()
    assert node.persister.figures.gap_bytes > BACKLOG_BYTES
    assert any(isinstance(item, Hole) for item in items)
    chunks = [item for item in items if isinstance(item, Chunk)]
    assert chunks[-1].end == log.head


async def test_replicated_counts_when_a_replica_has_it(tmp_path: Path) -> None:
    primary = RedisServer(tmp_path, "--repl-diskless-sync-delay", "0")
    with primary as server, RedisServer(tmp_path, "--replicaof", f"127.0.0.1 {server.port}") as replica:
        async with RedisNode(server.url, tmp_path / "logs", durability=Durability("replicated", 1)) as node:
            log = await node.create()
            log.append(b"x" * 1000)
            await node.settle()
            assert replica.call("XLEN", "ts:{session}:main:out") == 1
            replica.kill()
            log.append(b"y" * 1000)
            await wait_until(lambda: log.trouble is not None, description="told that no replica has it")
            assert "0 of 1 replicas" in str(node.persister.trouble)
            assert log.stored == 1000
            replica.start()
            await node.settle()
            assert log.stored == 2000
            await assert_same(server.url, log)
