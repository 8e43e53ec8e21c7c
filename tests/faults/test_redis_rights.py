"""The rights that docs/redis.md lists are what the service needs of Redis: all of them, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pytest
from redis.exceptions import NoPermissionError

from replay.errors import LogMissing
from replay.redis_persister import Durability
from support.redis_cluster import RedisCluster
from support.redis_following import FollowingNode, wait_level
from support.redis_kinds import KINDS, serving
from support.redis_node import RETENTION_BYTES, RedisNode, assert_same
from support.redis_server import RedisServer
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence

    from replay.log import Log
    from support.redis_sentinel import RedisSentinel

T = TypeVar("T")

DOCS = Path(__file__).parent.parent.parent / "docs" / "redis.md"
NAME, OTHER, KEY = "session/main", "session/other", "ts:{session}:main:out"
FOLLOWED = "ts:{session}:main:followed"
"""Without one of its keys a log's slot is waited for until it has moved (TRYAGAIN); with all, ASK is followed."""
BACK_SECONDS = 5.0


def rights() -> dict[str, str]:
    """Return each right with what is said about its line."""
    _, _, after = DOCS.read_text(encoding="utf-8").partition("### What its user may do\n")
    found: dict[str, str] = {}
    for line in re.findall(r"(?m)^    ([~+&].*)$", after):
        words, _, about = re.sub(r" {2,}", "  ", line).partition("  ")
        found |= dict.fromkeys(words.split(), about)
    return found


PLAIN = [right for right, about in rights().items() if about != "in a cluster"]
CLUSTERED = list(rights())


def let_in(server: RedisServer, allowed: Sequence[str]) -> None:
    if server.call("INFO", "server")["redis_version"].startswith("6."):
        allowed = [re.sub(r"^\+s((un)?subscribe|publish)$", r"+\1", right) for right in allowed]
    server.call("ACL", "SETUSER", "app", "reset", "resetchannels", "on", ">secret", *allowed)


def refused(servers: Sequence[RedisServer]) -> set[str]:
    """Return the commands, keys and channels the servers have refused to our user."""
    rows = [
        dict(zip(row[::2], row[1::2], strict=True)) if isinstance(row, list) else row
        for server in servers
        for row in server.call("ACL", "LOG")
    ]
    return {str(row.get(b"object", row.get("object"))) for row in rows}


Group: TypeAlias = "RedisServer | RedisCluster | RedisSentinel"


async def live(group: Group, directory: Path, *, level: str) -> None:
    """Use all there is of a log, from its beginning to its end; in a cluster on its way to another shard (ASK)."""
    url = group.url.replace("//", "//app:secret@", 1)
    async with RedisNode(url, directory / "one", durability=Durability(level)) as node:
        log = await node.create(NAME)
        log.append(b"x" * 4 * RETENTION_BYTES)  # and trim
        log.add_event("resize", {"rows": 1, "cols": 2, "client_id": "c"}, 1.0)
        await node.settle()
        await when_allowed(lambda: assert_same(url, log, NAME))
        await follow(url, node, log)
    with moving(group) if isinstance(group, RedisCluster) else contextlib.nullcontext():
        async with RedisNode(url, directory / "one", durability=Durability(level)) as node:
            log = await node.open(NAME)  # proves that it is the same
            log.append(b"y")
            await node.settle()
    async with RedisNode(url, directory / "two", durability=Durability(level)) as node:
        log = await when_allowed(lambda: open_again(node))  # from Redis
        await node.settle()
        log.close()
        await asyncio.to_thread(node.store.delete, NAME)
        await wait_until(lambda: not node.persister._copies, description="deleted")


