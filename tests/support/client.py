"""The reference client: keeps what it received, checks what it is told, comes back after every disconnect.

Only this module of the tests talks to the service over WebSocket in earnest. Use::

    async with Client(base_url, session_id, encoding="msgpack") as client:
        client.send_line("ls")
        await client.wait_for_output(rb"README")
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.typing import Subprotocol

from support.outbox import Outbox
from support.speech import SUBPROTOCOLS, decode, encode
from support.transcript import Deviation, Request, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from support.speech import Message

FINAL_CODES = {1000, 1008, 1009, 4400, 4401, 4403, 4404, 4409, 4410, 4429}
"""Close codes after which coming back makes no sense."""

CROSSING_CODES = {"session_over", "restarting"}
"""Codes of errors that are nobody's mistake: typing, and an end or a restart, may cross."""


class Client:
    """A viewer with a memory: one task, owned by the context manager, that connects until it is over.

    `silence_seconds`: a connection on which nothing arrives for this long, though pings are sent at a third
    of it, is taken for dead. `encoding` "plain" is JSON without a subprotocol. `strict`: an `error` message is
    a deviation too. `keep` False: output is checked and counted, but not held. `retry_seconds`: how long it waits
    after it could not connect.
    """

    def __init__(
        self,
        base_url: str,
        session_id: str,
        *,
        encoding: str = "msgpack",
        client_id: str | None = None,
        recover_from: int | str | None = 0,
        role: str | None = None,
        mode: str | None = None,
        tail_bytes: int | None = None,
        acks: bool = False,
        strict: bool = True,
        reconnect: bool = True,
        keep: bool = True,
        silence_seconds: float = 10.0,
        retry_seconds: float = 0.01,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.base_url = base_url.replace("http", "ws", 1).rstrip("/")
        self.session_id = session_id
        self.encoding = encoding
        self.client_id = client_id or uuid.uuid4().hex
        self.recover_from = recover_from
        self.acks = acks
        self.strict = strict
        self.reconnect = reconnect
        self.keep = keep
        self.silence_seconds = silence_seconds
        self.retry_seconds = retry_seconds
        self.transcript = Transcript()
        self.attached: Message = {}
        self.ended: Message | None = None
        self.messages: deque[Message] = deque(maxlen=1000)  # all but output, the newest
        self.errors: list[Message] = []
        self.close_codes: deque[tuple[int, str]] = deque(maxlen=1000)
        self.attached_at: list[float] = []  # monotonic seconds
        self.failures = 0
        self.is_attached = False
        self._query = {"role": role, "mode": mode, "tail_bytes": tail_bytes}
        self._headers = dict(headers or {})
        self._outbox = Outbox()
        self._controls: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._is_leaving = False
        self._waiters: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._connection: ClientConnection | None = None

    # -- what was received

    @property
    def data(self) -> bytes:
        """The output held, continuous from `transcript.start` on."""
        return bytes(self.transcript.data)

    @property
    def position(self) -> int:
        """Where the next byte belongs."""
        return self.transcript.position or 0

    @property
    def attaches(self) -> int:
        """How often it was attached."""
        return len(self.attached_at)

    @property
    def unacked(self) -> int:
        """How many inputs are not acknowledged."""
        return len(self._outbox)

    async def wait(self, condition: Callable[[], object], what: str, *, seconds: float = 30.0) -> None:
        """Wait until the condition holds; looked at after every message and every disconnect."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._raise_if_over(what)
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    await waiter
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s: {what}; {self}") from None

    async def wait_for_output(
        self, pattern: bytes | re.Pattern[bytes], *, since: int = 0, seconds: float = 30.0
    ) -> re.Match[bytes]:
        """Wait for a match (bytes: a regular expression) at or after position `since`; return it."""
        wanted = re.compile(pattern) if isinstance(pattern, bytes) else pattern

        def find() -> re.Match[bytes] | None:
            return wanted.search(self.transcript.data, max(0, since - self.transcript.start))

        await self.wait(find, f"output {wanted.pattern!r}", seconds=seconds)
        found = find()
        assert found is not None
        return found

    async def wait_ended(self, *, seconds: float = 30.0) -> Message:
        """Wait for `session_ended`; return it."""
        await self.wait(lambda: self.ended, "session_ended", seconds=seconds)
        assert self.ended is not None
        return self.ended

    async def wait_acked(self, *, seconds: float = 30.0) -> None:
        """Wait until every input is acknowledged."""
        await self.wait(lambda: not self._outbox, "input_ack of everything", seconds=seconds)

    async def wait_over(self, *, seconds: float = 30.0) -> None:
        """Wait until the client has gone for good: after an end, a final close code, or `detach`."""
        assert self._task is not None
        await asyncio.wait([self._task], timeout=seconds)
        assert self._task.done(), f"still there after {seconds} s: {self}"
        self._task.result()

    def _raise_if_over(self, what: str) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
            raise AssertionError(f"the client is over, and never: {what}; {self}")

    # -- what is sent

    def send_input(self, data: bytes) -> int:
        """Send numbered input, again after every disconnect until it is acknowledged; return its number."""
        number = self._outbox.put(data)
        self._wake.set()
        return number

    def send_line(self, text: str) -> int:
        """Type a line."""
        return self.send_input(text.encode() + b"\r")

    def send(self, **message: object) -> None:
        """Send any message once, when next connected; lost if that connection breaks."""
        self._controls.append(message)
        self._wake.set()

    def send_unnumbered(self, data: bytes) -> None:
        """Send input as the simplest client does."""
        self.send(type="input", data=data)

    def resize(self, rows: int, cols: int) -> None:
        """Tell the size."""
        self.send(type="resize", rows=rows, cols=cols)

    def signal(self, name: str) -> None:
        """Send a signal to the foreground process group."""
        self.send(type="signal", name=name)

    def mode(self, mode: str) -> None:
        """Change the delivery mode."""
        self.send(type="mode", mode=mode)

    async def detach(self) -> None:
        """Leave without ending the session."""
        self._is_leaving = True
        self.send(type="detach")
        await self.wait_over()

    def abort(self) -> None:
        """Lose the connection now, without a close frame."""
        if self._connection is not None:
            self._connection.transport.abort()

    # -- the life

    async def run(self) -> None:
        """Connect, attach, receive; again after every disconnect, until it is over. Raises Deviation."""
        try:
            while not self._is_over:
                try:
                    await self._once()
                except (OSError, TimeoutError, InvalidHandshake, InvalidMessage, EOFError):
                    self.failures += 1
                    if not self.reconnect:
                        raise
                    await asyncio.sleep(self.retry_seconds)
                self._notify()
        finally:
            self._notify_soon()

    @property
    def _is_over(self) -> bool:
        if self.ended is not None or (self.close_codes and not self.reconnect):
            return True
        code = self.close_codes[-1][0] if self.close_codes else 0
        return code in FINAL_CODES or (self._is_leaving and bool(self.close_codes))

    async def _once(self) -> None:
        request = self._request()
        self.transcript.ask(request)
        async with (
            asyncio.timeout(self.silence_seconds) as opening,
            connect(
                self._url(request),
                subprotocols=[Subprotocol(SUBPROTOCOLS[self.encoding])] if self.encoding != "plain" else None,
                additional_headers=self._headers,
                compression=None,
                ping_interval=None,
                close_timeout=0.5,
                max_size=1 << 24,
                proxy=None,
            ) as connection,
        ):
            opening.reschedule(None)
            if connection.subprotocol != SUBPROTOCOLS.get(self.encoding):
                raise Deviation(f"asked for {self.encoding}, given {connection.subprotocol}")
            self._connection = connection
            try:
                await self._talk(connection)
            finally:
                self.is_attached = False
                self._connection = None
                connection.transport.abort()
        self.close_codes.append((connection.close_code or 1006, connection.close_reason or ""))
        await self._obey_restart()

    async def _talk(self, connection: ClientConnection) -> None:
        sender = asyncio.create_task(self._send_all(connection), name="client sender")
        sender.add_done_callback(lambda _: connection.transport.abort())
        try:
            with contextlib.suppress(ConnectionClosed):
                await self._receive_all(connection)
        finally:
            sender.cancel()
            await asyncio.wait([sender])
        if not sender.cancelled():
            sender.result()

    async def _receive_all(self, connection: ClientConnection) -> None:
        while True:
            try:
                async with asyncio.timeout(self.silence_seconds):
                    frame = await connection.recv()
            except TimeoutError:
                connection.transport.abort()  # half open: nobody will ever tell us
                return
            self._take(decode(self._codec, frame))
            self._notify()

    async def _send_all(self, connection: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._wake.clear()
                while self._controls and self.is_attached:
                    await connection.send(encode(self._codec, self._controls.popleft()))
                while self.is_attached and not self.attached.get("ended") and (unsent := self._outbox.take_unsent()):
                    number, data = unsent
                    await connection.send(encode(self._codec, {"type": "input", "data": data, "n": number}))
                if self._controls and self.is_attached:
                    continue
                try:
                    async with asyncio.timeout(self.silence_seconds / 3):
                        await self._wake.wait()
                except TimeoutError:
                    await connection.send(encode(self._codec, {"type": "ping", "timestamp": time.time()}))

    @property
    def _codec(self) -> str:
        return "json" if self.encoding == "plain" else self.encoding

    def _request(self) -> Request:
        transcript = self.transcript
        position = self.recover_from if transcript.position is None else transcript.position
        return Request(self.session_id, self.client_id, position, transcript.epoch)

    def _url(self, request: Request) -> str:
        query = {
            **self._query,
            "client_id": self.client_id,
            "recover_from": request.position,
            "epoch": request.epoch,
            "control": 1 if self.encoding == "raw" else None,
        }
        told = urlencode({name: value for name, value in query.items() if value is not None})
        return f"{self.base_url}/ws/terminal/{self.session_id}?{told}"

    async def _obey_restart(self) -> None:
        code, reason = self.close_codes[-1]
        if code == 1012 and self.reconnect and (delay := re.search(r"retry_after_ms=(\d+)", reason)):
            await asyncio.sleep(int(delay[1]) / 1000)

    # -- what messages do

    def _take(self, message: Message) -> None:
        self.transcript.take(message)
        kind = message["type"]
        if kind in {"output", "raw_output"}:
            if not self.keep:
                self.transcript.forget()
            if self.acks:
                self.send(type="ack", seq=self.position)
            return
        self.messages.append(message)
        match kind:
            case "attached":
                self._begin(message)
            case "input_ack":
                self._outbox.acknowledge(message["n"])
            case "ping":
                self.send(type="pong", timestamp=message["timestamp"])
            case "session_ended":
                self.ended = message
            case "error":
                self.errors.append(message)
                if self.strict and message["code"] not in CROSSING_CODES:
                    raise Deviation(f"error message: {message}")

    def _begin(self, message: Message) -> None:
        self.attached = message
        self.attached_at.append(time.monotonic())
        self._controls = deque(control for control in self._controls if control["type"] not in {"ack", "pong"})
        self._outbox.begin(message["input_n"])
        self.is_attached = True
        self._wake.set()

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _notify_soon(self) -> None:
        # From the task's last step: a waiter must find the task done, and its result.
        asyncio.get_running_loop().call_soon(self._notify)

    async def __aenter__(self) -> Self:
        """Start to connect, and wait for the first attach (or the end of all trying)."""
        self._task = asyncio.create_task(self.run(), name=f"client {self.client_id}")
        try:
            await self.wait(lambda: self.attaches, "attached")
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; raise what the client found, unless the test has failed already."""
        await self._stop()
        if error is None and self._task is not None and not self._task.cancelled():
            self._task.result()

    async def _stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # looked at: asyncio need not warn

    def __repr__(self) -> str:
        """Tell what a failed test needs to know."""
        return (
            f"<Client {self.encoding} at {self.transcript.position}, {self.attaches} attaches, "
            f"{self.failures} failures, {len(self._outbox)} unacked, closes {list(self.close_codes)[-3:]}, "
            f"errors {self.errors[-3:]}, ended {self.ended}>"
        )
