"""What travels between the channels of two nodes, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - msgspec reads the types of fields
from dataclasses import dataclass

import msgspec

from nodes.letter import Letter  # noqa: TC001 - msgspec reads the types of fields


class Message(msgspec.Struct, array_like=True, gc=False):
    """What travels. On the wire it is a msgpack array of these fields."""

    sender: str
    source: int
    """The sender's life."""
    target: int
    """The receiver's, as far as the sender has heard; 0: it has not."""
    asks: int
    """The number of a question; 0: there is none."""
    told: int
    """The last question of the receiver that was heard."""
    received: int
    """The last packet of the receiver that came in order."""
    lacks: bool
    """Whether a later one came without the next."""
    number: int
    """Of the packet in it; 0: there is none."""
    letters: Sequence[Letter]


@dataclass(frozen=True, slots=True)
class Arrival:
    """What comes of a message."""

    letters: Sequence[Letter] = ()
    is_reset: bool = False
    """It is to be told, before the letters, that mail may have been lost."""
    is_loss: bool = False
    """This side has lost what it had sent."""


NOTHING = Arrival()
