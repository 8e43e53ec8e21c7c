"""One WebSocket viewer: reads its messages, writes the terminal's, keeps watch that it is still there."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

import structlog

from terminal_service import wire
from terminal_service.errors import ServiceError
from terminal_service.policy import Role, may_send
from terminal_service.sizes import Size

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from terminal_service.attachment import Attachment
    from terminal_service.audience import Audience
    from terminal_service.clock import Clock
    from terminal_service.settings import Settings
    from transports.channel import Channel
    from transports.codecs import Codec, SharedFrame

NORMAL, INTERNAL_ERROR, SESSION_OVER = 1000, 1011, 4410
STRIKES = 10
"""Unreadable messages in a row after which a client is cut: it speaks something else."""
SILENT_INTERVALS = 3
LATE_SHARE = 0.5
"""A timer that is late by this share of an interval says that this process stood still."""
MESSAGE_COST_BYTES = 64
"""The least that a message counts against the input rate, so that empty ones are limited too."""
RESIZE_COST_BYTES = 16 * 1024
"""What a resize counts: every one is an event of the log, and told to all viewers."""
REPLIES_BYTES = 64 * 1024
"""Replies that wait for a client that does not read; then it is not read either."""
SHORTEST_BEAT_SECONDS = 0.25
"""The most often that a client is asked for a sign of life for the sake of a short time to live."""
TURN_SECONDS = 0.001
"""How long one client's messages are acted on before others get their turn."""
PAUSE_SECONDS = 0.0002
"""A client that sent nothing for this long begins a new turn."""


log = structlog.get_logger()


class Watched(Protocol):
    """The session that is watched, wherever its program is."""

    @property
    def session_id(self) -> str:
        """Its id."""
        ...

    @property
    def ttl_seconds(self) -> float:
        """How long it lives without activity."""
        ...

    @property
    def ttl_watchers(self) -> set[Callable[[], None]]:
        """Called when that has changed."""
        ...

    @property
    def keepalive(self) -> bool:
        """Whether being watched by somebody who may type is activity."""
        ...

    @property
    def expires_at(self) -> float | None:
        """When it ends without further activity, in wall-clock seconds; None once it has."""
        ...

    def bump(self, source: str) -> None:
        """Note activity."""
        ...


