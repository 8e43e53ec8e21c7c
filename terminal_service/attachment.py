"""One viewer of a terminal: a cursor on its log, and everything that is decided about delivery to it."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from replay.errors import Trimmed
from terminal_service import draining, notices, wire
from terminal_service.entry import line_start
from terminal_service.told import message_of
from terminal_service.wish import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from replay.event import Event
    from replay.log import Log
    from terminal_service.modes import Modes
    from terminal_service.sizes import Size

CHUNK_BYTES = 64 * 1024
TURN_BYTES = 256 * 1024
"""How much one viewer is sent before the others and the shell get their turn."""
LIVE_LAG_BYTES = 1024 * 1024
LIVE_TAIL_BYTES = 64 * 1024
GAPS_LIMIT = 256
"""How many gaps are remembered before the oldest two count as one (the bytes between them are then acknowledged)."""


class Outlet(Protocol):
    """The connection behind a viewer. Never blocks; harmless after its end."""

    @property
    def writable(self) -> bool:
        """Whether more may be sent now; when that becomes true, it calls `Attachment.pump`."""
        ...

    def send(self, message: wire.ServerMessage) -> None:
        """Send a message that is not output; these are few and small and are not held back."""
        ...

    def send_output(self, data: memoryview, seq: int, *, replay: bool) -> None:
        """Send output; `seq` is the position after it. `data` is valid during the call only."""
        ...

    def pause_input(self) -> None:
        """Read no more from the client for now."""
        ...

    def resume_input(self) -> None:
        """Read from the client again."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what was sent."""
        ...


