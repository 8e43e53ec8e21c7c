"""The rules of mail between two nodes: what is sent when, what is new, what is lost. No clock, no I/O.

Each side gives its life with the other a random number. A side that begins anew (another process, or one that gave the
other up) takes a new one. A message names the sender's life and the receiver's as far as the sender has heard of it:

- it names this life: whoever sent it has heard of it, so its own is believed. Is that another one than before, the
  other side has begun anew, and so does this one (`Arrival.is_reset`);
- it names another life: nothing in it counts, and this side says who it is.

So nothing counts before both have heard of each other, and nothing late of an earlier life ever does.

Within two lives packets are numbered from 1. The receiver takes them in order and drops what it has; each message says
how far it has come. The sender keeps what is not acknowledged, WINDOW_BYTES at most. It sends again only what it knows
to be lost: when nothing is heard for a while it asks, behind all it has sent, and the answer says what has come.
Asking costs a few bytes where sending again would fill the inbox of a node that is only slow.
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from nodes.message import NOTHING, Arrival, Message
from nodes.parts import Joiner, split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nodes.letter import Letter

PACKET_BYTES = 255 * 1024
"""What a message holds of letters: with its head it stays below 256 KiB."""
PACKET_LETTERS = 1024
WINDOW_BYTES = 4 * 1024 * 1024
"""So much may be sent and not acknowledged; the rest waits."""
TAKE_BYTES = 1024 * 1024
"""So much is taken at once, so that nobody else waits long."""
ACK_SECONDS = 0.05
ACK_BYTES = 256 * 1024
"""What was received is acknowledged after that long, or when it is that much; with any message it is at no cost."""
ASK_SECONDS, LAST_ASK_SECONDS = 1.0, 5.0
REST_SECONDS, LAST_REST_SECONDS = 0.05, 1.0
"""After a failure nothing is tried for so long; doubled with each."""
LATE_SECONDS = 1.0
"""Whoever is asked so much later than `due` said has been stopped himself."""
GONE_LIVES = 16
"""So many earlier lives of the other side are remembered."""


class Queued:
    """A letter that waits, in the parts it is sent in."""

    __slots__ = ("is_begun", "parts", "size")

    def __init__(self, letter: Letter) -> None:
        """Begin with all parts."""
        self.parts = deque(split(letter))
        self.size = sum(part.size for part in self.parts)
        self.is_begun = False


@dataclass(frozen=True, slots=True)
class _Packet:
    number: int
    letters: Sequence[Letter]
    size: int


@dataclass
class _Out:
    """What is sent in one pair of lives. Packets before `next` were written, those from there are to be."""

    unacked: deque[_Packet] = field(default_factory=deque)
    unacked_bytes: int = 0
    made: int = 0
    next: int = 1
    is_asking: bool = False
    asked_up_to: int = 0
    """The last packet written before the question."""
    is_doubtful: bool = False
    """A write has failed: nothing is sent before it is known what has come."""


@dataclass
class _In:
    """What is received in one pair of lives, and not said yet."""

    received: int = 0
    joiner: Joiner = field(default_factory=Joiner)
    is_lacking: bool = False
    says_lacking: bool = False
    heard_question: int = 0
    owed_bytes: int = 0
    owed_since: float | None = None


class Channel:
    """One side of the mail between this node and another one. Times are of one monotonic clock, in seconds."""

    def __init__(self, own_id: str, *, dead_seconds: float, draw: Callable[[], int] | None = None) -> None:
        """Begin a life. `draw` returns random numbers above 0."""
        self._own_id = own_id
        self._dead_seconds = dead_seconds
        self._draw = draw or (lambda: secrets.randbits(62) + 1)
        self._mine = self._draw()
        self._theirs = 0
        """The other's life, once it is known to have heard of this one."""
        self._heard = 0
        """What it may be."""
        self._last = 0
        """What it was when the two last knew each other."""
        self._gone: deque[int] = deque(maxlen=GONE_LIVES)
        self._is_renewed = False
        """The other side knew an earlier process of this node."""
        self._is_told = False
        """A reset was told since the two have last known each other."""
        self._queue: deque[Queued] = deque()
        self._queued_bytes = 0
        self._out = _Out()
        self._in = _In()
        self._speaks = False
        self._questions = 0
        self._ask_at: float | None = None
        self._ask_seconds = ASK_SECONDS
        self._failures = 0
        self._rest_until = 0.0
        self._silent_since: float | None = None

    # -- letters out

    @property
    def backlog_bytes(self) -> int:
        """What is not acknowledged, and what waits."""
        return self._queued_bytes + self._out.unacked_bytes

    def put(self, letter: Letter, now: float) -> Queued:
        """Queue a letter."""
        queued = Queued(letter)
        self._queue.append(queued)
        self._queued_bytes += queued.size
        if not self._theirs and (self._ask_at is None or len(self._queue) == 1):
            self._ask_at = now
        return queued

    def take_back(self, queued: Queued) -> None:
        """Send a letter not at all, if nothing of it is sent yet."""
        if not queued.is_begun and queued in self._queue:
            self._queue.remove(queued)
            self._queued_bytes -= queued.size

    def take(self, now: float) -> Sequence[Message]:
        """Return what is to be written now, and forget that it was due; `done` or `failed` has to follow."""
        if now < self._rest_until:
            return []
        messages = []
        if self._theirs and not self._out.is_doubtful:
            messages = [self._say(packet) for packet in self._packets()]
            if messages and self._ask_at is None:
                self._ask_at = now + self._ask_seconds
        if self._ask_at is not None and now >= self._ask_at and self._is_waiting:
            messages.append(self._ask(now))
        elif not messages and self._is_owing(now):
            messages.append(self._say(None))
        if messages:
            self._speaks = self._in.says_lacking = False
            self._in.owed_bytes, self._in.owed_since = 0, None
        return messages

    def _say(self, packet: _Packet | None, question: int = 0) -> Message:
        return Message(
            sender=self._own_id,
            source=self._mine,
            target=self._theirs or self._heard,
            asks=question,
            told=self._in.heard_question,
            received=self._in.received,
            lacks=self._in.says_lacking,
            number=packet.number if packet else 0,
            letters=packet.letters if packet else (),
        )

    def _packets(self) -> Sequence[_Packet]:
        out, room = self._out, TAKE_BYTES
        taken: list[_Packet] = []
        if out.next <= out.made:
            for packet in islice(out.unacked, out.next - out.unacked[0].number, None):
                if room <= 0:
                    return taken
                taken.append(packet)
                room -= packet.size
        while room > 0 and self._has_fresh:
            packet = self._pack()
            taken.append(packet)
            room -= packet.size
        out.next += len(taken)
        return taken

    @property
    def _has_fresh(self) -> bool:
        return bool(self._queue) and self._out.unacked_bytes + PACKET_BYTES <= WINDOW_BYTES

    def _pack(self) -> _Packet:
        letters: list[Letter] = []
        size = 0
        while self._queue and len(letters) < PACKET_LETTERS:
            queued = self._queue[0]
            part = queued.parts[0]
            if letters and size + part.size > PACKET_BYTES:
                break
            letters.append(queued.parts.popleft())
            size += part.size
            queued.is_begun = True
            if not queued.parts:
                self._queue.popleft()
        out = self._out
        out.made += 1
        packet = _Packet(out.made, letters, size)
        out.unacked.append(packet)
        out.unacked_bytes += size
        self._queued_bytes -= size
        return packet

    def _ask(self, now: float) -> Message:
        self._questions += 1
        self._out.is_asking = True
        self._out.asked_up_to = self._out.next - 1
        self._ask_at = now + self._ask_seconds
        self._ask_seconds = min(2 * self._ask_seconds, LAST_ASK_SECONDS)
        return self._say(None, self._questions)

    def _is_owing(self, now: float) -> bool:
        since = self._in.owed_since
        late = since is not None and (now >= since + ACK_SECONDS or self._in.owed_bytes >= ACK_BYTES)
        return self._speaks or late

    # -- what became of it

    def done(self, now: float) -> None:
        """Note that what was taken is in the other's inbox."""
        self._failures = 0
        if self._silent_since is None and self._is_waiting:
            self._silent_since = now

    def failed(self, now: float) -> None:
        """Note that nobody knows whether what was taken is in the other's inbox."""
        self._rest_until = now + min(REST_SECONDS * 2**self._failures, LAST_REST_SECONDS)
        self._failures = min(self._failures + 1, 10)
        self._speaks = bool(self._theirs or self._heard)
        self._in.says_lacking = self._in.is_lacking
        self._out.is_doubtful = bool(self._out.unacked)
        self.doubt(now)

    def doubt(self, now: float) -> None:
        """Find out soon what has come: something in between was in trouble. Silence does not count till then."""
        self._silent_since = None
        self._ask_seconds = ASK_SECONDS
        if self._out.unacked or (self._queue and not self._theirs):
            self._ask_at = now

    @property
    def _is_waiting(self) -> bool:
        return bool(self._out.unacked) or (bool(self._queue) and not self._theirs)

    def due(self) -> float | None:
        """Return when `take` or `expire` has something to do next; None: not before something else happens."""
        times = []
        fresh = self._out.next <= self._out.made or self._has_fresh
        if self._speaks or (self._theirs and not self._out.is_doubtful and fresh):
            times.append(0.0)
        if self._in.owed_since is not None:
            times.append(0.0 if self._in.owed_bytes >= ACK_BYTES else self._in.owed_since + ACK_SECONDS)
        if self._ask_at is not None and self._is_waiting:
            times.append(self._ask_at)
        soonest = max(min(times), self._rest_until) if times else None
        if self._silent_since is None:
            return soonest
        dead_at = self._silent_since + self._dead_seconds
        return dead_at if soonest is None else min(soonest, dead_at)

    # -- messages in

    def receive(self, message: Message, now: float) -> Arrival:
        """Return what comes of a message."""
        if message.source in self._gone:
            return NOTHING
        if message.target != self._mine:
            self._correct(message)
            return NOTHING
        is_reset = is_loss = False
        if message.source != self._theirs:
            is_loss = bool(self._theirs)
            is_reset = is_loss or self._is_renewed
            self._adopt(message.source)
        self._note_progress(message, now)
        if message.asks > self._in.heard_question:
            self._in.heard_question = message.asks
            self._speaks = True
        letters = self._unpack(message, now)
        self._silent_since = now if self._is_waiting else None
        return Arrival(letters, is_reset, is_loss) if letters or is_reset else NOTHING

    def _correct(self, message: Message) -> None:
        if message.source == self._theirs:
            return  # it is older than the one by which the two know each other
        if message.target and not self._is_told:
            self._is_renewed = True
        if not self._theirs:
            self._heard = message.source
        self._speaks = True

    def _adopt(self, source: int) -> None:
        """Begin to count with the other's new life."""
        if self._theirs:
            self._drop()
        if self._last not in (0, source):
            self._gone.append(self._last)
        self._theirs = self._heard = self._last = source
        self._begin_numbers()
        self._is_renewed = self._is_told = False
        self._speaks = True

    def _begin_numbers(self) -> None:
        self._out, self._in = _Out(), _In()
        self._ask_at, self._ask_seconds = None, ASK_SECONDS

    def _drop(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0

    def _note_progress(self, message: Message, now: float) -> None:
        out, got = self._out, message.received
        if out.unacked and got >= out.unacked[0].number:
            while out.unacked and out.unacked[0].number <= got:
                out.unacked_bytes -= out.unacked.popleft().size
            out.next = max(out.next, got + 1)
            self._ask_seconds = ASK_SECONDS
            self._ask_at = now + ASK_SECONDS if out.unacked else None
            out.is_doubtful = out.is_doubtful and bool(out.unacked)
        is_answer = out.is_asking and message.told == self._questions
        if is_answer:
            out.is_asking = out.is_doubtful = False
        if out.unacked and (message.lacks or (is_answer and got < out.asked_up_to)):
            out.next = min(out.next, max(got + 1, out.unacked[0].number))

    def _unpack(self, message: Message, now: float) -> Sequence[Letter]:
        if not message.number:
            return ()
        own = self._in
        if message.number > own.received + 1:
            if not own.is_lacking:
                own.is_lacking = own.says_lacking = self._speaks = True
            return ()
        if own.owed_since is None:
            own.owed_since = now
        if message.number <= own.received:
            return ()
        own.received = message.number
        own.is_lacking = own.says_lacking = False
        own.owed_bytes += sum(letter.size for letter in message.letters)
        return own.joiner.join(message.letters)

    # -- giving the other up

    def expire(self, now: float) -> bool:
        """Give the other up if it has been silent for too long while it was written to; return whether."""
        if self._silent_since is None or now < self._silent_since + self._dead_seconds:
            return False
        if now > self._silent_since + self._dead_seconds + LATE_SECONDS:
            self.doubt(now)  # it was this process that stood still: what has come meanwhile is not read yet
            return False
        self.reset()
        return True

    def reset(self) -> None:
        """Give the other up: drop what is under way, and begin anew."""
        self._drop()
        self._mine = self._draw()
        self._theirs = 0
        self._begin_numbers()
        self._silent_since = None
        self._is_told, self._is_renewed = True, False
        self._speaks = bool(self._heard)
