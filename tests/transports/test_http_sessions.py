"""Opening, showing, changing and ending sessions over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from backends.echo import EchoBackend
from support.http_service import KEYS, serve
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import Order

SESSIONS = "/api/v1/sessions"


async def test_a_session_opens_with_the_fields_the_first_clients_know() -> None:
    async with serve() as service:
        answer = await service.http.post(SESSIONS, json={"shell": "echo", "rows": 30, "cols": 120})
        view = answer.json()
        assert answer.status_code == 201
        assert (view["shell"], view["rows"], view["cols"]) == ("echo", 30, 120)
        assert view["websocket_url"] == f"/ws/terminal/{view['session_id']}"
        assert isinstance(view["created_at"], float)
        assert answer.headers["location"] == service.path(view)
        shown = (await service.http.get(answer.headers["location"])).json()
        assert (shown["uptime"], shown["last_activity"]) >= (0, view["created_at"])


async def test_everything_asked_for_is_shown_but_the_environment() -> None:
    wanted = {
        "rows": 1,
        "cols": 1000,
        "env": {"SECRET": "tell-nobody"},
        "user_id": "user123",
        "backend": "echo",
        "cwd": "/",
        "name": "a näme",
        "labels": {"team": "ops"},
        "ttl_seconds": 86400,
        "keepalive": False,
        "size_policy": "fixed",
        "retention_bytes": 65536,
    }
    async with serve() as service:
        view = await service.create(**wanted)
        assert {name: view[name] for name in wanted if name in view} == {
            name: value for name, value in wanted.items() if name not in {"env", "cwd"}
        }
        assert view["expires_at"] == pytest.approx(view["created_at"] + 86400, abs=5)
        assert [change["state"] for change in view["history"]] == ["pending", "preparing", "running"]
        assert view["storage"] == {"durable": True, "reason": ""}
        assert "tell-nobody" not in (await service.http.get(service.path(view))).text
        await service.type(view, "env SECRET\r")
        await service.wait_for_head(view, 23)
        assert b"tell-nobody" in (await service.http.get(service.path(view, "/output"))).content


async def test_a_command_runs_instead_of_a_shell_and_its_end_is_told() -> None:
    async with serve() as service:
        view = await service.create(command=["exit", "3"])
        await service.wait_for_end(view)
        shown = (await service.http.get(service.path(view))).json()
        assert (shown["state"], shown["exit_code"], shown["signal"]) == ("ended", 3, None)
        assert (shown["pid"], shown["expires_at"]) == (None, None)
        assert (shown["command"], shown["end_reason"]) == (["exit", "3"], "Process exited")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"rows": 0}, "rows"),
        ({"rows": 10**6}, "rows"),
        ({"cols": "80"}, "cols"),
        ({"cols": 80.5}, "cols"),
        ({"cols": True}, "cols"),
        ({"shell": ""}, "shell"),
        ({"shell": "no-such-shell"}, "shell"),
        ({"shell": ["bash"]}, "shell"),
        ({"shell": "echo", "command": ["env"]}, "body"),
        ({"command": []}, "command"),
        ({"command": [""]}, "command"),
        ({"command": ["a\0b"]}, "command.0"),
        ({"command": ["x" * 70_000]}, "command"),
        ({"env": {"": "x"}}, "env."),
        ({"env": {"A=B": "x"}}, "env.A=B"),
        ({"env": {"A\0": "x"}}, "env.A\0"),
        ({"env": {"A": "\0"}}, "env.A"),
        ({"env": {"A": 1}}, "env.A"),
        ({"env": {"A": "x" * 70_000}}, "env"),
        ({"env": {str(n): "" for n in range(1001)}}, "env"),
        ({"env": []}, "env"),
        ({"cwd": ""}, "cwd"),
        ({"cwd": "/no/such/directory"}, "cwd"),
        ({"cwd": "/\0"}, "cwd"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"user_id": "x" * 129}, "user_id"),
        ({"backend": "mars"}, "backend"),
        ({"name": "x" * 201}, "name"),
        ({"name": "\x1b[2J"}, "name"),
        ({"labels": {"a b": "c"}}, "labels.a b"),
        ({"labels": {"a": "c" * 256}}, "labels.a"),
        ({"labels": {f"l{n}": "" for n in range(65)}}, "labels"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": -1}, "ttl_seconds"),
        ({"ttl_seconds": 10**9}, "ttl_seconds"),
        ({"size_policy": "largest"}, "size_policy"),
        ({"keepalive": "yes"}, "keepalive"),
        ({"retention_bytes": 1}, "retention_bytes"),
        ({"retention_bytes": 2**40}, "retention_bytes"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_left(wrong: dict[str, Any], field: str) -> None:
    async with serve() as service:
        answer = await service.http.post(SESSIONS, json=wrong)
        assert answer.status_code == 422, answer.text
        problem = answer.json()
        assert problem["code"] == "invalid_request"
        assert [each["field"] for each in problem["errors"]] == [field]
        assert answer.headers["content-type"] == "application/problem+json"
        assert not list(service.sessions.all())


async def test_the_shells_that_exist_are_named_to_who_asks_for_another() -> None:
    async with serve() as service:
        answer = await service.http.post(SESSIONS, json={"shell": "tcsh"})
        assert "available: echo" in answer.json()["detail"]


async def test_what_a_new_session_can_be_is_told_beforehand() -> None:
    async with serve(backends={"echo": EchoBackend(), "other": EchoBackend()}, default_shell="echo") as service:
        options = (await service.http.get("/api/v1/options")).json()
        assert options == {
            "backends": [{"name": "echo", "shells": ["echo"]}, {"name": "other", "shells": ["echo"]}],
            "default_backend": "echo",
            "ttl_seconds": 3600.0,
            "max_ttl_seconds": 604800.0,
            "size_policy": "smallest",
            "retention_bytes": 16 * 2**20,
            "max_retention_bytes": 64 * 2**20,
        }
        fields = {name: options[name] for name in ("size_policy", "retention_bytes", "ttl_seconds")}
        for backend in options["backends"]:
            await service.create(backend=backend["name"], shell=backend["shells"][0], **fields)
    async with serve(keys=True, session_max_lifetime_seconds=0.0) as service:
        assert (await service.http.get("/api/v1/options")).status_code == 401
        async with service.client("ann") as ann:
            assert (await ann.get("/api/v1/options")).json()["max_ttl_seconds"] is None


async def test_a_number_written_as_a_whole_float_is_a_whole_number() -> None:
    async with serve() as service:
        assert (await service.create(rows=30.0))["rows"] == 30


async def test_wrong_values_never_come_back_in_a_refusal() -> None:
    async with serve() as service:
        answer = await service.http.post(SESSIONS, json={"env": {"A": ["canary"]}, "name": ["canary"]})
        assert answer.status_code == 422
        assert "canary" not in answer.text


async def test_a_text_that_is_no_unicode_is_refused() -> None:
    async with serve() as service:
        for body in (b'{"name": "\\ud800"}', b'{"env": {"\\udfff": ""}}', b'{"\\ud800": 1}'):
            answer = await service.http.post(SESSIONS, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422, answer.text


async def test_a_plain_user_opens_sessions_for_nobody_else() -> None:
    async with serve(keys=True) as service, service.client("ann") as ann:
        assert (await ann.post(SESSIONS, json={})).json()["user_id"] == "ann"
        assert (await ann.post(SESSIONS, json={"user_id": "ann"})).status_code == 201
        answer = await ann.post(SESSIONS, json={"user_id": "bob"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_sessions_of_others_do_not_exist() -> None:
    async with serve(keys=True) as service, service.client("ann") as ann, service.client("bob") as bob:
        view = (await ann.post(SESSIONS, json={})).json()
        unknown = {**view, "session_id": "00000000-0000-4000-8000-000000000000"}
        requests: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", "", {}),
            ("PATCH", "", {"json": {"name": "mine"}}),
            ("DELETE", "", {}),
            ("PUT", "/resize", {"json": {"rows": 1, "cols": 1}}),
            ("POST", "/keepalive", {}),
            ("POST", "/input", {"json": {"text": "x"}}),
            ("POST", "/signal", {"json": {"name": "KILL"}}),
            ("GET", "/output", {}),
        ]
        for method, rest, options in requests:
            answers = [await bob.request(method, service.path(each, rest), **options) for each in (view, unknown)]
            assert [each.status_code for each in answers] == [404, 404], (method, rest)
            assert answers[0].content == answers[1].content
        assert (await bob.get(SESSIONS)).json() == []
        assert (await bob.get(SESSIONS, params={"user_id": "ann"})).json() == []
        assert (await ann.get(service.path(view))).json()["state"] == "running"


async def test_a_key_is_needed_where_there_are_keys() -> None:
    async with serve(keys=True) as service:
        assert (await service.http.get(SESSIONS)).status_code == 401
        wrong = await service.http.get(SESSIONS, headers={"X-API-Key": KEYS["ann"] + "x"})
        assert wrong.status_code == 401


async def test_one_session_too_many_is_429_and_harms_nobody() -> None:
    async with serve(max_concurrent_sessions_per_user=1) as service:
        view = await service.create()
        answer = await service.http.post(SESSIONS, json={})
        assert (answer.status_code, answer.json()["code"]) == (429, "limit_reached")
        assert int(answer.headers["retry-after"]) > 0
        assert (await service.http.get(service.path(view))).json()["state"] == "running"
        await service.http.delete(service.path(view))
        await service.create()


async def test_a_system_without_terminals_left_is_503_and_recovers() -> None:
    async with serve(backends={"echo": EchoBackend(limit=1)}) as service:
        view = await service.create()
        answer = await service.http.post(SESSIONS, json={})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        await service.http.delete(service.path(view))
        await service.create()


async def test_a_stopping_service_opens_no_sessions() -> None:
    async with serve() as service:
        service.sessions.stop()
        answer = await service.http.post(SESSIONS, json={})
        assert answer.status_code == 503


async def test_a_patch_merges_and_null_goes_back_to_the_default() -> None:
    async with serve() as service:
        view = await service.create(name="old", labels={"a": "1", "b": "2"}, ttl_seconds=100, size_policy="fixed")
        path = service.path(view)
        changed = (await service.http.patch(path, json={"labels": {"a": None, "c": "3"}, "ttl_seconds": 50})).json()
        assert (changed["name"], changed["labels"], changed["size_policy"]) == ("old", {"b": "2", "c": "3"}, "fixed")
        assert (changed["ttl_seconds"], changed["last_bump"]["source"]) == (50, "update")
        nothing = {"name": None, "labels": None, "ttl_seconds": None, "size_policy": None}
        merge_patch = {"Content-Type": "application/merge-patch+json"}
        changed = (await service.http.patch(path, json=nothing, headers=merge_patch)).json()
        assert (changed["name"], changed["labels"], changed["size_policy"]) == ("", {}, "smallest")
        assert changed["ttl_seconds"] == service.sessions.settings.session_ttl_seconds


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 10**9}, "ttl_seconds"),
        ({"size_policy": "x"}, "size_policy"),
        ({"name": 1}, "name"),
        ({"labels": {"": "x"}}, "labels."),
        ({"labels": {f"l{n}": "" for n in range(64)}}, "labels"),
        ({"shell": "bash"}, "shell"),
    ],
)
async def test_a_wrong_patch_changes_nothing(wrong: dict[str, Any], field: str) -> None:
    async with serve() as service:
        view = await service.create(labels={"a": "1"})
        answer = await service.http.patch(service.path(view), json={"name": "new", **wrong})
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == [field]
        shown = (await service.http.get(service.path(view))).json()
        assert (shown["name"], shown["labels"]) == ("", {"a": "1"})


async def test_keepalive_and_resize_move_the_end_later() -> None:
    async with serve() as service:
        view = await service.create(ttl_seconds=100)
        service.time.ahead = 40
        answer = (await service.http.post(service.path(view, "/keepalive"))).json()
        assert answer["expires_at"] == pytest.approx(view["expires_at"] + 40, abs=5)
        assert (await service.http.get(service.path(view))).json()["last_bump"]["source"] == "keepalive"
        service.time.ahead = 80
        answer = (await service.http.put(service.path(view, "/resize"), json={"rows": 30, "cols": 120})).json()
        assert answer == {"status": "resized", "rows": 30, "cols": 120}
        shown = (await service.http.get(service.path(view))).json()
        assert shown["expires_at"] == pytest.approx(view["expires_at"] + 80, abs=5)
        assert shown["last_bump"]["source"] == "resize"


async def test_a_session_whose_time_is_over_ends_and_stays_readable() -> None:
    async with serve() as service:
        view = await service.create(ttl_seconds=100)
        service.time.ahead = 101
        service.sessions.tick()
        await service.wait_for_end(view)
        shown = (await service.http.get(service.path(view))).json()
        assert (shown["state"], shown["end_reason"]) == ("ended", "ttl")
        service.time.ahead += service.sessions.settings.ended_session_seconds
        service.sessions.tick()
        assert (await service.http.get(service.path(view))).status_code == 404


async def test_ending_is_repeatable_while_the_session_can_be_read() -> None:
    async with serve() as service:
        view = await service.create()
        answers = [await service.http.delete(service.path(view)) for _ in range(2)]
        assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
        assert (await service.http.get(service.path(view))).json()["end_reason"] == "deleted"
        assert (await service.http.delete(SESSIONS + "/nobody-knows")).status_code == 404


async def test_an_ended_session_takes_no_changes() -> None:
    async with serve() as service:
        view = await service.create(command=["exit"])
        await service.wait_for_end(view)
        requests: list[tuple[str, str, dict[str, Any]]] = [
            ("PATCH", "", {"json": {"name": "new"}}),
            ("PUT", "/resize", {"json": {"rows": 1, "cols": 1}}),
            ("POST", "/keepalive", {}),
            ("POST", "/input", {"json": {"text": "x"}}),
            ("POST", "/signal", {"json": {"name": "INT"}}),
        ]
        for method, rest, options in requests:
            answer = await service.http.request(method, service.path(view, rest), **options)
            assert (answer.status_code, answer.json()["code"]) == (409, "session_over"), (method, rest)


class SlowBackend(EchoBackend):
    """An echo that is provisioned only when it is told to be."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def open(self, order: Order) -> Any:
        await self.go_on.wait()
        return await super().open(order)


