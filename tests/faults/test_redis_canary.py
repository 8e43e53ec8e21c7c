"""The canary: a command that is cancelled never hands its reply to the next caller, whatever the client is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Connection, ConnectionPool, Redis

from replay.redis_address import RedisAddress
from replay.redis_connection import connect, disconnect
from support.redis_kinds import serving
from support.redis_server import RedisServer

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from replay.redis_connection import Client

CALLS = 300
TRIES = 10
ADD = "redis.call('XADD', KEYS[1], '1-0', 'word', ARGV[1]) return redis.call('PEXPIRE', KEYS[1], 60000)"
CALL_SECONDS = 0.01
"""About what a call takes."""
AT_ONCE = 20  # a client has at most 100 connections


async def call_and_cancel(ask: Callable[[str], Awaitable[None]], rng: random.Random) -> list[BaseException]:
    """Ask for unique words, cancel half of it at any moment, and return what went wrong with the rest."""
    places = asyncio.Semaphore(AT_ONCE)

    loop = asyncio.get_running_loop()

    async def ask_in_turn(word: str) -> None:
        async with places:
            if rng.random() < 0.5 and (task := asyncio.current_task()):
                loop.call_later(rng.uniform(0, CALL_SECONDS), task.cancel)
            await ask(word)

    tasks = [asyncio.ensure_future(ask_in_turn(f"word{number}")) for number in range(CALLS)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert any(isinstance(result, asyncio.CancelledError) for result in results), "nothing was cancelled"
    assert any(result is None for result in results), "all were cancelled"
    return [result for result in results if result is not None and not isinstance(result, asyncio.CancelledError)]


def echoing(client: Client) -> Callable[[str], Awaitable[None]]:
    async def ask(word: str) -> None:
        assert await client.execute_command("EVAL", "return KEYS[1]", 1, word) == word.encode()
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command("EVAL", "return KEYS[1]", 1, word)
        pipeline.execute_command("EVAL", "return KEYS[1]", 1, word + "!")
        assert await pipeline.execute() == [word.encode(), word.encode() + b"!"]

    return ask


def blocking(client: Client) -> Callable[[str], Awaitable[None]]:
    """Read as one waits for more, each his own."""

    async def ask(word: str) -> None:
        key = f"ts:{{{word}}}"
        await client.execute_command("EVAL", ADD, 1, key, word)
        found = await client.execute_command("XREAD", "BLOCK", 0, "STREAMS", key, "0")
        assert f"'{word}'" in repr(found)

    return ask


@pytest.mark.parametrize("kind", ["redis-7", "valkey-9", "cluster", "sentinel"])
@pytest.mark.parametrize("way", [echoing, blocking])
async def test_a_cancelled_command_never_hands_its_reply_to_the_next_caller(
    kind: str, way: Callable[[Client], Callable[[str], Awaitable[None]]], tmp_path: Path, rng: random.Random
) -> None:
    with serving(kind, tmp_path) as group:
        client = connect(RedisAddress.parse(group.url), blocks=way is blocking)
        try:
            await client.ping()  # or all would begin by asking for the primary
            assert await call_and_cancel(way(client), rng) == []
        finally:
            await disconnect(client)


class _Keeps(Connection):
    """A connection that is not given up when its command is cancelled: what the canary is there to find."""

    is_kept = True

    async def disconnect(self, *arguments: Any, **options: Any) -> None:
        if not self.is_kept:
            await super().disconnect(*arguments, **options)

    async def can_read_destructive(self) -> bool:
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


async def test_the_canary_finds_a_client_that_keeps_the_connections_of_cancelled_commands(
    server: RedisServer, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ConnectionPool(connection_class=_Keeps, host="127.0.0.1", port=server.port, protocol=2, driver_info=None)
    client = Redis.from_pool(pool)
    try:
        found: Sequence[BaseException] = ()
        for _ in range(TRIES):  # it takes a command that is cancelled just while its reply is on its way
            found = found or await call_and_cancel(echoing(client), rng)
        assert found
    finally:
        monkeypatch.setattr(_Keeps, "is_kept", False)
        await disconnect(client)


async def test_a_blocking_client_waits_longer_than_any_time_out(server: RedisServer) -> None:
    client = connect(RedisAddress.parse(server.url), blocks=True)
    try:
        waiting = asyncio.ensure_future(client.execute_command("XREAD", "BLOCK", 0, "STREAMS", "ts:s", "$"))
        await asyncio.sleep(6)  # beyond redis-py's own limit of 5 s
        await asyncio.to_thread(server.call, "XADD", "ts:s", "*", "k", "v")
        await asyncio.to_thread(server.call, "PEXPIRE", "ts:s", 60_000)
        assert await asyncio.wait_for(waiting, 5)
    finally:
        await disconnect(client)
