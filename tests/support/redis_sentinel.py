"""Real Redis servers watched by real sentinels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import redis

from support.redis_server import READY_SECONDS, RedisServer
from support.wait import poll_until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


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
            f"sentinel down-after-milliseconds {name} 1500",
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
