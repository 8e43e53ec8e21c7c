"""The service with `WORKERS`: a parent and its workers; what each of them has."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from support.holders import stop_holder
from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType


class Crew(Service):
    """A service of several processes. Each request has a connection of its own, so any worker may answer it."""

    def __init__(
        self, directory: Path, redis_url: str, workers: int = 2, *, prefix: Sequence[str] = (), **settings: str
    ) -> None:
        super().__init__(directory, prefix=prefix)
        self._settings = {"WORKERS": str(workers), "REDIS_URL": redis_url, **settings}

    def _make_http(self) -> httpx.AsyncClient:
        alone = httpx.Limits(max_keepalive_connections=0)
        return httpx.AsyncClient(base_url=self.base_url, timeout=30, trust_env=False, limits=alone)

    def workers(self) -> list[psutil.Process]:
        """Return the processes of the workers."""
        return [child for child in self.psutil.children() if child.status() != psutil.STATUS_ZOMBIE]

    def number_of(self, session_id: str) -> int:
        """Return which worker has a session."""
        found = list(self.state.glob(f"workers/*/sessions/{session_id}"))
        assert len(found) == 1, found
        return int(found[0].parts[-3])

    async def create_everywhere(self, count: int) -> dict[int, dict[str, Any]]:
        """Create sessions until each worker has one; return one of each."""
        made: dict[int, dict[str, Any]] = {}
        for _ in range(100):
            session = await self.create_session(command=["cat"])
            made.setdefault(self.number_of(session["session_id"]), session)
            if len(made) == count:
                return made
        raise AssertionError(f"only workers {sorted(made)} make sessions")

    async def pid_of(self, session: dict[str, Any]) -> int:
        """Return the process of a session that runs, whichever worker answers for it."""
        path = f"/api/v1/sessions/{session['session_id']}"

        async def found() -> dict[str, Any] | None:
            answer = await self.http.get(path)
            fields: dict[str, Any] = answer.json()
            return fields if answer.is_success and fields["state"] == "running" else None

        fields = await wait_until(found, description="a worker that knows the session")
        assert fields is not None
        return int(fields["pid"])

    async def spread(self, count: int) -> Counter[int]:
        """Have so many connections answered, all open at once; return how many each worker process has of them."""
        connections = [await asyncio.open_connection(*self.address) for _ in range(count)]
        try:
            for reader, writer in connections:
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            ours = {writer.get_extra_info("sockname")[1] for _, writer in connections}
            return Counter(
                worker.pid
                for worker in self.workers()
                for each in worker.net_connections("tcp")
                if getattr(each.raddr, "port", None) in ours  # a listening socket has no other end
            )
        finally:
            for _, writer in connections:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            for holder in self.state.glob("workers/*/holder"):
                await asyncio.to_thread(stop_holder, holder)
