"""Mail between nodes over Redis: a stream for each node, its inbox; `nodes.channel` has the rules.

One task writes to the inboxes of others, everything that waits with each round trip; one reads this node's. What is
read is removed, so an inbox holds what is unread. Its key lives 60 s from the last message.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import structlog

from nodes.channel import Channel
from nodes.desk import Desk
from nodes.message import Message
from nodes.redis_inbox import Inbox
from nodes.redis_outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nodes.base import CallHandler, NoteHandler
    from nodes.letter import Letter
    from replay.redis_address import RedisAddress

DEAD_SECONDS = 30.0
STOP_SECONDS = 0.5
"""How long the last messages may take."""
PASS_BYTES = 4 * 1024 * 1024
"""About what is written with one round trip."""
REMOVE_SECONDS = 0.05
REMOVE_BYTES = 256 * 1024
REMOVE_ENTRIES = 256
"""What is read is removed after that long, or when it is that much; with anything written at no cost."""

log = structlog.get_logger()


@dataclass
class MailFigures:
    """What was counted."""

    written_messages: int = 0
    written_bytes: int = 0
    read_messages: int = 0
    read_bytes: int = 0
    unreadable: int = 0
    resets: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Of round trips, by kind of error."""


class RedisMail:
    """A node's mail (`nodes.base.Mail`). `run` owns its tasks; it is single-use and needs no Redis to begin."""

    def __init__(self, address: RedisAddress, node_id: str, *, dead_seconds: float = DEAD_SECONDS) -> None:
        """Begin unopened. A node that acknowledges nothing for `dead_seconds`, while Redis answers, is given up."""
        self.figures = MailFigures()
        self._node_id = node_id
        self._dead_seconds = dead_seconds
        self._desk = Desk(post=self._post)
        self._channels: dict[str, Channel] = {}
        self._busy: dict[str, Channel] = {}
        """Those that have something to do now or later, in the order of their turns."""
        self._read: list[bytes] = []
        self._read_bytes = 0
        self._read_since = 0.0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._is_ending = False
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Message)
        self._outbox = Outbox(address, node_id)
        self._inbox = Inbox(address, node_id, take=self._receive, trouble=self._doubt)

    # -- the contract

    def send(self, to: str, kind: str, body: bytes) -> None:
        """Send a note."""
        self._desk.note(to, kind, body)

    def backlog_bytes(self, to: str) -> int:
        """How much was sent to a node and is not acknowledged."""
        channel = self._channels.get(to)
        return channel.backlog_bytes if channel is not None else 0

    async def call(self, to: str, kind: str, body: bytes, *, seconds: float) -> bytes:
        """Ask a node."""
        return await self._desk.call(to, kind, body, seconds=seconds)

    def on_note(self, kind: str, handler: NoteHandler) -> None:
        """Have notes of a kind handled."""
        self._desk.on_note(kind, handler)

    def on_call(self, kind: str, handler: CallHandler) -> None:
        """Have calls of a kind answered."""
        self._desk.on_call(kind, handler)

    def on_reset(self, handler: Callable[[str], None]) -> None:
        """Have resets told."""
        self._desk.on_reset(handler)

    # -- how it goes

    @property
    def trouble(self) -> str | None:
        """Why mail does not go through Redis; None while it does."""
        return self._outbox.trouble or self._inbox.trouble

    def peer_lost(self, node_id: str) -> None:
        """Have it known that a node is dead: calls to it fail now, and what was under way is lost."""
        channel = self._channels.get(node_id)
        if channel is not None:
            channel.reset()
            self._tell_reset(node_id)
            self._stir(node_id, channel)

    def _tell_reset(self, node_id: str, *, loses: bool = True) -> None:
        self.figures.resets += 1
        log.warning("mail with a node begins anew", node=node_id)
        self._desk.reset(node_id, loses=loses)

    # -- letters

    def _post(self, to: str, letter: Letter) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        if to == self._node_id:
            loop.call_soon(self._desk.receive, to, letter)
            return lambda: None
        channel = self._channel(to)
        queued = channel.put(letter, loop.time())
        self._stir(to, channel)
        return lambda: channel.take_back(queued)

    def _channel(self, node_id: str) -> Channel:
        channel = self._channels.get(node_id)
        if channel is None:
            channel = self._channels[node_id] = Channel(self._node_id, dead_seconds=self._dead_seconds)
        return channel

    def _stir(self, node_id: str, channel: Channel) -> None:
        self._busy[node_id] = channel
        self._wake.set()

    def _receive(self, entry_id: bytes, data: bytes) -> int:
        """Do what a message says; return how many letters were in it."""
        now = asyncio.get_running_loop().time()
        self._note_read(entry_id, len(data), now)
        try:
            message = self._decoder.decode(data)
        except msgspec.MsgspecError as error:
            self.figures.unreadable += 1
            log.warning("a message between nodes cannot be read", reason=str(error), size_bytes=len(data))
            return 0
        channel = self._channel(message.sender)
        arrival = channel.receive(message, now)
        if arrival.is_reset:
            self._tell_reset(message.sender, loses=arrival.is_loss)
        for letter in arrival.letters:
            self._desk.receive(message.sender, letter)
        self._stir(message.sender, channel)
        return len(arrival.letters)

    def _note_read(self, entry_id: bytes, size: int, now: float) -> None:
        self.figures.read_messages += 1
        self.figures.read_bytes += size
        if not self._read:
            self._read_since = now
        self._read.append(entry_id)
        self._read_bytes += size

    def _doubt(self) -> None:
        """Ask again what has come: Redis was not reached, or may have forgotten."""
        now = asyncio.get_running_loop().time()
        for node_id, channel in self._channels.items():
            channel.doubt(now)
            self._busy[node_id] = channel
        self._wake.set()

    # -- life of the component

    async def run(self) -> None:
        """Write and read until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            desk = tasks.create_task(self._desk.run(self._stopping), name="mail desk")
            reading = tasks.create_task(self._inbox.run(), name="mail inbox")
            writing = tasks.create_task(self._write(), name="mail outbox")
            try:
                await self._stopping.wait()
            finally:
                self._stopping.set()
                self._inbox.stop()
                reading.cancel()
                await asyncio.wait((desk,), timeout=STOP_SECONDS)  # it still has to say what it did not do
                self._is_ending = True
                self._wake.set()
                await asyncio.wait((writing,), timeout=STOP_SECONDS)
                self._outbox.stop()
                writing.cancel()

    def stop(self) -> None:
        """End soon; what was sent is still written if Redis takes it now."""
        self._stopping.set()

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                wrote = await self._trip()
                if not self._is_ending:
                    self._arm()
                elif wrote:
                    self._wake.set()
                else:
                    return
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._outbox.disconnect()

    async def _trip(self) -> bool:
        """Write what is due; return whether there was something, and it worked."""
        now = asyncio.get_running_loop().time()
        batch = self._collect(now)
        read = self._take_read(now, is_free=bool(batch))
        if not batch and not read:
            return False
        outcomes = await self._outbox.write([(node_id, messages) for node_id, _, messages in batch], read)
        now = asyncio.get_running_loop().time()
        for (_, channel, _), error in zip(batch, outcomes, strict=True):
            if error is None:
                channel.done(now)
            else:
                channel.failed(now)
                self.figures.failures[type(error).__name__] += 1
        if self._outbox.trouble is not None:
            self._read[:0] = read  # removing twice is harmless
            self._doubt()
        return self._outbox.trouble is None

    def _collect(self, now: float) -> list[tuple[str, Channel, Sequence[bytes]]]:
        room = PASS_BYTES
        batch: list[tuple[str, Channel, Sequence[bytes]]] = []
        for node_id, channel in list(self._busy.items()):
            if room <= 0:
                break
            if channel.expire(now):
                self._tell_reset(node_id)
            messages = [self._encoder.encode(message) for message in channel.take(now)]
            del self._busy[node_id]
            self._busy[node_id] = channel  # to the end of the line
            if messages:
                size = sum(map(len, messages))
                room -= size
                self.figures.written_messages += len(messages)
                self.figures.written_bytes += size
                batch.append((node_id, channel, messages))
        return batch

    def _take_read(self, now: float, *, is_free: bool) -> Sequence[bytes]:
        """Return the ids of entries that are to be removed now."""
        is_due = is_free or self._is_ending or self._read_bytes >= REMOVE_BYTES or len(self._read) >= REMOVE_ENTRIES
        if not self._read or not (is_due or now >= self._read_since + REMOVE_SECONDS):
            return ()
        read, self._read, self._read_bytes = self._read, [], 0
        return read

    def _arm(self) -> None:
        """Be woken when something is due next."""
        times = [self._read_since + REMOVE_SECONDS] if self._read else []
        for node_id, channel in list(self._busy.items()):
            due = channel.due()
            if due is None:
                del self._busy[node_id]
            else:
                times.append(due)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not times:
            return
        loop, soonest = asyncio.get_running_loop(), min(times)
        if soonest <= loop.time():
            self._wake.set()
        else:
            self._timer = loop.call_at(soonest, self._wake.set)
