"""One WebSocket to a terminal, spoken by hand: what a test says and hears, message by message.

`support.client` is a well-behaved client that hides what goes on; here nothing is hidden and nothing is answered
but WebSocket pings.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from support.speech import SUBPROTOCOLS, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.service import Service
    from support.speech import Message

SECONDS = 30.0


class Talk:
    """A connection to `session_id`; the query's fields are keyword arguments. Every wait is bounded.

    `encoding`: "plain" (no subprotocol), "json", "msgpack", "raw". Everything heard is kept in `messages`, its
    output in `data`.
    """

    def __init__(
        self,
        service: Service,
        session_id: str,
        *,
        encoding: str = "json",
        path: str = "",
        headers: Mapping[str, str] | None = None,
        **query: object,
    ) -> None:
        base = service.base_url.replace("http", "ws", 1)
        self.url = f"{base}/ws/terminal/{session_id}{path}" + (f"?{urlencode(query)}" if query else "")
        self.encoding = encoding
        self.messages: list[Message] = []
        self.data = bytearray()
        self._headers = dict(headers or {})
        self._pings = 0
        self._connection: ClientConnection | None = None

    @property
    def connection(self) -> ClientConnection:
        """The connection under it."""
        assert self._connection is not None, "not connected"
        return self._connection

    # -- saying

    async def send(self, kind: str, **fields: object) -> None:
        """Send a message."""
        await self.connection.send(encode(self._codec, {"type": kind, **fields}))

    async def type(self, data: bytes | str, **fields: object) -> None:
        """Send input."""
        await self.send("input", data=data.encode() if isinstance(data, str) else data, **fields)

    @property
    def _codec(self) -> str:
        return "json" if self.encoding == "plain" else self.encoding

    # -- hearing

    async def receive(self, *, seconds: float = SECONDS) -> Message:
        """Return the next message. Raises ConnectionClosed, TimeoutError."""
        async with asyncio.timeout(seconds):
            message = decode(self._codec, await self.connection.recv())
        self.messages.append(message)
        if message["type"] in {"output", "raw_output"}:
            self.data += message["data"]
        return message

    async def until(self, wanted: Callable[[], Any], what: str, *, seconds: float = SECONDS) -> Any:
        """Receive until a condition holds; return what it returned."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := wanted()):
                    await self.receive(seconds=seconds)
        except (TimeoutError, ConnectionClosed) as error:
            raise AssertionError(f"in vain for {what}: {error!r}, {self}") from error
        return found

    async def hear(self, kind: str, **fields: object) -> Message:
        """Receive until a message of a type, with these values; one heard before does not count."""
        start = len(self.messages)

        def find() -> Message | None:
            fitting = (message for message in self.messages[start:] if message["type"] == kind)
            return next((each for each in fitting if fields.items() <= each.items()), None)

        found: Message = await self.until(find, f"{kind} {fields}")
        return found

    async def output(self, pattern: bytes, *, since: int = 0, seconds: float = SECONDS) -> re.Match[bytes]:
        """Receive until the output matches a regular expression."""
        compiled = re.compile(pattern, re.DOTALL)
        found: re.Match[bytes] = await self.until(
            lambda: compiled.search(bytes(self.data), since), f"output {pattern!r}", seconds=seconds
        )
        return found

    async def echoed(self) -> None:
        """Wait for the answer to a ping: everything sent before was acted on."""
        self._pings += 1
        await self.send("ping", timestamp=float(self._pings))
        await self.hear("pong", timestamp=float(self._pings))

    async def closed(self, *, seconds: float = SECONDS) -> tuple[int, str]:
        """Receive until the end of the connection; return its close code and reason."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self.receive(seconds=seconds)
        except ConnectionClosed:
            return self.connection.close_code or 1006, self.connection.close_reason or ""
        except TimeoutError as error:
            raise AssertionError(f"not closed within {seconds} s: {self}") from error

    def all(self, kind: str) -> list[Message]:
        """Return every message of a type heard so far."""
        return [message for message in self.messages if message["type"] == kind]

    def one(self, kind: str) -> Message:
        """Return the only message of a type heard so far."""
        (message,) = self.all(kind)
        return message

    @property
    def seq(self) -> int:
        """The position after the last output heard, or where it started."""
        outputs = self.all("output")
        return int(outputs[-1]["seq"] if outputs else self.one("attached")["seq"])

    # -- the context

    async def __aenter__(self) -> Self:
        """Connect."""
        self._connection = await connect(
            self.url,
            subprotocols=[Subprotocol(SUBPROTOCOLS[self.encoding])] if self.encoding != "plain" else None,
            additional_headers=self._headers,
            compression=None,
            ping_interval=None,
            close_timeout=1,
            max_size=1 << 24,
            proxy=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave."""
        await self.connection.close()

    def __repr__(self) -> str:
        """Tell what a failed test needs to know."""
        return f"<Talk {self.encoding} {self.url} heard {self.messages[-8:]}>"
