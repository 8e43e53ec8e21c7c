"""From a handshake to an attached viewer, or to a refusal that says why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from support.talk import Talk

if TYPE_CHECKING:
    from support.shared import SharedService

SETTINGS = {"MAX_VIEWERS_PER_SESSION": "3"}
NOBODY = "00000000-0000-4000-8000-000000000000"
ENCODINGS = ["plain", "json", "msgpack", "raw"]


async def cat(service: SharedService) -> str:
    return str((await service.create_session(command=["cat"], rows=30, cols=100))["session_id"])


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_every_encoding_attaches_types_and_hears(service: SharedService, encoding: str) -> None:
    session = await cat(service)
    query: dict[str, Any] = {"control": 1} if encoding == "raw" else {}
    async with Talk(service, session, encoding=encoding, recover_from=0, client_id="me", **query) as talk:
        attached = await talk.receive()
        assert attached["type"] == "attached", "it is always first"
        expected = {
            "session_id": session,
            "terminal_id": "main",
            "client_id": "me",
            "role": "writer",
            "mode": "exact",
            "recover": "exact",
            "seq": 0,
            "head": 0,
            "first": 0,
            "rows": 30,
            "cols": 100,
            "window": 262144,
            "heartbeat_interval": 60.0,
            "input_n": 0,
        }
        assert expected.items() <= attached.items()
        assert not {"ended", "lost_bytes", "preamble"} & attached.keys()
        await talk.type("grüße 終\n", n=1)
        await talk.output("grüße 終\r\n".encode() * 2)
        assert (await talk.hear("input_ack") if not talk.all("input_ack") else talk.one("input_ack"))["n"] == 1
        assert (await service.info(session))["seq"] == len(talk.data)
        if encoding != "raw":
            assert talk.seq == len(talk.data)


async def test_a_client_without_subprotocol_is_answered_without_one(service: SharedService) -> None:
    session = await cat(service)
    async with Talk(service, session, encoding="plain") as talk:
        assert talk.connection.subprotocol is None
        await talk.connection.send(json.dumps({"type": "input", "data": "aGkK"}).encode())  # JSON in a binary frame
        await talk.output(rb"hi\r\nhi")
        assert all(isinstance(message["timestamp"], float) for message in talk.all("output"))


async def test_of_several_subprotocols_the_clients_favourite_known_one_is_taken(service: SharedService) -> None:
    session = await cat(service)
    offers = [Subprotocol(name) for name in ("tty", "terminal.v1.msgpack", "terminal.v1.json")]
    url = f"{service.base_url.replace('http', 'ws')}/ws/terminal/{session}"
    async with connect(url, subprotocols=offers, proxy=None) as connection:
        assert connection.subprotocol == "terminal.v1.msgpack"
        assert isinstance(await connection.recv(), bytes)


async def test_an_unknown_subprotocol_fails_the_handshake_and_those_known_are_named(service: SharedService) -> None:
    session = await cat(service)
    url = f"{service.base_url.replace('http', 'ws')}/ws/terminal/{session}"
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, subprotocols=[Subprotocol("tty")], proxy=None)
    response = refused.value.response
    assert response.status_code == 400
    assert response.body is not None
    problem = json.loads(response.body)
    assert problem["code"] == "unknown_subprotocol"
    assert "terminal.v1.msgpack" in problem["detail"]


@pytest.mark.parametrize(("session", "path"), [(NOBODY, ""), ("no-uuid", ""), ("%00", ""), ("own", "/another")])
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_what_is_not_there_is_told_and_closed(
    service: SharedService, encoding: str, session: str, path: str
) -> None:
    target = await cat(service) if session == "own" else session
    query: dict[str, Any] = {"control": 1} if encoding == "raw" else {}
    async with Talk(service, target, encoding=encoding, path=path, **query) as talk:
        code, reason = await talk.closed()
        assert code == (1008 if encoding == "plain" else 4404)
        assert reason == "Session not found"
        error = talk.one("error")
        assert (error["code"], error["error"]) == ("unknown_session", "Session not found")


async def test_a_terminal_can_be_named(service: SharedService) -> None:
    async with Talk(service, await cat(service), path="/main") as talk:
        assert (await talk.hear("attached"))["terminal_id"] == "main"


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_an_ended_session_shows_its_output_and_its_end(service: SharedService, encoding: str) -> None:
    view = await service.create_session(command=["sh", "-c", "printf 'pid %08d' $$; exit 3"])
    session = view["session_id"]
    async with Talk(service, session, encoding=encoding, control=1) as talk:
        await talk.closed()
    before = await service.info(session)
    async with Talk(service, session, encoding=encoding, recover_from=0, control=1) as talk:
        code, reason = await talk.closed()
        assert (code, reason) == (1000 if encoding == "plain" else 4410, "session ended")
        attached, ended = talk.one("attached"), talk.one("session_ended")
        assert talk.data == b"pid %08d" % ended["pid"]
        assert (attached["ended"], attached["recover"], attached["head"]) == (True, "exact", 12)
        assert (ended["reason"], ended["exit_code"], ended["signal"]) == ("Process exited", 3, None)
        kinds = [message["type"] for message in talk.messages]
        assert kinds[0] == "attached"
        assert kinds[-1] == "session_ended"
        assert kinds.index("replay_end") > max(kinds.index(kind) for kind in kinds if kind.endswith("output"))
    after = await service.info(session)
    assert after["last_activity"] == before["last_activity"], "looking at what has ended is no activity"
    assert after["last_bump"] == before["last_bump"]


async def test_an_ended_session_can_be_looked_at_from_a_position(service: SharedService) -> None:
    session = (await service.create_session(command=["printf", "last words"]))["session_id"]
    async with Talk(service, session) as talk:
        await talk.closed()
    async with Talk(service, session, recover_from=5) as talk:
        await talk.closed()
        assert talk.data == b"words"
    async with Talk(service, session, recover_from=11) as talk:
        assert (await talk.closed())[0] == 4400


async def test_one_viewer_too_many_is_refused_and_the_others_stay(service: SharedService) -> None:
    session = await cat(service)
    async with Talk(service, session) as one, Talk(service, session, role="viewer") as two, Talk(service, session) as _:
        async with Talk(service, session) as surplus:
            code, reason = await surplus.closed()
            assert code == 4429
            assert "3 viewers" in reason
            assert surplus.one("error")["code"] == "limit_reached"
        await one.type("still here\n")
        await two.output(rb"still here\r\nstill here")
        await one.connection.close()
        async with Talk(service, session) as next_one:
            await next_one.hear("attached")


async def test_the_same_client_takes_its_own_place_even_at_the_limit(service: SharedService) -> None:
    session = await cat(service)
    async with Talk(service, session, client_id="a") as old, Talk(service, session) as _, Talk(service, session) as _:
        await old.type("before\n", n=1)
        await old.output(rb"before\r\nbefore\r\n")
        async with Talk(service, session, client_id="a", recover_from="last_sequence") as new:
            attached = await new.hear("attached")
            assert (attached["recover"], attached["seq"], attached["input_n"]) == ("exact", len(old.data), 1)
            code, reason = await old.closed()
            assert code == 4409
            assert "newer connection" in reason
            await new.type("after\n", n=2)
            await new.output(rb"after\r\nafter\r\n")
        assert b"after" not in old.data


async def test_a_client_id_is_given_to_who_has_none(service: SharedService) -> None:
    session = await cat(service)
    async with Talk(service, session) as one, Talk(service, session) as two:
        ids = {(await talk.hear("attached"))["client_id"] for talk in (one, two)}
        assert len(ids) == 2
        assert all(len(client_id) >= 16 for client_id in ids)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("recover_from", "-1"),
        ("recover_from", "1"),
        ("recover_from", str(2**63)),
        ("recover_from", "9" * 30),
        ("recover_from", "1e3"),
        ("recover_from", "x"),
        ("recover_from", ""),
        ("recover_from", "Last_Sequence"),
        ("role", "admin"),
        ("mode", "fast"),
        ("tail_bytes", "-1"),
        ("tail_bytes", "x"),
        ("control", "yes"),
        ("client_id", "x" * 129),
        ("client_id", "a\nb"),
    ],
)
@pytest.mark.parametrize("encoding", ["plain", "msgpack"])
async def test_a_wrong_field_of_the_query_is_named(
    service: SharedService, encoding: str, field: str, text: str
) -> None:
    query: dict[str, Any] = {field: text}
    async with Talk(service, await cat(service), encoding=encoding, **query) as talk:
        code, reason = await talk.closed()
        assert code == 4400
        assert reason.startswith(f"{field}: ")
        error = talk.one("error")
        assert (error["code"], error["error"][: len(field)]) == ("invalid_request", field)


async def test_an_unknown_field_of_the_query_is_no_fault(service: SharedService) -> None:
    async with Talk(service, await cat(service), colour="red") as talk:
        await talk.hear("attached")


async def test_a_message_that_comes_with_the_handshake_is_acted_on(service: SharedService) -> None:
    async with Talk(service, await cat(service)) as talk:
        await talk.type("early\n", n=1)  # before `attached` was read
        await talk.output(rb"early\r\nearly")
