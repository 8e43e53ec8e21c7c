"""Writes to the inboxes of other nodes, and removes from this one's what was read: one connection, one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from replay.redis_connection import TROUBLE, connect, disconnect, explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replay.redis_address import RedisAddress
    from replay.redis_connection import Client

TTL_MS = 60_000
"""An inbox lives so long after the last message to it."""

ADD = """
for i = 2, #ARGV do redis.call('XADD', KEYS[1], '*', 'm', ARGV[i]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
"""All messages to one inbox, and its time to live: in one step, so that no key is ever without one."""

log = structlog.get_logger()


def inbox_key(node_id: str) -> str:
    """Return the key of a node's inbox: a stream whose entries have one field, `m`."""
    return f"ts:node:{{{node_id}}}:inbox"


class Outbox:
    """The writer's connection. Used by one task."""

    def __init__(self, address: RedisAddress, node_id: str) -> None:
        """Begin unconnected."""
        self.trouble: str | None = None
        self._address = address
        self._own_key = inbox_key(node_id)
        self._client: Client | None = None
        self._is_stopping = False

    def stop(self) -> None:
        """Write no more: cancelling alone would not do, as redis-py may swallow it."""
        self._is_stopping = True

    async def write(
        self, batch: Sequence[tuple[str, Sequence[bytes]]], read: Sequence[bytes]
    ) -> Sequence[Exception | None]:
        """Write messages to inboxes and remove entries from the own one; return what went wrong with each inbox.

        An error means that nobody knows whether it was written. All are written within one round trip.
        """
        calls: list[tuple[Any, ...]] = [
            ("EVAL", ADD, 1, inbox_key(node_id), TTL_MS, *messages) for node_id, messages in batch
        ]
        if read:
            calls.append(("XDEL", self._own_key, *read))
        replies = await self._send(calls)
        errors = [reply if isinstance(reply, Exception) else None for reply in replies]
        first = next((error for error in errors if error is not None), None)
        self._note(first)
        if first is not None:
            await self.disconnect()
        return errors[: len(batch)]

    async def _send(self, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        if self._is_stopping:
            return [OSError("stopped")] * len(calls)
        try:
            if self._client is None:
                self._client = connect(self._address)
            if len(calls) == 1:
                return [await self._client.execute_command(*calls[0])]
            pipeline = self._client.pipeline(transaction=False)
            for call in calls:
                pipeline.execute_command(*call)
            replies: Sequence[Any] = await pipeline.execute(raise_on_error=False)
        except TROUBLE as error:
            return [error] * len(calls)
        return replies

    def _note(self, error: Exception | None) -> None:
        if error is None:
            if self.trouble is not None:
                log.info("Redis takes mail again", redis=str(self._address))
            self.trouble = None
            return
        if self.trouble is None:
            log.warning("Redis does not take mail", redis=str(self._address), reason=explain(error))
        self.trouble = explain(error)

    async def disconnect(self) -> None:
        """Give the connection up; the next write makes another."""
        client, self._client = self._client, None
        if client is not None:
            await disconnect(client)
