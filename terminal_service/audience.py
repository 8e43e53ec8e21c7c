"""The viewers that this node has of a terminal: how they come in, and what they ask of its log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from msgspec import UNSET

from replay.log import SLACK_BYTES
from terminal_service import wire
from terminal_service.attachment import Attachment
from terminal_service.modes import Modes, ModeScanner

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from replay.log import Log
    from terminal_service.attachment import Outlet
    from terminal_service.clock import Clock
    from terminal_service.counters import Counters
    from terminal_service.entry import Entry
    from terminal_service.sizes import Size
    from terminal_service.viewer import Viewer
    from terminal_service.wish import Wish

SCAN_BYTES = 64 * 1024
"""How far ahead of what is trimmed the modes are learned, so that it is not done for every read."""


class Audience(ABC):
    """A log with viewers. Who has the program, this node (`Terminal`) or another (`FollowedTerminal`), says the rest.

    Belongs to the event loop's thread; nothing here blocks or awaits. It is the host of its attachments.
    """

    def __init__(
        self,
        terminal_id: str,
        log: Log,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        counters: Counters,
        slack_bytes: int = SLACK_BYTES,
    ) -> None:
        """Begin with nobody. `slack_bytes`: how much may be appended before `_keep_modes` is called again."""
        self.terminal_id = terminal_id
        self.log = log
        self.counters = counters
        self.attachments: list[Viewer] = []
        self.is_left = False
        """Whether another process goes on with the program: nothing that still comes in here is taken."""
        self._loop = loop
        self._clock = clock
        self._scanner = ModeScanner(log)
        self._modes_kept_to = 0
        self._kept_bytes = max(log.retention_bytes - slack_bytes, 0)

    # -- what depends on who has the program

    @abstractmethod
    def size_at(self, position: int) -> Size:
        """Return the size that output at a position was made for."""

    @abstractmethod
    def end_message(self) -> wire.SessionEnded | None:
        """Return how it ended, once nothing more will be appended."""

    @property
    @abstractmethod
    def viewer_count(self) -> int:
        """How many viewers it has on all nodes."""

    @abstractmethod
    def progressed(self, attachment: Attachment) -> None:
        """Learn that a viewer moved on."""

    @abstractmethod
    def detach(self, attachment: Viewer) -> None:
        """Forget a viewer; detaching twice is harmless."""

    @abstractmethod
    def type(self, attachment: Attachment, number: int | None, data: bytes) -> None:
        """Take input of a viewer. A number out of order is refused and told, never written."""

    @abstractmethod
    def report_size(self, attachment: Attachment, size: Size) -> None:
        """Take a viewer's size; the policy decides what becomes of it."""

    @abstractmethod
    def signal(self, name: wire.SignalName, attachment: Attachment | None = None) -> None:
        """Send a signal to the foreground process group, ahead of all input; what is wrong is raised, or told later."""

    # -- coming in

    def _seat(self, outlet: Outlet, wish: Wish, entry: Entry, *, input_n: int) -> Attachment:
        """Make an attachment and send `attached`; whoever asked for it calls `pump` when the connection is ready."""
        attachment = Attachment(
            self,
            outlet,
            client_id=wish.client_id,
            user=wish.user,
            role=wish.role,
            is_owner=wish.is_owner,
            mode=wish.mode,
            window=wish.window,
            position=entry.position,
            event_index=0,
        )
        self._greet(attachment, wish, entry, input_n=input_n)
        attachment.unsubscribe = self.log.subscribe(attachment.pump)
        self.attachments.append(attachment)
        self.counters.attaches += 1
        return attachment

    def _greet(self, attachment: Attachment, wish: Wish, entry: Entry, *, input_n: int) -> None:
        """Tell a viewer where it begins, and what is missing before that."""
        position, recover, lost_bytes, is_shorter = entry
        size = self.size_at(position)
        attachment.outlet.send(
            wire.Attached(
                session_id=wish.session_id,
                terminal_id=self.terminal_id,
                client_id=attachment.client_id,
                role=attachment.role,
                mode=attachment.mode,
                recover=recover,
                seq=position,
                head=self.log.head,
                first=self.log.first,
                epoch=f"{self.log.epoch}.short" if is_shorter else self.log.epoch,
                rows=size.rows,
                cols=size.cols,
                window=attachment.window,
                heartbeat_interval=wish.heartbeat_interval,
                input_n=input_n,
                ended=True if self.end_message() else UNSET,
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

    def _keep_modes(self) -> None:
        """Learn the modes from what the next output might push out of the log, some time ahead."""
        log = self.log
        if log.head > self._modes_kept_to:
            if log.head - self._kept_bytes > self._scanner.needed:
                self._scanner.release(log.head - self._kept_bytes + SCAN_BYTES)
            self._modes_kept_to = self._scanner.needed + self._kept_bytes

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

    def told_gap(self, reason: str, lost_bytes: int) -> None:
        """Count a gap."""
        self.counters.gaps[reason] += 1
        self.counters.gap_bytes[reason] += lost_bytes

    def told_pause(self) -> None:
        """Count a pause of delivery."""
        self.counters.flow_pauses += 1
