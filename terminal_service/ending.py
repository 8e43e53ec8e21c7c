"""What viewers are told of the end of a program."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from msgspec import UNSET

from terminal_service import wire

if TYPE_CHECKING:
    from backends.base import ExitStatus


def make_end(status: ExitStatus | None, reason: str, pid: int | None, at: float) -> wire.SessionEnded:
    """Return the message; `at` is in wall-clock seconds. Without a status it is not known how it ended."""
    return wire.SessionEnded(
        reason=reason,
        exit_code=status.code if status else None,
        signal=_signal_name(status.signal) if status and status.signal else None,
        pid=pid,
        timestamp=at,
        message=status.message if status and status.message else UNSET,
    )


def _signal_name(number: int) -> str:
    """Return the name of a signal; real-time ones have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
