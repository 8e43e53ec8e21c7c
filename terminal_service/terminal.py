"""One PTY with its log, its viewers, its keyboard and its size."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from msgspec import UNSET

from replay.log import SLACK_BYTES
from terminal_service import wire
from terminal_service.attachment import Attachment
from terminal_service.backpressure import Backpressure
from terminal_service.ending import make_end
from terminal_service.entry import Bookmarks, find_entry
from terminal_service.errors import InvalidRequest, LimitReached, Restarting, SessionOver
from terminal_service.inputs import Verdict
from terminal_service.journal import Journal
from terminal_service.keyboard import Keyboard
from terminal_service.modes import Modes, ModeScanner
from terminal_service.presence import Presence
from terminal_service.sizes import Size, SizePolicy, Sizes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from backends.base import ExitStatus, Pty
    from replay.log import Log
    from terminal_service.attachment import Outlet
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
from terminal_service.entry import Entry

SCAN_BYTES = 64 * 1024
"""How far ahead of what is trimmed the modes are learned, so that it is not done for every read."""


class Terminal:
    """A terminal of a session. Belongs to the event loop's thread; nothing here blocks or awaits.

    It is the sink of its PTY (`backends.base.Sink`) and the host of its attachments.
    """

    def __init__(
        self,
        terminal_id: str,
        log: Log,
        *,
        size: Size,
        size_policy: SizePolicy,
        viewers_limit: int,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        counters: Counters,
        on_activity: Callable[[str], None],
    ) -> None:
        """Begin without a PTY; `on_activity` is called with what happened ("input", "resize", "viewer")."""
        self.terminal_id = terminal_id
        self.log = log
        self.attachments: list[Attachment] = []
        self.pty: Pty | None = None
        self.journal = Journal(log.cells)
        self.keyboard = Keyboard(
            acknowledge=self._acknowledge_input, room=self._resume_inputs, counters=counters, journal=self.journal
        )
        self.counters = counters
        self._viewers_limit = viewers_limit
        self._loop = loop
        self._clock = clock
        self._on_activity = on_activity
        self._scanner = ModeScanner(log)
        self._modes_kept_to = 0
        self._sizes = Sizes(log, size, size_policy, viewers=self.attachments, loop=loop, clock=clock)
        self._backpressure = Backpressure(
            self.attachments, loop=loop, clock=clock, counters=counters, is_full=lambda: log.is_full
        )
        log.on_room = self._backpressure.balance
        self._presence = Presence(self.attachments, loop=loop, clock=clock)
        self._bookmarks = Bookmarks()
        self._ended: wire.SessionEnded | None = None
        self.is_left = False
        """Whether another process goes on with the program: nothing that still comes in here is taken."""

    @property
    def size(self) -> Size:
        """How large it is now."""
        return self._sizes.current

    @property
    def size_policy(self) -> SizePolicy:
        """Whose size counts."""
        return self._sizes.policy

    # -- the PTY's side (backends.base.Sink)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the shape of asyncio.BufferedProtocol
        """Return the log's own memory to read into."""
        self._keep_modes()
        return self.log.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Append what was read."""
        self.log.commit(nbytes)
        self.counters.appended_bytes += nbytes

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        """Append output that was pushed."""
        self.counters.appended_bytes += len(data)
        view = memoryview(data)
        for start in range(0, len(view), SLACK_BYTES):
            self._keep_modes()
            self.log.append(view[start : start + SLACK_BYTES])
        self.drained()

    def drained(self) -> None:
        """Deliver what was appended; then let the program wait if every viewer is behind."""
        self.log.notify()
        self._backpressure.balance()

    def _keep_modes(self) -> None:
        """Learn the modes from what the next output might push out of the log, some time ahead."""
        log = self.log
        if log.head > self._modes_kept_to:
            kept_bytes = log.retention_bytes - SLACK_BYTES
            if log.head - kept_bytes > self._scanner.needed:
                self._scanner.release(log.head - kept_bytes + SCAN_BYTES)
            self._modes_kept_to = self._scanner.needed + kept_bytes

    def resume_writing(self) -> None:
        """Write on what waits."""
        self.keyboard.flush()

    def connect(self, pty: Pty) -> None:
        """Take the PTY that was started for this terminal."""
        self.pty = pty
        self._sizes.connect(pty)
        self.keyboard.connect(pty)
        self._backpressure.connect(pty)

    def finish(self, status: ExitStatus | None, reason: str, *, at: float | None = None) -> None:
        """Note how it ended (and when: now, if not given); viewers learn of it after the last byte of output."""
        if self._ended is not None:
            return
        pid = self.pty.pid if self.pty else None
        self._ended = make_end(status, reason, pid, self._clock.wall() if at is None else at)
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        self._backpressure.close()
        self._sizes.close()
        self.keyboard.close()
        self.log.notify()

    def leave(self) -> None:
        """Take no input and no sizes any more, and acknowledge nothing: another process goes on with the program."""
        self.is_left = True
        self._come_to_rest()
        self.journal.leave()

    # -- attaching

    def attach(
        self,
        outlet: Outlet,
        *,
        session_id: str,
        client_id: str,
        user: str,
        role: str,
        is_owner: bool,
        mode: str,
        recover_from: int | str | None,
        epoch: str | None,
        tail_bytes: int,
        window: int,
        heartbeat_interval: float,
    ) -> Attachment:
        """Attach a viewer and send `attached`; the caller calls `pump` when the connection is ready.

        Raises InvalidRequest (a position beyond the head) and LimitReached (viewers).
        """
        older = [a for a in self.attachments if (a.user, a.client_id) == (user, client_id)]
        if len(self.attachments) - len(older) >= self._viewers_limit:
            raise LimitReached("viewers of a session", self._viewers_limit)
        for attachment in older:
            self._bookmarks.put(attachment.key, attachment.delivered)
        bookmark = self._bookmarks.get(f"{user}\0{client_id}")
        entry = find_entry(self.log, recover_from, epoch=epoch, tail_bytes=tail_bytes, bookmark=bookmark)
        self._supersede(older)
        attachment = Attachment(
            self,
            outlet,
            client_id=client_id,
            user=user,
            role=role,
            is_owner=is_owner,
            mode=mode,
            window=window,
            position=entry.position,
            event_index=0,
        )
        self._greet(attachment, entry, session_id=session_id, heartbeat_interval=heartbeat_interval)
        self._join(attachment, is_exact=entry.recover == "exact")
        return attachment

    def _greet(self, attachment: Attachment, entry: Entry, *, session_id: str, heartbeat_interval: float) -> None:
        """Tell a viewer where it begins, and what is missing before that."""
        position, recover, lost_bytes = entry
        size = self._sizes.at(position)
        attachment.outlet.send(
            wire.Attached(
                session_id=session_id,
                terminal_id=self.terminal_id,
                client_id=attachment.client_id,
                role=attachment.role,
                mode=attachment.mode,
                recover=recover,
                seq=position,
                head=self.log.head,
                first=self.log.first,
                epoch=self.log.epoch,
                rows=size.rows,
                cols=size.cols,
                window=attachment.window,
                heartbeat_interval=heartbeat_interval,
                input_n=self.keyboard.ledger.count(attachment.key).taken,
                ended=True if self._ended else UNSET,
                lost_bytes=lost_bytes if recover == "gap" else UNSET,
                preamble=self._preamble(position, recover) or UNSET,
            )
        )
        if recover == "gap":
            self.told_gap("trimmed", lost_bytes)

    def _preamble(self, position: int, recover: wire.RecoverName) -> bytes:
        """Return what restores the modes: an emulator that has seen part of the output is not at rest."""
        if recover == "exact":
            return b""
        modes = self.modes_at(position)
        return modes.restore() if recover == "gap" else modes.preamble()

    def _join(self, attachment: Attachment, *, is_exact: bool) -> None:
        self.counters.attaches += 1
        self.counters.reconnections += attachment.key in self._bookmarks
        attachment.unsubscribe = self.log.subscribe(attachment.pump)
        self.attachments.append(attachment)
        if attachment.is_writer and self._ended is None:
            self._on_activity("viewer")
        self._presence.welcome(attachment)
        if not is_exact and self.pty is not None and self.modes_at(self.log.head).alternate:
            self._sizes.nudge()

    def detach(self, attachment: Attachment) -> None:
        """Forget a viewer; detaching twice is harmless."""
        attachment.is_closed = True
        attachment.unsubscribe()
        if attachment not in self.attachments:
            return
        self.attachments.remove(attachment)
        self._bookmarks.put(attachment.key, attachment.delivered)
        if attachment.is_writer and attachment.size is not None:  # no other ever counted: a size set by hand stays
            self._sizes.apply_policy()
        self._presence.tell()
        self._backpressure.balance()

    def _supersede(self, older: list[Attachment]) -> None:
        """End older connections of the same client: they are half-open at best."""
        for other in older:
            self.detach(other)
            other.outlet.close(4409, "superseded by a newer connection of this client")

    # -- what viewers do

    def type(self, attachment: Attachment, number: int | None, data: bytes) -> None:
        """Take input of a viewer. A number out of order is refused and told, never written."""
        if self.is_left:
            return  # unacknowledged, so it comes again, there
        if number is not None and self.keyboard.repeats(attachment.key, number):
            return
        if self._ended is not None:
            self._refuse(attachment, "session_over", "the session has ended")
            return
        if number is not None and self.keyboard.ledger.offer(attachment.key, number) is Verdict.OUT_OF_ORDER:
            expected = self.keyboard.ledger.count(attachment.key).taken + 1
            self._refuse(attachment, "input_out_of_order", f"n: expected {expected}", expected)
            return
        discarded = self.keyboard.type(attachment.key, number, data)
        if discarded:
            self._refuse(attachment, "input_discarded", f"interrupt: {discarded} waiting bytes of input were discarded")
        if self.keyboard.is_full:
            attachment.is_held = True
            attachment.outlet.pause_input()
            self._backpressure.balance()  # its acknowledgements wait behind its input: do not wait for them
        self._on_activity("input")

    def write(self, data: bytes) -> None:
        """Take input that comes from no viewer. Raises SessionOver, Restarting, LimitReached (the queue is full)."""
        if self.is_left:
            raise Restarting
        if self._ended is not None:
            raise SessionOver(self.terminal_id, self._ended.reason)
        if self.keyboard.is_full:
            raise LimitReached("bytes of input waiting", self.keyboard.pending_bytes)
        self.keyboard.type("", None, data)
        self._on_activity("input")

    def signal(self, name: wire.SignalName) -> None:
        """Send a signal to the foreground process group, ahead of all input.

        Raises SessionOver, Restarting, InvalidRequest.
        """
        if self.is_left:
            raise Restarting
        if self._ended is not None or self.pty is None:
            raise SessionOver(self.terminal_id, self._ended.reason if self._ended else "not started")
        number = getattr(signal, f"SIG{name}", None)
        if number is None:
            raise InvalidRequest("name", f"there is no signal {name} on this system")
        try:
            self.pty.signal(number)
        except ProcessLookupError as error:
            raise InvalidRequest("name", "there is no foreground process to signal") from error
        except PermissionError as error:
            raise InvalidRequest("name", "the foreground process belongs to another user") from error
        except ValueError as error:
            raise InvalidRequest("name", f"there is no signal {name} where the program runs") from error
        self._on_activity("input")

    def report_size(self, attachment: Attachment, size: Size) -> None:
        """Take a viewer's size; the policy decides what becomes of it."""
        if self._ended is not None or self.is_left:
            return
        self._on_activity("resize")
        if not self._sizes.report(attachment, size):
            # Its view of the size may be stale: tell it what holds where it is; what comes later comes in its place.
            rows, cols = self._sizes.at(attachment.position)
            attachment.outlet.send(wire.Resized(rows=rows, cols=cols, seq=attachment.position, client_id=""))
        self._presence.tell()

    def resize(self, size: Size, client_id: str = "") -> None:
        """Set the size, whatever the policy; viewers' next reports count again. Nothing once it has ended."""
        self._sizes.resize(size, client_id)

    def set_policy(self, policy: SizePolicy) -> None:
        """Change the size policy and apply it."""
        self._sizes.policy = policy
        self._sizes.apply_policy()

    def _refuse(self, attachment: Attachment, code: str, text: str, expected: int | None = None) -> None:
        attachment.outlet.send(
            wire.Error(
                code=code,
                error=text,
                timestamp=self._clock.wall(),
                expected=UNSET if expected is None else expected,
            )
        )

    def _acknowledge_input(self, key: str, number: int) -> None:
        for attachment in self.attachments:
            if attachment.key == key:
                attachment.outlet.send(wire.InputAck(n=number))

    def _resume_inputs(self) -> None:
        for attachment in self.attachments:
            attachment.is_held = False
            attachment.outlet.resume_input()

    # -- what attachments ask (attachment.Host)

    def modes_at(self, position: int) -> Modes:
        """Return the modes at a retained position."""
        return self._scanner.modes_at(max(position, self.log.first))

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Give others their turn first."""
        self._loop.call_soon(callback)

    def now(self) -> float:
        """Return monotonic seconds."""
        return self._clock.monotonic()

    def end_message(self) -> wire.SessionEnded | None:
        """Return how it ended, once nothing more will be appended."""
        return self._ended

    def progressed(self, attachment: Attachment) -> None:
        """Let the program go on if it waited for this viewer."""
        if self._backpressure.is_holding:
            self._backpressure.progressed(attachment)

    def told_gap(self, reason: str, lost_bytes: int) -> None:
        """Count a gap."""
        self.counters.gaps[reason] += 1
        self.counters.gap_bytes[reason] += lost_bytes

    def told_pause(self) -> None:
        """Count a pause of delivery."""
        self.counters.flow_pauses += 1
