"""Bare bytes both ways: `terminal.v1.raw`, as xterm.js' attach addon uses it, and with control messages beside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.talk import Talk

if TYPE_CHECKING:
    from support.shared import SharedService

SETTINGS = {"HEARTBEAT_INTERVAL": "0.1", "WEBSOCKET_PING_INTERVAL": "0.1", "MAX_VIEWERS_PER_SESSION": "2"}
KIB = 1024


@pytest.fixture
async def session(service: SharedService) -> str:
    return str((await service.create_session(command=["cat"]))["session_id"])


async def test_the_attach_addon_types_text_frames_and_hears_output_only(service: SharedService, session: str) -> None:
    async with Talk(service, session, encoding="raw", recover_from=0) as talk:
        await talk.connection.send("grüße\n")  # terminal.onData
        await talk.output("grüße\r\n".encode() * 2)
        await talk.connection.send(b"\xff\xfe\n")  # terminal.onBinary
        await talk.output(rb"\xff\xfe\r\n\xff\xfe\r\n")
        text = '{"type":"signal","name":"KILL"}'
        await talk.connection.send(text + "\n")
        await talk.output(rb"KILL.*KILL")
        async with Talk(service, session, role="viewer") as other:  # presence, and time for heartbeats and pings
            for _ in range(3):
                await other.hear("heartbeat")
        assert {message["type"] for message in talk.messages} == {"raw_output"}
        assert talk.data == await service.output(session)


async def test_the_attach_addon_hears_of_the_end_by_the_close_code_alone(service: SharedService) -> None:
    session = (await service.create_session(command=["sh", "-c", "read line; printf bye"]))["session_id"]
    async with Talk(service, session, encoding="raw", recover_from=0) as talk:
        await talk.connection.send("\r")
        assert await talk.closed() == (4410, "session ended")
        assert {message["type"] for message in talk.messages} == {"raw_output"}
        assert talk.data.endswith(b"bye")


async def test_a_refusal_is_in_the_close_frame_alone(service: SharedService, session: str) -> None:
    for position in ("x", "1000000"):
        async with Talk(service, session, encoding="raw", recover_from=position) as talk:
            code, reason = await talk.closed()
            assert (code, reason[:14]) == (4400, "recover_from: ")
            assert talk.messages == []
    async with Talk(service, "unknown", encoding="raw") as talk:
        assert await talk.closed() == (4404, "Session not found")
        assert talk.messages == []


async def test_a_gap_is_told_in_the_output_itself(service: SharedService) -> None:
    script = "printf '\\033[?1049h'; head -c 300000 /dev/zero | tr '\\0' x; exec sleep 600"
    view = await service.create_session(command=["sh", "-c", script], retention_bytes=64 * KIB)
    session = view["session_id"]
    async with Talk(service, session) as talk:
        await talk.until(lambda: talk.messages and talk.seq == 300_008, "all of it")
    lost = 300_008 - 64 * KIB
    async with Talk(service, session, encoding="raw", recover_from=0) as talk:
        await talk.output(rb"x{%d}" % (64 * KIB))
        notice, _, rest = bytes(talk.data).partition(b" no longer kept]\r\n")
        assert notice == b"\r\n[%d bytes of output are" % lost
        assert b"\x1b[?1049h" in rest, "and the modes that hold behind it"


async def test_the_tail_comes_behind_its_modes_as_bytes(service: SharedService) -> None:
    script = "printf '\\033[?1049h\\033[?25lFULL SCREEN'; exec sleep 600"
    session = (await service.create_session(command=["sh", "-c", script]))["session_id"]
    async with Talk(service, session, recover_from=0) as talk:
        await talk.output(rb"FULL SCREEN")
    async with Talk(service, session, encoding="raw", tail_bytes=4) as talk:
        await talk.output(rb"REEN")
        assert talk.data.startswith(b"\x1b[?1049h")
        assert b"\x1b[?25l" in talk.data
        assert talk.data.endswith(b"REEN")


async def test_with_control_messages_are_text_and_bytes_are_binary(service: SharedService, session: str) -> None:
    async with Talk(service, session, encoding="raw", control=1, recover_from=0) as talk:
        attached = await talk.hear("attached")
        assert (attached["seq"], attached["recover"]) == (0, "exact")
        await talk.connection.send(b"bytes\n")
        await talk.output(rb"bytes\r\nbytes\r\n")
        await talk.connection.send(json.dumps({"type": "input", "data": "eAo=", "n": 1}))
        await talk.output(rb"x\r\nx\r\n")
        await talk.until(lambda: talk.all("input_ack"), "an acknowledgement")
        beat = await talk.hear("heartbeat")
        assert beat["seq"] == len(talk.data) == (await service.info(session))["seq"]
        await talk.send("resize", rows=33, cols=99)
        assert (await talk.hear("resize", rows=33))["seq"] == len(talk.data)
        await talk.send("detach")
        assert (await talk.closed())[0] == 1000


async def test_a_position_counted_in_bytes_continues_exactly(service: SharedService, session: str) -> None:
    async with Talk(service, session, encoding="raw", recover_from=0) as talk:
        await talk.connection.send("one\n")
        await talk.output(rb"one\r\none\r\n")
        position = len(talk.data)
    async with Talk(service, session) as other:
        await other.type("two\n")
        await other.output(rb"two\r\ntwo\r\n")
    async with Talk(service, session, encoding="raw", recover_from=position) as talk:
        await talk.output(rb"two\r\ntwo\r\n")
        assert talk.data == b"two\r\ntwo\r\n"
