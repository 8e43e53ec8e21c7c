"""Only this module holds WebSockets: a client that keeps frames now and decodes them later.

The load client must not be what is measured. In the receive path it notes the time and copies the payload,
nothing else; what the frames held is decoded, counted and hashed when the clock has stopped, the same way for
every server.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, cast

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.text import READY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bench.text import Text
    from bench.wires import MsgpackWire, Wire

Frame = tuple[float, WSMsgType, bytes]

TIMEOUT_SECONDS = 60.0
# Output counts as ended when it has been complete, and quiet for this long.
QUIET_SECONDS = 0.15
ACK_BYTES = 64 * 1024


class BenchError(Exception):
    """A measurement could not be made; the message says what was expected and what came."""


class Connection(WSListener):
    """One WebSocket to one terminal.

    `frames` grows without a bound until `clear`: a workload is of known size.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.frames: list[Frame] = []
        self.on_frame: Callable[[], None] | None = None
        self.closed = False
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Say hello."""
        self.transport = transport
        for kind, payload in self.wire.hello():
            transport.send(kind, payload)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # noqa: ARG002 - the listener's shape
        """Keep the frame and when it came."""
        self.frames.append((perf_counter(), frame.msg_type, frame.get_payload_as_bytes()))
        if self.on_frame is not None:
            self.on_frame()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - the listener's shape
        """Remember that nothing will follow."""
        self.closed = True

    def type(self, data: bytes) -> None:
        """Send `data` as if typed."""
        kind, payload = self.wire.stdin(data)
        self.transport.send(kind, payload)

    def output(self) -> bytes:
        """Return the terminal output of all frames kept."""
        return b"".join(self.wire.stdout(kind, payload) for _, kind, payload in self.frames)

    def clear(self) -> None:
        """Forget the frames kept."""
        self.frames.clear()

    async def expect(self, needle: bytes) -> None:
        """Wait until the output kept contains `needle`.

        Raises BenchError at the deadline or if the server hangs up.
        """
        deadline = perf_counter() + TIMEOUT_SECONDS
        while needle not in self.output():
            if self.closed or perf_counter() > deadline:
                raise BenchError(f"waited for {needle!r}, got {self.output()[-200:]!r}")
            await asyncio.sleep(0.005)

    async def collect(self, text: Text) -> float:
        """Wait for all of `text`, verify every byte, return when the last one came (`perf_counter` seconds).

        Raises BenchError if bytes are missing at the deadline, or are not those that were printed.
        """
        deadline = perf_counter() + TIMEOUT_SECONDS
        while True:
            await asyncio.sleep(QUIET_SECONDS / 3)
            quiet = bool(self.frames) and perf_counter() - self.frames[-1][0] > QUIET_SECONDS
            if quiet or self.closed or perf_counter() > deadline:
                if (end := self._verify(text)) is not None:
                    return end
                if self.closed or perf_counter() > deadline:
                    raise BenchError(f"expected {text.terminal_bytes} bytes, got {len(self.output())}")

    def _verify(self, text: Text) -> float | None:
        digest, total = hashlib.sha256(), 0
        for at, kind, payload in self.frames:
            data = self.wire.stdout(kind, payload)
            digest.update(data)
            total += len(data)
            if total >= text.terminal_bytes:
                if total > text.terminal_bytes or digest.hexdigest() != text.sha256:
                    raise BenchError(
                        f"the output is not what was printed ({total} bytes, {text.terminal_bytes} printed)"
                    )
                return at
        return None

    def acknowledge(self) -> None:
        """Acknowledge output as it comes, each time another 64 KiB have arrived (msgpack only)."""
        wire = cast("MsgpackWire", self.wire)
        acked = 0

        def ack() -> None:
            nonlocal acked
            position = wire.position(self.frames[-1][2])
            if position - acked >= ACK_BYTES:
                acked = position
                self.transport.send(*wire.ack(position))

        self.on_frame = ack


async def connect(url: str, wire: Wire) -> Connection:
    """Open a WebSocket. Raises OSError or picows' WSHandshakeError."""
    headers: Sequence[tuple[str, str]] = (("Sec-WebSocket-Protocol", wire.subprotocol),) if wire.subprotocol else ()
    _, listener = await ws_connect(
        lambda: Connection(wire),
        url,
        extra_headers=headers,
        max_frame_size=2**30,
        read_buffer_init_size=2**18,
    )
    return cast("Connection", listener)


@asynccontextmanager
async def terminal(url: str, wire: Wire) -> AsyncIterator[Connection]:
    """Open a WebSocket to a new terminal, wait for its program, and hang up at the end."""
    connection = await connect(url, wire)
    try:
        await connection.expect(READY)
        connection.clear()
        yield connection
    finally:
        connection.on_frame = None
        connection.transport.disconnect()
        await connection.transport.wait_disconnected()
