"""A sink that keeps all it is given, and tells who waits for it."""

from __future__ import annotations

import asyncio


class CollectingSink:
    """Collects a terminal's output; small memory, so that reads of all sizes and ends of memory happen."""

    def __init__(self, memory_bytes: int = 64 * 1024) -> None:
        self.output = bytearray()
        self.batches = 0
        self.room = asyncio.Event()
        self._memory = memoryview(bytearray(memory_bytes))
        self._free = self._memory
        self._changed = asyncio.Event()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the shape of asyncio.BufferedProtocol
        self._free = self._memory
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        assert 0 < nbytes <= len(self._free)
        self._take(self._free[:nbytes])
        self._free = self._free[nbytes:]

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        self._take(data)

    def drained(self) -> None:
        self.batches += 1

    def resume_writing(self) -> None:
        self.room.set()

    def _take(self, data: bytes | bytearray | memoryview) -> None:
        self.output += data
        self._changed.set()

    async def until(self, wanted: bytes, *, start: int = 0, seconds: float = 30) -> int:
        """Wait until `wanted` was printed after `start`; return the position after it."""
        async with self._deadline(seconds, repr(wanted)):
            while (found := self.output.find(wanted, start)) < 0:
                await self._change()
        return found + len(wanted)

    async def until_size(self, size: int, *, seconds: float = 30) -> None:
        """Wait until at least `size` bytes were printed."""
        async with self._deadline(seconds, f"{size} bytes"):
            while len(self.output) < size:
                await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _deadline(self, seconds: float, what: str) -> _Deadline:
        return _Deadline(self, seconds, what)


class _Deadline:
    def __init__(self, sink: CollectingSink, seconds: float, what: str) -> None:
        self._sink = sink
        self._what = what
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            await self._timeout.__aexit__(kind, error, traceback)  # type: ignore[arg-type]
        except TimeoutError:
            tail = bytes(self._sink.output[-500:])
            message = f"waited for {self._what}; {len(self._sink.output)} bytes so far, ending in {tail!r}"
            raise AssertionError(message) from None
