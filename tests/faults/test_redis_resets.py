"""Connections to Redis are reset, as a firewall or a killed server does it: another one takes over, at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support.chaos import ChaosProxy
from support.redis_node import RedisNode, assert_same
from support.redis_server import RedisServer
from support.weather import End, Plan

if TYPE_CHECKING:
    import random
    from pathlib import Path

RESETS = 60


async def test_output_is_copied_on_whenever_connections_are_reset(tmp_path: Path, rng: random.Random) -> None:
    with RedisServer(tmp_path) as redis:
        async with ChaosProxy(("127.0.0.1", redis.port), Plan(0)) as proxy:
            url = f"redis://{proxy.host}:{proxy.port}"
            async with RedisNode(url, tmp_path / "logs", heartbeat_seconds=0.05) as node:
                log = await node.create(retention_bytes=1 << 20)
                for _ in range(RESETS):
                    log.append(rng.randbytes(rng.randrange(1, 5_000)))
                    await asyncio.sleep(rng.choice([0, 0.001, 0.02]))
                    proxy.cut_all(End.RST)
                    await asyncio.sleep(rng.choice([0, 0.001, 0.02]))
                await node.settle()
                assert node.ended == []
                await assert_same(redis.url, log)
