"""What a directory promises, in memory and over every Redis."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nodes.errors import Away, Full
from nodes.memory_directory import MemoryDirectory
from nodes.redis_directory import RedisDirectory
from nodes.redis_scripts import LIVING, SESSIONS, node_key, session_key, user_key
from replay.redis_address import RedisAddress
from support.entries import make_entry
from support.redis_keys import assert_all_end, flush, keys_with_life
from support.redis_server import RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from nodes.base import Directory, Entry
    from support.redis_cluster import RedisCluster

FREE = {"limit_all": 1000, "limit_user": 1000}


@asynccontextmanager
async def redis_directory(url: str, node_id: str = "one", **options: float) -> AsyncIterator[RedisDirectory]:
    directory = RedisDirectory(RedisAddress.parse(url), node_id, **options)
    try:
        yield directory
    finally:
        await directory.close()


class Contract:
    """What holds for each of them."""

    async def test_what_was_saved_is_found_as_it_was(self, directory: Directory) -> None:
        entry = make_entry("a", at=1763740800.123456789, user="a{n}n ü")
        assert await directory.find("a") is None
        assert not await directory.save([entry])
        assert await directory.find("a") == entry
        changed = replace(entry, view=b'{"state": "ending"}')
        assert not await directory.save([changed])
        assert await directory.find("a") == changed

    async def test_nothing_is_saved_by_saving_nothing(self, directory: Directory) -> None:
        assert not await directory.save([])
        assert not await directory.page(after=None, user=None, limit=5)

    async def test_pages_have_each_session_once_oldest_first(self, directory: Directory) -> None:
        entries = [
            make_entry(f"s{number:02}", at=1.0 + number // 3, user="ann" if number % 2 else "bob")
            for number in range(20)
        ]
        await directory.save(entries[::-1])
        assert await pages(directory, None, 3) == entries
        assert await pages(directory, "bob", 3) == entries[::2]
        assert await pages(directory, "nobody", 3) == []
        assert list(await directory.page(after=None, user=None, limit=100)) == entries

    async def test_a_place_stays_when_what_stood_there_is_gone(self, directory: Directory) -> None:
        entries = [make_entry(name, at=5.0) for name in ("B", "a", "a-b", "a_b", "b", "é")]
        entries.sort(key=lambda entry: entry.session_id)
        await directory.save(entries)
        for number, entry in enumerate(entries):
            await directory.forget(entry.session_id, entry.user)
            rest = await directory.page(after=(5.0, entry.session_id), user=None, limit=10)
            assert list(rest) == entries[number + 1 :]

    async def test_one_that_has_ended_is_listed_and_counts_no_more(self, directory: Directory) -> None:
        await directory.claim("a", "ann", limit_all=1, limit_user=1)
        await directory.save([make_entry("a")])
        with pytest.raises(Full):
            await directory.claim("b", "ann", limit_all=9, limit_user=1)
        ended = make_entry("a", living=False)
        await directory.save([ended])
        await directory.claim("b", "ann", limit_all=1, limit_user=1)
        assert list(await directory.page(after=None, user="ann", limit=9)) == [ended]
        assert await directory.find("a") == ended

    async def test_limits_are_of_a_user_and_of_all_and_a_refusal_counts_nothing(self, directory: Directory) -> None:
        await directory.claim("a", "ann", limit_all=2, limit_user=1)
        with pytest.raises(Full) as user_limit:
            await directory.claim("b", "ann", limit_all=2, limit_user=1)
        assert (user_limit.value.what, user_limit.value.limit) == ("sessions of a user", 1)
        await directory.claim("c", "bob", limit_all=2, limit_user=1)
        with pytest.raises(Full) as limit:
            await directory.claim("d", "cid", limit_all=2, limit_user=1)
        assert limit.value.what == "sessions"
        await directory.forget("c", "bob")
        await directory.claim("d", "cid", limit_all=2, limit_user=1)

    async def test_a_claim_made_twice_counts_once(self, directory: Directory) -> None:
        for _ in range(2):
            await directory.claim("a", "ann", limit_all=1, limit_user=1)
        await directory.forget("a", "ann")
        await directory.forget("a", "ann")
        await directory.claim("b", "ann", limit_all=1, limit_user=1)

    async def test_what_was_made_before_counts_without_a_claim(self, directory: Directory) -> None:
        await directory.save([make_entry("a"), make_entry("b")])
        with pytest.raises(Full):
            await directory.claim("c", "ann", limit_all=9, limit_user=2)

    async def test_what_is_forgotten_is_nowhere_and_stays_so(self, directory: Directory) -> None:
        await directory.save([make_entry("a")])
        await directory.forget("a", "ann")
        assert not await directory.save([make_entry("a")])
        assert await directory.find("a") is None
        assert not await directory.page(after=None, user=None, limit=9)
        assert not await directory.page(after=None, user="ann", limit=9)


async def forget_after(directory: Directory, session_id: str, turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    await directory.forget(session_id, "ann")


async def pages(directory: Directory, user: str | None, limit: int) -> Sequence[Entry]:
    """Return all there is, page by page."""
    found: list[Entry] = []
    after = None
    while True:
        page = await directory.page(after=after, user=user, limit=limit)
        found += page
        if len(page) < limit:
            return found
        after = (page[-1].created_at, page[-1].session_id)


class TestInMemory(Contract):
    @pytest.fixture
    def directory(self) -> Directory:
        return MemoryDirectory()


class TestOverRedis(Contract):
    @pytest.fixture
    async def directory(self, server: RedisServer | RedisCluster) -> AsyncIterator[Directory]:
        async with redis_directory(server.url) as directory:
            yield directory

    async def test_only_so_many_of_many_claims_at_once_from_many_nodes_are_counted(
        self, server: RedisServer | RedisCluster
    ) -> None:
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(redis_directory(server.url, f"n{number}")) for number in range(4)]

            async def claim(number: int) -> bool:
                try:
                    await nodes[number % 4].claim(f"s{number}", f"u{number % 2}", limit_all=15, limit_user=10)
                except Full:
                    return False
                return True

            are_claimed = await asyncio.gather(*map(claim, range(50)))
            claimed = [number for number in range(50) if are_claimed[number]]
            assert len(claimed) == 15
            # What the second limit refused the first one counts no more; what is counted may be claimed again.
            counted = await nodes[0]._link.ask([("ZCARD", user_key(user, "living")) for user in ("u0", "u1")])
            assert counted == [sum(number % 2 == user for number in claimed) for user in (0, 1)]
            assert all(await asyncio.gather(*map(claim, claimed)))
            for number in range(50):
                await nodes[0].forget(f"s{number}", f"u{number % 2}")
            assert sum(await asyncio.gather(*map(claim, range(0, 50, 2)))) == 10

    async def test_a_session_that_ran_out_is_listed_nowhere_and_does_not_leave_its_name(
        self, server: RedisServer | RedisCluster
    ) -> None:
        async with redis_directory(server.url, ended_seconds=0.05) as directory:
            living = [make_entry(f"l{number}", at=number * 2.0) for number in range(5)]
            ended = [make_entry(f"e{number}", at=number * 2.0 + 1, living=False) for number in range(5)]
            await directory.save([*living, *ended])
            await wait_until(
                lambda: session_key("e4") not in dict(keys_with_life(server)), description="the last entry to run out"
            )
            assert list(await directory.page(after=None, user=None, limit=4)) == living[:4], "a full page"
            assert await pages(directory, "ann", 2) == living
            assert await pages(directory, None, 2) == living
            counts = await directory._link.ask([("ZCARD", SESSIONS), ("ZCARD", user_key("ann", "sessions"))])
            assert counts == [5, 5]

    async def test_what_counts_and_is_no_session_is_dropped_before_anybody_is_refused(
        self, server: RedisServer | RedisCluster
    ) -> None:
        async with redis_directory(server.url) as directory:
            await directory.save([make_entry("a"), make_entry("b")])
            await directory._link.ask([("DEL", session_key("a"))])
            await directory.claim("c", "ann", limit_all=2, limit_user=2)
            with pytest.raises(Full):  # a claim that is not a session yet is no stray
                await directory.claim("d", "ann", limit_all=2, limit_user=2)

    async def test_a_claim_that_comes_to_nothing_ends_by_itself(
        self, server: RedisServer | RedisCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nodes.redis_directory.CLAIM_SECONDS", 0.1)
        async with redis_directory(server.url) as directory:
            await directory.claim("a", "ann", limit_all=1, limit_user=1)
            with pytest.raises(Full):
                await directory.claim("b", "ann", limit_all=1, limit_user=1)
            async with asyncio.timeout(10):
                while True:
                    try:
                        await directory.claim("b", "ann", limit_all=1, limit_user=1)
                    except Full:
                        await asyncio.sleep(0.02)
                    else:
                        break

    async def test_what_redis_has_forgotten_is_known_again_once_it_is_saved(
        self, server: RedisServer | RedisCluster
    ) -> None:
        async with redis_directory(server.url) as directory:
            entries = [make_entry("a", at=1.0), make_entry("b", at=2.0)]
            await directory.save(entries)
            flush(server)
            assert await directory.find("a") is None
            assert not await directory.save(entries)
            assert await pages(directory, "ann", 1) == entries
            with pytest.raises(Full):
                await directory.claim("c", "ann", limit_all=2, limit_user=9)

    async def test_one_forgotten_while_it_is_saved_does_not_come_back(self, server: RedisServer | RedisCluster) -> None:
        async with redis_directory(server.url) as directory:
            entries = [make_entry(f"s{number}") for number in range(50)]
            await directory.find("s0")  # connected
            for turn in range(20):
                entry = make_entry(f"t{turn}")
                await asyncio.gather(directory.save([entry, *entries]), forget_after(directory, f"t{turn}", turn))
                await directory.save([entry])  # late
            assert await pages(directory, None, 100) == sorted(entries, key=lambda entry: entry.session_id)
            with pytest.raises(Full):
                await directory.claim("new", "ann", limit_all=50, limit_user=99)
            await directory.claim("new", "ann", limit_all=51, limit_user=51)

    async def test_one_that_a_reaper_has_found_lost_is_told_and_stays_as_the_reaper_left_it(
        self, server: RedisServer | RedisCluster
    ) -> None:
        async with redis_directory(server.url) as directory:
            await directory.save([make_entry("a"), make_entry("b")])
            await directory._link.ask([("HSET", session_key("a"), "lost", "1", "living", "0", "view", "gone")])
            assert await directory.save([make_entry("a"), make_entry("b")]) == ["a"]
            found = await directory.find("a")
            assert found is not None
            assert (found.view, found.is_living) == (b"gone", False)


async def test_every_key_is_refreshed_by_saving(plain: RedisServer) -> None:
    async with redis_directory(plain.url, ttl_seconds=1.0, ended_seconds=1.0) as directory:
        entries = [make_entry(f"s{number}") for number in range(3)]
        await directory.claim("s0", "ann", **FREE)
        begun = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < begun + 1.5:
            await directory.save(entries)
            await asyncio.sleep(0.1)
            assert_all_end(plain)
        expected = {SESSIONS, LIVING, user_key("ann", "sessions"), user_key("ann", "living")}
        expected |= {node_key("one", "sessions"), *(session_key(entry.session_id) for entry in entries)}
        assert dict(keys_with_life(plain)).keys() == expected
        assert await pages(directory, None, 2) == entries


async def test_a_directory_whose_redis_is_away_says_so() -> None:
    async with redis_directory("redis://127.0.0.1:1") as directory:
        with pytest.raises(Away):
            await directory.find("a")
        with pytest.raises(Away):
            await directory.save([make_entry("a")])
        with pytest.raises(Away):
            await directory.claim("a", "ann", **FREE)
        with pytest.raises(Away):
            await directory.page(after=None, user=None, limit=1)
        with pytest.raises(Away):
            await directory.forget("a", "ann")


async def test_what_could_not_be_forgotten_while_redis_was_away_is_forgotten_then(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        async with redis_directory(server.url) as directory:
            await directory.save([make_entry("a"), make_entry("b")])
            server.kill()
            with pytest.raises(Away):
                await directory.forget("a", "ann")
            await asyncio.to_thread(server.start)
            await directory.claim("c", "ann", limit_all=2, limit_user=2)
            assert await pages(directory, None, 5) == [make_entry("b")]
