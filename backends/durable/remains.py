"""What a holder elsewhere has of earlier processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from backends.held_child import Tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.holder_link import Reply

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Remains:
    """A program that runs there, or has ended unheard."""

    key: int
    pid: int
    tag: Tag
    first: int
    """Output from here on is kept there."""
    head: int
    accepted: int
    """Input up to here was taken."""


def find_remains(reply: Reply) -> Sequence[Remains]:
    """Return what the answer to `list` tells, oldest first; what is not known here is logged."""
    found, rest = [], reply.payload
    for program in reply.fields["programs"]:
        note, rest = rest[: program["note"]], rest[program["note"] :]
        if "stream" not in program:
            continue
        try:
            tag = Tag.decode(note)
        except ValueError as error:
            _log.error("a program in a remote holder is not known", pid=program["pid"], reason=str(error))
            continue
        state = program["stream"]
        positions = (state["first"], state["head"], state["accepted"])
        found.append(Remains(program["key"], program["pid"], tag, *positions))
    return found
