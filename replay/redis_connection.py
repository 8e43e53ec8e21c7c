"""Connections to Redis: the one place that knows of standalone servers, Sentinel, Cluster, TLS and time-outs.

A client retries nothing by itself: whoever sends knows what may be sent twice. One of its commands that is cancelled
or times out takes its connection along, so that the reply is never handed to the next command on it.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ClusterError,
    MovedError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.maint_notifications import MaintNotificationsConfig

if TYPE_CHECKING:
    from replay.redis_address import RedisAddress

ANSWER_SECONDS = 2.5
"""How long a command may take. Whoever waits longer would not notice within 5 s that Redis is back."""
CONNECT_SECONDS = 2.0
CLOSE_SECONDS = 1.0
SENTINEL_SECONDS = 0.75
"""How long one sentinel may take: the next one is asked then, and two may be silent."""
ASK_SECONDS, ASK_AGAIN_SECONDS = 1.0, 10.0
"""So often sentinels are asked whether the primary is still the same; the second, when none of them answered."""

_SENTINEL, _NAMED = re.compile(r"<redis.*?host=([^,]+),port=([0-9]+).*?\)>\)>\)> - "), r"\1:\2 "
"""What redis-py shows of a sentinel that did not answer: the whole client, on 500 characters."""

Client: TypeAlias = "Redis | RedisCluster"

TROUBLE = (RedisError, RedisClusterException, OSError, RuntimeError)
"""What a command raises when Redis cannot be reached, or does not do now what it is asked.

RuntimeError: uvloop raises it for what is written to a connection that the peer has just reset, and redis-py hands
it on.
"""

ELSEWHERE = (MovedError, AskError, TryAgainError, ClusterDownError)
"""What a server of a cluster answers that does not have the key (any more, or yet)."""


def connect(address: RedisAddress, *, blocks: bool = False) -> Client:
    """Return a client of Redis; it connects with its first command and is ended by `aclose`.

    One that `blocks` waits for replies without limit (XREAD BLOCK, SUBSCRIBE): redis-py's own limit of 5 seconds
    would end every longer wait. A peer that is gone is found by TCP keepalive then.
    """
    options = _options(address, blocks=blocks)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, **options)
    options["db"] = address.db
    if address.kind == "sentinel":
        return _find_by_sentinel(address, options)
    if address.path:
        return Redis(unix_socket_path=address.path, **options)
    host, port = address.hosts[0]
    return Redis(host=host, port=port, **options)


def _options(address: RedisAddress, *, blocks: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_timeout": None if blocks else ANSWER_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # what every server understands; nothing here needs more
        "driver_info": None,  # it would read its own version from a file, each time, on the event loop
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if address.tls:
        options["ssl"] = True
        for name, value in address.options.items():
            if name.startswith("ssl_"):
                options[name] = value == "true" if name == "ssl_check_hostname" else value
    return options


class _PrimaryPool(SentinelConnectionPool):
    """Connections to the primary, given up soon after the sentinels name another one.

    redis-py asks the sentinels when it connects. The old primary closes its connections when it is made a replica;
    a primary that was alive at a failover is made one by the sentinels only some 10 s later, and what it is given
    until then is lost with it.
    """

    _ask_at = 0.0

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """Return a connection to the primary, as far as the sentinels tell."""
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + ASK_SECONDS
            try:
                await self.get_master_address()  # type: ignore[no-untyped-call] # closes what is idle and elsewhere
            except TROUBLE:  # a primary goes on without sentinels; connecting says what is wrong
                self._ask_at = time.monotonic() + ASK_AGAIN_SECONDS
        return await super().get_connection()  # type: ignore[no-untyped-call] # no argument: it warns of any


def _find_by_sentinel(address: RedisAddress, options: dict[str, Any]) -> Redis:
    own = {name: value for name, value in options.items() if name != "db"}
    own["username"] = address.options.get("sentinel_username")
    own["password"] = address.options.get("sentinel_password")
    own["socket_timeout"] = own["socket_connect_timeout"] = SENTINEL_SECONDS
    sentinels = Sentinel(list(address.hosts), sentinel_kwargs=own, **options)  # type: ignore[no-untyped-call]
    found: Redis = sentinels.master_for(address.service, connection_pool_class=_PrimaryPool)
    return found


async def disconnect(client: Client) -> None:
    """Close all connections of a client, and those of its sentinels; it may not be used any more."""
    sentinels = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for each in (client, *(sentinels.sentinels if sentinels is not None else ())):
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await each.aclose()
        except (TimeoutError, *TROUBLE):
            continue  # a peer that does not answer is left as it is: nothing more is sent to it


def slot_of(key: str) -> int:
    """Return where in a cluster a key is."""
    slot: int = key_slot(key.encode())
    return slot


def explain(error: BaseException) -> str:
    """Say in a few words what is wrong, for whoever operates Redis; never a password, which no error repeats."""
    if isinstance(error, ClusterError | RedisClusterException):
        return f"the cluster is not whole: {error}"
    if isinstance(error, MasterNotFoundError):
        return f"the sentinels name no primary: {_SENTINEL.sub(_NAMED, str(error))}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
