"""Reads this node's inbox: the one connection that waits for mail."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import structlog
from redis.asyncio import RedisCluster

from nodes.redis_outbox import inbox_key
from replay.redis_connection import ANSWER_SECONDS, TROUBLE, connect, disconnect, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replay.redis_address import RedisAddress
    from replay.redis_connection import Client

BLOCK_MS = 1000
"""How long Redis keeps a read that finds nothing; one not answered by then and ANSWER_SECONDS has lost its peer."""
READ_ENTRIES = 16
"""Of at most 256 KiB each."""
TURN_LETTERS = 1024
"""After so many, others get a turn."""
FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 0.05, 1.0

log = structlog.get_logger()


class Inbox:
    """The reader of one node's inbox. It removes nothing."""

    def __init__(
        self,
        address: RedisAddress,
        node_id: str,
        *,
        take: Callable[[bytes, bytes], int],
        trouble: Callable[[], None],
    ) -> None:
        """Begin unconnected.

        `take(entry_id, data)` is called for each entry and returns how many letters it had; `trouble()` after
        each failure and when it is over: Redis may have forgotten what was in the inbox.
        """
        self.trouble: str | None = None
        self._address = address
        self._key = inbox_key(node_id)
        self._take = take
        self._on_trouble = trouble
        self._stopping = asyncio.Event()
        self._client: Client | None = None
        self._cursor: bytes = b"0-0"
        """Entries up to it are read and being removed. Zero again whenever nothing came: ids follow Redis' clock,
        which may go back where a stream is made anew."""

    def stop(self) -> None:
        """Have `run` return; it has to be cancelled too, since it waits long."""
        self._stopping.set()

    async def run(self) -> None:
        """Read until stopped."""
        delay = FIRST_DELAY_SECONDS
        try:
            while not self._stopping.is_set():
                try:
                    entries = await self._read()
                except (TimeoutError, *TROUBLE) as error:
                    await self._fail(error)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(delay):
                            await self._stopping.wait()
                    delay = min(2 * delay, LAST_DELAY_SECONDS)
                else:
                    delay = FIRST_DELAY_SECONDS
                    self._recover()
                    await self._hand_over(entries)
        finally:
            await self._disconnect()

    async def _read(self) -> Sequence[tuple[bytes, Any]]:
        """Return what is unread, or nothing if nothing comes."""
        if self._client is None:
            self._client = connect(self._address, blocks=True)
        words = ("XREAD", "COUNT", READ_ENTRIES, "BLOCK", BLOCK_MS, "STREAMS", self._key, self._cursor)
        async with asyncio.timeout(BLOCK_MS / 1000 + ANSWER_SECONDS):
            if isinstance(self._client, RedisCluster):
                await self._client.initialize()
                node = self._client.get_node_from_key(self._key)
                reply = await self._client.execute_command(*words, target_nodes=node)
            else:
                reply = await self._client.execute_command(*words)  # type: ignore[no-untyped-call]
        return reply[0][1] if reply else ()

    async def _hand_over(self, entries: Sequence[tuple[bytes, Any]]) -> None:
        self._cursor = entries[-1][0] if entries else b"0-0"
        letters = 0
        for entry_id, fields in entries:
            letters += self._take(entry_id, fields[b"m"])
            if letters >= TURN_LETTERS:
                letters = 0
                await asyncio.sleep(0)

    async def _fail(self, error: BaseException) -> None:
        if self.trouble is None:
            log.warning("mail cannot be read from Redis", redis=str(self._address), reason=explain(error))
        self.trouble = explain(error)
        self._cursor = b"0-0"
        self._on_trouble()
        await self._disconnect()

    def _recover(self) -> None:
        if self.trouble is not None:
            log.info("mail is read from Redis again", redis=str(self._address))
            self.trouble = None
            self._on_trouble()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await disconnect(client)
