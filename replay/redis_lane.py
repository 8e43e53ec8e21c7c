"""One connection to Redis over which logs are copied, many of them with each round trip (group commit).

What is in flight is bounded: BATCH_BYTES in all, SHARE_BYTES of one log if others wait, so that a flood does not
keep them waiting. What waits is in the logs themselves, nowhere else. Everything that goes wrong is tried again,
whatever it is: nobody can tell for sure whether a failed call was done, and doing it twice changes nothing
(redis_scripts).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError

from replay.redis_connection import TROUBLE, connect, disconnect, explain
from replay.redis_copy import State
from replay.redis_scripts import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replay.redis_address import RedisAddress
    from replay.redis_connection import Client
    from replay.redis_copy import Batch, Copy
    from replay.redis_scripts import Call

BATCH_BYTES = 1024 * 1024
SHARE_BYTES = 256 * 1024
BATCH_CALLS = 256
FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 0.05, 1.0
"""Between two tries of one log; at most the last plus a time-out passes before it is noticed that Redis is back."""
WAIT_MS = 1000
"""How long Redis may wait for its replicas before it says how many have it."""

log = structlog.get_logger()


class NotReplicated(Exception):
    """Fewer replicas have it than are asked for."""


@dataclass
class Figures:
    """What was counted."""

    stored_bytes: int = 0
    commits: int = 0
    calls: int = 0
    gap_bytes: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Of batches, by kind of error."""
    ended: Counter[str] = field(default_factory=Counter)
    """Copies that do not go on, by `State`."""


