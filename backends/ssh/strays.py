"""Programs whose connection is lost: a hang-up does not end all of them, so they are ended once the host is back."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import structlog

from backends.errors import BackendError
from backends.ssh.script import LAST_SECONDS, end_script

if TYPE_CHECKING:
    from backends.ssh.pool import SshPool

_LIMIT = 1000
_SECONDS = 600.0
"""How many are ended later, at most, and how long that is tried."""

_PAUSE_SECONDS = (0.5, 60.0)
_GRACE_SECONDS = 0.3

_log = structlog.get_logger(__name__)


class Strays:
    """Those of one user on one host."""

    def __init__(self, pool: SshPool) -> None:
        """Begin with none."""
        self._pool = pool
        self._leaders: dict[str, int] = {}

    def add(self, leader: int, token: str) -> None:
        """Remember one by its process id and its mark; the oldest of very many is forgotten."""
        self._leaders[token] = leader
        while len(self._leaders) > _LIMIT:
            token, leader = next(iter(self._leaders.items()))
            del self._leaders[token]
            _log.warning("a program may run on where a connection was lost", place=self._pool.place, pid=leader)

    async def end_all(self) -> None:
        """Try again and again, with pauses that grow; what is not ended within the patience is left and logged."""
        deadline = time.monotonic() + _SECONDS
        pause = _PAUSE_SECONDS[0]
        while self._leaders and time.monotonic() < deadline:
            token, leader = next(iter(self._leaders.items()))
            try:
                await self._pool.run(end_script(leader, token, _GRACE_SECONDS), seconds=3 * LAST_SECONDS)
            except BackendError:
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
                pause = min(2 * pause, _PAUSE_SECONDS[1])
            else:
                self._leaders.pop(token, None)
        if self._leaders:
            pids = list(self._leaders.values())
            _log.warning("programs may run on where a connection was lost", place=self._pool.place, pids=pids)
            self._leaders.clear()
