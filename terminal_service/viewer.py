"""A viewer of a terminal, wherever its connection is: on this node (`Attachment`) or on another (`RemoteViewer`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from terminal_service import wire
    from terminal_service.sizes import Size


class Voice(Protocol):
    """How a viewer is spoken to, beside its output."""

    def send(self, message: wire.ServerMessage) -> None:
        """Send a message that is not output; these are few and small and are not held back."""
        ...

    def pause_input(self) -> None:
        """Read no more from the client for now."""
        ...

    def resume_input(self) -> None:
        """Read from the client again."""
        ...


class Viewer(Protocol):
    """What the terminal that has the program knows of somebody who watches it."""

    client_id: str
    user: str
    role: str
    is_owner: bool
    size: Size | None
    size_order: int
    is_stalled: bool
    is_held: bool
    """Whether its input, and with it its acknowledgements, are not read because the program does not read."""

    @property
    def key(self) -> str:
        """Who this is, for input numbers and `recover_from=last_sequence`."""
        ...

    @property
    def outlet(self) -> Voice:
        """How to speak to it."""
        ...

    @property
    def is_writer(self) -> bool:
        """Whether it may type."""
        ...

    @property
    def position(self) -> int:
        """How far it has been sent the output, as far as that is known here."""
        ...

    @property
    def lag(self) -> int:
        """How many bytes it is behind."""
        ...

    @property
    def delivered(self) -> int:
        """How far it is known to have come."""
        ...

    @property
    def holds_back(self) -> bool:
        """Whether the program should wait for it."""
        ...

    @property
    def progressed_at(self) -> float:
        """When it last made progress, in monotonic seconds."""
        ...

    def tell_viewers(self, message: wire.Viewers) -> None:
        """Tell it who is attached: the newest is enough."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close its connection."""
        ...

    def leave(self) -> None:
        """Take it for gone, and deliver nothing more."""
        ...
