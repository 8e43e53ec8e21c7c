"""Where the output of a program goes that no session has."""

from __future__ import annotations

_DISCARDED_BYTES = 64 * 1024


class Nowhere:
    """A sink (`backends.base.Sink`) that keeps nothing."""

    def __init__(self) -> None:
        """Have memory to read into."""
        self._buffer = memoryview(bytearray(_DISCARDED_BYTES))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the shape of asyncio.BufferedProtocol
        """Return the same memory again and again."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Forget it."""

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        """Forget it."""

    def drained(self) -> None:
        """Deliver nothing."""

    def resume_writing(self) -> None:
        """Write nothing."""
