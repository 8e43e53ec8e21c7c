"""What a container uses, as its daemon measures it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from backends.abilities import Stats
from backends.containers.trouble import told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backends.containers.box import Box
    from backends.containers.spec import Share

_SHORTEST_SECONDS = 0.1
"""Over less than this no average is told."""


class Usage:
    """Measures; between two measurements it knows the processors in use."""

    def __init__(self, box: Box, share: Share) -> None:
        """Begin with no measurement."""
        self._box = box
        self._share = share
        self._last: tuple[float, float] | None = None

    async def measure(self) -> Stats:
        """Ask the daemon once. Raises BackendError."""
        with told(self._box.daemon.address, "measure the container"):
            # aiodocker's own call has no `one-shot`, without which Docker measures for a second or two.
            params = {"stream": "false", "one-shot": "true"}
            async with self._box.daemon.request("GET", f"containers/{self._box.id}/stats", params=params) as answer:
                said: dict[str, Any] = await answer.json(content_type=None)
        cpu_seconds = _number(said, "cpu_stats", "cpu_usage", "total_usage") / 1e9
        networks = (said.get("networks") or {}).values()
        return Stats(
            cpu_seconds=cpu_seconds,
            cpus=self._average(cpu_seconds),
            cpus_limit=self._share.cpus,
            memory_bytes=int(_memory(said)),
            memory_limit_bytes=self._share.memory_bytes,
            processes=int(_number(said, "pids_stats", "current")),
            received_bytes=sum(int(each.get("rx_bytes", 0)) for each in networks),
            sent_bytes=sum(int(each.get("tx_bytes", 0)) for each in networks),
        )

    def _average(self, cpu_seconds: float) -> float | None:
        now = asyncio.get_running_loop().time()
        before = self._last
        if before is not None and now - before[0] < _SHORTEST_SECONDS:
            return None
        self._last = (now, cpu_seconds)
        return None if before is None else max(0.0, (cpu_seconds - before[1]) / (now - before[0]))


def _memory(said: Mapping[str, Any]) -> float:
    """Return what cannot be taken back: without the files that are only cached, as `docker stats` tells it."""
    used = _number(said, "memory_stats", "usage")
    cached = _number(said, "memory_stats", "stats", "total_inactive_file")  # cgroup 1
    cached = cached or _number(said, "memory_stats", "stats", "inactive_file")
    return max(0.0, used - cached)


def _number(said: Any, *path: str) -> float:
    for name in path:
        said = (said or {}).get(name)
    return float(said or 0)