async def test_a_session_that_is_ended_while_it_starts_leaves_nothing() -> None:
    backend = SlowBackend()
    async with serve(backends={"slow": backend}) as service, asyncio.TaskGroup() as tasks:
        creating = tasks.create_task(service.http.post(SESSIONS, json={}))
        await wait_until(lambda: any(s.terminal for s in service.sessions.all()), description="it is being started")
        (session,) = service.sessions.all()
        path = f"{SESSIONS}/{session.session_id}"
        shown = (await service.http.get(path)).json()
        assert (shown["state"], shown["seq"], shown["pid"]) == ("preparing", 0, None)
        assert (await service.http.get(path + "/output")).content == b""
        assert (await service.http.post(path + "/input", json={"text": "x"})).json()["waiting_bytes"] == 1
        deleting = tasks.create_task(service.http.delete(path))
        await wait_until(lambda: session.end_reason, description="the end to have begun")
        backend.go_on.set()
        assert (await deleting).status_code == 204
        assert (await creating).status_code == 409
        assert (await service.http.get(path)).status_code == 404


@pytest.mark.platform("linux", "darwin")
async def test_a_real_shell_has_a_process_and_its_own_directory(tmp_path: Path) -> None:
    from backends.forkers import OwnForker  # noqa: PLC0415 - does not exist on Windows
    from backends.posix import PosixBackend  # noqa: PLC0415 - likewise

    backend = PosixBackend({"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, OwnForker())
    try:
        async with serve(backends={"local": backend}) as service:
            view = await service.create(shell="sh", cwd=str(tmp_path))
            assert view["pid"] > 1
            await service.type(view, "pwd; exit 7\n")
            await service.wait_for_end(view)
            shown = (await service.http.get(service.path(view))).json()
            assert (shown["exit_code"], shown["pid"]) == (7, None)
            assert str(tmp_path) in (await service.http.get(service.path(view, "/output"))).text
            missing = await service.create(command=["/no/such/program"])
            await service.wait_for_end(missing)
            assert (await service.http.get(service.path(missing))).json()["exit_code"] == 127
            answer = await service.http.post(SESSIONS, json={"cwd": "/no/such/directory"})
            assert [each["field"] for each in answer.json()["errors"]] == ["cwd"]
            answer = await service.http.post(SESSIONS, json={"shell": "no-such-shell"})
            assert "sh" in answer.json()["errors"][0]["message"]
    finally:
        await backend.close()
