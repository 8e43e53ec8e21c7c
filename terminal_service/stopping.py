"""`terminal-service stop` and `drain`: ask the running service to end, wait until it has, and say what came of it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from terminal_service import state
from terminal_service.caller import Caller
from terminal_service.control import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from terminal_service.settings import Settings

EXIT_NOT_STOPPED = 1
_EXTRA_SECONDS = 30.0
_LOOK_SECONDS = 0.05


class _TooLate(Exception):
    """It takes longer than we were told to wait."""


def stop(
    settings: Settings, *, end_all: Callable[[], int] | None, seconds: float | None, say: Callable[[str], None]
) -> int:
    """Stop the service of this STATE_DIR; return the exit code. Blocks for so many seconds at most.

    `end_all`: end its sessions and their holder too, and call this for those that no service has. Raises StateError,
    OSError.
    """
    if sys.platform == "win32":
        say("On Windows the service ends by Ctrl-C in its window, and its shells with it.")
        return EXIT_NOT_STOPPED
    directory = settings.state_dir
    limit = 2 * settings.stop_grace_seconds + _EXTRA_SECONDS if seconds is None else seconds
    deadline = time.monotonic() + limit
    try:
        if _stop_service(directory, ends_all=end_all is not None, deadline=deadline, say=say):
            return 0
    except (Refused, TimeoutError) as error:
        say(f"Not stopped: {error}.")
        return EXIT_NOT_STOPPED
    except _TooLate:
        say(f"Not stopped yet: the service has not ended within {limit:g} s; it may still.")
        return EXIT_NOT_STOPPED
    if end_all is None:
        say(f"No service is running on {directory}.")
    elif not directory.exists():
        say(f"There is nothing to end: {directory} does not exist.")
    else:
        say(f"No service is running on {directory}; ending what it has left ...")
        say(f"Sessions ended: {end_all()}.")
    return 0


def drain(settings: Settings, *, seconds: float | None, say: Callable[[str], None]) -> int:
    """Have the service of this STATE_DIR end once its sessions have; return the exit code. Raises StateError, OSError.

    Blocks until it has ended: for as long as it waits (DRAIN_SECONDS if not given), and then as `stop` does.
    """
    if sys.platform == "win32":
        say("On Windows the service ends by Ctrl-C in its window, and its shells with it.")
        return EXIT_NOT_STOPPED
    directory = settings.state_dir
    patience = 2 * settings.stop_grace_seconds + _EXTRA_SECONDS
    try:
        service = _reach(directory, time.monotonic() + patience)
        if service is None:
            say(f"No service is running on {directory}.")
            return 0
        with service:
            told = service.ask("drain", seconds=seconds).fields
            left = max(0.0, told["deadline"] - time.time())
            say(
                f"Draining the service, process {told.get('pid')}: no new sessions; "
                f"those that live ({told.get('sessions')}) have {left:.0f} s, what is left then "
                f"{'ends' if told.get('ends_all') else 'goes on where it can'} ..."
            )
            return _await_end(service, left + patience, say)
    except (Refused, TimeoutError) as error:
        say(f"Not drained: {error}.")
    except _TooLate:
        say("Not stopped yet: the service has not ended in time; it may still.")
    return EXIT_NOT_STOPPED


def _await_end(service: Caller, seconds: float, say: Callable[[str], None]) -> int:
    """Wait until a service that drains has ended; say how. Raises _TooLate."""
    if not service.wait(seconds):
        raise _TooLate
    say("Stopped." if service.is_done else "It was killed meanwhile.")
    return 0


def _stop_service(directory: Path, *, ends_all: bool, deadline: float, say: Callable[[str], None]) -> bool:
    """Stop the service; tell whether all that was asked is done, False if none runs.

    Raises Refused, _TooLate, OSError.
    """
    service = _reach(directory, deadline)
    if service is None:
        return False
    with service:
        answer = service.ask("stop", end_all=ends_all).fields
        count = answer.get("sessions", 0)
        what = "end" if answer.get("ends_all") else "go on"
        say(f"Stopping the service, process {answer.get('pid')}; its sessions ({count}) {what} ...")
        if not service.wait(deadline - time.monotonic()):
            raise _TooLate
        if not service.is_done:
            say("It was killed meanwhile.")
            return not ends_all
    say("Stopped.")
    return True


def _reach(directory: Path, deadline: float) -> Caller | None:
    """Connect to the service; None: none runs. One that starts or ends now is waited for. Raises as `_stop_service`."""
    while (caller := Caller.call(directory)) is None:
        if state.is_free(directory):
            return None
        if time.monotonic() >= deadline:
            raise _TooLate
        time.sleep(_LOOK_SECONDS)
    return caller
