"""What two nodes say of a viewer that is on the one, while the program is on the other. Carried by `nodes.base.Mail`.

The node with the viewers is the guest, the one with the program the host. Both run the same version or one that knows
these messages: fields are only ever added, with defaults.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from terminal_service.errors import (
    InvalidRequest,
    LimitReached,
    Restarting,
    ServiceError,
    SessionOver,
    Unavailable,
    UnknownSession,
)
from terminal_service.modes import Modes  # noqa: TC001 - msgspec reads annotations
from terminal_service.wire import Error, Resized, SignalName, Viewers  # noqa: TC001 - msgspec reads annotations

JOIN: Final = "join"
"""The kind of the call by which a viewer comes in: a `Join`, answered by `Joined` or `Refused`."""
GUEST: Final = "guest"
"""The kind of the notes from guest to host."""
HOST: Final = "host"
"""The kind of the notes from host to guest."""


class _Note(Struct, array_like=True, gc=False):
    """A message; its first element says which."""


# -- guest to host


class Join(_Note):
    """Somebody wants to watch. `viewer` names it among all of this guest's."""

    session_id: str
    terminal_id: str
    viewer: str
    client_id: str
    user: str
    role: str
    is_owner: bool


class Left(_Note, tag="left"):
    """It has gone, having come so far."""

    viewer: str
    position: int


class Typed(_Note, tag="typed"):
    """It typed."""

    viewer: str
    n: int | None
    data: bytes


class Sized(_Note, tag="sized"):
    """It has this size."""

    viewer: str
    rows: int
    cols: int


class Signalled(_Note, tag="signalled"):
    """It sends the program a signal."""

    viewer: str
    name: SignalName


class Progressed(_Note, tag="progressed"):
    """It has been sent the output up to `position`; `delivered`: it is known to have it."""

    viewer: str
    position: int
    delivered: int
    holds_back: bool


class Repaint(_Note, tag="repaint"):
    """It came in the middle of what may be a full-screen program."""

    viewer: str


class Active(_Note, tag="active"):
    """It is there, which keeps the session alive."""

    viewer: str


# -- host to guest


class Facts(_Note, tag="facts"):
    """What a guest tells its viewers of the session's time to live. Seconds are from now."""

    session_id: str
    ttl_seconds: float
    seconds_left: float | None
    keepalive: bool


class Joined(_Note, tag="joined"):
    """It may come in. `modes` are the terminal's at `position`, the oldest the host retains; `head`: how far it is."""

    bookmark: int | None
    input_n: int
    position: int
    modes: Modes
    facts: Facts
    head: int = 0


class Refused(_Note, tag="refused"):
    """It may not. `error` names one of `_ERRORS`, made of `fields`."""

    error: str
    fields: list[str | int | float]


class Said(_Note, tag="said"):
    """A message for one viewer."""

    viewer: str
    message: Resized | Error


class Acknowledged(_Note, tag="acknowledged"):
    """Every numbered input of a viewer up to `n` has been written."""

    viewer: str
    n: int


class Present(_Note, tag="present"):
    """Who is attached, for all viewers of this guest."""

    session_id: str
    viewers: Viewers


class Held(_Note, tag="held"):
    """A viewer's client is to be read no further, or again."""

    viewer: str
    is_held: bool


class Closed(_Note, tag="closed"):
    """A viewer's connection is to be closed; the host has forgotten it."""

    viewer: str
    code: int
    reason: str


GuestNote: TypeAlias = Left | Typed | Sized | Signalled | Progressed | Repaint | Active
HostNote: TypeAlias = Facts | Said | Acknowledged | Present | Held | Closed

_encode = msgspec.msgpack.Encoder().encode
_guest_decoder: msgspec.msgpack.Decoder[GuestNote] = msgspec.msgpack.Decoder(GuestNote)
_host_decoder: msgspec.msgpack.Decoder[HostNote] = msgspec.msgpack.Decoder(HostNote)
_join_decoder = msgspec.msgpack.Decoder(Join)
_answer_decoder: msgspec.msgpack.Decoder[Joined | Refused] = msgspec.msgpack.Decoder(Joined | Refused)


def encode(note: _Note) -> bytes:
    """Return a message as it is carried."""
    return _encode(note)


def decode_guest(body: bytes) -> GuestNote:
    """Read a note of a guest's. Raises msgspec.MsgspecError."""
    return _guest_decoder.decode(body)


def decode_host(body: bytes) -> HostNote:
    """Read a note of a host's. Raises msgspec.MsgspecError."""
    return _host_decoder.decode(body)


def decode_join(body: bytes) -> Join:
    """Read what somebody comes in with. Raises msgspec.MsgspecError."""
    return _join_decoder.decode(body)


def decode_answer(body: bytes) -> Joined | Refused:
    """Read what it was answered. Raises msgspec.MsgspecError."""
    return _answer_decoder.decode(body)


_ERRORS: dict[str, type[ServiceError]] = {
    each.__name__: each for each in (InvalidRequest, LimitReached, Restarting, SessionOver, Unavailable, UnknownSession)
}


def refuse(error: ServiceError) -> Refused:
    """Return a refusal of the core's as a message."""
    if type(error).__name__ not in _ERRORS:
        raise AssertionError(f"{type(error).__name__} is not known to be refused with")
    return Refused(type(error).__name__, list(vars(error).values()))


def refusal_of(refused: Refused) -> ServiceError:
    """Return the refusal that a message tells."""
    return _ERRORS[refused.error](*refused.fields)
