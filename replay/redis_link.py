"""What this node has of one primary: a connection that hears what is published, and one that asks.

Both carry all logs of that primary which are followed here. What is asked goes in pipelines: the logs whose stream
has to be read first, and about once a second each other one, whether it has something that was not heard of.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from replay.errors import LogMissing
from replay.redis_connection import ELSEWHERE, TROUBLE, connect, disconnect, explain
from replay.redis_mirror import TURN_BYTES, HistoryLost
from replay.redis_subscriber import Heard, Manner, NotSharded, Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replay.redis_address import RedisAddress
    from replay.redis_connection import Client
    from replay.redis_follower import Command, Follower

LOOK_SECONDS = 1.0
"""After so long without a message it is looked whether one was lost."""
PING_SECONDS = 5.0
PONG_SECONDS = 2.5
BATCH_COST, READ_COST = 64, 8
"""So many logs are looked at with one round trip; reading one counts for several."""
MESSAGE_BYTES = 2048
"""What a message counts for beside its bytes: so many viewers' turns are not kept waiting by many small ones."""
STOP_SECONDS = 0.5
"""How long the last command may take."""
FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 0.05, 1.0
TRIES = 5
"""How often a log is looked for where it was said to be elsewhere."""

log = structlog.get_logger()


class Link:
    """Two connections to one primary. `run` owns its tasks and is single-use."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        deliver: Callable[[Follower, bytes, float], bool],
        on_trouble: Callable[[], None],
    ) -> None:
        """Begin unconnected, with no logs.

        `deliver` hands a message to a follower and returns whether its stream has to be read. `on_trouble`: called
        when this primary may not be the one any more.
        """
        self.address = address
        self.manner = Manner.SHARDED
        self.trouble: str | None = None
        """Why Redis cannot be asked at the moment."""
        self._deliver = deliver
        self._on_trouble = on_trouble
        self._followers: dict[bytes, Follower] = {}
        self._urgent: dict[Follower, None] = {}
        """In the order they came."""
        self._looks: deque[Follower] = deque()
        self._joining: set[bytes] = set()
        self._leaving: set[bytes] = set()
        self._subscriber = Subscriber(address)
        self._client: Client | None = None
        self._work = asyncio.Event()
        self._stopping = asyncio.Event()
        self._is_deaf = False
        self._heard_at = 0.0
        self._pinged_at: float | None = None

    # -- the logs

    def followers(self) -> Sequence[Follower]:
        """Return all whose logs are here."""
        return list(self._followers.values())

    def add(self, follower: Follower) -> None:
        """Follow a log that this primary has."""
        self._followers[follower.channel] = follower
        self._leaving.discard(follower.channel)
        self._joining.add(follower.channel)
        self._looks.append(follower)
        follower.refresh_at = 0.0
        self._queue(follower)

    def remove(self, follower: Follower) -> None:
        """Follow it no more here."""
        if self._followers.get(follower.channel) is follower:
            del self._followers[follower.channel]
            self._joining.discard(follower.channel)
            self._leaving.add(follower.channel)
            self._looks = deque(other for other in self._looks if other is not follower)
            self._work.set()

    def _has(self, follower: Follower) -> bool:
        return self._followers.get(follower.channel) is follower and not follower.is_over

    def _queue(self, follower: Follower) -> None:
        if self._has(follower):
            self._urgent[follower] = None
            self._work.set()

    # -- life

    async def run(self) -> None:
        """Follow until stopped."""
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen(), name="redis subscriber")
                asking = tasks.create_task(self._ask(), name="redis follower")
                await self._stopping.wait()
                listening.cancel()  # it waits for what may never come; if redis-py swallows that, the flag is seen
                await asyncio.wait([asking], timeout=STOP_SECONDS)
                asking.cancel()
        finally:
            await self._subscriber.close()
            await self._disconnect()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()
        self._work.set()

    async def _pause(self, failures: int) -> None:
        delay = min(LAST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(failures, 10))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay * random.uniform(0.5, 1)):  # noqa: S311 - spreads load
                await self._stopping.wait()

    # -- hearing

    async def _listen(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                await self._open()
                failures = 0
                await self._hear()
            except NotSharded:
                self._publish_plainly()
            except TROUBLE as error:
                self._note_deaf(error)
            finally:
                await self._subscriber.close()
            await self._pause(failures)
            failures += 1

    async def _open(self) -> None:
        await self._subscriber.open()
        self._heard_at, self._pinged_at = asyncio.get_running_loop().time(), None
        self._joining.update(self._followers)
        self._leaving.clear()
        self._work.set()

    def _note_deaf(self, error: Exception) -> None:
        if not (self._is_deaf or self._stopping.is_set()):
            log.warning("nothing is heard from Redis, it is asked all the more", reason=explain(error))
        self._is_deaf = True
        self._on_trouble()

    def _publish_plainly(self) -> None:
        """Have a server that knows no other way publish as all do."""
        self.manner = Manner.PLAIN
        for follower in self._followers.values():
            follower.refresh_at = 0.0
            self._queue(follower)

    async def _hear(self) -> None:
        loop, size = asyncio.get_running_loop(), 0
        while not self._stopping.is_set():
            kind, channel, data = await self._subscriber.read()
            self._heard_at = now = loop.time()
            follower = self._followers.get(channel)
            if follower is None or follower.is_over:
                continue
            if kind is Heard.MESSAGE:
                if self._deliver(follower, data, now):
                    self._queue(follower)
                size += len(data) + MESSAGE_BYTES
                if size >= TURN_BYTES:
                    size = 0
                    await asyncio.sleep(0)
            elif kind is Heard.JOINED:
                self._is_deaf = False
                self._queue(follower)  # what was published before was not heard
            else:
                self._on_trouble()  # the slot is another server's now
                self._joining.add(channel)

    async def _subscribe(self) -> None:
        """Say which channels to hear, and find out whether anybody is there to say something."""
        if not self._subscriber.is_open:
            return
        joining, leaving = self._joining, self._leaving
        self._joining, self._leaving = set(), set()
        now = asyncio.get_running_loop().time()
        try:
            await self._subscriber.join(joining, self.manner)
            await self._subscriber.leave(leaving, self.manner)
            if self._pinged_at is None and now - self._heard_at > PING_SECONDS:
                self._pinged_at = now
                await self._subscriber.join(tuple(self._followers)[:1], self.manner)  # again: it is answered
            elif self._pinged_at is not None and self._heard_at > self._pinged_at:
                self._pinged_at = None
            elif self._pinged_at is not None and now - self._pinged_at > PONG_SECONDS:
                await self._subscriber.close()
        except TROUBLE:
            await self._subscriber.close()  # whoever listens on it does all that is needed

    # -- asking

    async def _ask(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            await self._wait()
            await self._subscribe()
            taken = self._take()
            if not taken:
                continue
            error = await self._work_on(taken)
            if error is None:
                failures = 0
            else:
                await self._disconnect()
                await self._pause(failures)
                failures += 1

    async def _wait(self) -> None:
        """Wait until there is something to be done."""
        if self._urgent or (self._subscriber.is_open and (self._joining or self._leaving)):
            await asyncio.sleep(0)
            return
        self._work.clear()
        due = self._looks[0].look_at - asyncio.get_running_loop().time() if self._looks else LOOK_SECONDS
        if due <= 0 or self._stopping.is_set():
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(due):
                await self._work.wait()

    def _take(self) -> list[Follower]:
        """Return whom to ask about next."""
        taken: list[Follower] = []
        cost, now = 0, asyncio.get_running_loop().time()
        while self._urgent and cost < BATCH_COST:
            follower = next(iter(self._urgent))
            del self._urgent[follower]
            if self._has(follower):
                taken.append(follower)
                cost += READ_COST if follower.wants_reading else 1
        while self._looks and cost < BATCH_COST and self._looks[0].look_at <= now:
            follower = self._looks.popleft()
            if not self._has(follower):
                continue
            follower.look_at = now + LOOK_SECONDS
            self._looks.append(follower)
            is_quiet = now - follower.heard_at >= LOOK_SECONDS
            if (is_quiet or now >= follower.refresh_at) and follower not in taken:
                taken.append(follower)
                cost += READ_COST if follower.wants_reading else 1
        return taken

    async def _work_on(self, taken: Sequence[Follower]) -> Exception | None:
        """Ask about these logs, and do as Redis answers; return what went wrong."""
        now = asyncio.get_running_loop().time()
        asked = [follower.commands(self.manner.value, now) for follower in taken]
        replies = await self._send([command for commands in asked for command in commands])
        place, first = 0, None
        for follower, commands in zip(taken, asked, strict=True):
            part = replies[place : place + len(commands)]
            place += len(commands)
            error = next((reply for reply in part if isinstance(reply, Exception)), None)
            if error is None:
                await self._settle(follower, part, now)
            else:
                first = first or error
                self._fail(follower, error)
        self._note(first)
        return first

    async def _send(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Return what each was answered: a reply or the exception; of the connection, for all the same."""
        try:
            if self._client is None:
                self._client = connect(self.address)
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)
        except TROUBLE as error:
            return [error] * len(commands)

    async def _settle(self, follower: Follower, replies: Sequence[Any], now: float) -> None:
        if not self._has(follower):
            return  # it is over, or another link's now
        try:
            if await follower.settle(replies, now):
                self._queue(follower)
        except LogMissing as error:
            follower.fail(error)
        except HistoryLost:
            if follower.ready.is_set():
                log.info("followed log cannot be continued", log=follower.name)
                follower.lose()
            else:  # it became another one while it was read
                follower.mirror = None
                self._queue(follower)

    def _fail(self, follower: Follower, error: Exception) -> None:
        if not self._has(follower):
            return
        follower.tries += 1
        if follower.ready.is_set() or (isinstance(error, ELSEWHERE) and follower.tries < TRIES):
            self._queue(follower)
        else:
            follower.fail(error)

    def _note(self, error: Exception | None) -> None:
        if error is None:
            if self.trouble is not None:
                log.info("Redis can be read again", redis=str(self.address))
            self.trouble = None
            return
        if self.trouble is None:
            log.warning("Redis cannot be read", redis=str(self.address), reason=explain(error))
        self.trouble = explain(error)
        self._on_trouble()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await disconnect(client)
