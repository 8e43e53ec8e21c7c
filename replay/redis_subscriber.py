"""One connection that hears what is published: the one place that knows what is said on it.

Read directly from the client's connection: its own `PubSub` costs several times what a message costs here.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from replay.redis_connection import connect, disconnect

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.asyncio.connection import AbstractConnection

    from replay.redis_address import RedisAddress


class Manner(Enum):
    """How a server publishes: the command for it, whose prefix goes with what subscribes."""

    SHARDED = "SPUBLISH"
    PLAIN = "PUBLISH"
    """Before Redis 7 there was no other."""


class Heard(Enum):
    """What was heard of a channel."""

    MESSAGE = 1
    JOINED = 2
    LEFT = 3
    """At our wish, or because the server has the channel's slot no more."""


_KINDS = {
    b"smessage": Heard.MESSAGE,
    b"message": Heard.MESSAGE,
    b"ssubscribe": Heard.JOINED,
    b"subscribe": Heard.JOINED,
    b"sunsubscribe": Heard.LEFT,
    b"unsubscribe": Heard.LEFT,
}


class NotSharded(Exception):
    """The server is too old for SSUBSCRIBE."""


class Subscriber:
    """A connection; `open` it again after any trouble. One task reads, one other may write."""

    def __init__(self, address: RedisAddress) -> None:
        """Begin closed."""
        self._address = address
        self._client: Any = None
        self._connection: AbstractConnection | None = None

    @property
    def is_open(self) -> bool:
        """Whether something can be said."""
        return self._connection is not None

    async def open(self) -> None:
        """Connect. Raises TROUBLE."""
        self._client = connect(self._address, blocks=True)
        self._connection = await self._client.connection_pool.get_connection()

    async def close(self) -> None:
        """Disconnect; whoever reads is told that the connection was closed."""
        client, connection = self._client, self._connection
        self._client = self._connection = None
        if connection is not None:
            await connection.disconnect(nowait=True)
        if client is not None:
            await disconnect(client)

    async def join(self, channels: Iterable[bytes], manner: Manner) -> None:
        """Ask for what is published; each channel is answered by JOINED. Raises TROUBLE."""
        await self._say([(_prefix(manner) + "SUBSCRIBE", channel) for channel in channels])

    async def leave(self, channels: Iterable[bytes], manner: Manner) -> None:
        """Ask for no more of it. Raises TROUBLE."""
        await self._say([(_prefix(manner) + "UNSUBSCRIBE", channel) for channel in channels])

    async def _say(self, commands: list[tuple[str | bytes, ...]]) -> None:
        # A channel each: those of one command would have to be of one slot.
        if self._connection is not None and commands:
            await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)

    async def read(self) -> tuple[Heard, bytes, bytes]:
        """Wait for what comes next: what it is, of which channel, and the message. Raises NotSharded, TROUBLE."""
        if self._connection is None:
            raise ConnectionError("closed")
        try:
            reply = await self._connection.read_response()
        except ResponseError as error:
            if "unknown command" in str(error):
                raise NotSharded from None
            raise
        return _KINDS[reply[0]], reply[1], reply[2]


def _prefix(manner: Manner) -> str:
    return "S" if manner is Manner.SHARDED else ""