async def follow(url: str, node: RedisNode, log: Log) -> None:
    """Follow two logs as another node does, and one of them no more."""
    other = await node.create(OTHER)
    await node.settle()
    async with FollowingNode(url, linger_seconds=0.0) as followers:
        left = await when_allowed(lambda: followers.follow(OTHER))
        followed = await when_allowed(lambda: followers.follow(NAME))
        log.append(b"followed")
        await wait_level(followed.log, log)
        left.release()
        await wait_until(lambda: left._follower.is_over, description="it is left")
        log.append(b"followed alone")
        await wait_level(followed.log, log)
    other.close()
    await asyncio.to_thread(node.store.delete, OTHER)
    await wait_until(lambda: OTHER not in node.persister._copies, description="deleted")


@contextlib.contextmanager
def moving(cluster: RedisCluster) -> Iterator[None]:
    cluster.put(FOLLOWED, "nobody")
    move = cluster.begin_to_move_slot_of(KEY)
    cluster.move_keys(move, 10)
    yield
    cluster.end_move(move)


async def open_again(node: RedisNode) -> Log:
    """Open the log, as if Redis was never seen to be away: else it is not asked again for 10 s."""
    node.store._away_until = 0.0
    return await node.open(NAME)


async def when_allowed(work: Callable[[], Awaitable[T]]) -> T:
    """Return what comes of reading; whoever reads tries again by himself."""
    while True:
        try:
            return await work()
        except (NoPermissionError, LogMissing):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_rights_suffice(kind: str, tmp_path: Path) -> None:
    with serving(kind, tmp_path) as group:
        servers = [group] if isinstance(group, RedisServer) else group.servers
        for server in servers:
            let_in(server, CLUSTERED if kind == "cluster" else PLAIN)
        await live(group, tmp_path, level="replicated" if kind == "sentinel" else "redis")
        assert refused(servers) == set()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory = tmp_path_factory.mktemp("redis")
    with RedisServer(directory, "--repl-diskless-sync-delay", "0") as server, RedisServer(directory) as replica:
        replica.follow(server)
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("redis")) as cluster:
        yield cluster


@pytest.mark.parametrize("right", PLAIN)
async def test_without_one_of_the_rights_something_is_refused_until_it_is_given(
    right: str, server: RedisServer, tmp_path: Path
) -> None:
    let_in(server, [each for each in PLAIN if each != right])
    await assert_refused([server], live(server, tmp_path, level="replicated"))


@pytest.mark.parametrize("right", [right for right in CLUSTERED if right not in PLAIN])
async def test_without_one_of_the_rights_in_a_cluster_something_is_refused_until_it_is_given(
    right: str, cluster: RedisCluster, tmp_path: Path
) -> None:
    for server in cluster.servers:
        let_in(server, [each for each in CLUSTERED if each != right])
    await assert_refused(cluster.servers, live(cluster, tmp_path, level="redis"))


async def assert_refused(servers: Sequence[RedisServer], life: Coroutine[Any, Any, None]) -> None:
    """Live until something is refused, or fail; then give all rights, and see that life goes on."""
    for server in servers:
        server.call("SCRIPT", "FLUSH")
        server.call("ACL", "LOG", "RESET")
    async with asyncio.TaskGroup() as tasks:
        living = tasks.create_task(life)
        await wait_until(lambda: refused(servers) or living.done(), description="something refused, or nothing")
        assert refused(servers), "the right is not needed"
        for server in servers:
            let_in(server, CLUSTERED)
        given = time.monotonic()
        await living
        assert time.monotonic() - given < BACK_SECONDS


async def test_a_right_that_was_missing_in_the_middle_of_an_append_leaves_nothing_behind(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        let_in(server, PLAIN)
        async with RedisNode(server.url.replace("//", "//app:secret@", 1), tmp_path / "one") as node:
            log = await node.create(NAME)
            log.append(b"before")
            await node.settle()
            server.call("ACL", "SETUSER", "app", "-hset")
            log.append(b"half")
            await wait_until(lambda: node.persister.trouble, description="a right is missing")
            server.call("ACL", "SETUSER", "app", "+hset")
            await node.settle()
            await assert_same(server.url, log, NAME)
