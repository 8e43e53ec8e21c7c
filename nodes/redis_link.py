"""Commands to Redis, many with each round trip, answered or refused with Away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from redis.exceptions import NoScriptError

from nodes.errors import Away
from replay.redis_connection import TROUBLE, connect, disconnect, explain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from replay.redis_address import RedisAddress
    from replay.redis_connection import Client
    from replay.redis_scripts import Script

Word: TypeAlias = "str | bytes | int | float"
Result = TypeVar("Result")

AGAIN_SECONDS = 0.5
"""What fails sooner is tried once more, over a new connection: the old one may only have been closed meanwhile."""


@dataclass(frozen=True, slots=True)
class Run:
    """A script to be run on its keys."""

    script: Script
    keys: tuple[str, ...]
    arguments: tuple[Word, ...]

    def words(self, *, whole: bool = False) -> tuple[Word, ...]:
        """Return the command; `whole`: with the script's text."""
        name, body = ("EVAL", self.script.text) if whole else ("EVALSHA", self.script.sha)
        return (name, body, len(self.keys), *self.keys, *self.arguments)


Command: TypeAlias = "Run | tuple[Word, ...]"


class _Shared:
    """A client and how many use it now."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.users = 0
        self.is_over = False


class RedisLink:
    """A client of Redis that is another one after any trouble. Used by as many tasks at once as there are.

    Whatever is sent may be sent twice.
    """

    def __init__(self, address: RedisAddress) -> None:
        """Begin unconnected."""
        self._address = address
        self._shared: _Shared | None = None

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return what each command is answered. Raises Away, whichever of them fails."""
        replies = await self.try_all(commands)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise Away(explain(reply))
        return replies

    async def try_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return for each command what it is answered, or its exception. Raises Away if nothing is."""
        if not commands:
            return []
        return await self.use(lambda client: _send_all(client, commands))

    async def use(self, work: Callable[[Client], Awaitable[Result]]) -> Result:
        """Return what comes of using the client. Raises Away for all that the client raises."""
        clock = asyncio.get_running_loop()
        begun = clock.time()
        try:
            result = await self._use(work)
        except TROUBLE as error:
            if clock.time() - begun > AGAIN_SECONDS:
                raise Away(explain(error)) from error
        else:
            if not _has_trouble(result) or clock.time() - begun > AGAIN_SECONDS:
                return result
        try:
            return await self._use(work)
        except TROUBLE as error:
            raise Away(explain(error)) from error

    async def _use(self, work: Callable[[Client], Awaitable[Result]]) -> Result:
        shared = self._shared or _Shared(connect(self._address))
        self._shared = shared
        shared.users += 1
        is_well = False
        try:
            result = await work(shared.client)
            is_well = not _has_trouble(result)
            return result
        finally:
            shared.users -= 1
            if not is_well:  # cancelled too: what was a primary may be a replica now, and a reply may be on its way
                self._drop(shared)
            if shared.is_over and not shared.users:
                await disconnect(shared.client)

    def _drop(self, shared: _Shared) -> None:
        shared.is_over = True
        if self._shared is shared:
            self._shared = None

    async def close(self) -> None:
        """Close the connections, the last user's with it; the next command would open new ones."""
        shared = self._shared
        if shared is not None:
            self._drop(shared)
            if not shared.users:
                await disconnect(shared.client)


async def _send_all(client: Client, commands: Sequence[Command]) -> list[Any]:
    replies = await _pipe(client, [each.words() if isinstance(each, Run) else each for each in commands])
    unknown = {at: each for at, each in enumerate(commands) if isinstance(replies[at], NoScriptError)}
    if unknown:
        again = await _pipe(client, [each.words(whole=True) for each in unknown.values() if isinstance(each, Run)])
        for at, reply in zip(unknown, again, strict=True):
            replies[at] = reply
    return replies


async def _pipe(client: Client, commands: Sequence[tuple[Word, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for words in commands:
        pipeline.execute_command(*words)
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    return replies


def _has_trouble(result: Any) -> bool:
    return isinstance(result, list) and any(isinstance(reply, BaseException) for reply in result)


def is_cancelled() -> bool:
    """Whether the task that asks was cancelled: redis-py may have caught that while it connected."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
