"""A5 on the whole service: whatever is sent, over WebSocket or HTTP, nothing crashes, hangs, grows or answers 5xx."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from support.raw import BINARY, CLOSE, TEXT, Raw, frame
from support.rest import HANG_SECONDS, REST_SECONDS, Rest
from support.service import Service
from terminal_service import wire
from wire.generate import CLIENT

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
ECHO = ["sh", "-c", "stty raw -echo; printf READY; exec cat"]
STRIKES = 10
EVERY = 50
"""Messages after which it is looked whether the service still answers, on the same connection and on others."""


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Return a message after one to five accidents."""
    mutant = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(mutant) + 1)
        match rng.randrange(4):
            case 0:
                del mutant[place:]
            case 1:
                del mutant[place : place + rng.randrange(1, 8)]
            case 2:
                mutant[place:place] = rng.randbytes(rng.randrange(1, 5))
            case _:
                mutant[place : place + 1] = rng.choice(b'\0\x81\xff"{}[],:0123456789e-\\').to_bytes()
    return bytes(mutant)


class Talk:
    """One attached connection that is opened again whenever the service has closed it."""

    def __init__(self, service: Service, session: str, encoding: str) -> None:
        self.service = service
        self.session = session
        self.encoding = encoding
        self.raw: Raw | None = None
        self.since = 0
        self.codes: list[int] = []

    async def say(self, opcode: int, payload: bytes) -> None:
        """Send a message; now and then make sure that it is heard."""
        if self.raw is None:
            self.raw = await Raw.open(self.service.address[1])
            self.raw.request(
                f"/ws/terminal/{self.session}?control=1&tail_bytes=0",
                Sec_WebSocket_Protocol=f"terminal.v1.{self.encoding}",
            )
            assert b" 101 " in await self.raw.head()
        self.raw.send(frame(opcode, payload))
        self.since += 1
        if self.since % EVERY == 0:
            await self.is_heard()

    async def is_heard(self) -> None:
        """Ask for a pong; the answer is that, or a close frame."""
        if self.raw is None:
            return
        token = b"%d" % self.since
        self.raw.send(frame(0x9, token))
        while True:
            try:
                async with asyncio.timeout(HANG_SECONDS):
                    opcode, payload = await self.raw.receive()
            except (ConnectionError, asyncio.IncompleteReadError):
                break
            if opcode == 0xA and payload == token:
                return
            if opcode == CLOSE:
                self.codes.append(int.from_bytes(payload[:2], "big"))
                break
        await self.close()

    async def close(self) -> None:
        """End."""
        if self.raw is not None:
            raw, self.raw = self.raw, None
            await raw.__aexit__()


