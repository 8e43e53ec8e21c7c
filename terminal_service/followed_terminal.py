"""A terminal whose program another node has: its output is followed here, and what viewers do is sent there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from terminal_service import node_wire as notes
from terminal_service import wire
from terminal_service.audience import Audience
from terminal_service.entry import find_entry
from terminal_service.session import DEFAULT_SIZE
from terminal_service.sizes import Size, size_at
from terminal_service.told import read_end

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from replay.log import Log
    from terminal_service.attachment import Attachment, Outlet
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.viewer import Viewer
    from terminal_service.wish import Wish

REPORT_BYTES = 256 * 1024
"""The host learns that a viewer has come so much further at once, of less within REPORT_SECONDS."""
REPORT_SECONDS = 0.1
BACKLOG_BYTES = 1024 * 1024
"""What may wait to be sent to the host before the clients that type are read no further."""
HOLD_SECONDS = 0.05
SLACK_BYTES = 512 * 1024
"""How much is appended between two looks at the modes, at most; what is trimmed meanwhile stays unseen."""


class FollowedTerminal(Audience):
    """Shows a followed log. Its viewers have names by which the host knows them."""

    def __init__(
        self,
        terminal_id: str,
        log: Log,
        *,
        tell: Callable[[notes.GuestNote], None],
        backlog_bytes: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        counters: Counters,
    ) -> None:
        """Begin with nobody. `tell` sends a note to the host, of which `backlog_bytes` are on their way."""
        slack = min(SLACK_BYTES, log.retention_bytes // 2)
        super().__init__(terminal_id, log, loop=loop, clock=clock, counters=counters, slack_bytes=slack)
        self._tell = tell
        self._backlog_bytes = backlog_bytes
        self._names: dict[str, Attachment] = {}
        self._reported: dict[str, tuple[int, bool]] = {}
        self._report_timer: asyncio.TimerHandle | None = None
        self._hold_timer: asyncio.TimerHandle | None = None
        self._present: wire.Viewers | None = None
        self._ended: wire.SessionEnded | None = None
        self._early: dict[str, list[notes.HostNote]] = {}
        """What was said of viewers that are not attached yet."""
        self._seen_index = 0
        self._unsubscribe = log.subscribe(self._look)
        self._look()

    def close(self, code: int, reason: str) -> None:
        """Send everybody away; closing twice is harmless."""
        self.is_left = True
        self._unsubscribe()
        for timer in (self._report_timer, self._hold_timer):
            if timer is not None:
                timer.cancel()
        for attachment in list(self._names.values()):
            attachment.close(code, reason)
        self.log.notify()

    # -- the log

    def _look(self) -> None:
        """See what was appended: the modes, and the end, are known before viewers are told of it."""
        self._keep_modes()
        while (event := self.log.next_event(self._seen_index, 0)) is not None:
            self._seen_index = event.index + 1
            if event.kind == "ended" and self._ended is None:  # a node that dies just after may add another one
                self._ended = read_end(event)

    def size_at(self, position: int) -> Size:
        """Return the size that output at a position was made for."""
        return size_at(self.log, position) or DEFAULT_SIZE

    def end_message(self) -> wire.SessionEnded | None:
        """Return how it ended, once nothing more will be appended."""
        return self._ended

    @property
    def viewer_count(self) -> int:
        """How many viewers it has on all nodes, as the host told last."""
        return max(len(self.attachments), len(self._present.viewers) if self._present else 0)

    # -- viewers coming and going

    def attach(self, outlet: Outlet, wish: Wish, name: str, joined: notes.Joined) -> Attachment:
        """Attach a viewer that the host has let in under this name. Raises InvalidRequest (a position beyond the head).

        Otherwise as `Terminal.attach`.
        """
        self._scanner.begin_at(joined.position, joined.modes)
        entry = find_entry(
            self.log,
            wish.recover_from,
            epoch=wish.epoch,
            tail_bytes=wish.tail_bytes,
            bookmark=joined.bookmark,
            is_remnant=self._ended is not None,
        )
        attachment = self._seat(outlet, wish, entry, input_n=joined.input_n)
        self._names[name] = attachment
        if self._present is not None:
            attachment.tell_viewers(self._present)
        if entry.recover != "exact" and self.modes_at(self.log.head).alternate:
            self._tell(notes.Repaint(name))
        self._report(name, attachment)
        for note in self._early.pop(name, ()):
            self.hear(note)
        return attachment

    def detach(self, attachment: Viewer) -> None:
        """Forget a viewer; detaching twice is harmless."""
        attachment.leave()
        if attachment not in self.attachments:
            return
        self.attachments.remove(attachment)
        name = self._name_of(attachment)
        del self._names[name]
        self._reported.pop(name, None)
        self._tell(notes.Left(name, attachment.delivered))

    def _name_of(self, attachment: Viewer) -> str:
        return next(name for name, each in self._names.items() if each is attachment)

    # -- what viewers do

    def type(self, attachment: Viewer, number: int | None, data: bytes) -> None:
        """Send input to the host, which writes each number once, in order."""
        if self.is_left or attachment not in self.attachments:
            return  # unacknowledged, so it comes again
        self._tell(notes.Typed(self._name_of(attachment), number, data))
        if self._backlog_bytes() > BACKLOG_BYTES and self._hold_timer is None:
            for each in self._names.values():
                each.outlet.pause_input()
            self._hold_timer = self._loop.call_later(HOLD_SECONDS, self._let_type)

    def _let_type(self) -> None:
        """Read the clients again once the host has caught up."""
        if self._backlog_bytes() > BACKLOG_BYTES // 2:
            self._hold_timer = self._loop.call_later(HOLD_SECONDS, self._let_type)
            return
        self._hold_timer = None
        for each in self._names.values():
            if not each.is_held:
                each.outlet.resume_input()

    def report_size(self, attachment: Viewer, size: Size) -> None:
        """Send a viewer's size to the host; the policy there decides what becomes of it."""
        if not self.is_left and attachment in self.attachments:
            attachment.size = size
            self._tell(notes.Sized(self._name_of(attachment), size.rows, size.cols))

    def signal(self, name: wire.SignalName, attachment: Viewer | None = None) -> None:
        """Have the host send a signal; what is wrong with it the viewer is told later."""
        if attachment is None:
            raise AssertionError("only a viewer sends signals from another node")
        if not self.is_left:
            self._tell(notes.Signalled(self._name_of(attachment), name))

    def keep_alive(self) -> None:
        """Have somebody's being here count as activity of the session."""
        name = next((name for name, each in self._names.items() if each.is_writer), None)
        if name is not None and not self.is_left:
            self._tell(notes.Active(name))

    # -- how far they are

    def progressed(self, attachment: Attachment) -> None:
        """Let the host know how far viewers have come: soon, or at once where the program may wait for it."""
        if self.is_left:
            return
        if self._report_timer is None:
            self._report_timer = self._loop.call_later(REPORT_SECONDS, self._report_all)
        if attachment.position - self._position_told >= REPORT_BYTES:
            self._position_told = attachment.position
            self._report_all()

    _position_told = 0
    """Where somebody was when all were reported last because of that."""

    def _report_all(self) -> None:
        if self._report_timer is not None:
            self._report_timer.cancel()
            self._report_timer = None
        for name, attachment in self._names.items():
            self._report(name, attachment)

    def _report(self, name: str, attachment: Attachment) -> None:
        state = (attachment.position, attachment.holds_back)
        if self._reported.get(name) != state and not self.is_left:
            self._reported[name] = state
            self._position_told = max(self._position_told, attachment.position)
            self._tell(notes.Progressed(name, attachment.position, attachment.delivered, attachment.holds_back))

    # -- what the host says

    def hear(self, note: notes.HostNote) -> None:
        """Take what the host says of a viewer, or of all."""
        if not isinstance(note, notes.Facts | notes.Present) and note.viewer in self._early:
            self._early[note.viewer].append(note)
            return
        match note:
            case notes.Present():
                self._present = note.viewers
                for attachment in list(self._names.values()):
                    attachment.tell_viewers(note.viewers)
            case notes.Acknowledged():
                self._names[note.viewer].outlet.send(wire.InputAck(n=note.n))
            case notes.Said():
                attachment = self._names[note.viewer]
                message = note.message
                if isinstance(message, wire.Resized):  # it stands where it is here, not where the host believes
                    rows, cols = self.size_at(attachment.position)
                    message = wire.Resized(rows=rows, cols=cols, seq=attachment.position, client_id="")
                attachment.outlet.send(message)
            case notes.Held():
                self._hold(self._names[note.viewer], is_held=note.is_held)
            case notes.Closed():
                self._names[note.viewer].close(note.code, note.reason)

    def _hold(self, attachment: Attachment, *, is_held: bool) -> None:
        attachment.is_held = is_held
        if is_held:
            attachment.outlet.pause_input()
        elif self._hold_timer is None:
            attachment.outlet.resume_input()

    def expect(self, name: str) -> None:
        """Keep what the host says of a viewer that it is just being asked about, until `attach` or `forget`."""
        self._early[name] = []

    def forget(self, name: str) -> None:
        """Expect this viewer no longer."""
        self._early.pop(name, None)

    def knows(self, name: str) -> bool:
        """Whether a viewer of this name is attached."""
        return name in self._names

    def expects(self, name: str) -> bool:
        """Whether a viewer of this name is attached, or may be soon."""
        return name in self._names or name in self._early

    @property
    def is_watched(self) -> bool:
        """Whether somebody on this node reads its output, or is about to."""
        return bool(self._early) or self.log.readers_count > 1  # one is this

    def tell_trouble(self, trouble: str | None) -> None:
        """Tell everybody that output is delayed, and why, or that it is no longer."""
        message = wire.StorageState(durable=trouble is None, reason=trouble or "")
        for attachment in list(self._names.values()):
            attachment.outlet.send(message)
