"""A service that is restarted under its clients' hands: on one port, killed or told to end, at any moment.

Use::

    async with Restarts(tmp_path) as service:
        died = await service.restart(signal.SIGKILL)
        await wait_until_back(clients, since=died)
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from support.service import ROOT, Service

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from support.client import Client

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST_PORT, TRIES = 10_000, 100


class Restarts(Service):
    """A service whose shells outlive it, and which always listens on the port it had."""

    def __init__(self, directory: Path, *, program: Sequence[str] = ("run.py",), **settings: str) -> None:
        settings.setdefault("PORT", str(find_port()))
        settings.setdefault("STOP_SESSIONS_ON_EXIT", "false")
        super().__init__(directory, program=program, headers=None, **settings)

    async def end(self, number: int = signal.SIGKILL) -> float:
        """End it by a signal; return when that was sent, in monotonic seconds."""
        died = time.monotonic()
        if number == signal.SIGKILL:
            await self.kill()
        else:
            assert await self.stop() == 0
        return died

    async def restart(self, number: int = signal.SIGKILL) -> float:
        """End it by a signal and start it at once; return when the signal was sent, in monotonic seconds."""
        died = await self.end(number)
        await self.start()
        return died

    async def start_and_kill(self, after_seconds: float) -> None:
        """Start it and kill it after some time, ready or not."""
        with self.log_path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command, cwd=ROOT, env=self._environment(), stdout=log, stderr=log
            )
        await asyncio.sleep(after_seconds)
        if process.returncode is None:
            process.kill()
        assert await process.wait() == -signal.SIGKILL, self.log()


def find_port() -> int:
    """Return a free port that no outgoing connection is given.

    While nobody listens on one of those, a client that tries again and again is, once in a while, given that very
    port as its own, and is connected with itself (RFC 9293, simultaneous open).
    """
    highest = int(EPHEMERAL.read_text().split()[0])
    assert highest > LOWEST_PORT, f"outgoing connections have all ports from {highest} on"
    for _ in range(TRIES):
        port = LOWEST_PORT + secrets.randbelow(highest - LOWEST_PORT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port is free below {highest}")


async def wait_until_back(clients: Iterable[Client], *, since: float) -> list[float]:
    """Wait until each is attached again; return how long that took each from `since` (monotonic), in seconds."""
    took = []
    for client in clients:
        await client.wait(lambda one=client: one.attached_at[-1] > since, "attached again")  # type: ignore[misc]
        took.append(next(at for at in client.attached_at if at > since) - since)
    return took


def queue_seconds(pid: int) -> float:
    """Return how long the first thread of a process could have run and was not let, because others did.

    0 where the kernel does not count that (proc_pid_schedstat(5) is an option of it).
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return the value that this share of all does not exceed: a value that was measured, not one in between."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]