class Connection:
    """Outlet of an attachment and listener of a channel, both of one viewer.

    Everything is a callback: a keystroke goes to the PTY, and its echo to the socket, without a task switch.
    """

    def __init__(
        self,
        channel: Channel,
        codec: Codec,
        frame: SharedFrame,
        *,
        is_plain: bool,
        session: Watched,
        terminal: Audience,
        settings: Settings,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Bind the parts; `start` begins once there is an attachment. `is_plain`: no subprotocol was named."""
        self._channel = channel
        self._codec = codec
        self._frame = frame
        self._session = session
        self._terminal = terminal
        self._settings = settings
        self._clock = clock
        self._loop = loop
        self._counters = terminal.counters
        self._is_plain = is_plain
        self._attachment: Attachment | None = None
        self._start_position = 0
        self._may_type = False
        self._strikes = 0
        self._heard_at = clock.monotonic()
        self._allowance = float(settings.input_burst_bytes)
        self._allowance_at = self._heard_at
        self._input_holds: set[str] = set()
        self._backlog: deque[bytes | str] = deque()  # at most what one read from the socket brought
        self._turn_began = self._acted_at = self._beaten_at = self._heard_at
        self._unsent_bytes = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self, attachment: Attachment) -> None:
        """Begin to deliver, and to keep watch."""
        self._attachment = attachment
        self._may_type = may_send(Role(attachment.role), "input")
        self._start_position = attachment.position
        self._later("ping", self._beat_seconds, self._beat)
        self._later("heartbeat", self._settings.heartbeat_interval, self._tell_heartbeat)
        self._session.ttl_watchers.add(self._beat_sooner)
        attachment.pump()
        self._channel.listen(self)

    # -- outlet

    @property
    def writable(self) -> bool:
        """Whether more output may be sent now."""
        return self._channel.writable

    def send(self, message: wire.ServerMessage) -> None:
        """Send a message, if the encoding has a place for it."""
        encoded = self._codec.message(message)
        if encoded is not None:
            self._channel.send(encoded, text=self._codec.messages_are_text)
            self._bound_replies(len(encoded))
            self._counters.messages_sent[type(message).__name__] += 1

    def send_output(self, data: memoryview, seq: int, *, replay: bool) -> None:
        """Send output."""
        counters, codec = self._counters, self._codec
        encode = self._frame.encode if len(self._terminal.attachments) > 1 else codec.output
        self._channel.send(encode(data, seq, replay=replay), text=codec.output_is_text)
        counters.delivered_bytes += len(data)
        counters.output_messages += 1
        if replay:
            counters.replayed_bytes += len(data)

    def pause_input(self) -> None:
        """Read no further until `resume_input`: the program does not read."""
        self._hold("program")

    def resume_input(self) -> None:
        """Read again."""
        self._release("program")

    def close(self, code: int, reason: str) -> None:
        """Close after what was sent. Plain clients know 1000 for a session's end, and take others for a fault."""
        self._channel.close(NORMAL if self._is_plain and code == SESSION_OVER else code, reason)

    # -- channel listener

    def message_received(self, data: bytes | str) -> None:
        """Act on one message, in its turn: one read may bring thousands, and each may be much work."""
        now = self._heard_at = self._clock.monotonic()
        if now - self._acted_at > PAUSE_SECONDS:
            self._turn_began = now
        if self._backlog or now - self._turn_began > TURN_SECONDS:
            if not self._backlog:
                self._hold("turn")
                self._loop.call_soon(self._go_on)
            self._backlog.append(data)
            return
        self._take(data)

    def _go_on(self) -> None:
        """Act on what waits, for one turn."""
        self._turn_began = self._clock.monotonic()
        try:
            while self._backlog:
                self._take(self._backlog.popleft())
                if self._backlog and self._acted_at - self._turn_began > TURN_SECONDS:
                    self._loop.call_soon(self._go_on)
                    return
        except Exception:  # the edge of a callback: a fault of ours ends this connection, as the channel does
            log.exception("message failed", session_id=self._session.session_id)
            self._backlog.clear()
            self._channel.close(INTERNAL_ERROR)
        self._release("turn")

    def _take(self, data: bytes | str) -> None:
        try:
            self._act_on(data)
        finally:
            self._acted_at = self._clock.monotonic()

    def _act_on(self, data: bytes | str) -> None:
        """Act on one message; one that cannot be read is answered and changes nothing."""
        try:
            message = self._codec.decode(data)
        except wire.DecodeError as error:
            self._spend(len(data))
            self._strike(str(error))
            return
        attachment = self._attachment
        if type(message) is wire.Input and self._may_type and attachment is not None and not attachment.is_closed:
            # Between a keystroke and its echo: the keystroke first, the books afterwards.
            self._terminal.type(attachment, message.n, message.data)
            self._strikes = 0
            self._spend(len(data))
            self._counters.messages_received["input"] += 1
            return
        self._strikes = 0
        self._spend(RESIZE_COST_BYTES if isinstance(message, wire.Resize) else len(data))
        if attachment is None or attachment.is_closed:
            return
        kind = type(message).__struct_config__.tag
        self._counters.messages_received[str(kind)] += 1
        if not may_send(Role(attachment.role), str(kind)):
            self._refuse("forbidden", f"a {attachment.role} may not send {kind}")
            return
        try:
            self._act(message, attachment)
        except ServiceError as error:
            self._refuse(error.code, str(error))

    def pong_received(self) -> None:
        """Note a sign of life."""
        self._heard_at = self._clock.monotonic()

    def resume_writing(self) -> None:
        """Go on delivering."""
        self._unsent_bytes = 0
        self._release("replies")
        if self._attachment is not None:
            self._attachment.pump()

    def connection_lost(self, code: int) -> None:  # noqa: ARG002 - every end is the same here
        """Forget the viewer, after the last of what it said."""
        while self._backlog:
            self._take(self._backlog.popleft())
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._session.ttl_watchers.discard(self._beat_sooner)
        if self._attachment is not None:
            self._terminal.detach(self._attachment)

    # -- messages

    def _act(self, message: wire.ClientMessage, attachment: Attachment) -> None:
        match message:
            case wire.Input():
                self._terminal.type(attachment, message.n, message.data)
            case wire.Ack():
                self._acknowledge(message, attachment)
            case wire.Resize():
                self._terminal.report_size(attachment, Size(message.rows, message.cols))
            case wire.Signal():
                self._terminal.signal(message.name, attachment)
            case wire.Mode():
                attachment.set_mode(message.mode)
            case wire.Ping():
                self.send(wire.ServerPong(message.timestamp))
            case wire.WindowUpdate():
                attachment.set_window(message.window_size)
            case wire.Detach():
                attachment.close(1000, "detached")
            case wire.Pong():
                pass  # it was heard: that is all a pong is for

    def _acknowledge(self, message: wire.Ack, attachment: Attachment) -> None:
        if message.seq is not None:
            attachment.acknowledge(message.seq)
        elif message.bytes is not None:
            attachment.acknowledge_bytes(message.bytes, self._start_position)
        else:
            self._refuse("invalid_message", "ack: `seq` or `bytes` is required")

    def _strike(self, text: str) -> None:
        self._strikes += 1
        self._counters.messages_received["invalid"] += 1
        self._refuse("invalid_message", text)
        if self._strikes >= STRIKES and self._attachment is not None:
            self._attachment.close(4400, "too many unreadable messages")

    def _refuse(self, code: str, text: str) -> None:
        self.send(wire.Error(code=code, error=text, timestamp=self._clock.wall()))

    def _bound_replies(self, nbytes: int) -> None:
        """Stop to read a client that does not read what it is answered."""
        if not self._channel.writable:
            self._unsent_bytes += nbytes
            if self._unsent_bytes > REPLIES_BYTES:
                self._hold("replies")

    # -- input rate

    def _spend(self, nbytes: int) -> None:
        """Take from the allowance; when it is used up, read no further until it has grown again."""
        rate, burst = self._settings.input_bytes_per_second, self._settings.input_burst_bytes
        if not rate or not burst:
            return
        now = self._heard_at
        self._allowance = min(burst, self._allowance + (now - self._allowance_at) * rate)
        self._allowance_at = now
        self._allowance -= max(nbytes, MESSAGE_COST_BYTES)
        if self._allowance < 0 and "rate" not in self._input_holds:
            self._hold("rate")
            self._later("rate", -self._allowance / rate, lambda: self._release("rate"))

    def _hold(self, reason: str) -> None:
        if not self._input_holds:
            self._channel.pause_reading()
        self._input_holds.add(reason)

    def _release(self, reason: str) -> None:
        if reason not in self._input_holds:
            return
        self._input_holds.discard(reason)
        if not self._input_holds:
            self._heard_at = self._clock.monotonic()  # silence while nobody listened is no silence
            self._channel.resume_reading()

    # -- signs of life

    def _beat(self) -> None:
        """Ask for a sign of life; a client that gave none for three intervals is gone.

        Unless it was this process that stood still (stopped, swapped out, suspended): then it could not hear.
        """
        interval = self._settings.websocket_ping_interval
        now = self._clock.monotonic()
        if now - self._beaten_at > interval * (1 + LATE_SHARE):
            self._heard_at = now
        self._beaten_at = now
        silence = now - self._heard_at
        attachment = self._attachment
        if attachment is None:
            return
        if silence > SILENT_INTERVALS * interval and not self._input_holds - {"replies"}:
            attachment.close(1001, "ping timeout")
            return
        if self._keeps_alive and silence <= 2 * self._beat_seconds:
            self._session.bump("viewer")
        self.send(wire.ServerPing(self._clock.wall()))
        self._channel.ping()
        self._later("ping", self._beat_seconds, self._beat)

    def _beat_sooner(self) -> None:
        """Ask at once where the next ping would come too late for a time to live that has become shorter."""
        due = self._timers["ping"]
        if due.when() - self._loop.time() > self._beat_seconds:
            due.cancel()
            self._beat()

    @property
    def _keeps_alive(self) -> bool:
        """Whether being here counts as activity of the session."""
        return self._attachment is not None and self._attachment.is_writer and self._session.keepalive

    @property
    def _beat_seconds(self) -> float:
        """How long to the next ping: soon enough that its answer keeps even a short-lived session alive."""
        interval = self._settings.websocket_ping_interval
        if not self._keeps_alive:
            return interval
        return min(interval, max(SHORTEST_BEAT_SECONDS, self._session.ttl_seconds / 3))

    def _tell_heartbeat(self) -> None:
        self.send(
            wire.Heartbeat(
                timestamp=self._clock.wall(),
                session_id=self._session.session_id,
                seq=self._terminal.log.head,
                expires_at=self._session.expires_at,
                viewers=self._terminal.viewer_count,
            )
        )
        self._later("heartbeat", self._settings.heartbeat_interval, self._tell_heartbeat)

    def _later(self, name: str, seconds: float, callback: object) -> None:
        self._timers[name] = self._loop.call_later(seconds, callback)  # type: ignore[arg-type]
