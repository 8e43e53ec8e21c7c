"""What the server's HTTP protocol tells the application about a connection beyond ASGI.

ASGI shows the application addresses but no socket, and a Unix socket has no addresses: its peer must be asked
for where the socket is. uvicorn copies a protocol's `app_state` into `scope["state"]` of every request, and
hands it on when a connection becomes a WebSocket.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from transports.peers import unix_uid

if TYPE_CHECKING:
    import asyncio

PEER_UID = "terminal_peer_uid"
"""Key in `scope["state"]`: the uid of the peer of a Unix socket, or None if it is not known."""


def with_peer(protocol: type[Any]) -> type[Any]:
    """Return a uvicorn HTTP protocol class (for its `http` option) that records the peer of a Unix socket."""

    class WithPeer(protocol):  # type: ignore[misc]  # the base is an argument
        app_state: dict[str, Any]

        def connection_made(self, transport: asyncio.Transport) -> None:
            """Begin, knowing who is at the other end."""
            super().connection_made(transport)
            connection = transport.get_extra_info("socket")
            if connection is not None and connection.family == getattr(socket, "AF_UNIX", None):
                self.app_state = {**self.app_state, PEER_UID: unix_uid(connection)}

    return WithPeer
