"""The state directory: private, used by one process at a time, and where the running service can be found."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import stat
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_FILE = "lock"
NODE_FILE = "node"
SERVICE_FILE = "service.json"

_NODE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_HOST_CHARACTERS = 40


class StateError(Exception):
    """The state directory cannot be used; the message is one line for whoever starts the service."""


class Lock:
    """The right to use a state directory. Whoever has it is the one service there, and nobody else.

    The kernel takes it from a process that ends, however it ends: a file that says who has it could be stale.
    """

    def __init__(self, directory: Path, file: IO[str]) -> None:
        """Use an open file; see `open_lock`."""
        self._directory = directory
        self._file = file
        self.is_ours = False

    def take(self) -> None:
        """Raise StateError if another process has it."""
        if not self.try_to_take():
            raise StateError(f"another service is using STATE_DIR={str(self._directory)!r}")

    def try_to_take(self) -> bool:
        """Tell whether it is ours now. Never blocks."""
        self.is_ours = self.is_ours or _lock(self._file)
        return self.is_ours

    def release(self) -> None:
        """Let others have it; from now on nothing in the directory is ours. Harmless twice."""
        if self.is_ours:
            (self._directory / SERVICE_FILE).unlink(missing_ok=True)
            self.is_ours = False
            _unlock(self._file)


def read_node_id(directory: Path) -> str:
    """Return the name of the node whose state this is. The first time it gets one.

    It is the host's with some random digits, and stays the same, so that a new process is known as the same node;
    unless it cannot be written: a full disk is no reason not to serve.
    """
    file = directory / NODE_FILE
    with contextlib.suppress(OSError, ValueError):
        name = file.read_text(encoding="ascii").strip()
        if _NODE_ID.fullmatch(name):
            return name
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:_HOST_CHARACTERS].strip("-") or "node"
    name = f"{host}-{secrets.token_hex(4)}"
    fresh = directory / f"{NODE_FILE}.new"
    with contextlib.suppress(OSError):
        fresh.write_text(f"{name}\n", encoding="ascii")
        fresh.replace(file)
    return name


@contextlib.contextmanager
def open_lock(directory: Path) -> Iterator[Lock]:
    """Make the directory if need be; give its lock, not taken yet, and release it in the end. Raises StateError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(directory)
        file = (directory / LOCK_FILE).open("a+", encoding="ascii")
    except OSError as error:
        raise StateError(f"STATE_DIR={str(directory)!r} cannot be used: {error.strerror or error}") from error
    with file:
        lock = Lock(directory, file)
        try:
            yield lock
        finally:
            lock.release()


def is_free(directory: Path, name: str = LOCK_FILE) -> bool:
    """Tell whether no service is using a directory, which need not exist. Raises OSError."""
    try:
        with (directory / name).open("r+", encoding="ascii") as file:
            return _lock(file)  # and given back at once
    except FileNotFoundError:
        return True


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

    def _lock(file: IO[str]) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[str]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(file: IO[str]) -> bool:
        """Lock as long as the file is open, or until `_unlock`."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
