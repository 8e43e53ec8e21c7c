"""The beginning of what a short script prints, kept until it ends."""

from __future__ import annotations

import asyncio

from backends.abilities import Channel
from backends.containers.demultiplexer import Demultiplexer

_KEPT_BYTES = 64 * 1024


class Collector:
    """A `hijack.Receiver`; of each channel it keeps the first 64 KiB."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.printed = {Channel.STDOUT: bytearray(), Channel.STDERR: bytearray()}
        self.ended = asyncio.Event()
        self._memory = memoryview(bytearray(16 * 1024))
        self._parts = Demultiplexer()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as BufferedProtocol has it
        """Return memory."""
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what there is room for."""
        for channel, part in self._parts.feed(self._memory[:nbytes]):
            kept = self.printed[channel]
            kept += part[: _KEPT_BYTES - len(kept)]

    def resume_writing(self) -> None:
        """Do nothing: it is given no input."""

    def stream_ended(self) -> None:
        """Note the end."""
        self.ended.set()
