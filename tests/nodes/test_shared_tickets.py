"""Tickets that any node takes, and only one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from nodes.errors import Away
from nodes.memory_tickets import MemoryTickets
from nodes.redis_tickets import RedisTickets
from replay.redis_address import RedisAddress
from support.redis_keys import keys_with_life
from support.wait import wait_until
from terminal_service.errors import LimitReached
from terminal_service.policy import Identity, Role
from terminal_service.tickets import Tickets, Use

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.redis_cluster import RedisCluster
    from support.redis_server import RedisServer

ANN = Identity("ann", "api_key", is_admin=True)
USE = Use("a-session", Role.WRITER, "https://app.example.com")
FITS = ("a-session", Role.WRITER, "https://app.example.com")


@asynccontextmanager
async def stores(url: str) -> AsyncIterator[list[RedisTickets]]:
    made = [RedisTickets(RedisAddress.parse(url), spare=MemoryTickets()) for _ in range(2)]
    try:
        yield made
    finally:
        for store in made:
            await store.close()


async def test_a_ticket_shown_everywhere_at_once_is_taken_once(server: RedisServer | RedisCluster) -> None:
    async with stores(server.url) as made:
        one, two = map(Tickets, made)
        secret = await one.issue(ANN, USE)
        answers = await asyncio.gather(*((one, two)[number % 2].redeem(secret, *FITS) for number in range(200)))
        bearer = Identity("ann", "ticket", is_admin=True, role=Role.WRITER)
        assert [answer for answer in answers if answer is not None] == [bearer]


async def test_one_shown_for_something_else_is_used_up(server: RedisServer | RedisCluster) -> None:
    async with stores(server.url) as made:
        one, two = map(Tickets, made)
        secret = await one.issue(ANN, USE)
        assert await two.redeem(secret, "another-session", None, None) is None
        assert await one.redeem(secret, *FITS) is None


async def test_so_many_are_there_of_a_user_and_only_their_hashes(server: RedisServer | RedisCluster) -> None:
    async with stores(server.url) as (one, two):
        for number in range(3):
            assert await one.put(b"%d" % number, b"x", seconds=30, user="ann", limit=3)
        assert not await two.put(b"3", b"x", seconds=30, user="ann", limit=3)
        assert await two.put(b"4", b"x", seconds=30, user="bob", limit=3)
        assert await two.take(b"0") == b"x"
        assert await two.put(b"5", b"x\n\0", seconds=30, user="ann", limit=3)
        assert await one.take(b"5") == b"x\n\0"
        secret = await Tickets(one).issue(ANN, USE)
        assert not any(secret in key for key, _ in keys_with_life(server))


async def test_their_time_is_short(server: RedisServer | RedisCluster) -> None:
    async with stores(server.url) as (one, two):
        assert await one.put(b"a", b"x", seconds=0.1, user="ann", limit=1)
        await wait_until(lambda: not dict(keys_with_life(server)), description="nothing to be left")
        assert await two.take(b"a") is None
        assert await two.put(b"b", b"x", seconds=30, user="ann", limit=1)


async def test_a_user_may_have_a_thousand(plain: RedisServer) -> None:
    async with stores(plain.url) as (one, _):
        for number in range(2):
            assert await one.put(b"%d" % number, b"x", seconds=30, user="ann", limit=2)
        plain.call("ZADD", "ts:user:{ann}:tickets", *[word for n in range(1000) for word in (10**15, f"t{n}")])
        with pytest.raises(LimitReached):
            await Tickets(one).issue(ANN, USE)


async def test_without_redis_the_node_that_gave_it_takes_it() -> None:
    async with stores("redis://127.0.0.1:1") as made:
        one, two = map(Tickets, made)
        secret = await one.issue(ANN, USE)
        with pytest.raises(Away):
            await two.redeem(secret, *FITS)
        assert await one.redeem(secret, *FITS) is not None
        with pytest.raises(Away):
            await one.redeem(secret, *FITS)
