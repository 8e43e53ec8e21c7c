"""The service with Redis: output is there too; Redis and the service may each end at any moment."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from replay.redis_reader import Chunk
from support.redis_node import read_all
from support.redis_server import RedisServer
from support.restarts import Restarts
from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

FLOOD = "i=0; while [ $i -lt 3000 ]; do echo $i abcdefghijklmnopqrstuvwxyz; i=$((i+1)); done; echo DONE; sleep 600"
BEYOND_SPOOL = 30_000_000


async def in_redis(url: str, session_id: str) -> bytes:
    items = [item for item in await read_all(url, f"{session_id}/main") if isinstance(item, Chunk)]
    position = items[0].start if items else 0
    for item in items:
        assert item.start == position
        position = item.end
    return b"".join(item.data for item in items)


async def test_output_is_in_redis_and_gone_with_its_session(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        async with Service(tmp_path, REDIS_URL=redis.url, ENDED_SESSION_SECONDS="0") as service:
            session = (await service.create_session(command=["sh", "-c", FLOOD]))["session_id"]
            async with service.client(session) as client:
                await client.wait_for_output(b"DONE")
                expected = client.data
            await wait_until(lambda: _equals(redis.url, session, expected), description="the same output in Redis")
            for key in redis.call("KEYS", "*"):
                assert 0 < redis.call("PTTL", key) <= 3600_000
            await service.delete(session)
            left = f"*{session}*"
            await wait_until(lambda: redis.call("KEYS", left) == [], description="nothing of it left in Redis")


async def _equals(url: str, session_id: str, expected: bytes) -> bool:
    return await in_redis(url, session_id) == expected


async def test_redis_and_the_service_are_killed_in_turn_and_nothing_is_lost(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    service = Restarts(tmp_path, REDIS_URL=redis.url)
    try:
        redis.start()
        async with service:
            session = (await service.create_session(command=["sh", "-c", FLOOD]))["session_id"]
            async with service.client(session) as client:
                await client.wait_for_output(b"\n500 ")
                redis.kill()
                await client.wait_for_output(b"\n1000 ")
                await service.restart(signal.SIGKILL)
                redis.start()
                await client.wait_for_output(b"DONE")
                expected = client.data
                await wait_until(lambda: _equals(redis.url, session, expected), description="the same output in Redis")
            await service.delete(session)
    finally:
        redis.kill()


async def test_the_output_of_a_session_whose_file_is_lost_is_read_from_redis(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        service = Restarts(tmp_path, REDIS_URL=redis.url)
        async with service:
            session = (await service.create_session(command=["sh", "-c", "echo hello; exit 3"]))["session_id"]
            await wait_until(lambda: _has_ended(service, session), description="the end of the session")
            await wait_until(lambda: _equals(redis.url, session, b"hello\r\n"), description="the output in Redis")
            await service.end(signal.SIGKILL)
            (service.state / "sessions" / session / "main.ring").unlink()
            await service.start()
            assert await service.output(session) == b"hello\r\n"
            await service.delete(session)


async def _has_ended(service: Service, session: str) -> bool:
    return bool((await service.info(session))["state"] == "ended")


async def test_without_redis_a_program_waits_when_the_spool_is_full_and_everybody_is_told(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    async with Service(tmp_path, REDIS_URL=redis.url, RETENTION_BYTES="1048576") as service:
        session = (await service.create_session(command=["sh", "-c", f"head -c {BEYOND_SPOOL} /dev/zero; echo DONE"]))[
            "session_id"
        ]
        await wait_until(lambda: _is_told(service, session), description="told that Redis is away")
        health = (await service.http.get("/health")).json()
        assert health["status"] == "healthy"
        assert health["checks"]["storage"]["status"] == "degraded"
        assert re.search(r"since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$", health["checks"]["storage"]["detail"])
        info = await service.info(session)
        assert info["storage"]["durable"] is False
        assert "Redis" in info["storage"]["reason"]
        await wait_until(lambda: _is_held(service, session), description="the program is held")
        assert (await service.info(session))["state"] == "running"
        redis.start()
        try:
            await wait_until(lambda: _has_ended(service, session), description="the program came to its end")
            assert (await service.info(session))["seq"] == BEYOND_SPOOL + len(b"DONE\r\n")
            await wait_until(lambda: _ends_with(redis.url, session, b"DONE\r\n"), description="all of it in Redis")
            metrics = (await service.http.get("/metrics")).text
            assert "terminal_log_backlog_bytes 0.0" in metrics
            assert re.search(r"(?m)^terminal_redis_failures_total{error_type=\"ConnectionError\"} [1-9]", metrics)
            stored = re.search(r"(?m)^terminal_redis_stored_bytes_total (\S+)$", metrics)
            assert stored is not None
            assert BEYOND_SPOOL - (5 << 20) < float(stored.group(1)) <= BEYOND_SPOOL + len(b"DONE\r\n")
            assert "terminal_redis_gap_bytes_total 0.0" in metrics
        finally:
            redis.kill()


async def _is_told(service: Service, session: str) -> bool:
    return (await service.info(session))["storage"]["durable"] is False


async def _is_held(service: Service, session: str) -> bool:
    return int((await service.info(session))["seq"]) > 4 << 20


async def _ends_with(url: str, session: str, end: bytes) -> bool:
    return (await in_redis(url, session)).endswith(end)
