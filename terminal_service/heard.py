"""The signals that ask the service to end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING

from terminal_service.asked import Asked, Stop

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def heard_signals(*, stops_sessions: bool) -> Iterator[Asked]:
    """Give what signals ask for: SIGINT, SIGTERM or the SIGHUP of a terminal that is closed, and each a second time.

    A SIGHUP that is ignored (nohup) stays ignored.
    """
    loop = asyncio.get_running_loop()
    asked = Asked()

    def note(number: signal.Signals) -> None:
        ends_all = number == signal.SIGINT or stops_sessions
        if not asked.to_stop(Stop(number.name, ends_all=ends_all)) and number in (signal.SIGINT, signal.SIGTERM):
            asked.again()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        if sys.platform == "win32":
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(note, signal.Signals(number)))
        else:
            loop.add_signal_handler(number, note, number)
    try:
        yield asked
    finally:
        for number in numbers:
            if sys.platform != "win32":
                loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # all is done: nothing is left to be interrupted
