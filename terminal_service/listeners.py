"""The sockets the service listens on; only this module binds.

One error::

ListenError   an address cannot be listened on; names the setting
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BACKLOG = 2048
_UNIX_MASK = 0o177
_PROBE_SECONDS = 1.0


class ListenError(Exception):
    """An address cannot be listened on; the message is one line for whoever starts the service."""


def listen_tcp(host: str, port: int, *, setting: str = "PORT") -> tuple[socket.socket, str]:
    """Return a bound socket and its URL; `setting` names the port in the error. Raises ListenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"HOST={host!r} {setting}={port}" if setting == "PORT" else f"{setting}={port}"
        raise ListenError(f"cannot listen on {where}: {_reason(error)}") from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    shown = f"[{host}]" if ":" in host else host
    return listener, f"http://{shown}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def listen_unix(path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Give a bound socket that only this user may connect to, and its URL; take its name away afterwards.

    A name left behind by a service that was killed is taken over. Raises ListenError, also where a service listens
    or something lies that is no socket: that is somebody's, and stays.
    """
    listener = _unix_socket()
    try:
        _remove_stale(path)
        _bind_private(listener, path)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on UNIX_SOCKET={str(path)!r}: {_reason(error)}") from error
    except ListenError:
        listener.close()
        raise
    identity = _identity(path)
    try:
        yield listener, f"http+unix://{path}"
    finally:
        if _identity(path) == identity:  # not that of a successor
            path.unlink(missing_ok=True)


def _unix_socket() -> socket.socket:
    if sys.platform == "win32":  # where Python has none
        raise ListenError("UNIX_SOCKET cannot be used on Windows; use HOST and PORT")
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _bind_private(listener: socket.socket, path: Path) -> None:
    """Bind with mode 0600 from the first moment: a chmod afterwards would leave time to connect."""
    mask = os.umask(_UNIX_MASK)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"UNIX_SOCKET={str(path)!r} exists and is no socket")
    with _unix_socket() as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except TimeoutError:  # its queue is full: somebody is there
            pass
    raise ListenError(f"UNIX_SOCKET={str(path)!r} is in use by another service")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _reason(error: OSError) -> str:
    # create_server adds the address to the text, in the words of Python.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
