"""What clients may say, and what becomes of everything else: told, and nothing changed."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from support.talk import Talk

if TYPE_CHECKING:
    from support.shared import SharedService

SETTINGS = {"WEBSOCKET_MAX_MESSAGE_SIZE": "65536"}

WRONG = [
    ("not json", ""),
    ("{", ""),
    ("[]", ""),
    ('"input"', ""),
    ("null", ""),
    ("{}", "type"),
    ('{"data":"eA=="}', "type"),
    ('{"type":"launch"}', "type"),
    ('{"type":1}', "type"),
    ('{"type":"input"}', "data"),
    ('{"type":"input","data":"not base64!"}', "data"),
    ('{"type":"input","data":"eA="}', "data"),
    ('{"type":"input","data":null}', "data"),
    ('{"type":"input","data":["x"]}', "data"),
    ('{"type":"input","data":"eA==","n":0}', "n"),
    ('{"type":"input","data":"eA==","n":-1}', "n"),
    ('{"type":"input","data":"eA==","n":1.5}', "n"),
    ('{"type":"input","data":"eA==","n":"1"}', "n"),
    ('{"type":"input","data":"eA==","n":9223372036854775808}', "n"),
    ('{"type":"resize","rows":0,"cols":80}', "rows"),
    ('{"type":"resize","rows":24,"cols":1000000}', "cols"),
    ('{"type":"resize","rows":1001,"cols":80}', "rows"),
    ('{"type":"resize","rows":24}', "cols"),
    ('{"type":"resize","rows":"24","cols":80}', "rows"),
    ('{"type":"signal","name":"STOP"}', "name"),
    ('{"type":"signal","name":9}', "name"),
    ('{"type":"mode","mode":"fast"}', "mode"),
    ('{"type":"window_update","window_size":1}', "window_size"),
    ('{"type":"window_update","window_size":68719476736}', "window_size"),
    ('{"type":"ack","seq":-1}', "seq"),
    ('{"type":"ack","bytes":-1}', "bytes"),
    ('{"type":"ack"}', "seq"),
    ('{"type":"ping","timestamp":"now"}', "timestamp"),
]


@pytest.fixture
async def session(service: SharedService) -> str:
    return str((await service.create_session(command=["cat"], size_policy="latest"))["session_id"])


@pytest.mark.parametrize("encoding", ["plain", "json"])
async def test_a_wrong_message_is_told_and_changes_nothing(service: SharedService, session: str, encoding: str) -> None:
    before = await service.info(session)
    async with Talk(service, session, encoding=encoding) as talk:
        await talk.hear("viewers")
        for text, field in WRONG:
            await talk.connection.send(text)
            error = await talk.hear("error")
            assert error["code"] == "invalid_message", text
            assert field in error["error"], (text, error)
            assert len(error["error"]) < 400
            await talk.echoed()
        after = await service.info(session)
        for name in ("rows", "cols", "seq", "pid", "state"):
            assert before[name] == after[name]
        await talk.type("fine\n", n=1)
        await talk.output(rb"fine\r\nfine")


async def test_wrong_messages_in_messagepack_are_told(service: SharedService, session: str) -> None:
    wrong: list[bytes | str] = [b"", b"\xc1", b"\xff\xff", msgspec.msgpack.encode([1]), '{"type":"ping"}']
    wrong += [msgspec.msgpack.encode(json.loads(text)) for text, _ in WRONG[5:] if "base64" not in text]
    wrong += [msgspec.msgpack.encode({"type": "ping"}) + b"x"]
    async with Talk(service, session, encoding="msgpack") as talk:
        await talk.hear("viewers")
        for frame in wrong:
            await talk.connection.send(frame)
            assert (await talk.hear("error"))["code"] == "invalid_message", frame
            await talk.echoed()
        await talk.type(b"\xffbinary\n", n=1)
        await talk.output(rb"\xffbinary\r\n\xffbinary")


async def test_wrong_control_messages_beside_raw_bytes_are_told(service: SharedService, session: str) -> None:
    async with Talk(service, session, encoding="raw", control=1) as talk:
        await talk.hear("viewers")
        for text, field in WRONG:
            await talk.connection.send(text)
            assert field in (await talk.hear("error"))["error"]
            await talk.echoed()
        await talk.connection.send(b"fine\n")
        await talk.output(rb"fine\r\nfine")


@pytest.mark.parametrize("encoding", ["plain", "msgpack"])
async def test_unknown_fields_of_a_message_are_no_fault(service: SharedService, session: str, encoding: str) -> None:
    async with Talk(service, session, encoding=encoding) as talk:
        await talk.type("x\n", n=1, colour="red", nested={"a": [1]})
        await talk.output(rb"x\r\nx")
        assert not talk.all("error")


@pytest.mark.parametrize("encoding", ["plain", "json", "msgpack"])
async def test_ten_unreadable_messages_in_a_row_end_the_connection(
    service: SharedService, session: str, encoding: str
) -> None:
    async with Talk(service, session, encoding=encoding) as talk:
        for _ in range(9):
            await talk.connection.send("{")
        await talk.echoed()  # a good one starts the count anew
        for _ in range(25):
            await talk.connection.send("{")
        code, reason = await talk.closed()
        assert (code, reason) == (4400, "too many unreadable messages")
        assert len(talk.all("error")) == 19
    assert (await service.info(session))["state"] == "running"


@pytest.mark.parametrize("size", [65_537, 1 << 20])
@pytest.mark.parametrize("encoding", ["plain", "json", "msgpack", "raw"])
async def test_a_message_too_large_ends_the_connection_and_types_nothing(
    service: SharedService, session: str, encoding: str, size: int
) -> None:
    async with Talk(service, session, recover_from=0) as witness:
        async with Talk(service, session, encoding=encoding, recover_from=0) as talk:
            await talk.type(b"x" * size)
            assert (await talk.closed())[0] == 1009
        await witness.type("fine\n")
        await witness.output(rb"fine\r\nfine\r\n")
        assert witness.data == b"fine\r\nfine\r\n"


async def test_a_message_as_large_as_allowed_is_taken(service: SharedService) -> None:
    view = await service.create_session(command=["sh", "-c", "stty raw -echo; printf READY; head -c 40000 | wc -c"])
    async with Talk(service, view["session_id"], recover_from=0) as talk:
        await talk.output(rb"READY")
        data = base64.b64encode(b"x" * 40_000).decode()
        text = json.dumps({"type": "input", "data": data, "pad": ""})
        await talk.connection.send(text[:-2] + "x" * (65_536 - len(text)) + '"}')
        await talk.output(rb"READY40000")


@pytest.mark.parametrize("message", ["input", "resize", "signal"])
async def test_a_viewer_looks_and_changes_nothing(service: SharedService, session: str, message: str) -> None:
    fields: dict[str, dict[str, Any]] = {
        "input": {"data": b"x\n"},
        "resize": {"rows": 10, "cols": 10},
        "signal": {"name": "KILL"},
    }
    async with Talk(service, session, role="viewer", recover_from=0) as viewer, Talk(service, session) as writer:
        assert (await viewer.hear("attached"))["role"] == "viewer"
        await viewer.send(message, **fields[message])
        error = await viewer.hear("error")
        assert (error["code"], error["error"]) == ("forbidden", f"a viewer may not send {message}")
        info = await service.info(session)
        assert (info["rows"], info["cols"], info["seq"], info["state"]) == (24, 80, 0, "running")
        await viewer.send("mode", mode="live")
        await viewer.send("ack", seq=0)
        await viewer.send("window_update", window_size=4096)
        await writer.type("seen\n")
        await viewer.output(rb"seen\r\nseen")
        assert len(viewer.all("error")) == 1
        await viewer.send("detach")
        assert (await viewer.closed())[0] == 1000


@pytest.mark.parametrize("encoding", ["plain", "json", "msgpack", "raw"])
async def test_pings_are_answered_with_their_own_timestamp(service: SharedService, session: str, encoding: str) -> None:
    async with Talk(service, session, encoding=encoding, control=1) as talk:
        for timestamp in (0, -1.5, 1e18, 1234567890.123):
            await talk.send("ping", timestamp=timestamp)
            assert (await talk.hear("pong"))["timestamp"] == timestamp
            await talk.send("pong", timestamp=timestamp)
        await talk.send("ping")
        await talk.hear("pong")
        assert not talk.all("error")


async def test_detaching_leaves_the_session(service: SharedService, session: str) -> None:
    async with Talk(service, session, client_id="a") as talk:
        await talk.type("before\n", n=1)
        await talk.output(rb"before\r\nbefore")
        await talk.send("detach")
        code, reason = await talk.closed()
        assert (code, reason) == (1000, "detached")
    info = await service.info(session)
    assert (info["state"], info["viewers"]) == ("running", [])
    async with Talk(service, session, client_id="a", recover_from=0) as talk:
        assert (await talk.hear("attached"))["input_n"] == 1


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
async def test_a_signal_reaches_the_foreground_program(service: SharedService, name: str) -> None:
    script = f"trap 'printf GOT; exit 7' {name}; printf READY; while :; do sleep 0.02; done"
    view = await service.create_session(command=["bash", "-c", script])
    async with Talk(service, view["session_id"], recover_from=0) as talk:
        await talk.output(rb"READY")
        await talk.send("signal", name=name)
        await talk.output(rb"GOT")
        assert (await talk.hear("session_ended"))["exit_code"] == 7


async def test_a_program_killed_by_a_signal_is_told_with_its_name(service: SharedService, session: str) -> None:
    async with Talk(service, session, encoding="msgpack") as talk:
        await talk.hear("attached")
        await talk.send("signal", name="KILL")
        ended = await talk.hear("session_ended")
        assert (ended["exit_code"], ended["signal"]) == (None, "SIGKILL")
        assert (await talk.closed())[0] == 4410
