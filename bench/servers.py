"""Only this module starts and ends the servers under measurement: own processes, loopback only."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import psutil

from bench.client import BenchError
from bench.text import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0


class Server(Protocol):
    """A server that runs PROGRAM in every new terminal."""

    name: str
    shares: bool  # whether several viewers can see one terminal

    def missing(self) -> str | None:
        """Tell why it cannot be measured here; None if it can."""
        ...

    def start(self) -> None:
        """Start it and return when it accepts connections. Raises BenchError with its last words."""
        ...

    def open(self) -> str:
        """Return the WebSocket address of a new terminal."""
        ...

    def close(self, url: str) -> None:
        """End the terminal that `open` returned, where hanging up does not."""
        ...

    def stop(self) -> None:
        """End the server; harmless if it could not be started."""
        ...

    def usage(self) -> Usage:
        """Return what its processes, not the shells, have used so far."""
        ...


class Usage:
    """CPU seconds (user + system) and memory of a server's processes at one moment."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        times = [process.cpu_times() for process in processes]
        memory = [process.memory_info() for process in processes]
        self.cpu_seconds = sum(each.user + each.system for each in times)
        self.rss_bytes = sum(each.rss for each in memory)
        # Without pages of files and shared memory, the service's ring files among them.
        self.anonymous_bytes = sum(each.rss - getattr(each, "shared", 0) for each in memory)


class ServerProcess:
    """A server's process: started with a log file for its words, ended by its pid."""

    def __init__(self, argv: Sequence[str], directory: Path, env: Mapping[str, str] | None = None) -> None:
        self._log = directory / f"server-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.process = psutil.Process(self._popen.pid)

    def words(self) -> str:
        """Return what it has said so far."""
        return self._log.read_text(errors="replace")

    def check(self, deadline: float) -> None:
        """Raise BenchError if it has ended, or if it is past `deadline` (`time.monotonic` seconds)."""
        if self._popen.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{self._popen.args!r} did not start: {self.words()[-2000:]}")

    def wait_for_port(self, port: int) -> None:
        """Return when something accepts connections on the port."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.check(deadline)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end, and make it after ten seconds."""
        self._popen.terminate()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(10)


class Terminado:
    """The terminal server of Jupyter: a tornado application, one named terminal per address."""

    name = "terminado"
    shares = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = 0
        self._opened = 0
        self._server: ServerProcess

    def missing(self) -> str | None:
        """Look for the packages."""
        absent = [name for name in ("terminado", "tornado") if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def start(self) -> None:
        """Start the application of `bench.terminado_app`."""
        self._port = free_port()
        argv = [sys.executable, "-m", "bench.terminado_app", str(self._port), *PROGRAM]
        self._server = ServerProcess(argv, self._directory)
        self._server.wait_for_port(self._port)

    def open(self) -> str:
        """Return an address nobody has used: the terminal is made on the first connection."""
        self._opened += 1
        return f"ws://127.0.0.1:{self._port}/terminals/{self._opened}"

    def close(self, url: str) -> None:
        """Tell the application to end it: terminado keeps terminals without viewers."""
        _request(url, "DELETE", urlsplit(url).path.replace("terminals", "close"))

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def usage(self) -> Usage:
        """Measure its one process."""
        return Usage([self._server.process])


class Ttyd:
    """The C server: one process, one new terminal per connection."""

    name = "ttyd"
    shares = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = 0
        self._server: ServerProcess

    def missing(self) -> str | None:
        """Look for the program."""
        return None if shutil.which("ttyd") else "ttyd is not on PATH"

    def start(self) -> None:
        """Start it, writable, without its debugging log."""
        self._port = free_port()
        argv = ["ttyd", "-W", "-d", "3", "-p", str(self._port), "-i", "127.0.0.1", *PROGRAM]
        self._server = ServerProcess(argv, self._directory)
        self._server.wait_for_port(self._port)

    def open(self) -> str:
        """Return the one address there is."""
        return f"ws://127.0.0.1:{self._port}/ws"

    def close(self, url: str) -> None:
        """Do nothing: hanging up ends the program."""

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def usage(self) -> Usage:
        """Measure its one process."""
        return Usage([self._server.process])


class Service:
    """This service with its defaults: replay on, ring files in a state directory of its own."""

    name = "service"
    shares = True

    def __init__(self, directory: Path, *, redis_url: str = "", settings: Mapping[str, str] | None = None) -> None:
        """Begin stopped. `redis_url`: be a node of this Redis; empty: be alone. `settings`: more of the environment."""
        self.processes: Sequence[psutil.Process] = ()
        self._directory = directory
        self._redis_url = redis_url
        self._settings = dict(settings or {})
        self._server: ServerProcess | None = None
        self._url = ""
        self._sessions: dict[str, str] = {}

    def missing(self) -> str | None:
        """Look for its entry point."""
        return None if (ROOT / "run.py").exists() else "run.py is not there"

    def start(self) -> None:
        """Start it and wait until it says in its state directory that it is ready."""
        state = self._directory / f"state-{time.monotonic_ns()}"
        state.mkdir(mode=0o700)
        env = {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "STATE_DIR": str(state),
            "REDIS_URL": self._redis_url,
            # What a failed measurement leaves open is not to stay.
            "STOP_SESSIONS_ON_EXIT": "true",
            "LOG_LEVEL": "WARNING",
            # The bench opens a thousand sessions as one user; what is measured is not the limit.
            "MAX_CONCURRENT_SESSIONS_PER_USER": "2000",
            **self._settings,
        }
        self._server = server = ServerProcess([sys.executable, "run.py"], self._directory, env)
        deadline = time.monotonic() + START_SECONDS
        ready = state / "service.json"
        while not (ready.exists() and ready.stat().st_size):
            server.check(deadline)
            time.sleep(0.005)
        self._url = json.loads(ready.read_text())["url"]
        # With a holder of its own (docs/design.md) the service is two processes; both are its cost.
        self.processes = [server.process, *server.process.children()]

    def create(self, command: Sequence[str] = PROGRAM, **more: object) -> dict[str, Any]:
        """Create a session; return the service's answer. `more`: further fields of the request."""
        body = json.dumps({"command": command, "rows": 24, "cols": 80, **more}).encode()
        answer: dict[str, Any] = json.loads(_request(self._url, "POST", "/api/v1/sessions", body))
        return answer

    def open(self, **more: object) -> str:
        """Create a session; `more`: further fields of the request."""
        session = str(self.create(PROGRAM, **more)["session_id"])
        url = self.address(session)
        self._sessions[url] = session
        return url

    def address(self, session: str) -> str:
        """Return the WebSocket address of a session at this node."""
        return f"{self._url.replace('http', 'ws', 1).rstrip('/')}/ws/terminal/{session}"

    def ask(self, path: str) -> bytes:
        """Return the answer to a GET."""
        return _request(self._url, "GET", path)

    def close(self, url: str) -> None:
        """Delete the session."""
        self.delete(self._sessions.pop(url))

    def delete(self, session: str) -> None:
        """Delete a session by its id."""
        _request(self._url, "DELETE", f"/api/v1/sessions/{session}")

    def stop(self) -> None:
        """End it; harmless if it could not be started."""
        if self._server is not None:
            self._server.stop()

    def usage(self) -> Usage:
        """Measure it and its holder."""
        return Usage(self.processes)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _request(url: str, method: str, path: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status >= 300:
        raise BenchError(f"{method} {path}: {response.status} {answer[:500]!r}")
    return answer
