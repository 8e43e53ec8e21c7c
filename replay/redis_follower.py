"""One log that is followed: what Redis is asked about it, and what comes of the answers. Sends nothing itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from replay.errors import LogMissing
from replay.redis_message import parse_message
from replay.redis_mirror import HistoryLost, Mirror, State
from replay.redis_reader import parse_facts
from replay.redis_scripts import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replay.log import Log
    from replay.redis_reader import Facts

FOLLOWED_SECONDS = 15.0
"""So long Redis publishes for a follower that says nothing more."""
REFRESH_SECONDS = 5.0
MISSING_SECONDS = 20.0
"""What Redis has forgotten it is given again by the owner (`HEARTBEAT_SECONDS`); after this it counts as gone."""
READ_BYTES = 1024 * 1024
"""About how much is read at once."""
FIRST_ENTRIES, MOST_ENTRIES, LEAST_ENTRIES = 64, 1024, 16
CATCH_UP_TURNS = 16

Command = tuple[str | int | bytes, ...]


class Follower:
    """One log, followed. Belongs to the event loop's thread."""

    def __init__(self, name: str, *, missing_seconds: float = MISSING_SECONDS) -> None:
        """Begin with nothing read."""
        self._missing_seconds = missing_seconds
        self.name = name
        self.keys = Keys.of(name)
        self.channel = self.keys.live.encode()
        self.mirror: Mirror | None = None
        self.error: Exception | None = None
        """Why there is no log, once `ready` is set."""
        self.ready = asyncio.Event()
        self.is_over = False
        self.heard_at = 0.0
        self.look_at = 0.0
        self.refresh_at = 0.0
        self.tries = 0
        self.on_lost: Callable[[], None] = lambda: None
        self._missing_at: float | None = None
        self._heard_early = False
        self._entries = FIRST_ENTRIES
        self._page: bytes | None = None
        self._refreshes = False
        self._reads = False

    @property
    def log(self) -> Log:
        """The local log."""
        if self.mirror is None:
            raise AssertionError("it is not ready")
        return self.mirror.log

    @property
    def is_missing(self) -> bool:
        """Whether Redis has forgotten the log; that may pass."""
        return self._missing_at is not None

    @property
    def wants_reading(self) -> bool:
        """Whether its stream is to be read, and not just looked at."""
        return self.mirror is None or self.mirror.is_reading

    # -- what is heard

    def hear(self, data: bytes, now: float) -> bool:
        """Take a message; return whether the stream has to be read now. `now`: monotonic seconds."""
        mirror = self.mirror
        if mirror is None:
            self._heard_early = True
            return False
        if mirror.hear(parse_message(data)):
            mirror.is_reading = True
            return True
        self.heard_at = now
        return False

    # -- what is asked

    def commands(self, manner: str, now: float) -> list[Command]:
        """Return what to ask now, one by one in this order."""
        commands: list[Command] = []
        self._refreshes = now >= self.refresh_at
        if self._refreshes:
            commands.append(("SET", self.keys.followed, manner, "PX", int(FOLLOWED_SECONDS * 1000)))
        if self.mirror is None:
            self._heard_early, self._page = False, None
        else:
            self.mirror.prepare()
        self._reads = self.wants_reading
        if self._reads:
            commands.append(("HGETALL", self.keys.hash))
            begin = b"(" + self._cursor()
            commands.append(("XRANGE", self.keys.stream, begin, "+", "COUNT", self._entries))
        commands.append(("HMGET", self.keys.hash, "log", "head", "index", "sealed"))
        return commands

    def _cursor(self) -> bytes:
        """Return behind which entry to read: of the events at the head, all are asked for again."""
        if self._page is not None:
            return self._page
        return b"%d-0" % (0 if self.mirror is None else self.mirror.log.head)

    async def settle(self, replies: Sequence[Any], now: float) -> bool:
        """Do as Redis has answered, in turns; return whether to ask again at once. Raises LogMissing, HistoryLost."""
        if self._refreshes:
            self.refresh_at, replies = now + REFRESH_SECONDS, replies[1:]
        state = _parse_state(replies[-1])
        facts = parse_facts(self.name, replies[0]) if self._reads and b"log" in replies[0] else None
        if state is None or (self._reads and facts is None):
            return self._miss(now)
        self._missing_at = None
        if facts is not None and state.epoch != facts.epoch:
            return True  # it became another one just now
        mirror = self._find_mirror(facts)
        if state.epoch != mirror.epoch:
            raise HistoryLost
        if facts is None:
            mirror.is_reading = mirror.compare(state)
            return mirror.is_reading
        mirror.learn(facts)
        return await self._take(mirror, replies[1] or ())

    def _find_mirror(self, facts: Facts | None) -> Mirror:
        if self.mirror is None:
            if facts is None:
                raise AssertionError("what is not there yet is read, not looked at")
            self.mirror = Mirror(facts)
        return self.mirror

    def _miss(self, now: float) -> bool:
        if not self.ready.is_set():
            raise LogMissing(self.name)
        self._missing_at = now if self._missing_at is None else self._missing_at
        if now - self._missing_at >= self._missing_seconds:
            raise HistoryLost
        return False

    async def _take(self, mirror: Mirror, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> bool:
        """Take a page of the stream; return whether there is more."""
        done = size = 0
        while done < len(entries) and not self.is_over:
            count = mirror.take(entries[done:])
            size += sum(len(fields.get(b"d", b"")) for _, fields in entries[done : done + count])
            done += count
            await asyncio.sleep(0)
        if len(entries) == self._entries:
            self._page = entries[-1][0]
            wanted = READ_BYTES * len(entries) // max(size, 1)
            self._entries = max(LEAST_ENTRIES, min(wanted, MOST_ENTRIES))
            return True
        self._page = None
        for _ in range(CATCH_UP_TURNS):
            if not mirror.catch_up():
                break
            await asyncio.sleep(0)
        is_behind = mirror.finish_reading() or self._heard_early
        self._heard_early, mirror.is_reading = False, is_behind
        if not is_behind:
            self.ready.set()
        return is_behind

    # -- its end

    def fail(self, error: Exception) -> None:
        """There is nothing to follow, or it cannot be asked now."""
        self.is_over, self.error = True, error
        self.ready.set()
        self.on_lost()

    def lose(self) -> None:
        """Give up: it cannot be continued."""
        self.is_over = True
        self.on_lost()

    def close(self) -> None:
        """Forget what there was of it."""
        self.is_over = True
        mirror, self.mirror = self.mirror, None
        if mirror is not None:
            mirror.close()


def _parse_state(found: Sequence[bytes | None]) -> State | None:
    epoch, head, index, sealed = found
    if epoch is None or head is None or index is None:
        return None
    return State(epoch.decode(), int(head), int(index), sealed is not None)
