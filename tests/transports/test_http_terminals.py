"""Size, input and signals over HTTP."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from support.http_service import HttpService, serve
from terminal_service.keyboard import HIGH_WATER_BYTES
from transports.bodies import LIMIT_BYTES

RAW = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}


async def output(service: HttpService, view: dict[str, Any]) -> bytes:
    return (await service.http.get(service.path(view, "/output"))).content


async def test_input_is_bytes_or_json_and_reaches_the_program_in_order() -> None:
    async with serve() as service:
        view = await service.create()
        path = service.path(view, "/input")
        answer = await service.http.post(path, content=b"\x00\xff", headers=RAW)
        assert (answer.status_code, answer.json()) == (202, {"bytes": 2, "waiting_bytes": 0})
        await service.http.post(path, json={"data": base64.b64encode(b"\x80").decode()})
        await service.http.post(path, json={"text": "ä"})
        await service.wait_for_head(view, 5)
        assert await output(service, view) == b"\x00\xff\x80" + "ä".encode()
        assert (await service.http.get(service.path(view))).json()["last_bump"]["source"] == "input"


@pytest.mark.parametrize(
    ("body", "headers", "status", "field"),
    [
        (b"", RAW, 422, "body"),
        (b"", {}, 422, "body"),
        (b"{", JSON, 400, None),
        (b"[]", JSON, 422, "body"),
        (b"{}", JSON, 422, "body"),
        (b'{"text": "a", "data": "YQ=="}', JSON, 422, "body"),
        (b'{"text": ""}', JSON, 422, "text"),
        (b'{"text": 1}', JSON, 422, "text"),
        (b'{"data": "?"}', JSON, 422, "data"),
        ('{"data": "ä"}'.encode(), JSON, 422, "data"),
        (b'{"text": "a", "n": 1}', JSON, 422, "n"),
        (b'{"text": "\\ud800"}', JSON, 400, None),
        (b'{"text": "\xff"}', JSON, 400, None),
        (b"x", {"Content-Type": "application/merge-patch+json"}, 415, None),
        (b"x", {"Content-Type": "text/plain"}, 415, None),
    ],
)
async def test_wrong_input_is_refused(body: bytes, headers: dict[str, str], status: int, field: str | None) -> None:
    async with serve() as service:
        view = await service.create()
        answer = await service.http.post(service.path(view, "/input"), content=body, headers=headers)
        assert answer.status_code == status, answer.text
        errors = answer.json().get("errors", [])
        assert [each["field"] for each in errors] == ([] if field is None else [field])
        assert (await service.http.get(service.path(view))).json()["seq"] == 0


async def test_input_is_429_while_the_program_does_not_read_and_nothing_taken_is_lost() -> None:
    async with serve() as service:
        view = await service.create()
        terminal = service.sessions.get(view["session_id"]).terminal
        assert terminal is not None
        assert terminal.pty is not None
        terminal.pty.pause_reading()
        path, taken, status = service.path(view, "/input"), 0, 202
        while status == 202:
            answer = await service.http.post(path, content=b"x" * 100_000, headers=RAW)
            status = answer.status_code
            taken += 100_000 if status == 202 else 0
        assert (status, answer.json()["code"]) == (429, "limit_reached")
        assert taken < HIGH_WATER_BYTES + 300_000  # and what the echo program itself holds
        terminal.pty.resume_reading()
        await service.wait_for_head(view, taken)
        assert terminal.log.read_range(0, terminal.log.head) == b"x" * taken


async def test_a_flood_of_input_is_429_until_the_allowance_has_grown_again() -> None:
    size = 1024 * 1024
    async with serve(input_bytes_per_second=size, input_burst_bytes=size) as service:
        view = await service.create()
        path = service.path(view, "/input")
        assert (await service.http.post(path, content=b"x" * LIMIT_BYTES, headers=RAW)).status_code == 202
        service.time.ahead = -1e9  # no time passes
        assert (await service.http.post(path, content=b"x", headers=RAW)).status_code == 429
        service.time.ahead = 10
        await service.wait_for_head(view, LIMIT_BYTES)
        assert (await service.http.post(path, content=b"x", headers=RAW)).status_code == 202


async def test_signals_reach_the_program() -> None:
    async with serve() as service:
        view = await service.create()
        answer = await service.http.post(service.path(view, "/signal"), json={"name": "WINCH"})
        assert (answer.status_code, answer.json()) == (200, {"status": "sent", "name": "WINCH"})
        await service.http.post(service.path(view, "/signal"), json={"name": "KILL"})
        await service.wait_for_end(view)
        shown = (await service.http.get(service.path(view))).json()
        assert (shown["signal"], shown["exit_code"]) == ("SIGKILL", None)


@pytest.mark.parametrize("wrong", [{}, {"name": "SIGKILL"}, {"name": 9}, {"name": "STOP"}, {"name": "INT", "pid": 1}])
async def test_an_unknown_signal_is_refused(wrong: dict[str, Any]) -> None:
    async with serve() as service:
        view = await service.create()
        answer = await service.http.post(service.path(view, "/signal"), json=wrong)
        assert answer.status_code == 422
        assert (await service.http.get(service.path(view))).json()["state"] == "running"


@pytest.mark.parametrize(
    "wrong", [{}, {"rows": 24}, {"rows": 0, "cols": 80}, {"rows": 24, "cols": 1001}, {"rows": None, "cols": 1}]
)
async def test_a_wrong_size_is_refused_and_changes_nothing(wrong: dict[str, Any]) -> None:
    async with serve() as service:
        view = await service.create(rows=10, cols=20)
        assert (await service.http.put(service.path(view, "/resize"), json=wrong)).status_code == 422
        shown = (await service.http.get(service.path(view))).json()
        assert (shown["rows"], shown["cols"]) == (10, 20)


async def test_a_resize_reaches_the_program() -> None:
    async with serve() as service:
        view = await service.create()
        await service.http.put(service.path(view, "/resize"), json={"rows": 40, "cols": 160})
        await service.type(view, "size\r")
        await service.wait_for_head(view, len(b"size\r40 160\r\n"))
        assert await output(service, view) == b"size\r40 160\r\n"