class Host(Protocol):
    """What a viewer asks of its terminal."""

    @property
    def log(self) -> Log:
        """Its output."""
        ...

    def modes_at(self, position: int) -> Modes:
        """Return the terminal's modes at a position."""
        ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back after others had their turn."""
        ...

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def end_message(self) -> wire.SessionEnded | None:
        """Return what ended the terminal, once nothing more will be appended."""
        ...

    def progressed(self, attachment: Attachment) -> None:
        """Learn that a viewer moved on, was delivered `bytes`, or no longer counts."""
        ...

    def told_gap(self, reason: str, lost_bytes: int) -> None:
        """Count a gap."""
        ...

    def told_pause(self) -> None:
        """Count a pause of delivery for want of acknowledgement."""
        ...


class Attachment:
    """A viewer. `pump` sends from the cursor to the head as far as the connection and the window allow.

    Live delivery and recovery are this one loop: it runs when something was appended, when the connection can
    take more, and when the client acknowledged; there is no phase between them to lose bytes in.
    """

    def __init__(
        self,
        host: Host,
        outlet: Outlet,
        *,
        client_id: str,
        user: str,
        role: str,
        is_owner: bool,
        mode: str,
        window: int,
        position: int,
        event_index: int,
    ) -> None:
        """Begin at `position`; nothing is sent before `pump`."""
        self.client_id = client_id
        self.user = user
        self.key = key_of(user, client_id)
        """Who this is, for input numbers and `recover_from=last_sequence`: a client id of a user."""
        self.role = role
        self.is_owner = is_owner
        self.mode = mode
        self.window = window
        self.position = position
        self.outlet = outlet
        self.size: Size | None = None
        self.size_order = 0
        self.progressed_at = host.now()
        self.is_stalled = False
        self.is_held = False
        """Whether its input, and with it its acknowledgements, are not read because the program does not read."""
        self.is_closed = False
        self.unsubscribe: Callable[[], None] = lambda: None
        self._host = host
        self._log = host.log
        self._event_index = event_index
        self._start = position
        self._acked: int | None = None  # None: this client does not acknowledge
        self._gaps: deque[tuple[int, int]] = deque()  # first and last of what was skipped and not yet passed
        self._flow_paused = False
        self._replay_end = self._log.head
        self._replayed = hashlib.sha256()
        self._replay_told = False
        self._turn_pending = False
        self._presence: wire.Viewers | None = None

    @property
    def is_writer(self) -> bool:
        """Whether it may type."""
        return self.role != "viewer"

    @property
    def lag(self) -> int:
        """How many bytes of output it has not been sent."""
        return self._log.head - self.position

    @property
    def delivered(self) -> int:
        """How far it is known to have come: what it acknowledged, else what it was sent."""
        return self.position if self._acked is None else self._acked

    @property
    def holds_back(self) -> bool:
        """Whether the program should wait for this viewer as for a real terminal."""
        return self.is_writer and self.mode == "exact" and not (self.is_stalled or self.is_held or self.is_closed)

    # -- delivery

    def pump(self) -> None:
        """Send what can be sent now. Returns soon: a long backlog is sent in turns."""
        self._send_live()
        if self._presence is not None:
            self.tell_viewers(self._presence)
        budget = TURN_BYTES
        while not self.is_closed and self.mode != "frozen" and self.outlet.writable:
            if self._replay_told is False and self.position >= self._replay_end:
                self._tell_replay_end()
            event = self._log.next_event(self._event_index, self.position)
            if event is None:
                self._event_index = self._log.next_index  # those before are behind: do not search them again
            if event is not None and event.position == self.position:
                self._tell_event(event)
            elif self.lag == 0:
                self._finish_if_over()
                return
            elif budget <= 0:
                self._take_turn()
                return
            else:
                sent = self._send_chunk(event)
                if sent == 0:
                    return
                budget -= sent

    def _send_live(self) -> None:
        """Send what was just appended, if nothing must come before it: the way of every echo, kept short.

        Measured: a server that wakes up for one keystroke finds its caches cold, and every object touched before
        the echo is on the wire costs ten times what it costs in a loop. The rest is `pump`'s, afterwards.
        """
        log, position = self._log, self.position
        if (
            not self._replay_told
            or self._acked is not None
            or self._event_index != log.next_index
            or not 0 < log.head - position <= CHUNK_BYTES
            or self.mode != "exact"
            or self.is_closed
            or not self.outlet.writable
        ):
            return
        try:
            data = log.read(position, CHUNK_BYTES)
        except Trimmed:
            return  # `pump` tells the gap
        self.position = position = position + len(data)
        self.outlet.send_output(data, position, replay=False)
        self.progressed_at = self._host.now()
        self.is_stalled = False
        self._host.progressed(self)

    def _send_chunk(self, event: Event | None) -> int:
        """Send one chunk or tell one gap; return how many bytes that moved the cursor, 0 if it must wait."""
        limit = CHUNK_BYTES
        if self._acked is not None:
            limit = min(limit, self._open_window())
            if limit <= 0:
                return 0
        if self.mode == "live" and self.lag > LIVE_LAG_BYTES:
            return self._skip_to(line_start(self._log, self._log.head - LIVE_TAIL_BYTES), "skipped")
        is_replay = self.position < self._replay_end
        if is_replay:
            limit = min(limit, self._replay_end - self.position)
        if event is not None:
            limit = min(limit, event.position - self.position)
        try:
            data = self._log.read(self.position, limit)
        except Trimmed as trimmed:
            return self._skip_to(trimmed.first, "trimmed")
        if is_replay:
            self._replayed.update(data)
        self.position += len(data)
        self.outlet.send_output(data, self.position, replay=is_replay)
        self._moved()
        return len(data)

    def _skip_to(self, target: int, reason: str) -> int:
        target = max(target, self._log.first)
        lost = target - self.position
        self._tell_skipped_events(target)
        self.outlet.send(
            wire.Gap(
                first=self.position,
                last=target,
                lost_bytes=lost,
                reason="trimmed" if reason == "trimmed" else "skipped",
                preamble=self._host.modes_at(target).restore(),
            )
        )
        self._remember_gap(self.position, target)
        self.position = target
        self._host.told_gap(reason, lost)
        self._moved()
        return lost

    def _moved(self) -> None:
        self.progressed_at = self._host.now()
        self.is_stalled = False
        self._host.progressed(self)

    def tell_viewers(self, message: wire.Viewers) -> None:
        """Tell who is attached, or, while the connection takes no more, keep that until it does: the newest only."""
        self._presence = None if self.outlet.writable else message
        if self._presence is None:
            self.outlet.send(message)

    def _tell_replay_end(self) -> None:
        self._replay_told = True
        self.outlet.send(wire.ReplayEnd(seq=self.position, sha256=self._replayed.hexdigest()))
        standing = self._log.last_event(draining.EVENT, self.position)
        if standing is not None and standing.position < self._start and standing.fields["deadline"] is not None:
            self.outlet.send(draining.message_of(standing))  # it was told before this viewer came
        told = self._log.last_event(notices.EVENT, self.position)
        if told is not None and told.position < self._start and told.fields["kind"] in notices.STANDING:
            self.outlet.send(notices.message_of(told))

    def _tell_skipped_events(self, target: int) -> None:
        """Tell what holds at `target` and began in the bytes that are skipped: the size, notices, ...

        They are told where the viewer is: what lies between it will never have.
        """
        last = [self._log.last_event(kind, target) for kind in ("resize", "storage", draining.EVENT, notices.EVENT)]
        unknown = [e for e in last if e is not None and e.index >= self._event_index and e.position < target]
        for event in sorted(unknown, key=lambda event: event.index):
            self._tell_event(replace(event, position=min(event.position, self.position)))

    def _tell_event(self, event: Event) -> None:
        self._event_index = event.index + 1
        message = message_of(event)
        if message is not None:
            self.outlet.send(message)
        if isinstance(message, wire.Gap):
            self._host.told_gap(message.reason, 0)

    def _finish_if_over(self) -> None:
        ended = self._host.end_message()
        if ended is not None:
            self.outlet.send(ended)
            self.close(4410, "session ended")

    def _take_turn(self) -> None:
        if not self._turn_pending:
            self._turn_pending = True
            self._host.call_soon(self._continue)

    def _continue(self) -> None:
        self._turn_pending = False
        self.pump()

    # -- flow control

    @property
    def _outstanding(self) -> int:
        """How many bytes were sent and not acknowledged."""
        acked = self._start if self._acked is None else self._acked
        skipped = sum(last - max(first, acked) for first, last in self._gaps)
        return self.position - acked - skipped

    def _remember_gap(self, first: int, last: int) -> None:
        """Note what was never sent: it is not outstanding, and nobody counts it."""
        gaps = self._gaps
        if gaps and gaps[-1][1] == first:
            first, _ = gaps.pop()
        gaps.append((first, last))
        if len(gaps) > GAPS_LIMIT:
            oldest, _ = gaps.popleft()
            gaps[0] = (oldest, gaps[0][1])

    def _open_window(self) -> int:
        """Return how many bytes may be sent unacknowledged; tell the client when that becomes none."""
        outstanding = self._outstanding
        if outstanding >= self.window and not self._flow_paused:
            self._flow_paused = True
            self._host.told_pause()
            self.outlet.send(wire.FlowPause(bytes=outstanding))
        return self.window - outstanding

    def _go_on(self) -> None:
        """Deliver what the window now allows; tell the client if it had been paused."""
        free = self.window - self._outstanding
        if self._flow_paused and free > 0:
            self._flow_paused = False
            self.outlet.send(wire.FlowResume(bytes=free))
        self.pump()

    def acknowledge(self, seq: int) -> None:
        """Note that the client has rendered everything before `seq`; positions not sent yet count as sent."""
        acked = self._start if self._acked is None else self._acked
        self._acked = max(acked, min(seq, self.position))
        while self._gaps and self._gaps[0][1] <= self._acked:
            self._gaps.popleft()
        self._go_on()

    def acknowledge_bytes(self, count: int, start: int) -> None:
        """Note that `count` more bytes were rendered; a client's first count begins at `start`."""
        position = start if self._acked is None else self._acked
        for first, last in self._gaps:
            if position + count <= first:
                break
            count -= max(0, first - position)
            position = last
        self.acknowledge(position + count)

    def set_window(self, size: int) -> None:
        """Change how much may be outstanding, in bytes."""
        self.window = size
        self._go_on()

    def set_mode(self, mode: str) -> None:
        """Change the delivery mode."""
        self.mode = mode
        self._host.progressed(self)
        self.pump()

    def leave(self) -> None:
        """Deliver nothing more: the terminal has forgotten this viewer."""
        self.is_closed = True
        self.unsubscribe()

    def close(self, code: int, reason: str) -> None:
        """Close the connection; the terminal forgets this viewer when the connection reports its end."""
        if not self.is_closed:
            self.is_closed = True
            self.outlet.close(code, reason)
            self._host.progressed(self)  # the end of the connection may take seconds: nothing waits for it
