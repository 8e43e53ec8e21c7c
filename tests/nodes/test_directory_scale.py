"""What the directory costs with many sessions."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from nodes.redis_directory import RedisDirectory
from replay.redis_address import RedisAddress
from support.entries import make_entry

if TYPE_CHECKING:
    from support.redis_server import RedisServer

SESSIONS = 10_000
PAGE_SECONDS = 0.050
SAVES = 1000
SAVE_CPU_SECONDS = 0.1
"""For so many saves: a tenth of a core, if so many sessions change each second."""


async def test_ten_thousand_sessions_are_listed_and_saved_fast(plain: RedisServer) -> None:
    rng = random.Random(1)
    entries = [
        make_entry(f"{rng.getrandbits(60):x}", user=f"u{number % 10}", at=1.7e9 + rng.random())
        for number in range(SESSIONS)
    ]
    entries = [replace(entry, view=entry.view + b" " * 1500, record=entry.record + b" " * 500) for entry in entries]
    directory = RedisDirectory(RedisAddress.parse(plain.url), "one")
    try:
        for start in range(0, SESSIONS, 1000):
            await directory.save(entries[start : start + 1000])
        entries.sort(key=lambda entry: (entry.created_at, entry.session_id))
        for limit in (100, 1000):
            took, found, after = [], [], None
            while len(found) < SESSIONS:
                begun = time.perf_counter()
                page = await directory.page(after=after, user=None, limit=limit)
                took.append(time.perf_counter() - begun)
                found += page
                after = (page[-1].created_at, page[-1].session_id)
            assert found == entries
            print(f"page of {limit}: {statistics.median(took) * 1000:.1f} ms")
            assert statistics.median(took) <= PAGE_SECONDS
        costs = []
        for _ in range(3):
            begun = time.process_time()
            await directory.save(entries[:SAVES])
            costs.append(time.process_time() - begun)
        print(f"{SAVES} saves: {min(costs) * 1000:.0f} ms of CPU")
        assert min(costs) <= SAVE_CPU_SECONDS
    finally:
        await directory.close()
