"""The sockets of several processes behind one address: one for each where the kernel spreads connections, else one.

Linux gives each new connection to one of the sockets that are bound to the same port, by a hash (SO_REUSEPORT,
socket(7)): the shares of 2 to 8 processes differed by a tenth at most. Processes that accept from one socket take what
they get: of 1,000 connections at once one of four took 650. Elsewhere SO_REUSEPORT gives all connections to one
process, and a Unix socket or one of systemd's cannot be had twice: these are shared.

Whoever makes the sockets keeps them all, so a process that dies leaves its socket open: connections wait there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
from typing import TYPE_CHECKING

from terminal_service.listeners import BACKLOG, Listener, listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from terminal_service.settings import Settings


@contextlib.contextmanager
def listen_together(
    settings: Settings, environment: Mapping[str, str], inherit: Callable[[str], socket.socket | None]
) -> Iterator[list[Listener]]:
    """Give the sockets; worker k (from 1) uses `listeners[(k - 1) % len(listeners)]`. Raises as `listeners.listen`.

    The first one is bound alone, so a port that any other service has is refused.
    """
    alone = dataclasses.replace(settings, prometheus_port=None)
    with contextlib.ExitStack() as stack:
        listeners = stack.enter_context(listen(alone, environment, inherit))
        if sys.platform == "linux" and settings.unix_socket is None and not _is_activated(environment):
            first = listeners[0]
            first.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            for number in range(2, settings.workers + 1):
                place = f"{first.place} {number}"
                listeners.append(Listener(place, inherit(place) or _join(first.socket), first.url))
                stack.callback(listeners[-1].close)
        yield listeners


def _is_activated(environment: Mapping[str, str]) -> bool:
    return environment.get("LISTEN_PID") == str(os.getpid())


def _join(first: socket.socket) -> socket.socket:
    """Listen where a socket does. Raises OSError."""
    if sys.platform != "linux":
        raise AssertionError("only Linux spreads connections")
    other = socket.socket(first.family, socket.SOCK_STREAM)
    try:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if first.family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        other.bind(first.getsockname())
        other.listen(BACKLOG)
    except BaseException:
        other.close()
        raise
    return other
