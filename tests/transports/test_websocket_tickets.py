"""Tickets over the wire (A3): what a browser attaches with where keys are asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from support.talk import Talk

if TYPE_CHECKING:
    from support.shared import SharedService

KEYS = {"ann": "ann-has-a-key-of-her-own", "bob": "bob-has-a-key-of-his-own"}
ALLOWED, OTHER = "https://app.example.com", "https://other.example.com"
SETTINGS = {
    "API_KEYS": ",".join(f"{user}:{key}" for user, key in KEYS.items()),
    "ALLOWED_ORIGINS": f"{ALLOWED},{OTHER}",
}
ANN, BOB = ({"X-API-Key": KEYS[user]} for user in ("ann", "bob"))
HEADERS = ANN
AT_ONCE = 1000


@pytest.fixture
async def session(service: SharedService) -> str:
    return str((await service.create_session(command=["cat"]))["session_id"])


async def ask(service: SharedService, session: str, *, origin: str | None = None, **body: Any) -> str:
    headers = {"Origin": origin} if origin else {}
    answer = await service.http.post(f"/api/v1/sessions/{session}/tickets", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"ticket", "expires_in_seconds", "role"}
    return str(answer.json()["ticket"])


async def refusal(service: SharedService, session: str, headers: dict[str, str] | None = None, **query: Any) -> Any:
    """Return the problem with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as refused:
        async with Talk(service, session, headers=headers or {}, **query):
            raise AssertionError("attached")
    problem = json.loads(refused.value.response.body)
    assert problem["status"] == refused.value.response.status_code
    return problem


async def is_refused(service: SharedService, session: str, **query: Any) -> bool:
    problem = await refusal(service, session, **query)
    assert (problem["status"], problem["code"]) == (401, "ticket_invalid")
    assert str(query["ticket"]) not in json.dumps(problem) or not query["ticket"]
    return True


@pytest.mark.parametrize("role", ["writer", "viewer"])
@pytest.mark.parametrize("asks", [True, False])
async def test_a_ticket_attaches_once_in_its_role(
    service: SharedService, session: str, role: str, *, asks: bool
) -> None:
    ticket = await ask(service, session, role=role)
    query: dict[str, Any] = {"ticket": ticket} | ({"role": role} if asks else {})
    async with Talk(service, session, encoding="msgpack", **query) as talk:
        attached = await talk.hear("attached")
        assert attached["role"] == role
        assert (await talk.hear("viewers"))["viewers"][0]["user"] == "ann"
        await talk.type("x\n", n=1)
        answer = await talk.hear("error" if role == "viewer" else "input_ack")
        assert answer.get("n", answer.get("code")) == ("forbidden" if role == "viewer" else 1)
        assert await is_refused(service, session, **query)


async def test_a_role_is_asked_for_or_it_is_a_writers(service: SharedService, session: str) -> None:
    path = f"/api/v1/sessions/{session}/tickets"
    for good in (None, {}, {"role": "writer"}):
        answer = await service.http.post(path, json=good)
        assert (answer.status_code, answer.json()["role"], answer.json()["expires_in_seconds"]) == (201, "writer", 30)
    wrong: list[Any] = [{"role": "owner"}, {"role": "admin"}, {"role": None}, {"role": 1}, {"other": 1}, [], "writer"]
    for body in wrong:
        assert (await service.http.post(path, json=body)).status_code == 422


async def test_a_ticket_is_for_one_session_one_role_and_one_page(service: SharedService, session: str) -> None:
    another = str((await service.create_session(command=["cat"]))["session_id"])
    assert await is_refused(service, another, ticket=await ask(service, session))
    assert await is_refused(service, session, ticket=await ask(service, session, role="viewer"), role="writer")
    assert await is_refused(service, session, ticket=await ask(service, session, role="viewer"), role="owner")
    assert await is_refused(service, session, ticket=await ask(service, session), role="viewer")
    assert await is_refused(service, session, ticket=await ask(service, session), role="owner")
    assert await is_refused(service, session, ticket=await ask(service, session, origin=ALLOWED))
    own = service.base_url
    for asked, shown in ((ALLOWED, OTHER), (ALLOWED, own), (own, ALLOWED)):
        ticket = await ask(service, session, origin=asked)
        assert await is_refused(service, session, ticket=ticket, headers={"Origin": shown})
    fitting: list[tuple[str | None, dict[str, str]]] = [
        (ALLOWED, {"Origin": ALLOWED}),
        (own, {"Origin": own}),
        (None, {"Origin": ALLOWED}),
        (None, {}),
    ]
    for asked_by, headers in fitting:
        ticket = await ask(service, session, origin=asked_by)
        async with Talk(service, session, headers=headers, ticket=ticket) as talk:
            await talk.hear("attached")


