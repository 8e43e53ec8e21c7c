"""Any node answers for every session: requests go to the node that has it, and its answers come back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backends.echo import EchoBackend
from nodes.base import NodeState
from support.fleets import Company, two_nodes
from support.http_service import serve
from terminal_service.errors import Unavailable
from terminal_service.policy import Identity, Role
from transports import forwarded
from transports.forwarded import Answering, Asked

if TYPE_CHECKING:
    import httpx

SESSIONS = "/api/v1/sessions"


def without_times(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """Return all that a client gets, but the time."""
    return answer.status_code, answer.content, {name: value for name, value in answer.headers.items() if name != "date"}


async def test_every_operation_on_a_session_works_at_a_node_that_does_not_have_it() -> None:
    async with two_nodes() as (one, two, company):
        view = await two.create(name="a")
        await company.tell(two)
        at = one.path(view)
        shown = (await one.http.get(at)).json()
        assert (shown["session_id"], shown["node"], shown["name"]) == (view["session_id"], "two", "a")
        typed = await one.http.post(
            at + "/input", content=b"\x00\xff", headers={"content-type": "application/octet-stream"}
        )
        assert (typed.status_code, typed.json()["bytes"]) == (202, 2)
        await two.wait_for_head(view, 2)
        changed = await one.http.patch(at, json={"name": "b"})
        assert (changed.status_code, changed.json()["name"]) == (200, "b")
        assert two.sessions.get(view["session_id"]).name == "b"
        resized = await one.http.put(at + "/resize", json={"rows": 10, "cols": 20})
        assert (resized.status_code, resized.json()["cols"]) == (200, 20)
        assert (await one.http.post(at + "/keepalive")).status_code == 200
        assert (await one.http.post(at + "/tickets", json={})).status_code == 201
        assert (await one.http.post(at + "/signal", json={"name": "INT"})).status_code == 200
        assert (await one.http.delete(at)).status_code == 204
        assert two.sessions.living_count == 0
        assert (await one.http.get(at)).json()["state"] == "ended"


async def test_an_answer_and_a_refusal_are_the_same_from_every_node() -> None:
    async with two_nodes() as (one, two, company):
        view = await two.create()
        await company.tell(two)
        for method, rest, options in (
            ("PATCH", "", {"json": {"ttl_seconds": -1}}),
            ("PATCH", "", {"content": b"{", "headers": {"content-type": "application/json"}}),
            ("PATCH", "", {"content": b"x" * (1024 * 1024 + 1), "headers": {"content-type": "application/json"}}),
            ("PUT", "/resize", {"content": b"x", "headers": {"content-type": "application/octet-stream"}}),
            ("PUT", "/resize", {"json": {"rows": 5, "cols": 6}}),
            ("POST", "/nothing", {}),
            ("POST", "", {}),
            ("DELETE", "", {}),
            ("POST", "/keepalive", {}),
        ):
            there = await two.http.request(method, two.path(view, rest), **options)
            here = await one.http.request(method, one.path(view, rest), **options)
            assert without_times(here) == without_times(there)


async def test_the_largest_input_gets_through() -> None:
    async with two_nodes() as (one, two, company):
        view = await two.create()
        await company.tell(two)
        binary = {"content-type": "application/octet-stream"}
        typed = await one.http.post(one.path(view, "/input"), content=b"x" * 1024 * 1024, headers=binary)
        assert (typed.status_code, typed.json()["bytes"]) == (202, 1024 * 1024)


async def test_a_session_of_somebody_else_looks_like_none_at_every_node_whatever_its_node_does() -> None:
    async with two_nodes(keys=True) as (one, two, company), one.client("bob") as bob, two.client("ann") as ann:
        view = (await ann.post(SESSIONS, json={})).json()
        await company.tell(two)
        company.post.hold("nobody")
        unknown = without_times(await bob.get(f"{SESSIONS}/{'0' * 36}"))
        assert unknown[0] == 404
        assert without_times(await bob.get(one.path(view))) == unknown
        assert without_times(await bob.delete(one.path(view))) == unknown
        company.told["two"] = replace(company.told["two"], state=NodeState.AWAY)
        assert without_times(await bob.get(one.path(view))) == unknown
        async with one.client("ann") as ann_at_one:
            refused = await ann_at_one.get(one.path(view))
            assert (refused.status_code, refused.json()["code"]) == (503, "restarting")
            assert refused.headers["retry-after"] == "1"


async def test_output_of_another_node_is_this_nodes_own_to_serve_and_only_to_those_who_may_know_of_it() -> None:
    asked = []

    async def find(session_id: str, _: Any) -> Any:
        asked.append(session_id)
        raise Unavailable("a copy of the log would be begun now")

    company = Company()
    async with (
        asyncio.TaskGroup() as tasks,
        company.node(tasks, "one", keys=True, find=find) as one,
        company.node(tasks, "two", keys=True) as two,
        one.client("ann") as ann,
        one.client("bob") as bob,
        two.client("ann") as ann_at_two,
    ):
        view = (await ann_at_two.post(SESSIONS, json={})).json()
        await company.tell(two)
        unknown = without_times(await bob.get(f"{SESSIONS}/{'0' * 36}/output"))
        assert without_times(await bob.get(one.path(view, "/output"))) == unknown
        assert without_times(await bob.get(one.path(view, "/output"), params={"follow": "true"})) == unknown
        assert (unknown[0], asked) == (404, [])
        assert (await ann.get(one.path(view, "/output"))).status_code == 503
        assert asked == [view["session_id"]]


async def test_the_caller_is_whoever_the_guard_let_in_and_not_what_a_header_says() -> None:
    async with two_nodes(keys=True) as (one, two, company), one.client("ann") as ann, two.client("ann") as ann_at_two:
        view = (await ann_at_two.post(SESSIONS, json={})).json()
        await company.tell(two)
        assert (await ann.get(one.path(view))).status_code == 200
        assert (await one.http.get(one.path(view))).status_code == 401
        for name in ("forwarded-by", "x-forwarded-user", "identity", "x-user"):
            assert (await one.http.get(one.path(view), headers={name: "two"})).status_code in {401, 403}


async def test_an_identity_is_the_same_at_the_other_node() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        assert (await receive())["body"] == b"body"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    for identity in (
        Identity("ann", "local", is_admin=True),
        Identity("bob", "api_key"),
        Identity("ünï", "ticket", role=Role.VIEWER),
    ):
        scope = {
            "method": "POST",
            "path": "/é",
            "query_string": b"a=%20",
            "headers": [(b"authorization", b"Bearer x"), (b"content-type", b"text/plain"), (b"host", b"h")],
        }
        asked = Asked.of(scope, identity, b"body")
        await Answering(app).answer("one", forwarded.encode(asked))
        assert seen[-1]["state"] == {"identity": identity, "only_here": True}
        assert (seen[-1]["path"], seen[-1]["query_string"]) == ("/é", b"a=%20")
        assert seen[-1]["headers"] == [(b"content-type", b"text/plain")]


async def test_what_is_forwarded_is_not_forwarded_again() -> None:
    async with two_nodes() as (one, two, company):
        view = await two.create()
        await company.tell(two)
        entry = await company.directory.find(view["session_id"])
        assert entry is not None
        gone = "0" * 36
        await company.directory.save([replace(entry, session_id=gone)])  # it says "two", which has no such session
        assert (await one.http.get(f"{SESSIONS}/{gone}")).status_code == 404
        await company.directory.save([replace(entry, session_id=gone, node_id="one")])  # "one" says so of itself
        assert (await two.http.get(f"{SESSIONS}/{gone}")).status_code == 404


async def test_a_node_that_does_not_answer_is_told_with_what_may_have_happened() -> None:
    async with two_nodes(stop_grace_seconds=0.1, forward_seconds=0.1) as (one, two, company):
        view = await two.create()
        await company.tell(two)
        company.post.hold("two")
        for method, options, word in (
            ("GET", {}, "ask again"),
            ("PATCH", {"json": {"name": "b"}}, "an Idempotency-Key makes it safe"),
            ("PATCH", {"json": {"name": "c"}, "headers": {"Idempotency-Key": "k"}}, "the same Idempotency-Key"),
        ):
            answer = await one.http.request(method, one.path(view), **options)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()["code"]) == (503, "node_unreachable")
            assert answer.headers["retry-after"] == "1"
            assert word in answer.json()["detail"]
        told = (await one.http.get("/metrics")).text
        assert 'terminal_requests_forwarded_total{outcome="failed"} 3.0' in told
        company.post.release("two")
        again = {"json": {"name": "c"}, "headers": {"Idempotency-Key": "k"}}
        assert (await one.http.patch(one.path(view), **again)).json()["name"] == "c"  # type: ignore[arg-type]
        assert (await one.http.patch(one.path(view), **again)).headers["idempotency-replayed"] == "true"  # type: ignore[arg-type]


async def test_while_nodes_cannot_find_each_other_only_own_sessions_are_served() -> None:
    async with two_nodes() as (one, two, company):
        view, own = await two.create(), await one.create()
        await company.tell(two)
        company.directory.is_away = True
        refused = await one.http.get(one.path(view))
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["retry-after"] == "1"
        assert (await one.http.get(one.path(own))).status_code == 200


async def test_a_session_whose_node_is_gone_is_not_asked_for_there() -> None:
    async with two_nodes() as (one, two, company):
        view = await two.create()
        await company.tell(two)
        del company.told["two"]
        company.post.hold("two")
        assert (await one.http.get(one.path(view))).status_code == 404


async def test_answers_beyond_the_bound_are_refused_and_faults_are_told_as_faults() -> None:
    async def large(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(9):
            await send({"type": "http.response.body", "body": b"x" * 1024 * 1024, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError

    async def silent(_scope: Any, _receive: Any, _send: Any) -> None:
        pass

    asked = forwarded.encode(Asked(method="GET", path="/", user="ann", proof="local"))
    for app, body, status in (
        (large, asked, 502),
        (broken, asked, 500),
        (silent, asked, 500),
        (large, b"no message", 500),
        (large, forwarded.encode(Asked(method="GET", path="/", user="a", proof="ticket", role="king")), 500),
    ):
        answer = forwarded.decode_answer(await Answering(app).answer("one", body))
        assert answer.status == status


async def test_a_new_session_goes_to_a_node_that_has_its_backend() -> None:
    class Other(EchoBackend):
        name = "other"

    company = Company()
    async with (
        asyncio.TaskGroup() as tasks,
        company.node(tasks, "one", keys=True) as one,
        company.node(tasks, "two", backends={"other": Other()}, keys=True) as two,
        one.client("ann") as ann,
    ):
        answer = await ann.post(SESSIONS, json={"backend": "other", "labels": {"a": "b"}})
        assert (answer.status_code, answer.json()["node"], answer.json()["user_id"]) == (201, "two", "ann")
        assert answer.headers["location"] == one.path(answer.json())
        assert two.sessions.has(answer.json()["session_id"])
        assert (await ann.post(SESSIONS, json={})).json()["node"] == "one"
        offered = (await ann.get("/api/v1/options")).json()["backends"]
        assert offered == [{"name": "echo", "shells": ["echo"]}, {"name": "other", "shells": []}]
        refused = await ann.post(SESSIONS, json={"backend": "none"})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "backend")
        assert (await ann.post(SESSIONS, json={"backend": "other", "user_id": "bob"})).status_code == 403


async def test_a_creation_repeated_with_its_key_at_any_node_is_carried_out_once() -> None:
    company = Company()
    async with (
        asyncio.TaskGroup() as tasks,
        company.node(tasks, "one", spreads=True) as one,
        company.node(tasks, "two", spreads=True) as two,
        company.node(tasks, "three", spreads=True) as three,
    ):
        made = []
        for number in range(6):
            options: dict[str, Any] = {"json": {}, "headers": {"Idempotency-Key": f"key {number}".replace(" ", "-")}}
            answers = [await node.http.post(SESSIONS, **options) for node in (one, two, three, one)]
            assert [answer.status_code for answer in answers] == [201] * 4
            assert len({answer.content for answer in answers}) == 1
            assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, *["true"] * 3]
            made.append(answers[0].json())
            for node in (one, two, three):
                node.fleet.registry.announce(sessions=node.sessions.living_count)
        assert {view["node"] for view in made} == {"one", "two", "three"}
        assert sum(node.sessions.living_count for node in (one, two, three)) == 6
        other = await two.http.post(SESSIONS, **{**options, "json": {"name": "other"}})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_creation_whose_node_is_gone_belongs_to_another() -> None:
    async with two_nodes() as (one, two, company):
        options: dict[str, Any] = {"json": {}, "headers": {"Idempotency-Key": "k"}}
        assert (await two.http.post(SESSIONS, **options)).json()["node"] == "two"
        assert (await one.http.post(SESSIONS, **options)).json()["node"] == "two"
        company.told["three"] = replace(company.told.pop("two"), node_id="three")
        again = await one.http.post(SESSIONS, **options)
        assert (again.json()["node"], "idempotency-replayed" in again.headers) == ("one", False)
        assert (await one.http.post(SESSIONS, **options)).json() == again.json()


async def test_the_nodes_are_listed() -> None:
    async with two_nodes(keys=True) as (one, two, company), one.client("ann") as ann:
        company.told["two"] = replace(company.told["two"], state=NodeState.DRAINING, sessions=7)
        shown = (await ann.get("/api/v1/nodes")).json()
        assert shown == [
            {
                "node": "one",
                "place": "place of one",
                "state": "active",
                "backends": ["echo"],
                "active_sessions": 0,
                "answers": True,
            },
            {
                "node": "two",
                "place": "place of two",
                "state": "draining",
                "backends": ["echo"],
                "active_sessions": 7,
                "answers": False,
            },
        ]
        assert (await one.http.get("/api/v1/nodes")).status_code == 401
        assert (await two.http.get("/health")).json()["nodes"] == 2
    async with serve() as service:
        assert len((await service.http.get("/api/v1/nodes")).json()) == 1
        assert (await service.http.get("/health")).json()["nodes"] == 1
