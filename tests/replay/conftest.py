"""All stores, so that one suite holds for each; a writer that may be killed, and its heir."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replay.file import FileStore
from replay.memory import MemoryStore
from replay.redis_address import RedisAddress
from replay.redis_persister import Durability, Persister, ring_capacity
from replay.redis_store import RedisStore
from support.heirs import Heir, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replay.log import Log
    from replay.store import Store

RETENTION_BYTES = 64 * 1024


@pytest.fixture(params=["memory", "file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = make_store(request.param, tmp_path / "logs")
    yield made
    made.close()


def make_store(kind: str, directory: Path) -> Store:
    if kind == "memory":
        return MemoryStore()
    if kind == "file":
        return FileStore(directory)
    address = RedisAddress.parse("redis://127.0.0.1:1")  # nobody there: what a log promises needs no Redis
    persister = Persister(address, durability=Durability(), ttl_seconds=60)
    return RedisStore(FileStore(directory, capacity=ring_capacity), persister, address)


@pytest.fixture
def log(store: Store) -> Iterator[Log]:
    made = store.create("session/main", RETENTION_BYTES)
    yield made
    made.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "logs")
    yield made
    made.log.close()


@pytest.fixture
def heir(tmp_path: Path) -> Iterator[Heir]:
    made = Heir(tmp_path / "heir")
    yield made
    made.close()
