"""The state directory: private, used by one process at a time, and where the running service can be found."""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_FILE = "lock"
SERVICE_FILE = "service.json"


class StateError(Exception):
    """The state directory cannot be used; the message is one line for whoever starts the service."""


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Make the directory if need be and keep every other process out of it. Raises StateError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(directory)
        file = (directory / LOCK_FILE).open("a+", encoding="ascii")
    except OSError as error:
        raise StateError(f"STATE_DIR={str(directory)!r} cannot be used: {error.strerror or error}") from error
    with file:
        _lock(file, directory)
        try:
            yield
        finally:
            (directory / SERVICE_FILE).unlink(missing_ok=True)


def _make_private(directory: Path) -> None:
    """Take away everybody else's access, unless others may depend on it: /tmp must not become this user's own.

    Raises OSError, StateError.
    """
    is_open = stat.S_IMODE(directory.stat().st_mode) & 0o077
    if not is_open or sys.platform == "win32":
        return
    names = {path.name for path in directory.iterdir()} - {"lost+found"}
    if names and LOCK_FILE not in names:
        raise StateError(f"STATE_DIR={str(directory)!r} holds other things and is open to others; name one of its own")
    directory.chmod(0o700)


def announce(directory: Path, url: str) -> None:
    """Write where the service listens, for tools that start it with PORT=0."""
    fresh = directory / (SERVICE_FILE + ".new")
    fresh.write_text(json.dumps({"url": url, "pid": os.getpid()}) + "\n", encoding="utf-8")
    fresh.replace(directory / SERVICE_FILE)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str], directory: Path) -> None:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise StateError(f"another service is using STATE_DIR={str(directory)!r}") from error
else:
    import fcntl

    def _lock(file: IO[str], directory: Path) -> None:
        """Lock as long as the file is open; the kernel releases it however the process ends."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StateError(f"another service is using STATE_DIR={str(directory)!r}") from error