class Lane:
    """A queue of logs that have something to be copied, and the connection it goes over."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        replicas: int,
        figures: Figures,
        settled: asyncio.Event,
        over: Callable[[Copy], None],
    ) -> None:
        """Begin unconnected.

        `replicas`: how many must have it before it counts; `settled`: set whenever something came of a batch;
        `over`: called with a copy that does not go on.
        """
        self.trouble: str | None = None
        self._settled = settled
        self._address = address
        self._replicas = replicas
        self._figures = figures
        self._over = over
        self._queue: deque[Copy] = deque()
        self._work = asyncio.Event()
        self._is_stopping = False
        self._client: Client | None = None
        self._sends_text = False
        """Whether a server has not seen the scripts yet."""

    def wake(self, copy: Copy) -> None:
        """Give a log a turn. On the event loop's thread, or before `run`."""
        copy.is_waiting = True
        self._queue.append(copy)
        self._work.set()

    def stop(self) -> None:
        """Have `run` return after the command it waits for. Cancelling alone would not do: redis-py may swallow it."""
        self._is_stopping = True
        self._work.set()

    async def run(self) -> None:
        """Copy until stopped or cancelled."""
        try:
            while not self._is_stopping:
                await self._work.wait()
                await self._commit()
                if not self._queue:
                    self._work.clear()
        finally:
            await self._disconnect()

    async def _commit(self) -> None:
        """Send one batch and wait for what comes of it."""
        taken = [] if self._is_stopping else self._take()
        if not taken:
            return
        replies = await self._send([batch.call for _, batch in taken])
        for (copy, batch), reply in zip(taken, replies, strict=True):
            self._settle(copy, batch, reply)
        if self._note(replies):
            await self._disconnect()
        self._settled.set()

    def _take(self) -> list[tuple[Copy, Batch]]:
        taken: list[tuple[Copy, Batch]] = []
        room, now = BATCH_BYTES, time.time()
        while self._queue and room > 0 and len(taken) < BATCH_CALLS:
            copy = self._queue.popleft()
            if copy.is_released:
                copy.is_waiting = False
                continue
            batch = copy.take(min(SHARE_BYTES, room) if self._queue else room, now=now)
            taken.append((copy, batch))
            room -= batch.size
        return taken

    async def _send(self, calls: Sequence[Call]) -> Sequence[Any]:
        """Return what each call was answered: a reply or the exception; of the connection, for all the same."""
        try:
            if self._client is None:
                self._client = connect(self._address)
            pipeline = self._client.pipeline(transaction=False)
            for call in calls:
                pipeline.execute_command(*call.words(whole=self._sends_text))
            waits = await self._ask_replicas(pipeline, calls)
            replies = await pipeline.execute(raise_on_error=False)
        except TROUBLE as error:
            return [error] * len(calls)
        return [self._check(reply, replies, wait) for reply, wait in zip(replies, waits, strict=False)]

    async def _ask_replicas(self, pipeline: Any, calls: Sequence[Call]) -> Sequence[int | None]:
        """Have each server that writes say how many replicas have it; return where in the replies, for each call.

        WAIT speaks of what its own connection has written, so it goes with the calls, and these always write.
        """
        if not self._replicas:
            return [None] * len(calls)
        if not isinstance(self._client, RedisCluster):
            pipeline.execute_command("WAIT", self._replicas, WAIT_MS)
            return [len(calls)] * len(calls)
        await self._client.initialize()
        nodes = [self._client.get_node_from_key(call.keys.stream) for call in calls]
        places: dict[str, int] = {}
        for node in nodes:
            if node is not None and node.name not in places:
                places[node.name] = len(calls) + len(places)
                pipeline.execute_command("WAIT", self._replicas, WAIT_MS, target_nodes=node)
        return [None if node is None else places[node.name] for node in nodes]

    def _check(self, reply: Any, replies: Sequence[Any], wait: int | None) -> Any:
        if wait is None or isinstance(reply, Exception):
            return reply
        count = replies[wait]
        if isinstance(count, Exception):
            return count
        if count < self._replicas:
            return NotReplicated(f"{count} of {self._replicas} replicas have it")
        return reply

    # -- what came of it

    def _settle(self, copy: Copy, batch: Batch, reply: Any) -> None:
        if isinstance(reply, NoScriptError):
            self.wake(copy)
            return
        if isinstance(reply, Exception):
            copy.fail(reply)
            delay = min(LAST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(copy.failures, 10))
            asyncio.get_running_loop().call_later(delay * random.uniform(0.5, 1), self.wake, copy)  # noqa: S311 - spreads load
            return
        answer = Answer.parse(reply)
        copy.settle(batch, answer)
        self._count(copy, batch)
        if copy.is_over:
            self._over(copy)
        elif copy.is_behind:
            self.wake(copy)
        else:
            copy.is_waiting = False

    def _count(self, copy: Copy, batch: Batch) -> None:
        figures = self._figures
        figures.calls += 1
        if copy.state is State.OPEN:
            figures.stored_bytes += batch.output_bytes
            figures.gap_bytes += batch.lost_bytes
            if batch.lost_bytes:
                log.error("output lost before it reached Redis", log=copy.name, lost_bytes=batch.lost_bytes)
        elif copy.state is not State.DELETED:
            figures.ended[copy.state.name.lower()] += 1
            log.error("log is copied to Redis no more", log=copy.name, reason=copy.state.value)

    def _note(self, replies: Sequence[Any]) -> bool:
        """Note how the batch went as a whole; return whether the next one should go over a new connection.

        After any trouble: what was a primary may be a replica now, and a name may stand for another machine.
        """
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        self._sends_text = any(isinstance(error, NoScriptError) for error in errors)
        errors = [error for error in errors if not isinstance(error, NoScriptError)]
        self._figures.commits += 1
        if not errors:
            if self.trouble is not None:
                log.info("Redis takes output again", redis=str(self._address))
            self.trouble = None
            return False
        self._figures.failures[type(errors[0]).__name__] += 1
        if self.trouble is None:
            log.warning("Redis does not take output", redis=str(self._address), reason=explain(errors[0]))
        self.trouble = explain(errors[0])
        return True

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await disconnect(client)
