"""A viewer whose connection is on another node: what the terminal that has the program knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from terminal_service import node_wire as notes
from terminal_service import wire
from terminal_service.wish import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from terminal_service.sizes import Size
    from terminal_service.terminal import Terminal

FREE_BYTES = 2 * 1024 * 1024
"""How far it may be behind beyond what a viewer of this node may: what is on its way, and what it has not told of."""


class RemoteViewer:
    """A `viewer.Viewer`, and the voice that speaks to it: everything it is told goes to its node."""

    def __init__(
        self, terminal: Terminal, join: notes.Join, *, now: Callable[[], float], tell: Callable[[notes.HostNote], None]
    ) -> None:
        """Begin at the end of the output. `tell` sends a note to its node."""
        self.client_id = join.client_id
        self.user = join.user
        self.key = key_of(join.user, join.client_id)
        self.role = join.role
        self.is_owner = join.is_owner
        self.is_writer = join.role != "viewer"
        self.size: Size | None = None
        self.size_order = 0
        self.position = self.delivered = terminal.log.head
        self.progressed_at = now()
        self.is_stalled = False
        self.is_held = False
        self.terminal = terminal
        self.session_id = join.session_id
        self._name = join.viewer
        self._now = now
        self._tell = tell
        self._is_gone = False
        self._waits = False

    @property
    def outlet(self) -> RemoteViewer:
        """How to speak to it."""
        return self

    @property
    def lag(self) -> int:
        """How many bytes it is behind, beyond what is free."""
        return max(0, self.terminal.log.head - self.position - FREE_BYTES)

    @property
    def holds_back(self) -> bool:
        """Whether the program should wait for it."""
        return self._waits and not (self.is_stalled or self.is_held or self._is_gone)

    def progress(self, note: notes.Progressed) -> None:
        """Note how far it has come."""
        self.position, self.delivered, self._waits = note.position, note.delivered, note.holds_back
        self.progressed_at = self._now()
        self.is_stalled = False
        self.terminal.progressed(self)

    # -- being told

    def send(self, message: wire.ServerMessage) -> None:
        """Send it a message."""
        match message:
            case wire.InputAck():
                self._tell(notes.Acknowledged(self._name, message.n))
            case wire.Resized() | wire.Error():
                self._tell(notes.Said(self._name, message))
            case _:
                raise AssertionError("its own node sends it everything else")

    def pause_input(self) -> None:
        """Have its client read no further."""
        self._tell(notes.Held(self._name, is_held=True))

    def resume_input(self) -> None:
        """Have its client read again."""
        self._tell(notes.Held(self._name, is_held=False))

    def tell_viewers(self, message: wire.Viewers) -> None:
        """Tell its node who is attached; `tell` sends the same message to a node once."""
        self._tell(notes.Present(self.session_id, message))

    def close(self, code: int, reason: str) -> None:
        """Have its connection closed."""
        if not self._is_gone:
            self._is_gone = True
            self._tell(notes.Closed(self._name, code, reason))

    def leave(self) -> None:
        """Take it for gone."""
        self._is_gone = True
