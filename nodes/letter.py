"""One message between two nodes, whatever carries it."""

from __future__ import annotations

from enum import IntEnum

import msgspec

BODY_BYTES = 8 * 1024 * 1024
"""The most one letter holds."""
HEAD_BYTES = 24
"""What msgpack adds to a body and a kind, at most."""


class What(IntEnum):
    """What a letter is for."""

    NOTE = 0
    CALL = 1
    ANSWER = 2
    FAILED = 3
    """The answer of a call whose handler has failed; the body says why, in UTF-8."""
    PART = 4
    """The beginning of the next letter's body."""


class Letter(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is sent. On the wire it is a msgpack array of these fields."""

    what: What
    kind: str
    call: int
    """Ties an answer to its call; 0 in notes and parts."""
    body: bytes

    @property
    def size(self) -> int:
        """How many bytes it has on the wire, at most; kinds are ASCII."""
        return len(self.body) + len(self.kind) + HEAD_BYTES


def check_body(body: bytes) -> None:
    """Raise ValueError if a body is too large to be sent."""
    if len(body) > BODY_BYTES:
        raise ValueError(f"{len(body)} bytes are more than a message between nodes holds: {BODY_BYTES}")
