"""One service process for many tests: started without an event loop, asked from the loop of each test.

`process` belongs into a fixture of module scope, `visit` into one of function scope.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from typing import TYPE_CHECKING

import httpx

from support.holders import stop_holder
from support.service import POOL, READY_SECONDS, ROOT, STOP_SECONDS, Service
from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path


class SharedService(Service):
    """A service that somebody else started: it can be asked, not started or stopped."""

    process_id = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process_id

    async def start(self) -> None:
        """Get ready to ask; nothing is started."""
        self._http = httpx.AsyncClient(
            base_url=self.base_url, timeout=30, trust_env=False, headers=self._headers, limits=POOL
        )

    async def end_sessions(self) -> None:
        """End every session: the next test begins without the programs of this one."""
        for session in (await self.http.get("/api/v1/sessions")).json():
            await self.http.delete(f"/api/v1/sessions/{session['session_id']}")


@contextlib.contextmanager
def process(directory: Path, *, headers: Mapping[str, str] | None = None, **settings: str) -> Iterator[SharedService]:
    """Run a service; its settings are environment variables, `headers` what every request carries."""
    service = SharedService(directory, headers=headers, **({"STOP_GRACE_SECONDS": "0.3"} | settings))
    with service.log_path.open("ab") as log:
        running = subprocess.Popen(service._command, cwd=ROOT, env=service._environment(), stdout=log, stderr=log)

    def find() -> str | None:
        assert running.poll() is None, f"the service ended with {running.returncode}:\n{service.log()}"
        said = re.search(r"^Terminal Service is ready: (\S+)$", service.log(), re.MULTILINE)
        return said and said[1]

    try:
        found = poll_until(find, description="the service's address", timeout=READY_SECONDS)
        assert found is not None
        service.base_url, service.process_id = found, running.pid
        yield service
        running.terminate()
        assert running.wait(STOP_SECONDS) == 0, service.log()
        assert "Traceback" not in service.log(), service.log()
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
        stop_holder(service.holder)


@contextlib.asynccontextmanager
async def visit(service: SharedService) -> AsyncIterator[SharedService]:
    """Ask a running service for the length of a test; its sessions end with it."""
    await service.start()
    try:
        yield service
    except BaseException as error:
        error.add_note("service log, end:\n" + service.log()[-4000:])
        raise
    finally:
        await service.end_sessions()
        await service._close_http()
