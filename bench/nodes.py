"""This service as nodes of a Redis of their own: one that serves alone, or one that serves what another has."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from bench.client import BenchError
from bench.redis_server import RedisServer
from bench.servers import START_SECONDS, Service, Usage

if TYPE_CHECKING:
    from pathlib import Path


class Nodes:
    """Sessions are made at the first node and seen at the last: with one node it is the same one.

    `usage` is of all nodes, their holders included, `redis_usage` of Redis.
    """

    shares = True

    def __init__(self, directory: Path, name: str, count: int) -> None:
        self.name = name
        self.redis = RedisServer(directory)
        self.services: list[Service] = []
        self._directory = directory
        self._count = count
        self._sessions: dict[str, str] = {}

    @property
    def owner(self) -> Service:
        """The node that has the programs."""
        return self.services[0]

    @property
    def follower(self) -> Service:
        """The node that has the viewers."""
        return self.services[-1]

    def missing(self) -> str | None:
        """Look for redis-server and the service."""
        return self.redis.missing() or Service(self._directory).missing()

    def start(self) -> None:
        """Start Redis, then the nodes, and return when they know each other."""
        self.redis.start()
        for _ in range(self._count):
            service = Service(self._directory, redis_url=self.redis.url)
            self.services.append(service)
            service.start()
        deadline = time.monotonic() + START_SECONDS
        while any(len(json.loads(node.ask("/api/v1/nodes"))) < self._count for node in self.services):
            if time.monotonic() > deadline:
                raise BenchError("the nodes do not see each other")
            time.sleep(0.02)

    def open(self) -> str:
        """Create a session at the first node; return its address at the last."""
        session = str(self.owner.create()["session_id"])
        url = self.follower.address(session)
        self._sessions[url] = session
        return url

    def close(self, url: str) -> None:
        """Delete the session."""
        self.owner.delete(self._sessions.pop(url))

    async def settle(self, url: str, position: int) -> float:
        """Wait until Redis has the terminal's output up to a position; return when (`perf_counter`)."""
        return await self.redis.settle(self._sessions[url], position)

    def stop(self) -> None:
        """End the nodes, then Redis."""
        for service in self.services:
            service.stop()
        self.services.clear()
        self.redis.stop()

    def usage(self) -> Usage:
        """Measure the nodes and their holders."""
        return Usage([process for service in self.services for process in service.processes])

    def redis_usage(self) -> Usage:
        """Measure Redis."""
        return self.redis.usage()
