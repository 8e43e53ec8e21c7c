"""The seam between a WebSocket's bytes and what is said over it.

ASGI's `receive`/`send` put a queue and a task switch between a keystroke and the shell. The server's WebSocket
protocol therefore also offers a `Channel` in `scope["extensions"][EXTENSION]`: after `websocket.accept` has been
sent, the application may take over with `listen` and from then on is called back and writes without awaiting.
"""

from __future__ import annotations

from typing import Protocol

EXTENSION = "terminal.channel"


class Listener(Protocol):
    """What a channel calls, always on the event loop's thread, never re-entrantly from `send`."""

    def message_received(self, data: bytes | str) -> None:
        """Take one complete message: bytes of a binary one, str of a text one."""
        ...

    def pong_received(self) -> None:
        """Learn that the peer answered a ping."""
        ...

    def resume_writing(self) -> None:
        """Learn that `Channel.writable` is true again."""
        ...

    def connection_lost(self, code: int) -> None:
        """Learn that the WebSocket is over (RFC 6455 close code, 1006 for an abrupt end); nothing follows."""
        ...


class Channel(Protocol):
    """An accepted WebSocket. All methods are harmless after the end of the connection."""

    @property
    def writable(self) -> bool:
        """Tell whether less than the high-water mark of unsent bytes is buffered in this process."""
        ...

    def listen(self, listener: Listener) -> None:
        """Take over: queued messages are delivered at once, later ones as they arrive.

        ASGI `receive` then returns nothing but the final `websocket.disconnect`.
        """
        ...

    def send(self, data: bytes | bytearray | memoryview, *, text: bool = False) -> None:
        """Send one message (UTF-8 bytes if `text`). Never blocks; a caller respects `writable`."""
        ...

    def ping(self) -> None:
        """Send a WebSocket ping."""
        ...

    def pause_reading(self) -> None:
        """Stop reading from the socket; messages already read may still be delivered."""
        ...

    def resume_reading(self) -> None:
        """Read again."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame (the reason is cut to 123 bytes of UTF-8) and end after the peer's answer or 5 s."""
        ...

    def abort(self) -> None:
        """End at once without a close frame."""
        ...
