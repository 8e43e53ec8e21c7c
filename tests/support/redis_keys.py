"""What keys there are on real servers, and that each has a time to live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.redis_cluster import RedisCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.redis_server import RedisServer


def servers_of(redis: RedisServer | RedisCluster) -> Sequence[RedisServer]:
    return redis.servers if isinstance(redis, RedisCluster) else [redis]


def flush(redis: RedisServer | RedisCluster) -> None:
    for server in servers_of(redis):
        server.call("FLUSHALL")


def keys_with_life(redis: RedisServer | RedisCluster) -> Iterator[tuple[str, int]]:
    """Yield each key with the milliseconds it has to live; -1: for ever."""
    script = "local all = {} for _, key in ipairs(redis.call('KEYS', '*')) do all[#all+1] = key "
    script += "all[#all+1] = redis.call('PTTL', key) end return all"
    for server in servers_of(redis):
        found = server.call("EVAL", script, 0)
        yield from ((key.decode(), life) for key, life in zip(found[::2], found[1::2], strict=True))


def assert_all_end(redis: RedisServer | RedisCluster) -> None:
    """Fail if a key would stay for ever, or is not of the service."""
    for key, life in keys_with_life(redis):
        assert life != -1, f"{key} has no time to live"
        assert key.startswith("ts:"), key
