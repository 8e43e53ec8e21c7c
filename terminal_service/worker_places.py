"""The directories of workers (`WORKERS`) below a state directory, and what lives in them that nobody would serve.

Each worker is a service of its own in `STATE_DIR/workers/<number>`, from 1 on. `workers/lock` is held, shared, by the
parent and by every worker it has started: once it is free all of them have ended, and their port is free.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import IO, TYPE_CHECKING

from terminal_service import state
from terminal_service.records import FileRecords
from terminal_service.state import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from terminal_service.settings import Settings

WORKERS_DIR = "workers"
_SESSIONS_DIR = "sessions"
_HOLDER_LOCK = "holder/holder.lock"
_LIVING = ("pending", "preparing", "running", "ending")
_LOOK_SECONDS = 0.02
_EXTRA_SECONDS = 30.0


def worker_dir(state_dir: Path, number: int) -> Path:
    """Return the state directory of a worker."""
    return state_dir / WORKERS_DIR / str(number)


def places(settings: Settings) -> Iterator[tuple[int, Settings]]:
    """Give the number and the settings of every worker that has ever been: its state directory is there."""
    directory = settings.state_dir / WORKERS_DIR
    if directory.is_dir():
        for number in sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal()):
            yield number, dataclasses.replace(settings, workers=1, state_dir=directory / str(number))


def check_nobody_is_left(settings: Settings) -> None:
    """Raise StateError if shells live where the processes that would be started with these settings do not look.

    Where a service runs nobody is: that one has them, and refuses another.
    """
    try:
        if sys.platform == "win32" or not state.is_free(settings.state_dir):
            return
    except OSError:  # a start says that better
        return
    left = [place.state_dir for number, place in places(settings) if settings.workers == 1 or number > settings.workers]
    if settings.workers > 1:
        left.append(settings.state_dir)
    for directory in left:
        if count := _living(directory):
            raise StateError(
                f"WORKERS={settings.workers} would leave {count} living sessions in {str(directory)!r} without a "
                "process: start with the WORKERS they were made with, or end them (terminal-service stop --all)"
            )


def _living(directory: Path) -> int:
    """Return how many sessions live in a holder below a state directory, as their records say."""
    try:
        if state.is_free(directory, _HOLDER_LOCK):
            return 0
    except OSError:  # of another user: then ours cannot be there
        return 0
    records = FileRecords(directory / _SESSIONS_DIR).all()
    return sum(1 for _, record in records if record.get("history", [["", "", 0]])[-1][0] in _LIVING)


if sys.platform == "win32":

    def _share(file: IO[str], *, alone: bool) -> None:
        raise AssertionError(f"there are no workers on Windows: {file}, {alone}")

else:
    import fcntl

    def _share(file: IO[str], *, alone: bool) -> None:
        """Raise BlockingIOError if somebody has it alone, or has it, where it is to be had alone first."""
        if alone:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


class Crew:
    """The lock of all processes of one parent."""

    def __init__(self, directory: Path) -> None:
        """Open it, in a directory for this user only. Raises StateError."""
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            self._file: IO[str] = (directory / state.LOCK_FILE).open("a+", encoding="ascii")
        except OSError as error:
            raise StateError(f"{str(directory)!r} cannot be used: {error.strerror or error}") from error

    @property
    def descriptor(self) -> int:
        """What a worker has to inherit, and to keep to its end."""
        return self._file.fileno()

    def try_to_join(self, *, alone: bool) -> bool:
        """Become one of the crew; `alone`: only if no process of another one is left. Never blocks."""
        try:
            _share(self._file, alone=alone)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Leave it."""
        self._file.close()


def wait_for_the_last(settings: Settings) -> None:
    """Block until all workers of a parent that was killed have ended. Raises StateError: they take too long."""
    directory = settings.state_dir / WORKERS_DIR
    if sys.platform == "win32" or not directory.is_dir():
        return
    crew = Crew(directory)
    try:
        deadline = time.monotonic() + patience(settings)
        while not crew.try_to_join(alone=True):
            if time.monotonic() > deadline:
                raise StateError(still_there(settings))
            time.sleep(_LOOK_SECONDS)
    finally:
        crew.close()


def patience(settings: Settings) -> float:
    """Return how many seconds a worker may take to end."""
    return 2 * settings.stop_grace_seconds + _EXTRA_SECONDS


def still_there(settings: Settings) -> str:
    """Say which workers keep a start from beginning. Raises OSError."""
    left = [str(number) for number, place in places(settings) if not state.is_free(place.state_dir)]
    which = f"{', '.join(left) or 'some'} of an earlier service"
    return f"workers ({which}) in STATE_DIR={str(settings.state_dir)!r} do not end"
