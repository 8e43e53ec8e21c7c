"""One PTY with its log, its viewers, its keyboard and its size."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from backends.errors import NotSupported
from replay.log import SLACK_BYTES
from terminal_service import wire
from terminal_service.audience import Audience
from terminal_service.backpressure import Backpressure
from terminal_service.ending import make_end
from terminal_service.entry import Bookmarks, find_entry
from terminal_service.errors import InvalidRequest, LimitReached, Preparing, Restarting, SessionOver, Unsupported
from terminal_service.inputs import Verdict
from terminal_service.journal import Journal
from terminal_service.keyboard import Keyboard
from terminal_service.presence import Presence
from terminal_service.sizes import Size, SizePolicy, Sizes
from terminal_service.wish import Admission

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from backends.base import ExitStatus, Pty
    from replay.log import Log
    from terminal_service.attachment import Attachment, Outlet
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.viewer import Viewer
    from terminal_service.wish import Wish


class Terminal(Audience):
    """A terminal whose program this node has. It is the sink of its PTY (`backends.base.Sink`)."""

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
        super().__init__(terminal_id, log, loop=loop, clock=clock, counters=counters)
        self.pty: Pty | None = None
        self.is_remnant = False
        """Whether this is what remained of another node's log, which may have been longer."""
        self.journal = Journal(log.cells)
        self.keyboard = Keyboard(
            acknowledge=self._acknowledge_input, room=self._resume_inputs, counters=counters, journal=self.journal
        )
        self._viewers_limit = viewers_limit
        self._on_activity = on_activity
        self._sizes = Sizes(log, size, size_policy, viewers=self.attachments, loop=loop, clock=clock)
        self._backpressure = Backpressure(
            self.attachments, loop=loop, clock=clock, counters=counters, is_full=lambda: log.is_full
        )
        log.on_room = self._backpressure.balance
        self._presence = Presence(self.attachments, loop=loop, clock=clock)
        self._bookmarks = Bookmarks()
        self._ended: wire.SessionEnded | None = None

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
        if at is None:  # it ends now: whoever follows the log elsewhere learns of it there
            fields = msgspec.structs.asdict(self._ended)
            fields = {name: value for name, value in fields.items() if value is not UNSET}
            self.log.add_event("ended", fields, self._ended.timestamp)
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

    # -- viewers coming and going

    def attach(self, outlet: Outlet, wish: Wish) -> Attachment:
        """Attach a viewer and send `attached`; the caller calls `pump` when the connection is ready.

        Raises InvalidRequest (a position beyond the head) and LimitReached (viewers).
        """
        older = self._admit(wish.key)
        bookmark = self._bookmarks.get(wish.key)
        entry = find_entry(
            self.log,
            wish.recover_from,
            epoch=wish.epoch,
            tail_bytes=wish.tail_bytes,
            bookmark=bookmark,
            is_remnant=self.is_remnant,
        )
        self._supersede(older)
        attachment = self._seat(outlet, wish, entry, input_n=self._input_n(wish.key))
        self._welcome(attachment)
        if entry.recover != "exact":
            self.repaint()
        return attachment

    def receive(self, viewer: Viewer) -> Admission:
        """Take in a viewer whose connection, and cursor, is on another node. Raises LimitReached."""
        older = self._admit(viewer.key)
        admission = Admission(self._bookmarks.get(viewer.key), self._input_n(viewer.key))
        self._supersede(older)
        self.attachments.append(viewer)
        self._welcome(viewer)
        return admission

    def _admit(self, key: str) -> list[Viewer]:
        """Return the older connections of a client. Raises LimitReached if there is no room beside the others."""
        older = [viewer for viewer in self.attachments if viewer.key == key]
        if len(self.attachments) - len(older) >= self._viewers_limit:
            raise LimitReached("viewers of a session", self._viewers_limit)
        for viewer in older:
            self._bookmarks.put(key, viewer.delivered)
        return older

    def _input_n(self, key: str) -> int:
        return self.keyboard.ledger.count(key).taken

    def _supersede(self, older: list[Viewer]) -> None:
        """End older connections of the same client: they are half-open at best."""
        for other in older:
            other.close(4409, "superseded by a newer connection of this client")
            self.detach(other)

    def _welcome(self, viewer: Viewer) -> None:
        self.counters.reconnections += viewer.key in self._bookmarks
        if viewer.is_writer and self._ended is None:
            self._on_activity("viewer")
        self._presence.welcome(viewer)

    def repaint(self) -> None:
        """Have a full-screen program draw all again, for somebody who has not seen it from its beginning."""
        if self.pty is not None and self.modes_at(self.log.head).alternate:
            self._sizes.nudge()

    def detach(self, attachment: Viewer) -> None:
        """Forget a viewer; detaching twice is harmless."""
        attachment.leave()
        if attachment not in self.attachments:
            return
        self.attachments.remove(attachment)
        self._bookmarks.put(attachment.key, attachment.delivered)
        if attachment.is_writer and attachment.size is not None:  # no other ever counted: a size set by hand stays
            self._sizes.apply_policy()
        self._presence.tell()
        self._backpressure.balance()

    @property
    def viewer_count(self) -> int:
        """How many viewers it has on all nodes."""
        return len(self.attachments)

    # -- what viewers do

    def type(self, attachment: Viewer, number: int | None, data: bytes) -> None:
        """Take input of a viewer. A number out of order is refused and told, never written."""
        if self.is_left:
            return  # unacknowledged, so it comes again, there
        if number is not None and self.keyboard.repeats(attachment.key, number):
            return
        if self._ended is not None:
            self.refuse(attachment, "session_over", "the session has ended")
            return
        if number is not None and self.keyboard.ledger.offer(attachment.key, number) is Verdict.OUT_OF_ORDER:
            expected = self.keyboard.ledger.count(attachment.key).taken + 1
            self.refuse(attachment, "input_out_of_order", f"n: expected {expected}", expected)
            return
        discarded = self.keyboard.type(attachment.key, number, data)
        if discarded:
            self.refuse(attachment, "input_discarded", f"interrupt: {discarded} waiting bytes of input were discarded")
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

    def signal(self, name: wire.SignalName, attachment: Viewer | None = None) -> None:  # noqa: ARG002 - it is raised here
        """Send a signal to the foreground process group, ahead of all input.

        Raises SessionOver, Preparing, Restarting, InvalidRequest, Unsupported.
        """
        if self.is_left:
            raise Restarting
        if self._ended is not None:
            raise SessionOver(self.terminal_id, self._ended.reason)
        if self.pty is None:
            raise Preparing(self.terminal_id)
        number = getattr(signal, f"SIG{name}", None)
        if number is None:
            raise InvalidRequest("name", f"there is no signal {name} on this system")
        try:
            self.pty.signal(number)
        except ProcessLookupError as error:
            raise InvalidRequest("name", "there is no foreground process to signal") from error
        except PermissionError as error:
            raise InvalidRequest("name", "the foreground process belongs to another user") from error
        except NotSupported as error:
            raise Unsupported("name", str(error)) from error
        except ValueError as error:
            raise InvalidRequest("name", f"there is no signal {name} where the program runs") from error
        self._on_activity("input")

    def report_size(self, attachment: Viewer, size: Size) -> None:
        """Take a viewer's size; the policy decides what becomes of it."""
        if self._ended is not None or self.is_left:
            return
        self._on_activity("resize")
        if not self._sizes.report(attachment, size):
            # Its view of the size may be stale: tell it what holds where it is; what comes later comes in its place.
            rows, cols = self.size_at(attachment.position)
            attachment.outlet.send(wire.Resized(rows=rows, cols=cols, seq=attachment.position, client_id=""))
        self._presence.tell()

    def resize(self, size: Size, client_id: str = "") -> None:
        """Set the size, whatever the policy; viewers' next reports count again. Nothing once it has ended."""
        self._sizes.resize(size, client_id)

    def set_policy(self, policy: SizePolicy) -> None:
        """Change the size policy and apply it."""
        self._sizes.policy = policy
        self._sizes.apply_policy()

    def refuse(self, attachment: Viewer, code: str, text: str, expected: int | None = None) -> None:
        """Tell a viewer that something it asked for was not done."""
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

    def size_at(self, position: int) -> Size:
        """Return the size that output at a position was made for."""
        return self._sizes.at(position)

    def end_message(self) -> wire.SessionEnded | None:
        """Return how it ended, once nothing more will be appended."""
        return self._ended

    def progressed(self, attachment: Viewer) -> None:
        """Let the program go on if it waited for this viewer."""
        if self._backpressure.is_holding:
            self._backpressure.progressed(attachment)
