"""A session's time goes on while no service runs: what is over is over, and what is left stays the same."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from support.restarts import Restarts
from support.terminals import is_alive
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.platform("linux")

TTL_SECONDS = 2.0
EXACT_SECONDS = 0.1
SLEEPER = ["sh", "-c", "printf READY; exec sleep 600"]
SIGNALS = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)


@SIGNALS
@pytest.mark.parametrize("reason", ["ttl", "lifetime"])
async def test_a_session_whose_time_ends_without_a_service_is_over_at_once(
    tmp_path: Path, number: signal.Signals, reason: str
) -> None:
    lifetime = TTL_SECONDS if reason == "lifetime" else 600
    async with Restarts(
        tmp_path, STOP_GRACE_SECONDS="0.3", SESSION_MAX_LIFETIME_SECONDS=str(lifetime), ENDED_SESSION_SECONDS="60"
    ) as service:
        session = await service.create_session(command=SLEEPER, ttl_seconds=TTL_SECONDS)
        async with service.client(session["session_id"]) as client:
            await client.wait_for_output(b"READY")
        await service.end(number)
        assert is_alive(session["pid"])
        await asyncio.sleep(TTL_SECONDS + 0.5)  # its time ends meanwhile
        assert is_alive(session["pid"])
        await service.start()
        # Whoever comes back now is told, and cannot make it live on.
        async with service.client(session["session_id"]) as client:
            ended = await client.wait_ended(seconds=10)
        assert client.data == b"READY"
        assert ended["reason"] == reason
        assert not is_alive(session["pid"])
        info = await service.info(session["session_id"])
        assert (info["state"], info["end_reason"]) == ("ended", reason)


@SIGNALS
async def test_a_session_with_time_left_keeps_its_deadline(tmp_path: Path, number: signal.Signals) -> None:
    async with Restarts(tmp_path, SESSION_MAX_LIFETIME_SECONDS="300.5") as service:
        idle = (await service.create_session(command=["cat"], ttl_seconds=300))["session_id"]
        typed = (await service.create_session(command=["cat"], ttl_seconds=300))["session_id"]
        old = (await service.create_session(command=["cat"], ttl_seconds=300.5))["session_id"]  # its life ends first
        await asyncio.sleep(1)  # so that activity is later than the start
        answer = await service.http.post(f"/api/v1/sessions/{typed}/input", json={"text": "word\n"})
        assert answer.is_success
        before = {each: await service.info(each) for each in (idle, typed, old)}
        assert before[typed]["expires_at"] != before[idle]["expires_at"]
        await service.end(number)
        await asyncio.sleep(1)
        for _ in range(2):
            await service.start()
            for session, info in before.items():
                now = await service.info(session)
                assert now["expires_at"] == pytest.approx(info["expires_at"], abs=EXACT_SECONDS)
                assert now["created_at"] == pytest.approx(info["created_at"], abs=EXACT_SECONDS)
                assert now["last_bump"]["source"] == info["last_bump"]["source"]
            await service.end(number)


async def test_what_is_left_of_its_time_is_kept_to(tmp_path: Path) -> None:
    async with Restarts(tmp_path, STOP_GRACE_SECONDS="0.3") as service:
        session = await service.create_session(command=["sleep", "600"], ttl_seconds=6)
        expires_at = (await service.info(session["session_id"]))["expires_at"]
        await service.restart(signal.SIGKILL)

        async def is_over() -> bool:
            return bool((await service.info(session["session_id"]))["state"] == "ended")

        await wait_until(is_over, description="the end")
        info = await service.info(session["session_id"])
        assert info["end_reason"] == "ttl"
        ended_at = next(change["at"] for change in info["history"] if change["state"] == "ending")
        assert 0 <= ended_at - expires_at < 2.5  # time is looked at once a second
