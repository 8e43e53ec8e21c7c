"""Who may attach to what, and as what: the policy over the wire, with keys of two users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import InvalidStatus

from support.talk import Talk

if TYPE_CHECKING:
    from support.shared import SharedService

KEYS = {"ann": "ann-has-a-key-of-her-own", "bob": "bob-has-a-key-of-his-own"}
SETTINGS = {"API_KEYS": ",".join(f"{user}:{key}" for user, key in KEYS.items())}
ANN, BOB = ({"Authorization": f"Bearer {KEYS[user]}"} for user in ("ann", "bob"))
HEADERS = ANN


@pytest.fixture
async def session(service: SharedService) -> str:
    return str((await service.create_session(command=["cat"]))["session_id"])


@pytest.mark.parametrize("role", ["owner", "writer", "viewer", None])
@pytest.mark.parametrize("encoding", ["plain", "msgpack"])
async def test_the_owner_may_attach_in_every_role(
    service: SharedService, session: str, encoding: str, role: str | None
) -> None:
    query: dict[str, Any] = {"role": role} if role else {}
    async with Talk(service, session, encoding=encoding, headers=ANN, **query) as talk:
        assert (await talk.hear("attached"))["role"] == (role or "writer")
        assert (await talk.hear("viewers"))["viewers"][0]["user"] == "ann"
        await talk.type("x\n", n=1)
        answer = await talk.hear("error" if role == "viewer" else "input_ack")
        assert answer.get("n", answer.get("code")) == ("forbidden" if role == "viewer" else 1)


@pytest.mark.parametrize("role", ["owner", "writer", "viewer"])
@pytest.mark.parametrize("encoding", ["plain", "json", "msgpack", "raw"])
async def test_for_others_the_session_does_not_exist(
    service: SharedService, session: str, encoding: str, role: str
) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    ends = []
    for target in (session, unknown):
        async with Talk(service, target, encoding=encoding, headers=BOB, role=role) as talk:
            ends.append((*await talk.closed(), [(m["code"], m["error"]) for m in talk.messages]))
    assert ends[0] == ends[1], "nobody can probe for ids"
    assert ends[0][:2] == (1008 if encoding == "plain" else 4404, "Session not found")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nobody-has-this-key-here"}, {"X-API-Key": "x"}])
async def test_without_a_key_there_is_no_handshake(
    service: SharedService, session: str, headers: dict[str, str]
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with Talk(service, session, headers=headers):
            raise AssertionError("attached")
    assert refused.value.response.status_code == 401
