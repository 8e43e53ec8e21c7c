"""Signs of life: heartbeats, pings both ways, and what becomes of who gives none."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

from support.raw import CLOSE, PING, PONG, TEXT, Raw, frame
from support.talk import Talk

if TYPE_CHECKING:
    from support.shared import SharedService

INTERVAL = 0.3
SILENT_INTERVALS = 3
SETTINGS = {"WEBSOCKET_PING_INTERVAL": str(INTERVAL), "HEARTBEAT_INTERVAL": "0.2"}


@pytest.fixture
async def session(service: SharedService) -> str:
    return str((await service.create_session(command=["cat"], ttl_seconds=1000))["session_id"])


async def attached(service: SharedService, session: str, query: str = "") -> Raw:
    """Return a connection that answers nothing by itself, attached."""
    raw = await Raw.open(service.address[1])
    raw.request(f"/ws/terminal/{session}{query}")
    assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
    return raw


@pytest.mark.parametrize("encoding", ["plain", "json", "msgpack", "raw"])
async def test_heartbeats_tell_how_the_session_is(service: SharedService, session: str, encoding: str) -> None:
    async with Talk(service, session, encoding=encoding, control=1) as talk, Talk(service, session) as other:
        assert (await talk.hear("attached"))["heartbeat_interval"] == 0.2
        await other.type("x\n")
        await talk.output(rb"x\r\nx\r\n")
        beat = await talk.hear("heartbeat", seq=6)
        assert (beat["session_id"], beat["viewers"]) == (session, 2)
        assert abs(beat["timestamp"] - time.time()) < 5
        assert abs(beat["expires_at"] - time.time() - 1000) < 5
        later = await talk.hear("heartbeat")
        assert later["timestamp"] > beat["timestamp"]


async def test_who_gives_no_sign_of_life_is_cut_after_three_intervals(service: SharedService, session: str) -> None:
    begun = time.monotonic()
    async with await attached(service, session) as raw:
        opcodes, pings = [], 0
        while True:
            opcode, payload = await raw.receive()
            opcodes.append(opcode)
            pings += opcode == TEXT and json.loads(payload)["type"] == "ping"
            if opcode == CLOSE:
                break
        assert (int.from_bytes(payload[:2]), payload[2:]) == (1001, b"ping timeout")
        assert time.monotonic() - begun > SILENT_INTERVALS * INTERVAL
        assert pings >= SILENT_INTERVALS - 1, "the last interval ends with the cut"
        assert PING in opcodes, "beside messages"
    assert (await service.info(session))["state"] == "running"


@pytest.mark.parametrize("sign", ["pong frame", "message", "unreadable message"])
async def test_any_sign_of_life_is_one(service: SharedService, session: str, sign: str) -> None:
    signs = {
        "pong frame": frame(PONG),
        "message": frame(TEXT, b'{"type":"pong","timestamp":0}'),
        "unreadable message": frame(TEXT, b"?") + frame(TEXT, b'{"type":"ack","seq":0}'),
    }
    async with await attached(service, session) as raw:
        pings = 0
        while pings < SILENT_INTERVALS + 3:
            opcode, payload = await raw.receive()
            assert opcode != CLOSE, payload
            if opcode == PING:
                pings += 1
                raw.send(signs[sign])


async def test_a_client_that_answers_websocket_pings_only_stays(service: SharedService, session: str) -> None:
    async with Talk(service, session, encoding="plain") as talk:
        for _ in range(SILENT_INTERVALS + 3):
            await talk.hear("ping")
        await talk.type("still here\n")
        await talk.output(rb"still here\r\nstill here")


async def test_the_end_of_a_silent_viewer_is_told_to_the_others(service: SharedService, session: str) -> None:
    async with Talk(service, session, client_id="talks") as talk:
        await talk.hear("viewers")
        async with await attached(service, session, "?client_id=silent"):
            told = await talk.hear("viewers")
            assert [viewer["client_id"] for viewer in told["viewers"]] == ["talks", "silent"]
            told = await talk.hear("viewers")
            assert [viewer["client_id"] for viewer in told["viewers"]] == ["talks"]


async def test_a_viewer_whose_input_is_not_read_is_not_taken_for_silent(service: SharedService) -> None:
    script = "stty raw -echo; trap 'exec cat >/dev/null' USR1; printf READY; while :; do sleep 0.1; done"
    session = (await service.create_session(command=["bash", "-c", script]))["session_id"]
    async with Talk(service, session, encoding="msgpack", recover_from=0) as talk:
        await talk.output(rb"READY")

        async def paste() -> None:  # more than waits in the service: it reads no further
            for number in range(1, 61):
                await talk.type(bytes(64 * 1024), n=number)

        pasting = asyncio.create_task(paste())
        for _ in range(SILENT_INTERVALS + 3):
            await talk.hear("ping")
        await service.http.post(f"/api/v1/sessions/{session}/signal", json={"name": "USR1"})
        await talk.until(lambda: any(ack["n"] == 60 for ack in talk.all("input_ack")), "all of it to be written")
        await pasting


@pytest.mark.parametrize("timestamp", [0.0, -1e9, 1e18])
async def test_a_client_whose_clock_is_far_off_changes_nothing(
    service: SharedService, session: str, timestamp: float
) -> None:
    async with Talk(service, session) as talk:
        for _ in range(4):
            await talk.hear("ping")
            await talk.send("pong", timestamp=timestamp)
            await talk.send("ping", timestamp=timestamp)
            assert (await talk.hear("pong"))["timestamp"] == timestamp
        beat = await talk.hear("heartbeat")
        assert abs(beat["timestamp"] - time.time()) < 5
        assert abs(beat["expires_at"] - time.time() - 1000) < 5
        info = await service.info(session)
        assert abs(info["last_activity"] - time.time()) < 5


async def test_a_connection_that_breaks_is_forgotten_at_once(service: SharedService, session: str) -> None:
    async with Talk(service, session, client_id="a") as talk:
        await talk.hear("attached")
        talk.connection.transport.abort()

        watcher: Talk
        async with Talk(service, session, client_id="b") as watcher:
            await watcher.until(
                lambda: watcher.messages and len((watcher.all("viewers") or [{"viewers": []}])[-1]["viewers"]) == 1,
                "to be alone",
            )
