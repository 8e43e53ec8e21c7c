"""Reach the holder of a directory; start one in the background if there is none."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import ptyprocess

import backends
from backends.holder import EXIT_HELD, SOCKET
from backends.holder.connection import peer_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_SECONDS = 10.0
"""How long a holder may take to be ready."""

_ADDRESS_BYTES = 103
"""What fits into the address of a Unix socket everywhere (107 on Linux)."""
_RETRY_SECONDS = 0.02


class NoHolder(Exception):
    """There is no holder, and none can be started; the message is why."""


class NotOurs(Exception):
    """The holder there belongs to another user."""


def reach(directory: str, *options: str, environment: Mapping[str, str]) -> socket.socket:
    """Return a socket connected to the directory's holder, which is started if need be.

    Raises NoHolder, NotOurs, OSError.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return connect(directory)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise  # there is one, which does not answer: something may run
        try:
            is_ready = start(directory, *options, environment=environment)
        except OSError as error:
            raise NoHolder(f"no holder can be started: {error}") from error
        if not is_ready:
            time.sleep(_RETRY_SECONDS)  # somebody else's is not ready yet, or is just ending


def connect(directory: str) -> socket.socket:
    """Return a socket connected to the directory's holder. Raises NotOurs, OSError."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.settimeout(START_SECONDS)
        with _short(directory) as address:
            channel.connect(address)
        _check_user(peer_user(channel), directory)
    except BaseException:
        channel.close()
        raise
    return channel


def _check_user(user: int, directory: str) -> None:
    if user not in (os.geteuid(), 0):
        raise NotOurs(f"the holder in {directory!r} belongs to user {user}")


def start(directory: str, *options: str, environment: Mapping[str, str]) -> bool:
    """Start a holder in the background; True: it listens, False: there is another one. Raises NoHolder, OSError.

    It sees no site-packages but where ptyprocess is. Works from a zip file too.
    """
    places = {os.path.dirname(next(iter(module.__path__))) for module in (backends, ptyprocess)}
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter and our own module
            [sys.executable, "-S", "-s", "-m", "backends.holder", directory, *options],
            env={
                **environment,
                "PYTHONPATH": os.pathsep.join(sorted(places)),
                "PYTHONUTF8": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=START_SECONDS,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoHolder("a holder was started and is not ready in time") from None
    if done.returncode not in (0, EXIT_HELD):
        reason = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise NoHolder(f"no holder can be started: {reason}")
    return done.returncode == 0


@contextlib.contextmanager
def _short(directory: str) -> Iterator[str]:
    """Give a name of the socket that fits into an address; a long one goes by its directory's descriptor (Linux)."""
    path = os.path.join(directory, SOCKET)
    if len(os.fsencode(path)) <= _ADDRESS_BYTES or sys.platform != "linux":
        yield path
        return
    descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
