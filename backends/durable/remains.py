"""What a holder elsewhere tells of programs: those of earlier processes, and how one has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from backends.base import ExitStatus, Lost
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


def exit_status(told: dict[str, Any]) -> ExitStatus:
    """Return what the holder tells of a program's end."""
    if "lost" in told:
        return ExitStatus(lost=Lost.NODE, message=str(told["lost"]))
    return ExitStatus(code=told.get("code"), signal=told.get("signal"))
