"""The service as its users run it: `python run.py` in a process of its own, on a free port of 127.0.0.1.

Only this module of the tests starts and ends it. Use::

    async with Service(tmp_path) as service:
        session = await service.create_session(command=["cat"])
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import psutil

from support.client import Client
from support.holders import stop_holder
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
POOL = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2)
"""No request on a connection that the service is about to close: it does that after five seconds without one."""


class Service:
    """One run after the other on the same state directory; settings are environment variables.

    `prefix`: a command that runs the service with less than it would have (prlimit, setpriv, unshare ...), in the
    same process. `program`: what runs it, instead of `run.py`. `headers`: what every request carries.
    """

    def __init__(
        self,
        directory: Path,
        *,
        prefix: Sequence[str] = (),
        program: Sequence[str] = ("run.py",),
        headers: Mapping[str, str] | None = None,
        **settings: str,
    ) -> None:
        self.state = directory / "state"
        self.holder = self.state / "holder"
        self.log_path = directory / "service.log"
        self.base_url = ""
        self._starts = 0
        self._settings = settings
        self._python = (*prefix, sys.executable)
        self._command = (*self._python, *program)
        self._pass: tuple[int, ...] = ()
        self._headers = dict(headers or {})
        self._process: asyncio.subprocess.Process | None = None
        self._http: httpx.AsyncClient | None = None

    # -- the process

    async def start(self) -> None:
        """Start, and wait until it is ready. Raises AssertionError with its log if it does not come up."""
        assert self._process is None, "it runs already"
        self._starts = self.log().count("Terminal Service is ready: ") if self.log_path.exists() else 0
        self.state.mkdir(exist_ok=True, parents=True)
        address = self.state / "service.json"
        address.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, cwd=ROOT, env=self._environment(), pass_fds=self._pass, stdout=log, stderr=log
            )
        try:
            found = await wait_until(
                lambda: self._find(address), description="the service's address", timeout=READY_SECONDS
            )
            assert found is not None
            self.base_url = found
            self._http = self._make_http()
            await wait_until(
                self._is_ready,
                description="the service to be ready",
                timeout=READY_SECONDS,
            )
        except BaseException:
            await self.kill()
            raise

    def _make_http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.base_url, timeout=30, trust_env=False, headers=self._headers, limits=POOL
        )

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        # A home of its own: what a developer's profile does in a login shell is nobody's business here.
        home = self.state.parent / "home"
        home.mkdir(exist_ok=True)
        kept["HOME"] = str(home)
        own = {"HOST": "127.0.0.1", "PORT": "0", "STATE_DIR": str(self.state), "PYTHONUNBUFFERED": "1"}
        own["STOP_SESSIONS_ON_EXIT"] = "true"  # a test leaves nothing behind unless it says so
        return {**kept, **own, **self._settings}

    def _find(self, address: Path) -> str | None:
        ended = self.process.returncode
        assert ended is None, f"the service ended with {ended}:\n{self.log()}"
        try:
            return str(json.loads(address.read_text())["url"]).rstrip("/")
        except (FileNotFoundError, ValueError):
            said = re.findall(r"^Terminal Service is ready: (\S+)$", self.log(), re.MULTILINE)  # on a full disk
            return said[-1] if len(said) > self._starts else None

    async def _is_ready(self) -> bool:
        try:
            return (await self.http.get("/health/ready")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def replace(self, **settings: str) -> None:
        """Have another process, with other settings if given, take its place; returns when that serves.

        Raises AssertionError with the log if the new one does not, or the old one does not end with 0.
        """
        old = self.process
        self._settings |= settings
        new = await self.start_successor()
        try:
            await self.become(new)
            async with asyncio.timeout(STOP_SECONDS):
                assert await old.wait() == 0, self.log()
        finally:
            if old.returncode is None:
                old.kill()
                await old.wait()

    async def start_successor(self, *program: str, **settings: str) -> asyncio.subprocess.Process:
        """Start another process that is to take the place of the running one (with another program, if given)."""
        command = (sys.executable, *program) if program else (*self._command, "--replace")
        with self.log_path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env={**self._environment(), **settings}, stdout=log, stderr=log
            )

    async def start_command(self, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
        """Run Python as the service runs, with its settings; what it says can be read from the process."""
        return await asyncio.create_subprocess_exec(
            *self._python,
            *arguments,
            cwd=ROOT,
            env={**self._environment(), **settings},
            pass_fds=self._pass,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def become(self, new: asyncio.subprocess.Process) -> None:
        """Go on as the process `new`, as soon as that serves."""
        await self._close_http()
        self._process = new
        self.base_url = await wait_until(
            lambda: self._find_of(new.pid), description="the new process to serve", timeout=READY_SECONDS
        )
        self._http = self._make_http()

    def _find_of(self, pid: int) -> str:
        """Return the address that a process has written; empty: another one has, or none."""
        address = self.state / "service.json"
        self._find(address)  # it runs
        with contextlib.suppress(FileNotFoundError):
            told = json.loads(address.read_text())
            return str(told["url"]).rstrip("/") if told["pid"] == pid else ""
        return ""

    async def stop(self) -> int:
        """End it with SIGTERM, or SIGKILL (and an AssertionError) if that takes too long; return the exit code."""
        await self._close_http()
        process, self._process = self.process, None
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"not ended {STOP_SECONDS} s after SIGTERM:\n{self.log()}") from None

    async def kill(self) -> None:
        """End it as a crash does: SIGKILL. Its holder lives on."""
        await self._close_http()
        process, self._process = self.process, None
        if process.returncode is None:
            process.kill()
        await process.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal and do not wait."""
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; return the exit code."""
        await self._close_http()
        async with asyncio.timeout(STOP_SECONDS):
            code = await self.process.wait()
        self._process = None
        return code

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None, "it does not run"
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def psutil(self) -> psutil.Process:
        """Its process, to look at."""
        return psutil.Process(self.pid)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on."""
        url = httpx.URL(self.base_url)
        assert url.port is not None
        return url.host, url.port

    def log(self) -> str:
        """Return everything it has logged."""
        return self.log_path.read_text(errors="replace")

    # -- what it is asked

    @property
    def http(self) -> httpx.AsyncClient:
        """An HTTP client of it."""
        assert self._http is not None, "it does not run"
        return self._http

    async def create_session(self, **fields: object) -> dict[str, Any]:
        """Create a session; return what the service says of it."""
        return _checked(await self.http.post("/api/v1/sessions", json=fields), httpx.codes.CREATED)

    async def info(self, session_id: str) -> dict[str, Any]:
        """Return what the service says of a session."""
        return _checked(await self.http.get(f"/api/v1/sessions/{session_id}"), httpx.codes.OK)

    async def output(self, session_id: str, start: int = 0) -> bytes:
        """Return the output from a position to the head, page by page."""
        pages = bytearray()
        while True:
            path = f"/api/v1/sessions/{session_id}/output"
            answer = await self.http.get(path, params={"from": start + len(pages)})
            assert answer.is_success, f"{answer.status_code} {answer.text}"
            if not answer.content:
                return bytes(pages)
            pages += answer.content

    async def delete(self, session_id: str, *, missing_ok: bool = False) -> None:
        """End a session."""
        answer = await self.http.delete(f"/api/v1/sessions/{session_id}")
        fine = {httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND} if missing_ok else {httpx.codes.NO_CONTENT}
        assert answer.status_code in fine, f"{answer.status_code} {answer.text}"

    def client(self, session_id: str, *, via: tuple[str, int] | None = None, **options: Any) -> Client:
        """Return a client of a session, through a proxy at the address `via` if given."""
        url = self.base_url if via is None else f"http://{via[0]}:{via[1]}"
        return Client(url, session_id, **{"headers": self._headers, **options})

    # -- the context

    async def _close_http(self) -> None:
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, if it still runs; a failed test gets the end of the log."""
        if error is not None and self.log_path.exists():
            error.add_note("service log, end:\n" + self.log()[-4000:])
        try:
            if self._process is not None:
                await self.stop()
        finally:
            await asyncio.to_thread(stop_holder, self.holder)


def _checked(answer: httpx.Response, code: int) -> dict[str, Any]:
    assert answer.status_code == code, f"{answer.request.method} {answer.request.url}: {answer.text}"
    fields: dict[str, Any] = answer.json()
    return fields
