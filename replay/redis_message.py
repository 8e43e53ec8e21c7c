r"""What is published of a log while it is followed: one thing that was appended, and what it follows.

::

    <16 hexadecimal digits: the beginning of the SHA-1 of all that comes after them>
    <epoch> <head before> <index of the last event before> <kind> <milliseconds>\n
    <output (kind d) | JSON of an event (e) | the position after lost output (g)>

A message says enough to be judged by itself: whether it is whole, and whether it continues what somebody has. The
scripts (`redis_scripts`) write them; that is why the sum is one that Redis can compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from typing import TYPE_CHECKING

from replay.redis_reader import Chunk, Hole, parse_event

if TYPE_CHECKING:
    from replay.redis_reader import Item

SUM_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that was appended to the history `epoch`, where it had `head` bytes and `index` events."""

    epoch: str
    head: int
    index: int
    item: Item


def parse_message(data: bytes) -> Message | None:
    """Read a message; None: it is not one, or not whole."""
    body = memoryview(data)[SUM_DIGITS:]
    if sha1(body, usedforsecurity=False).hexdigest()[:SUM_DIGITS].encode() != data[:SUM_DIGITS]:
        return None
    try:
        border = data.index(b"\n", SUM_DIGITS)
        epoch, head, index, kind, milliseconds = data[SUM_DIGITS:border].split(b" ")
        item = _parse_item(kind, int(head), int(milliseconds), data[border + 1 :])
        return Message(epoch.decode(), int(head), int(index), item)
    except ValueError:
        return None  # somebody else's, with a sum of the same kind


def _parse_item(kind: bytes, head: int, milliseconds: int, rest: bytes) -> Item:
    if kind == b"d":
        return Chunk(head, rest, milliseconds / 1000)
    if kind == b"g":
        return Hole(head, int(rest))
    return parse_event(rest)
