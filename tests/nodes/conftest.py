"""Real servers that many tests share, empty at the start of each, and where no key may stay for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.mail_nodes import Nodes
from support.redis_cluster import RedisCluster
from support.redis_keys import assert_all_end, flush
from support.redis_server import FLAVOURS, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", params=[*FLAVOURS, "cluster"])
def _server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer | RedisCluster | None]:
    if request.param == "memory":  # asked for by those that run without a server too
        yield None
        return
    directory = tmp_path_factory.mktemp("redis")
    made = RedisCluster(directory) if request.param == "cluster" else RedisServer(directory, flavour=request.param)
    with made:
        yield made


@pytest.fixture
def server(_server: RedisServer | RedisCluster) -> Iterator[RedisServer | RedisCluster]:
    flush(_server)
    yield _server
    assert_all_end(_server)


@pytest.fixture
def nodes(_server: RedisServer | RedisCluster | None) -> Iterator[Nodes]:
    """Give nodes that write to each other over that server, or in memory."""
    if _server is None:
        yield Nodes(None)
        return
    flush(_server)
    yield Nodes(_server.url)
    assert_all_end(_server)


@pytest.fixture(scope="session")
def _plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("plain")) as made:
        yield made


@pytest.fixture
def plain(_plain: RedisServer) -> Iterator[RedisServer]:
    """Give one server that is not a cluster, where which one it is makes no difference."""
    flush(_plain)
    yield _plain
    assert_all_end(_plain)
