"""A client without an SDK, a loop as in README.md that tries again, is back two seconds after the service died."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
import websockets

from support import parrot
from support.restarts import Restarts, percentile, queue_seconds
from support.same import assert_same
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.platform("linux")

BACK_SECONDS = 2.0
RETRY_SECONDS = 0.2


class Loop:
    """The client: what it has seen, and when it was answered."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.answered_at: list[float] = []
        self.exit_code: int | None = None

    async def run(self, url: str) -> None:
        """Attach, and again after every disconnect, until the session has ended."""
        while self.exit_code is None:
            try:
                async with websockets.connect(f"{url}?recover_from={len(self.seen)}") as ws:
                    async for text in ws:
                        self._take(json.loads(text))
            except OSError:
                pass
            except websockets.WebSocketException:
                pass
            await asyncio.sleep(RETRY_SECONDS)

    def has_answered_since(self, moment: float) -> bool:
        """Tell whether an echo has come after a moment (monotonic clock)."""
        return self.answered_at[-1] > moment

    def _take(self, message: dict[str, object]) -> None:
        if message["type"] == "attached":
            self.answered_at.append(time.monotonic())
        elif message["type"] == "output":
            self.seen += base64.b64decode(str(message["data"]))
        elif message["type"] == "session_ended":
            self.exit_code = int(str(message["exit_code"]))


@pytest.mark.full
async def test_a_plain_loop_is_back_in_two_seconds(tmp_path: Path, size: Callable[[int, int], int]) -> None:
    raw: list[float] = []
    alone: list[float] = []
    async with Restarts(tmp_path) as service, asyncio.TaskGroup() as tasks:
        command = [sys.executable, "-I", "-S", parrot.__file__, str(tmp_path)]
        session = (await service.create_session(command=command))["session_id"]
        client = Loop()
        tasks.create_task(client.run(f"{service.base_url.replace('http', 'ws', 1)}/ws/terminal/{session}"))
        await wait_until(lambda: len(client.seen) > 1000, description="output")
        for number in range(size(6, 50)):
            own = queue_seconds(os.getpid())
            died = await service.restart((signal.SIGKILL, signal.SIGTERM)[number % 2])
            await wait_until(partial(client.has_answered_since, died), description="an answer")
            raw.append(next(at for at in client.answered_at if at > died) - died)
            # What others on this machine took is not the service's.
            alone.append(raw[-1] - max(queue_seconds(service.pid), queue_seconds(os.getpid()) - own))
        answer = await service.http.post(f"/api/v1/sessions/{session}/input", json={"text": "end\n"})
        assert answer.is_success
        await wait_until(lambda: client.exit_code is not None, description="the end")
    assert client.exit_code == parrot.EXIT_CODE
    assert_same(bytes(client.seen), (tmp_path / parrot.WROTE).read_bytes())
    shown = {"p50": percentile(raw, 0.5), "p99": percentile(raw, 0.99), "p99 alone": percentile(alone, 0.99)}
    print(f"a plain loop is back after {shown}")  # noqa: T201 - the figures this is about
    assert shown["p99 alone"] <= BACK_SECONDS, shown
