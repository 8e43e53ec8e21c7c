"""A cluster of real Redis servers, whose slots can be moved and whose masters can fail over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import redis

from support.redis_server import READY_SECONDS, RedisServer
from support.restarts import find_port
from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

SLOTS = 16384


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
