"""One connection to a holder on another machine, from the greeting to the cut."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from backends.holder.bridge import GREETING
from backends.holder.frames import Decoder, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NOISE_BYTES = 64 * 1024
"""What login scripts may say before the greeting, at most."""

_PIECE_BYTES = 256 * 1024
"""What is handed to the stream at once, about."""


class Stream(Protocol):
    """Bytes to and from `holder.pyz DIRECTORY --stdio` somewhere; every error of it is an OSError."""

    async def read(self) -> bytes:
        """Return what has arrived, waiting for at least one byte; b"" at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send all of it; return when more may be given."""
        ...

    async def close(self) -> None:
        """Release everything, without waiting for the other side. Harmless twice."""
        ...


class Cut(Exception):
    """The connection is over; the message says why."""


class Wire:
    """Speaks frames over a stream. `hear` gets what arrives, `turn` is called after each read.

    `compose` yields frames when there is room to send them, so that nothing is queued in front of a slow link but
    what was given to `send`.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        hear: Callable[[dict[str, Any], bytes], None],
        turn: Callable[[], None],
        compose: Callable[[], Iterator[bytes]],
        silence_seconds: float,
    ) -> None:
        self._stream = stream
        self._hear = hear
        self._turn = turn
        self._compose = compose
        self._silence_seconds = silence_seconds
        self._queue: list[bytes] = []
        self._wanted = asyncio.Event()
        self._is_greeted = asyncio.Event()
        self._heard = False

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send a frame soon. Raises BadFrame: it is too long."""
        self._queue.append(encode(header, payload))
        self._wanted.set()

    def send_bytes(self, frames: bytes) -> None:
        """Send frames that are encoded already."""
        self._queue.append(frames)
        self._wanted.set()

    def wake(self) -> None:
        """Ask `compose` soon."""
        self._wanted.set()

    async def run(self) -> None:
        """Read and write until the connection is over. Raises Cut, OSError, BadFrame, in an ExceptionGroup."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(), name="remote link: receive")
            group.create_task(self._send(), name="remote link: send")
            group.create_task(self._listen(), name="remote link: signs of life")

    async def _receive(self) -> None:
        decoder = Decoder()
        data = await self._greeted()
        while True:
            for header, payload in decoder.feed(data):
                self._hear(header, payload)
            self._turn()
            data = await self._read()

    async def _greeted(self) -> bytes:
        """Skip what login scripts say; return what came behind the greeting."""
        noise = b""
        while GREETING not in noise:
            if len(noise) > _NOISE_BYTES:
                raise Cut(f"no holder answers, but: {noise[:200]!r}")
            try:
                noise += await self._read()
            except Cut:
                raise Cut(f"no holder answers, but: {noise[-500:]!r}" if noise else "no holder answers") from None
        self._is_greeted.set()
        return noise.partition(GREETING)[2]

    async def _read(self) -> bytes:
        data = await self._stream.read()
        if not data:
            raise Cut("the other side has ended it")
        self._heard = True
        return data

    async def _send(self) -> None:
        await self._is_greeted.wait()  # nothing for login scripts to read
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            pieces, self._queue = self._queue, []
            size = 0
            for piece in self._compose():
                pieces.append(piece)
                size += len(piece)
                if size > _PIECE_BYTES:
                    self._wanted.set()
                    break
            if pieces:
                await self._stream.write(b"".join(pieces))

    async def _listen(self) -> None:
        """Ask for a sign of life now and then: a link may be cut without anybody being told."""
        while True:
            self._heard = False
            await asyncio.sleep(self._silence_seconds / 2)
            if not self._heard:
                self.send({"op": "ping", "id": 0})
                await asyncio.sleep(self._silence_seconds / 2)
                if not self._heard:
                    raise Cut(f"silent for {self._silence_seconds:g} s")


def messages_of(group: BaseExceptionGroup[BaseException]) -> Iterator[str]:
    """Yield what the errors in a group say."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from messages_of(error)
        else:
            yield str(error) or type(error).__name__
