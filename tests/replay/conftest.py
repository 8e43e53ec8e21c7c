"""Both stores, so that one suite holds for each; a writer that may be killed, and its heir."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replay.file import FileStore
from replay.memory import MemoryStore
from support.heirs import Heir, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replay.log import Log
    from replay.store import Store

RETENTION_BYTES = 64 * 1024


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else FileStore(tmp_path / "logs")
    yield made
    made.close()


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
