"""One PTY with its log, its viewers, its keyboard and its size."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from msgspec import UNSET

from replay.log import SLACK_BYTES
from terminal_service import wire
from terminal_service.attachment import Attachment, line_start
from terminal_service.errors import InvalidRequest, LimitReached, SessionOver
from terminal_service.inputs import Verdict
from terminal_service.keyboard import Keyboard
from terminal_service.modes import Modes, ModeScanner
from terminal_service.sizes import Size, SizePolicy, choose_size

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from backends.base import ExitStatus, Pty
    from replay.log import Log
    from terminal_service.attachment import Outlet
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters

HIGH_WATER_BYTES = 128 * 1024
"""A program waits while every viewer it has to wait for is further behind than this."""
LOW_WATER_BYTES = 32 * 1024
STALL_SECONDS = 10.0
"""A viewer without progress for this long is not waited for; it catches up from the log."""
NUDGE_SECONDS = 0.05
SCAN_BYTES = 64 * 1024
"""How far ahead of what is trimmed the modes are learned, so that it is not done for every read."""
PRESENCE_SECONDS = 0.1
"""Changes of who is attached, and how large, are told at most this often: of N viewers each is told of N."""
CLIENTS_LIMIT = 4096


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
        self.size = size
        self.size_policy = size_policy
        self.attachments: list[Attachment] = []
        self.pty: Pty | None = None
        self.keyboard = Keyboard(acknowledge=self._acknowledge_input, room=self._resume_inputs, counters=counters)
        self.counters = counters
        self._viewers_limit = viewers_limit
        self._loop = loop
        self._clock = clock
        self._on_activity = on_activity
        self._scanner = ModeScanner(log)
        self._delivered: dict[str, int] = {}
        self._size_counter = 0
        self._is_paused = False
        self._stall_check: asyncio.TimerHandle | None = None
        self._presence_told_at = float("-inf")
        self._presence_timer: asyncio.TimerHandle | None = None
        self._ended: wire.SessionEnded | None = None
        if log.last_event("resize", log.head) is None:
            log.add_event("resize", _resize_fields(size, ""), clock.wall())
        self.size = self._size_at(log.head)  # of a log that was there before, its last

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
        self._balance()

    def _keep_modes(self) -> None:
        """Learn the modes from what the next output might push out of the log, some time ahead."""
        next_first = self.log.head + SLACK_BYTES - self.log.retention_bytes
        if next_first > self._scanner.needed:
            self._scanner.release(next_first + SCAN_BYTES)

    def resume_writing(self) -> None:
        """Write on what waits."""
        self.keyboard.flush()

    def connect(self, pty: Pty) -> None:
        """Take the PTY that was started for this terminal."""
        self.pty = pty
        self.keyboard.connect(pty)
        self._balance()

    def finish(self, status: ExitStatus | None, reason: str, *, at: float | None = None) -> None:
        """Note how it ended (and when: now, if not given); viewers learn of it after the last byte of output."""
        if self._ended is not None:
            return
        self._ended = wire.SessionEnded(
            reason=reason,
            exit_code=status.code if status else None,
            signal=_signal_name(status.signal) if status and status.signal else None,
            pid=self.pty.pid if self.pty else None,
            timestamp=self._clock.wall() if at is None else at,
            message=status.message if status and status.message else UNSET,
        )
        if self._stall_check is not None:
            self._stall_check.cancel()
        self.keyboard.close()
        self.log.notify()

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
            self._remember_delivered(attachment)
        position, recover, lost_bytes = self._starting_point(recover_from, epoch, tail_bytes, f"{user}\0{client_id}")
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
            position=position,
            event_index=0,
        )
        size = self._size_at(position)
        outlet.send(
            wire.Attached(
                session_id=session_id,
                terminal_id=self.terminal_id,
                client_id=client_id,
                role=role,
                mode=mode,
                recover=recover,
                seq=position,
                head=self.log.head,
                first=self.log.first,
                epoch=self.log.epoch,
                rows=size.rows,
                cols=size.cols,
                window=window,
                heartbeat_interval=heartbeat_interval,
                input_n=self.keyboard.ledger.count(attachment.key).taken,
                ended=True if self._ended else UNSET,
                lost_bytes=lost_bytes if recover == "gap" else UNSET,
                preamble=self._preamble(position, recover) or UNSET,
            )
        )
        if recover == "gap":
            self.told_gap("trimmed", lost_bytes)
        self._join(attachment, is_exact=recover == "exact")
        return attachment

    def _preamble(self, position: int, recover: wire.RecoverName) -> bytes:
        """Return what restores the modes: an emulator that has seen part of the output is not at rest."""
        if recover == "exact":
            return b""
        modes = self.modes_at(position)
        return modes.restore() if recover == "gap" else modes.preamble()

    def _join(self, attachment: Attachment, *, is_exact: bool) -> None:
        self.counters.attaches += 1
        self.counters.reconnections += attachment.key in self._delivered
        attachment.unsubscribe = self.log.subscribe(attachment.pump)
        self.attachments.append(attachment)
        if attachment.is_writer and self._ended is None:
            self._on_activity("viewer")
        self._tell_viewers()
        if self._presence_timer is not None:  # the others will be told; it must not wait
            attachment.tell_viewers(self._presence())
        if not is_exact and self.pty is not None and self.modes_at(self.log.head).alternate:
            self._nudge()

    def detach(self, attachment: Attachment) -> None:
        """Forget a viewer; detaching twice is harmless."""
        attachment.is_closed = True
        attachment.unsubscribe()
        if attachment not in self.attachments:
            return
        self.attachments.remove(attachment)
        self._remember_delivered(attachment)
        if attachment.is_writer and attachment.size is not None:  # no other ever counted: a size set by hand stays
            self._apply_policy()
        self._tell_viewers()
        self._balance()

    def _supersede(self, older: list[Attachment]) -> None:
        """End older connections of the same client: they are half-open at best."""
        for other in older:
            self.detach(other)
            other.outlet.close(4409, "superseded by a newer connection of this client")

    def _starting_point(
        self, recover_from: int | str | None, epoch: str | None, tail_bytes: int, key: str
    ) -> tuple[int, wire.RecoverName, int]:
        """Return the position to begin at, what that is called, and how many bytes are missing before it."""
        log = self.log
        if recover_from is None:
            start = log.head - tail_bytes
            return (log.first if start <= log.first else line_start(log, start)), "tail", 0
        if recover_from == "last_sequence":
            known = self._delivered.get(key)
            if known is None:
                return log.first, ("exact" if log.first == 0 else "gap"), log.first
            recover_from = known
        asked = int(recover_from)
        if epoch is not None and epoch != log.epoch:
            return log.first, "gap", log.first  # positions of another history mean nothing here
        if asked > log.head:
            raise InvalidRequest("recover_from", f"position {asked} is beyond the end of the output, {log.head}")
        if asked < log.first:
            return log.first, "gap", log.first - asked
        return asked, "exact", 0

    def _remember_delivered(self, attachment: Attachment) -> None:
        self._delivered.pop(attachment.key, None)
        self._delivered[attachment.key] = attachment.delivered
        if len(self._delivered) > CLIENTS_LIMIT:
            del self._delivered[next(iter(self._delivered))]

    # -- what viewers do

    def type(self, attachment: Attachment, number: int | None, data: bytes) -> None:
        """Take input of a viewer. A number out of order is refused and told, never written."""
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
            self._balance()  # its acknowledgements wait behind its input: the program must not wait for them
        self._on_activity("input")

    def write(self, data: bytes) -> None:
        """Take input that comes from no viewer. Raises SessionOver, LimitReached while the queue is full."""
        if self._ended is not None:
            raise SessionOver(self.terminal_id, self._ended.reason)
        if self.keyboard.is_full:
            raise LimitReached("bytes of input waiting", self.keyboard.pending_bytes)
        self.keyboard.type("", None, data)
        self._on_activity("input")

    def signal(self, name: wire.SignalName) -> None:
        """Send a signal to the foreground process group, ahead of all input. Raises SessionOver, InvalidRequest."""
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
        if self._ended is not None:
            return
        self._size_counter += 1
        attachment.size, attachment.size_order = size, self._size_counter
        self._on_activity("resize")
        if not self._apply_policy(attachment.client_id):
            # Its view of the size may be stale: tell it what holds where it is; what comes later comes in its place.
            rows, cols = self._size_at(attachment.position)
            attachment.outlet.send(wire.Resized(rows=rows, cols=cols, seq=attachment.position, client_id=""))
        self._tell_viewers()

    def resize(self, size: Size, client_id: str = "") -> None:
        """Set the size, whatever the policy; viewers' next reports count again. Nothing once it has ended."""
        if size != self.size and self._ended is None:
            self.size = size
            if self.pty is not None:
                self.pty.resize(*size)
            self.log.add_event("resize", _resize_fields(size, client_id), self._clock.wall())

    def set_policy(self, policy: SizePolicy) -> None:
        """Change the size policy and apply it."""
        self.size_policy = policy
        self._apply_policy()

    def _apply_policy(self, client_id: str = "") -> bool:
        """Resize if the policy says so; return whether the size changed."""
        before = self.size
        writers = [a for a in self.attachments if a.is_writer]
        self.resize(choose_size(self.size_policy, writers, self.size), client_id)
        return self.size != before

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

    def _tell_viewers(self) -> None:
        """Tell everybody who is attached: now, or soon if that was told just now."""
        if self._presence_timer is not None:
            return
        wait = self._presence_told_at + PRESENCE_SECONDS - self._clock.monotonic()
        if wait <= 0:
            self._tell_viewers_now()
        else:
            self._presence_timer = self._loop.call_later(wait, self._tell_viewers_now)

    def _tell_viewers_now(self) -> None:
        self._presence_timer = None
        self._presence_told_at = self._clock.monotonic()
        message = self._presence()
        for attachment in list(self.attachments):
            attachment.tell_viewers(message)

    def _presence(self) -> wire.Viewers:
        responder = next((a.client_id for a in self.attachments if a.is_writer), None)
        viewers: list[dict[str, object]] = [
            {
                "client_id": a.client_id,
                "user": a.user,
                "role": a.role,
                "rows": a.size.rows if a.size else None,
                "cols": a.size.cols if a.size else None,
                "position": a.position,
            }
            for a in self.attachments
        ]
        return wire.Viewers(viewers=viewers, responder=responder)

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
        if self._is_paused and (attachment.lag <= LOW_WATER_BYTES or not attachment.holds_back):
            self._balance()

    def told_gap(self, reason: str, lost_bytes: int) -> None:
        """Count a gap."""
        self.counters.gaps[reason] += 1
        self.counters.gap_bytes[reason] += lost_bytes

    def told_pause(self) -> None:
        """Count a pause of delivery."""
        self.counters.flow_pauses += 1

    # -- backpressure

    def _balance(self) -> None:
        """Pause the program while every viewer it waits for is far behind; go on when one is near."""
        if self.pty is None or (not self.attachments and not self._is_paused):
            return
        waited_for = [a.lag for a in self.attachments if a.holds_back]
        if not self._is_paused and waited_for and min(waited_for) > HIGH_WATER_BYTES:
            self._is_paused = True
            self.counters.pty_pauses += 1
            self.pty.pause_reading()
            self._stall_check = self._loop.call_later(1.0, self._check_stalled)
        elif self._is_paused and (not waited_for or min(waited_for) <= LOW_WATER_BYTES):
            self._is_paused = False
            self.pty.resume_reading()
            if self._stall_check is not None:
                self._stall_check.cancel()

    def _check_stalled(self) -> None:
        for attachment in self.attachments:
            if self._clock.monotonic() - attachment.progressed_at >= STALL_SECONDS:
                attachment.is_stalled = True
        self._balance()
        if self._is_paused:
            self._stall_check = self._loop.call_later(1.0, self._check_stalled)

    # -- repainting

    def _nudge(self) -> None:
        """Have a full-screen program repaint: one row less, and back. No event: the size does not change."""
        if self.pty is not None and self.size.rows > 1 and self._ended is None:
            self.pty.resize(self.size.rows - 1, self.size.cols)
            self._loop.call_later(NUDGE_SECONDS, self._unnudge)

    def _unnudge(self) -> None:
        if self.pty is not None and self._ended is None:
            self.pty.resize(*self.size)

    def _size_at(self, position: int) -> Size:
        event = self.log.last_event("resize", position)
        if event is None:
            return self.size
        return Size(int(str(event.fields["rows"])), int(str(event.fields["cols"])))


def _resize_fields(size: Size, client_id: str) -> dict[str, object]:
    return {"rows": size.rows, "cols": size.cols, "client_id": client_id}


def _signal_name(number: int) -> str:
    """Return the name of a signal; real-time ones have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
