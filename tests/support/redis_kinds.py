"""All that the service may find behind `REDIS_URL`: what holds of one holds of each."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

from support.redis_cluster import RedisCluster
from support.redis_sentinel import RedisSentinel
from support.redis_server import FLAVOURS, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = (*FLAVOURS, "cluster", "sentinel")

Group: TypeAlias = "RedisServer | RedisCluster | RedisSentinel"


@contextlib.contextmanager
def serving(kind: str, directory: Path) -> Iterator[Group]:
    """Run one of KINDS; its `url` is where it is."""
    if kind == "cluster":
        made: Group = RedisCluster(directory)
    elif kind == "sentinel":
        made = RedisSentinel(directory)
    else:
        made = RedisServer(directory, "--appendonly", "yes", flavour=kind)
    with made:
        yield made
