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

from terminal_service.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from terminal_service.settings import Settings

BACKLOG = 2048
_UNIX_MASK = 0o177
_PROBE_SECONDS = 1.0
_ADDRESS_BYTES = 103
"""What fits into the address of a Unix socket everywhere (107 on Linux)."""
_FIRST_ACTIVATED = 3


class ListenError(Exception):
    """An address cannot be listened on; the message is one line for whoever starts the service."""


class Listener:
    """A socket that connections wait at, from the moment it is made.

    `place` is where it was told to listen: a process that replaces this one and was told the same goes on with the
    same socket.
    """

    def __init__(self, place: str, bound: socket.socket, url: str, path: Path | None = None) -> None:
        """Own the socket and, if it has one, its name in the file system."""
        self.place, self.socket, self.url = place, bound, url
        self._path = path
        self._identity = _identity(path)

    def give_away(self) -> None:
        """Leave the name to a successor, who has the socket too."""
        self._path = None

    def close(self) -> None:
        """Close it; its name goes, unless that is another socket's by now. Harmless twice."""
        self.socket.close()
        if self._path is not None and self._identity is not None and _identity(self._path) == self._identity:
            self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def listen(
    settings: Settings, environment: Mapping[str, str], inherit: Callable[[str], socket.socket | None]
) -> Iterator[list[Listener]]:
    """Give the socket the service is used through, then that of the metrics, if it has one. Raises ListenError.

    What systemd listens on already, or a predecessor (`inherit` takes over its socket for a place), is gone on with.
    """
    given = activated(environment)
    with contextlib.ExitStack() as stack:
        listeners: list[Listener] = []
        if settings.unix_socket is not None:
            path = settings.unix_socket
            have = check_unix(given, path) if given else inherit(place_unix(path))
            listeners.append(listen_unix(path, inherited=have))
        else:
            host, port = settings.host, settings.port
            have = check_tcp(given, host, port) if given else inherit(place_tcp(host, port))
            listeners.append(listen_tcp(host, port, inherited=have))
        stack.callback(listeners[0].close)
        if given is not None:
            listeners[0].give_away()  # its name is systemd's
        if settings.prometheus_port is not None:
            host, port, setting = "127.0.0.1", settings.prometheus_port, "PROMETHEUS_PORT"
            have = inherit(place_tcp(host, port, setting))
            listeners.append(listen_tcp(host, port, setting=setting, inherited=have))
            stack.callback(listeners[1].close)
        yield listeners


def listen_tcp(host: str, port: int, *, setting: str = "PORT", inherited: socket.socket | None = None) -> Listener:
    """Listen; `setting` names the port in the error. Raises ListenError.

    `inherited` is a predecessor's socket for the same place, to go on with.
    """
    listener = inherited or _bind_tcp(host, port, setting)
    shown = f"[{host}]" if ":" in host else host
    return Listener(place_tcp(host, port, setting), listener, f"http://{shown}:{listener.getsockname()[1]}")


def place_tcp(host: str, port: int, setting: str = "PORT") -> str:
    """Name what is told to listen there."""
    return f"{setting} {host} {port}"


def _bind_tcp(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"HOST={host!r} {setting}={port}" if setting == "PORT" else f"{setting}={port}"
        raise ListenError(f"cannot listen on {where}: {_reason(error)}") from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    return listener


def listen_unix(path: Path, *, setting: str = "UNIX_SOCKET", inherited: socket.socket | None = None) -> Listener:
    """Listen where only this user may connect; `setting` names the path in the error.

    A name left behind by a service that was killed is taken over. Raises ListenError, also where a service listens
    or something lies that is no socket: that is somebody's, and stays. `inherited`: as for TCP.
    """
    listener = inherited or _listen_unix(path, setting)
    return Listener(place_unix(path, setting), listener, f"http+unix://{path}", path)


def place_unix(path: Path, setting: str = "UNIX_SOCKET") -> str:
    """Name what is told to listen there."""
    return f"{setting} {path}"


def _listen_unix(path: Path, setting: str) -> socket.socket:
    listener = unix_socket()
    try:
        _remove_stale(path, setting)
        _bind_private(listener, path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {setting}={str(path)!r}: {_reason(error)}") from error
    except ListenError:
        listener.close()
        raise
    return listener


def unix_socket() -> socket.socket:
    """Return a new socket. Raises ListenError where there are none."""
    if sys.platform == "win32":  # where Python has none
        raise ListenError("UNIX_SOCKET cannot be used on Windows; use HOST and PORT")
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def activated(environment: Mapping[str, str]) -> socket.socket | None:
    """Return the socket that systemd has opened for this process (sd_listen_fds(3)), if it has. Raises ListenError."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return None
    if environment.get("LISTEN_FDS") != "1":
        raise ListenError(f"systemd gave {environment.get('LISTEN_FDS')} sockets; one is expected")
    try:
        given = socket.socket(fileno=_FIRST_ACTIVATED)
    except OSError as error:
        raise ListenError(f"systemd gave no socket: {_reason(error)}") from error
    given.set_inheritable(False)
    if not is_listening(given):
        raise ListenError("systemd gave a socket that does not listen")
    return given


def check_tcp(given: socket.socket, host: str, port: int) -> socket.socket:
    """Return a socket that was opened by somebody else, if it is at this place. Raises ListenError.

    What HOST says decides who may come in, so it must be true.
    """
    where = given.getsockname()
    is_there = given.family in (socket.AF_INET, socket.AF_INET6) and port in (0, where[1])
    if not is_there or (where[0] != host and not (is_loopback(where[0]) and is_loopback(host))):
        raise ListenError(f"systemd listens on {where!r}, which is not HOST={host!r} PORT={port}")
    given.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    return given


def check_unix(given: socket.socket, path: Path) -> socket.socket:
    """Return a socket that was opened by somebody else, if it is at this place. Raises ListenError."""
    if given.family != getattr(socket, "AF_UNIX", None) or given.getsockname() != str(path):
        raise ListenError(f"systemd listens on {given.getsockname()!r}, which is not UNIX_SOCKET={str(path)!r}")
    return given


def is_listening(bound: socket.socket) -> bool:
    """Tell whether connections can wait at a socket."""
    try:
        return bool(bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Give a name of a Unix socket that fits into an address; a long one goes by its directory (Linux).

    Raises OSError.
    """
    if len(os.fsencode(path)) <= _ADDRESS_BYTES or sys.platform != "linux":
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _bind_private(listener: socket.socket, path: Path) -> None:
    """Bind with mode 0600 from the first moment: a chmod afterwards would leave time to connect."""
    mask = os.umask(_UNIX_MASK)
    try:
        with short_address(path) as address:
            listener.bind(address)
    finally:
        os.umask(mask)


def _remove_stale(path: Path, setting: str) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"{setting}={str(path)!r} exists and is no socket")
    with unix_socket() as probe, short_address(path) as address:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except TimeoutError:  # its queue is full: somebody is there
            pass
    raise ListenError(f"{setting}={str(path)!r} is in use by another service")


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        status = path.lstat() if path else None
    except FileNotFoundError:
        return None
    return (status.st_dev, status.st_ino) if status else None


def _reason(error: OSError) -> str:
    # create_server adds the address to the text, in the words of Python.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
