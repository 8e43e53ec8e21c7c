"""A directory over Redis is the one in memory, whatever is done in whatever order, by whichever of its nodes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodes.errors import Full
from nodes.memory_directory import MemoryDirectory
from nodes.redis_directory import RedisDirectory
from replay.redis_address import RedisAddress
from support.entries import make_entry
from support.redis_keys import flush

if TYPE_CHECKING:
    from nodes.base import Directory, Entry
    from support.redis_server import RedisServer

NAMES = ("a", "B", "b", "ab", "a-b", "a_b", "é", "z")
PLACES = {name: (1.7e9 + number // 3 * 0.1, name) for number, name in enumerate(NAMES)}
"""Some were made at the same time."""
USERS = {name: ("ann", "bob")[number % 2] for number, name in enumerate(NAMES)}

names = st.sampled_from(NAMES)
after = (
    st.none()
    | names.map(PLACES.get)
    | st.tuples(st.sampled_from([0.0, 1.7e9, 1.7e9 + 0.1, 2e9]), st.text("ab-é", max_size=2))
)
operations = st.one_of(
    st.tuples(st.just("claim"), names, st.integers(0, 6), st.integers(0, 4)),
    st.tuples(st.just("save"), st.dictionaries(names, st.booleans(), max_size=5)),
    st.tuples(st.just("forget"), names),
    st.tuples(st.just("find"), names),
    st.tuples(st.just("page"), after, st.sampled_from([None, "ann", "bob", "cid"]), st.integers(1, 5)),
)


def entry_of(name: str, lives: bool) -> Entry:  # noqa: FBT001 - as it is drawn
    return make_entry(name, user=USERS[name], at=PLACES[name][0], living=lives)


async def do(directory: Directory, what: str, *about: Any) -> object:
    """Do one thing and return what came of it."""
    if what == "claim":
        name, limit_all, limit_user = about
        try:
            await directory.claim(name, USERS[name], limit_all=limit_all, limit_user=limit_user)
        except Full as error:
            return str(error)
        return None
    if what == "save":
        (living,) = about
        return list(await directory.save([entry_of(name, lives) for name, lives in living.items()]))
    if what == "forget":
        await directory.forget(about[0], USERS[about[0]])
        return None
    if what == "find":
        return await directory.find(about[0])
    place, user, limit = about
    return list(await directory.page(after=place, user=user, limit=limit))


async def compare(url: str, steps: list[tuple[Any, ...]]) -> None:
    memory, redis = MemoryDirectory(), RedisDirectory(RedisAddress.parse(url), "one")
    try:
        for step in steps:
            assert await do(redis, *step) == await do(memory, *step), step
    finally:
        await redis.close()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(operations, max_size=30))
def test_redis_and_memory_do_the_same(plain: RedisServer, steps: list[tuple[Any, ...]]) -> None:
    flush(plain)
    asyncio.run(compare(plain.url, steps))
