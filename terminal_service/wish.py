"""What a viewer asks for, and what whoever has the program knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A viewer that wants to be attached; checked before, and allowed."""

    session_id: str
    client_id: str
    user: str
    role: str
    is_owner: bool
    mode: str
    recover_from: int | str | None
    epoch: str | None
    tail_bytes: int
    window: int
    heartbeat_interval: float

    @property
    def key(self) -> str:
        """Who this is, for input numbers and `recover_from=last_sequence`: a client id of a user."""
        return key_of(self.user, self.client_id)


class Admission(NamedTuple):
    """What is known of a client that comes (back)."""

    bookmark: int | None
    """How far it is known to have come when it left; None: it was not here before."""
    input_n: int
    """The highest number of its inputs that was taken."""


def key_of(user: str, client_id: str) -> str:
    """Return the name of a client among all users' clients."""
    return f"{user}\0{client_id}"
