"""A mutation with an Idempotency-Key is carried out once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from backends.echo import EchoBackend
from support.http_service import serve
from support.wait import wait_until
from transports import idempotency
from transports.idempotency import Answers

if TYPE_CHECKING:
    from backends.base import Order

SESSIONS = "/api/v1/sessions"


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def test_the_same_request_gets_the_same_answer_and_is_carried_out_once() -> None:
    async with serve() as service:
        answers = [await service.http.post(SESSIONS, json={"name": "a"}, headers=key("k")) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {201}
        assert (
            len({answer.content for answer in answers}) == len({answer.headers["location"] for answer in answers}) == 1
        )
        assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true", "true"]
        assert len(list(service.sessions.all())) == 1


async def test_a_different_request_with_the_same_key_is_refused() -> None:
    async with serve() as service:
        await service.http.post(SESSIONS, json={"name": "a"}, headers=key("k"))
        view = await service.create()
        for method, path, options in (
            ("POST", SESSIONS, {"json": {"name": "b"}}),
            ("POST", service.path(view, "/keepalive"), {}),
            ("DELETE", service.path(view), {}),
        ):
            answer = await service.http.request(method, path, headers=key("k"), **options)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        assert len(list(service.sessions.all())) == 2
        assert (await service.http.get(service.path(view))).json()["state"] == "running"


class SlowBackend(EchoBackend):
    """An echo that takes its time, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.go_on = asyncio.Event()

    async def open(self, order: Order) -> Any:
        self.asked += 1
        await self.go_on.wait()
        return await super().open(order)


async def test_repetitions_at_the_same_time_wait_for_the_first() -> None:
    backend = SlowBackend()
    async with serve(backends={"slow": backend}) as service, asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(service.http.post(SESSIONS, json={}, headers=key("k"))) for _ in range(20)]
        await wait_until(lambda: backend.asked, description="the first to be acted on")
        done, _ = await asyncio.wait(asking, timeout=0.3)
        assert (len(done), backend.asked) == (0, 1)
        backend.go_on.set()
        answers = [await each for each in asking]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["session_id"] for answer in answers}) == backend.asked == 1


async def test_a_refusal_does_not_use_the_key_up() -> None:
    async with serve(max_sessions=1) as service:
        first = await service.create()
        assert (await service.http.post(SESSIONS, json={}, headers=key("k"))).status_code == 429
        await service.http.delete(service.path(first))
        assert (await service.http.post(SESSIONS, json={"name": "other"}, headers=key("k"))).status_code == 201


async def test_input_with_a_key_is_typed_once() -> None:
    async with serve() as service:
        view = await service.create()
        for _ in range(3):
            answer = await service.http.post(service.path(view, "/input"), json={"text": "x"}, headers=key("k"))
            assert answer.status_code == 202
        await service.type(view, "y")
        await service.wait_for_head(view, 2)
        assert (await service.http.get(service.path(view, "/output"))).content == b"xy"


async def test_an_end_with_a_key_is_answered_again() -> None:
    async with serve() as service:
        view = await service.create()
        answers = [await service.http.delete(service.path(view), headers=key("k")) for _ in range(2)]
        assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2


async def test_keys_of_different_users_are_different() -> None:
    async with serve(keys=True) as service, service.client("ann") as ann, service.client("bob") as bob:
        one = await ann.post(SESSIONS, json={}, headers=key("k"))
        two = await bob.post(SESSIONS, json={}, headers=key("k"))
        assert (one.json()["user_id"], two.json()["user_id"]) == ("ann", "bob")


async def test_a_key_is_forgotten_after_a_day() -> None:
    async with serve(session_ttl_seconds=10 * 86400.0, session_max_lifetime_seconds=0.0) as service:
        one = await service.http.post(SESSIONS, json={}, headers=key("k"))
        service.time.ahead = idempotency.AGE_LIMIT_SECONDS - 60
        two = await service.http.post(SESSIONS, json={}, headers=key("k"))
        service.time.ahead += 61
        three = await service.http.post(SESSIONS, json={}, headers=key("k"))
        ids = [answer.json()["session_id"] for answer in (one, two, three)]
        assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("wrong", ["", "a b", "x" * 256])
async def test_a_malformed_key_is_named(wrong: str) -> None:
    async with serve() as service:
        answer = await service.http.post(SESSIONS, json={}, headers=key(wrong))
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == ["Idempotency-Key"]


def test_what_is_remembered_is_bounded_in_number_and_bytes() -> None:
    answers = Answers()
    for number in range(idempotency.KEYS_LIMIT + 10):
        name = str(number).encode()
        answers.begin(name, b"").answer = idempotency._Answer(201, [], b"x" * 10)
        answers.settle(name, 0.0)
    assert len(answers._kept) == idempotency.KEYS_LIMIT
    assert answers.find(b"9", 0.0) is None
    assert answers.find(b"10", 0.0) is not None
    large = idempotency.BYTES_LIMIT // 2
    for name in (b"a", b"b", b"c"):
        answers.begin(name, b"").answer = idempotency._Answer(201, [], b"x" * large)
        answers.settle(name, 0.0)
    assert list(answers._kept) == [b"b", b"c"]
    assert answers._kept_bytes == 2 * large
