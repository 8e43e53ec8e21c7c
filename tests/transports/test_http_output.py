"""Output over HTTP: ranges, told gaps, following."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from replay.log import SLACK_BYTES
from replay.memory import MemoryStore
from support.http_service import HttpService, serve
from support.wait import wait_until
from transports.http_output import RANGE_BYTES, RANGE_BYTES_LIMIT
from transports.ranges import Start, starting_point

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replay.log import Log

KEPT = 64 * 1024


async def flooded(service: HttpService, count: int, **fields: object) -> dict[str, Any]:
    """Return a session, over, that has printed `count` bytes."""
    view = await service.create(command=["flood", str(count)], **fields)
    await service.wait_for_end(view)
    return view


async def read(service: HttpService, view: dict[str, Any], **query: Any) -> httpx.Response:
    return await service.http.get(service.path(view, "/output"), params=query)


async def test_a_range_tells_its_positions() -> None:
    async with serve() as service:
        view = await service.create()
        await service.type(view, "0123456789")
        await service.wait_for_head(view, 10)
        whole = await read(service, view)
        assert (whole.status_code, whole.content) == (200, b"0123456789")
        assert whole.headers["content-type"] == "application/octet-stream"
        assert "content-range" not in whole.headers
        part = await read(service, view, **{"from": 3, "limit": 4})
        assert (part.status_code, part.content) == (206, b"3456")
        assert part.headers["content-range"] == "bytes 3-6/10"
        told = {name: part.headers[f"x-terminal-{name}"] for name in ("from", "head", "first", "epoch")}
        assert told == {"from": "3", "head": "10", "first": "0", "epoch": view["epoch"]}
        assert "x-terminal-lost-bytes" not in part.headers
        nothing = await read(service, view, **{"from": 10})
        assert (nothing.status_code, nothing.content) == (200, b"")


async def test_pages_are_bounded_and_make_up_the_whole() -> None:
    size = RANGE_BYTES_LIMIT + RANGE_BYTES + 5
    async with serve() as service:
        view = await flooded(service, size)
        assert len((await read(service, view)).content) == RANGE_BYTES
        assert len((await read(service, view, limit=2**40)).content) == RANGE_BYTES_LIMIT
        pages = bytearray()
        while page := (await read(service, view, **{"from": len(pages)})).content:
            pages += page
        assert bytes(pages) == b"x" * size


async def test_what_is_no_longer_kept_is_told_never_silent() -> None:
    async with serve() as service:
        view = await flooded(service, 3 * KEPT, retention_bytes=KEPT)
        answer = await read(service, view, **{"from": 1000})
        assert (answer.status_code, len(answer.content)) == (206, KEPT)
        assert answer.headers["x-terminal-lost-bytes"] == str(2 * KEPT - 1000)
        assert answer.headers["content-range"] == f"bytes {2 * KEPT}-{3 * KEPT - 1}/{3 * KEPT}"
        strict = await read(service, view, **{"from": 1000, "strict": True})
        assert (strict.status_code, strict.json()["code"]) == (416, "position_trimmed")
        assert strict.headers["content-range"] == f"bytes */{3 * KEPT}"
        exact = await read(service, view, **{"from": 2 * KEPT, "strict": True})
        assert (exact.status_code, len(exact.content)) == (206, KEPT)
        assert service.sessions.counters.gap_bytes["trimmed"] == 2 * KEPT - 1000


async def test_a_position_beyond_the_end_is_416() -> None:
    async with serve() as service:
        view = await service.create()
        for query in ({"from": 1}, {"from": 2**63 - 1}, {"from": 1, "follow": True}):
            answer = await read(service, view, **query)
            assert (answer.status_code, answer.json()["code"]) == (416, "position_beyond_end")
            assert answer.headers["content-range"] == "bytes */0"


async def test_another_epoch_begins_anew_or_is_416() -> None:
    async with serve() as service:
        view = await flooded(service, 100)
        same = await read(service, view, **{"from": 60, "epoch": view["epoch"], "strict": True})
        assert (same.status_code, len(same.content)) == (206, 40)
        other = await read(service, view, **{"from": 60, "epoch": "another"})
        assert (len(other.content), other.headers["x-terminal-from"]) == (100, "0")
        assert other.headers["x-terminal-epoch"] == view["epoch"]
        strict = await read(service, view, **{"from": 60, "epoch": "another", "strict": True})
        assert (strict.status_code, strict.json()["code"]) == (416, "epoch_changed")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"from": -1}, "from"),
        ({"from": "x"}, "from"),
        ({"from": 2**63}, "from"),
        ({"limit": 0}, "limit"),
        ({"follow": "maybe"}, "follow"),
        ({"epoch": "x" * 65}, "epoch"),
    ],
)
async def test_a_wrong_query_is_named(wrong: dict[str, Any], field: str) -> None:
    async with serve() as service:
        answer = await read(service, await service.create(), **wrong)
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == [field]


async def test_following_gives_every_byte_until_the_session_ends() -> None:
    async with serve() as service:
        view = await service.create()
        await service.type(view, "before\r")
        await service.wait_for_head(view, 7)
        got = bytearray()
        params = {"from": 2, "follow": True}
        async with service.http.stream("GET", service.path(view, "/output"), params=params) as answer:
            assert (answer.status_code, answer.headers["x-terminal-from"]) == (200, "2")
            assert "content-length" not in answer.headers
            chunks = answer.aiter_raw()
            got += await anext(chunks)
            await service.type(view, "flood 1000000\r")
            await service.type(view, "exit\r")
            async for chunk in chunks:
                got += chunk
        whole = b"before\rflood 1000000\r" + b"x" * 10**6 + b"exit\r"
        assert bytes(got) == whole[2:]


async def test_following_stops_after_the_limit() -> None:
    async with serve() as service:
        view = await service.create()
        await service.type(view, "0123456789")
        answer = await read(service, view, follow=True, limit=4)
        assert answer.content == b"0123"


async def test_following_an_ended_session_gives_what_is_kept_and_ends() -> None:
    async with serve() as service:
        view = await flooded(service, 3 * KEPT, retention_bytes=KEPT)
        answer = await read(service, view, follow=True)
        assert (answer.status_code, answer.content) == (200, b"x" * KEPT)
        assert answer.headers["x-terminal-lost-bytes"] == str(2 * KEPT)


async def test_a_follower_that_leaves_is_forgotten() -> None:
    async with serve(max_viewers_per_session=1) as service:
        view = await service.create()
        path = service.path(view, "/output")
        terminal = service.sessions.get(view["session_id"]).terminal
        assert terminal is not None
        log = terminal.log
        async with service.http.stream("GET", path, params={"follow": True}):
            await wait_until(lambda: len(log._readers) == 1, description="the follower to be there")
            answer = await read(service, view, follow=True)
            assert (answer.status_code, answer.json()["code"]) == (429, "limit_reached")
        await wait_until(lambda: not log._readers, description="the follower to be gone")
        await service.type(view, "exit\r")
        assert (await read(service, view, follow=True)).content == b"exit\r"


async def test_a_follower_too_slow_is_cut_off_never_given_wrong_bytes() -> None:
    flood = 32 * 1024 * 1024  # far more than the sockets' buffers
    async with serve() as service:
        view = await service.create(retention_bytes=KEPT)
        url = httpx.URL(service.url)
        with socket.create_connection((url.host, url.port or 0)) as slow:
            slow.settimeout(0)
            path = service.path(view, "/output?follow=true")
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(slow, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await loop.sock_recv(slow, 4096)
            assert head.startswith(b"HTTP/1.1 200 OK")
            await service.type(view, f"flood {flood}\r")
            await service.wait_for_head(view, flood)
            gaps = service.sessions.counters.gaps
            got = bytearray(head)
            while piece := await loop.sock_recv(slow, 65536):
                got += piece
        assert gaps["trimmed"] == 1
        assert not got.endswith(b"0\r\n\r\n")  # no last chunk: the answer is broken, and every client says so
        body = b"".join(chunks(bytes(got)))
        assert body.startswith(b"flood %d\r" % flood)
        assert body.count(b"x") == len(body) - len(b"flood %d\r" % flood)


def chunks(answer: bytes) -> Iterator[bytes]:
    """Yield the chunks of a chunked body, which may have been cut off."""
    at = answer.index(b"\r\n\r\n") + 4
    while (end := answer.find(b"\r\n", at)) > 0:
        size = int(answer[at:end], 16)
        yield answer[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def log_of(written: int) -> Log:
    log = MemoryStore().create("s/main", KEPT)
    for _ in range(written // SLACK_BYTES):
        log.append(b"x" * SLACK_BYTES)
    log.append(b"x" * (written % SLACK_BYTES))
    return log


@pytest.mark.parametrize(
    ("asked", "epoch", "start"),
    [
        (0, None, Start(KEPT, KEPT, is_same_epoch=True)),
        (KEPT - 1, None, Start(KEPT, 1, is_same_epoch=True)),
        (KEPT, None, Start(KEPT, 0, is_same_epoch=True)),
        (2 * KEPT, None, Start(2 * KEPT, 0, is_same_epoch=True)),
        (2 * KEPT + 1, None, None),
        (2 * KEPT + 1, "another", Start(KEPT, KEPT, is_same_epoch=False)),
    ],
)
def test_where_reading_begins(asked: int, epoch: str | None, start: Start | None) -> None:
    log = log_of(2 * KEPT)
    assert starting_point(log, asked, epoch) == start
    log.close()
