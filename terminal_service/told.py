"""What viewers are told of the events of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from terminal_service import draining, notices, wire

if TYPE_CHECKING:
    from replay.event import Event


def message_of(event: Event) -> wire.ServerMessage | None:
    """Return what a viewer is told where an event is; None: nothing, or not there (`read_end`)."""
    fields = event.fields
    match event.kind:
        case "resize":
            rows, cols = int(str(fields["rows"])), int(str(fields["cols"]))
            return wire.Resized(rows=rows, cols=cols, seq=event.position, client_id=str(fields["client_id"]))
        case "storage":
            return wire.StorageState(durable=fields["durable"] is True, reason=str(fields["reason"]))
        case draining.EVENT:
            return draining.message_of(event)
        case notices.EVENT:
            return notices.message_of(event)
        case "gap":
            return wire.Gap(first=event.position, last=event.position, lost_bytes=0, reason="torn")
    return None


def read_end(event: Event) -> wire.SessionEnded:
    """Return what is told after the last byte of a log that has ended so (`ended`)."""
    fields = {"timestamp": event.at, **event.fields}
    known = {name: fields.get(name) for name in ("reason", "exit_code", "signal", "pid", "timestamp")}
    ended = msgspec.convert(known, wire.SessionEnded)
    if "message" in fields:
        ended.message = str(fields["message"])
    return ended