@pytest.mark.parametrize("ticket", ["", "x", "x" * 43, "x" * 5000, "\x00", "é"])
async def test_what_is_no_ticket_is_refused_even_with_a_key(service: SharedService, session: str, ticket: str) -> None:
    assert await is_refused(service, session, ticket=ticket)
    assert await is_refused(service, session, ticket=ticket, headers=ANN)


async def test_a_page_that_is_not_allowed_attaches_with_no_ticket(service: SharedService, session: str) -> None:
    ticket = await ask(service, session)
    problem = await refusal(service, session, {"Origin": "https://evil.example"}, ticket=ticket)
    assert (problem["status"], problem["code"]) == (403, "origin_not_allowed")
    async with Talk(service, session, ticket=ticket) as talk:  # which is not used up by what never was looked at
        await talk.hear("attached")


async def test_a_ticket_gives_nothing_but_a_terminal(service: SharedService, session: str) -> None:
    ticket = await ask(service, session)
    for path in (f"/api/v1/sessions/{session}", f"/ws/terminal/{session}", "/metrics"):
        answer = await service.http.get(path, params={"ticket": ticket}, headers={"X-API-Key": ""})
        assert answer.status_code == 401
    url = urlsplit(service.base_url)
    for path in (f"/ws/terminal/{session}/main/more", f"/ws/terminal//{session}", "/ws/terminal/", "/"):
        other = await ask(service, session)
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{url.netloc}{path}?ticket={other}")
        assert refused.value.response.status_code == 401
    async with Talk(service, session, path="/main", ticket=ticket) as talk:
        await talk.hear("attached")


async def test_who_may_not_attach_gets_no_ticket(service: SharedService, session: str) -> None:
    path = f"/api/v1/sessions/{session}/tickets"
    for role in ("writer", "viewer"):
        answer = await service.http.post(path, json={"role": role}, headers=BOB)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_session")
        answer = await service.http.post(path, json={"role": role}, headers={"X-API-Key": ""})
        assert answer.status_code == 401
        unknown = "/api/v1/sessions/00000000-0000-4000-8000-000000000000/tickets"
        assert (await service.http.post(unknown, json={"role": role})).status_code == 404


async def test_a_repeated_request_gets_another_ticket(service: SharedService, session: str) -> None:
    path, headers = f"/api/v1/sessions/{session}/tickets", {"Idempotency-Key": "the-same"}
    answers = [await service.http.post(path, json={}, headers=headers) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["ticket"] for answer in answers}) == 2


async def test_the_log_of_an_ended_session_is_read_with_a_ticket_too(service: SharedService) -> None:
    session = (await service.create_session(command=["echo", "all there was"]))["session_id"]
    async with Talk(service, session, ticket=await ask(service, session)) as talk:
        await talk.hear("session_ended")
        assert b"all there was" in talk.data


HANDSHAKE = (
    "GET /ws/terminal/{session}?ticket={ticket} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_of_a_thousand_at_once_one_succeeds(service: SharedService, session: str) -> None:
    url = urlsplit(service.base_url)
    ticket = await ask(service, session)
    request = HANDSHAKE.format(session=session, ticket=ticket, host=url.netloc).encode()
    async with contextlib.AsyncExitStack() as stack:
        links = []
        for _ in range(AT_ONCE):
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
            stack.callback(writer.transport.abort)
            links.append((reader, writer))
        for _, writer in links:
            writer.write(request)
        statuses = [(await reader.readline()).split()[1] for reader, _ in links]
    assert sorted(set(statuses)) == [b"101", b"401"]
    assert statuses.count(b"101") == 1


async def test_no_ticket_is_ever_written_down(service: SharedService, session: str) -> None:
    tickets = [await ask(service, session, origin=ALLOWED) for _ in range(3)]
    async with Talk(service, session, headers={"Origin": ALLOWED}, ticket=tickets[0]) as talk:
        await talk.hear("attached")
    assert await is_refused(service, session, ticket=tickets[1])
    await refusal(service, session, {"Origin": "https://evil.example"}, ticket=tickets[2])
    metrics = (await service.http.get("/metrics")).text
    assert 'code="ticket_invalid"' in metrics
    shown = metrics + (await service.http.get(f"/api/v1/sessions/{session}")).text + service.log()
    shown += "".join(path.read_text(errors="replace") for path in service.state.rglob("*.json"))
    assert "request refused" in shown
    for ticket in tickets:
        assert ticket not in shown
