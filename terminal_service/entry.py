"""Where in a terminal's output a viewer begins: at the position it names, where it left, or near the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from terminal_service.errors import InvalidRequest

if TYPE_CHECKING:
    from replay.log import Log
    from terminal_service.wire import RecoverName

CLIENTS_LIMIT = 4096
"""Of how many clients that left it is remembered how far they had come; the oldest are forgotten first."""


class Entry(NamedTuple):
    """The position to begin at, what that is called on the wire, and how many bytes are missing before it."""

    position: int
    recover: RecoverName
    lost_bytes: int
    is_shorter: bool = False
    """Whether who asks has seen more than there is: to them this is another history, and is named otherwise."""


class Bookmarks:
    """How far each client is known to have come when it left."""

    def __init__(self) -> None:
        """Begin empty."""
        self._positions: dict[str, int] = {}

    def __contains__(self, key: str) -> bool:
        """Tell whether a client was here before."""
        return key in self._positions

    def get(self, key: str) -> int | None:
        """Return where a client left."""
        return self._positions.get(key)

    def put(self, key: str, position: int) -> None:
        """Remember where a client left."""
        self._positions.pop(key, None)
        self._positions[key] = position
        if len(self._positions) > CLIENTS_LIMIT:
            del self._positions[next(iter(self._positions))]


def find_entry(
    log: Log,
    recover_from: int | str | None,
    *,
    epoch: str | None,
    tail_bytes: int,
    bookmark: int | None,
    is_remnant: bool = False,
) -> Entry:
    """Return where a viewer begins that asks for `recover_from` (of the log named `epoch`, None: of this one).

    `recover_from` is a position; "last_sequence": where it left, its bookmark; None: `tail_bytes` before the end.
    Raises InvalidRequest for a position beyond the head, unless this is what remained of a log that was longer.
    """
    if recover_from is None:
        start = log.head - tail_bytes
        return Entry(log.first if start <= log.first else line_start(log, start), "tail", 0)
    if recover_from == "last_sequence":
        if bookmark is None:
            return Entry(log.first, "exact" if log.first == 0 else "gap", log.first)
        recover_from = bookmark
    asked = int(recover_from)
    if epoch is not None and epoch != log.epoch:
        return Entry(log.first, "gap", log.first)  # positions of another history mean nothing here
    if asked > log.head and is_remnant:
        return Entry(log.first, "gap", log.first, is_shorter=True)
    if asked > log.head:
        raise InvalidRequest("recover_from", f"position {asked} is beyond the end of the output, {log.head}")
    if asked < log.first:
        return Entry(log.first, "gap", log.first - asked)
    return Entry(asked, "exact", 0)


def line_start(log: Log, position: int) -> int:
    """Return a position at or soon after `position` where decoding can begin: after a newline, if one is near."""
    position = max(position, log.first)
    near = bytes(log.read(position, 4096))
    newline = near.find(b"\n")
    if newline >= 0:
        return position + newline + 1
    continuation = 0
    while continuation < min(3, len(near)) and near[continuation] & 0xC0 == 0x80:  # noqa: PLR2004 - UTF-8, RFC 3629
        continuation += 1
    return position + continuation