@pytest.mark.full
@pytest.mark.timeout(120)
async def test_nothing_that_is_sent_over_websocket_does_harm(
    tmp_path: Path, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    count = size(6_000, 300_000) // 6
    harmless = [message for message in CLIENT.values() if not isinstance(message, wire.Detach | wire.Signal)]
    as_json = [wire.encode_json(message) for message in harmless]
    as_msgpack = [wire.encode_msgpack(message) for message in harmless]
    kinds: list[tuple[str, int, Callable[[], bytes]]] = [
        ("json", TEXT, lambda: mutate(rng, rng.choice(as_json)).decode("utf-8", "replace").encode()),
        ("json", BINARY, lambda: mutate(rng, rng.choice(as_json))),
        ("raw", TEXT, lambda: mutate(rng, rng.choice(as_json)).decode("latin-1").encode()),
        ("msgpack", BINARY, lambda: mutate(rng, rng.choice(as_msgpack))),
        ("msgpack", BINARY, lambda: rng.randbytes(rng.randrange(60))),
        ("msgpack", TEXT, lambda: rng.randbytes(rng.randrange(60)).decode("latin-1").encode()),
    ]
    async with Service(tmp_path) as service:
        # What is typed by chance may be the end of input, or a signal.
        deaf = "trap '' INT QUIT TERM HUP; while cat; do :; done"
        victim = await service.create_session(command=["sh", "-c", deaf])
        echo = (await service.create_session(command=ECHO))["session_id"]
        async with service.client(echo) as client:
            await client.wait_for_output(b"READY")
            before, rest = 0, Rest(service)
            for encoding, opcode, make in kinds:
                talk = Talk(service, victim["session_id"], encoding)
                for number in range(count):
                    await talk.say(opcode, make())
                    if number % (EVERY * 4) == 0:
                        position = client.position
                        with rest.measured():
                            client.send_unnumbered(b"x")
                            await client.wait(lambda at=position: client.position > at, "an echo")  # type: ignore[misc]
                await talk.is_heard()
                await talk.close()
                assert set(talk.codes) <= {1000, 4400}, talk.codes
                before = before or service.psutil.memory_info().rss  # after the first kind: all caches are filled
            rest.check()
            assert service.psutil.memory_info().rss - before < 16 * MIB
            assert client.attaches == 1
        log = service.log()
        assert "Traceback" not in log
        assert "Exception" not in log


@pytest.mark.full
async def test_strikes_in_a_row_close_and_a_good_message_forgives(
    tmp_path: Path, size: Callable[[int, int], int]
) -> None:
    async with Service(tmp_path) as service:
        session = (await service.create_session(command=["cat"]))["session_id"]
        good = frame(BINARY, msgspec.msgpack.encode({"type": "pong", "timestamp": 1.0}))
        # A message, for its answer comes behind those to what was sent before; that to a frame overtakes them.
        last = frame(BINARY, msgspec.msgpack.encode({"type": "ping", "timestamp": 2.0}))
        for _ in range(size(2, 50)):
            async with await Raw.open(service.address[1]) as raw:
                raw.request(f"/ws/terminal/{session}", Sec_WebSocket_Protocol="terminal.v1.msgpack")
                assert b" 101 " in await raw.head()
                for _ in range(5):
                    raw.send(*[frame(BINARY, b"\xc1")] * (STRIKES - 1), good)
                raw.send(last)
                errors = 0
                while b"pong" not in (payload := (await raw.receive())[1]):
                    errors += b"invalid_message" in payload
                assert errors == 5 * (STRIKES - 1)
                raw.send(*[frame(BINARY, b"\xc1")] * STRIKES)
                assert await raw.close_code() == 4400


METHODS = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"BREW", b"")
TARGETS = (
    *(b"/", b"/health", b"/api/v1/sessions", b"/api/v1/sessions/%s", b"/api/v1/sessions/%s/output?from=%d&limit=%d"),
    *(
        b"/api/v1/sessions/%s/input",
        b"/api/v1/sessions/%s/resize",
        b"/api/v1/sessions/%s/signal",
        b"/metrics",
        b"/docs",
    ),
    *(b"/api/v1/sessions?cursor=%s", b"/ws/terminal/%s?recover_from=%d", b"*", b"//evil/%s", b"http://evil/%s", b"/%s"),
)
BODIES = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"rows":1e999}',
    b'{"rows":24,"rows":25}',
    b"\xff\xfe",
    b'"' * 2000,
    b"[" * 50_000,
)
HEADERS = (
    *(b"Content-Type: application/json", b"Content-Type: text/plain", b"Content-Type: application/octet-stream"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Content-Length: -1", b"Content-Length: 1e3"),
    *(
        b"Expect: 100-continue",
        b"Upgrade: websocket",
        b"Connection: upgrade",
        b"Sec-WebSocket-Key: x",
        b"Range: bytes=-1",
    ),
    *(
        b"Origin: null",
        b"Origin: http://evil",
        b"Authorization: Bearer \xff",
        b"Idempotency-Key: k",
        b"Cookie: \xff=;;",
    ),
    *(b"Accept: */*;q=x", b"X-Forwarded-For: ::1", b"Host: evil", b": empty", b"No-Colon", b"X: \x00", b" folded: y"),
)


def request(rng: random.Random, session: bytes) -> bytes:
    """Return a request that is wrong in some ways, or now and then in none."""
    if rng.random() < 0.05:
        return b"GET /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n"
    target = rng.choice(TARGETS)
    for mark, values in (
        (b"%s", [session, b"%00", b"%ff", b"..", b"a" * 300]),
        (b"%d", [b"-1", b"0", b"9" * 30, b"x"]),
    ):
        while mark in target:
            target = target.replace(mark, rng.choice(values), 1)
    body = rng.choice(BODIES)
    headers = rng.sample(HEADERS, rng.randrange(5))
    if rng.random() < 0.8:
        headers.append(b"Host: localhost")
    if rng.random() < 0.7:
        headers.append(b"Content-Length: %d" % len(body))
    whole = b"\r\n".join([b"%s %s HTTP/1.1" % (rng.choice(METHODS), target), *headers, b"", body])
    return mutate(rng, whole) if rng.random() < 0.5 else whole


async def ask(service: Service, data: bytes) -> int:
    """Send, and return the status that is answered; 0 if none is: it waits for the rest, until it loses patience."""
    async with await Raw.open(service.address[1]) as raw:
        raw.send(data)
        try:
            async with asyncio.timeout(REST_SECONDS):
                answer = await raw.reader.read(1 << 16)
        except (ConnectionError, TimeoutError):
            return 0
    status = int(answer.split(None, 2)[1]) if answer else 0
    assert status < 500, (data, answer)
    return status


@pytest.mark.full
@pytest.mark.timeout(120)
async def test_nothing_that_is_sent_over_http_does_harm(
    tmp_path: Path, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    async with Service(tmp_path, MAX_SESSIONS="5") as service:
        session = (await service.create_session(command=["cat"]))["session_id"].encode()
        before, statuses, rest = 0, set[int](), Rest(service)
        for _ in range(size(600, 100_000) // 100):
            async with asyncio.TaskGroup() as tasks:  # most of those that wait wait together
                asked = [tasks.create_task(ask(service, request(rng, session))) for _ in range(100)]
            statuses |= {each.result() for each in asked}
            with rest.measured():
                assert (await service.http.get("/health")).status_code == 200
            before = before or service.psutil.memory_info().rss
        rest.check()
        assert {200, 400, 404} <= statuses
        assert service.psutil.memory_info().rss - before < 16 * MIB
        assert "Traceback" not in service.log()
