"""Where sessions can run is told to those who may use it, and what becomes of them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from backends.echo import EchoBackend
from backends.errors import AccessRefused, NotProvided, NotSupported, Unreachable
from backends.profile import EchoProfile, LocalProfile
from support.far_places import FarBackend, FarProfile, World
from support.http_service import serve
from support.wait import wait_until
from terminal_service.places import Place, Places

if TYPE_CHECKING:
    from backends.errors import BackendError

SESSIONS = "/api/v1/sessions"
BACKENDS = "/api/v1/backends"


def places(world: World, users: tuple[str, ...] = ("*",), **options: Any) -> Places:
    return Places(
        [
            Place("local", EchoBackend(name="local"), LocalProfile(name="local")),
            Place("far", FarBackend(world), FarProfile(name="far", users=users, description="beyond the hills")),
            Place("echo", EchoBackend(), EchoProfile(name="echo")),
        ],
        **options,
    )


async def test_a_backend_is_shown_with_what_it_can_and_how_it_is() -> None:
    world = World()
    async with serve(places=places(world)) as service:
        (place,) = (each for each in service.sessions.places if each.name == "far")
        await wait_until(lambda: place.health.checked_at, description="it was looked at")
        local, far, echo = (await service.http.get(BACKENDS)).json()
        assert (local["name"], local["is_default"], local["shells"]) == ("local", True, ["echo"])
        assert (echo["is_default"], echo["health"]["state"], echo["kind"]) == (False, "ok", "echo")
        assert (far["kind"], far["description"], far["shells"]) == ("far", "beyond the hills", None)
        assert far["capabilities"] == {
            **dict.fromkeys(("exec", "files", "port_forwarding", "stats", "signals", "snapshot", "pause"), False),
            "reattach": True,
        }
        assert (far["gives"], far["nodes"]) == ([], ["alone"])
        assert far["health"]["since"] <= far["health"]["checked_at"]


async def test_one_that_hangs_holds_up_no_answer() -> None:
    world = World()
    world.gate.clear()
    async with serve(places=places(world)) as service:
        shown = (await service.http.get(BACKENDS)).json()
        assert [each["health"]["state"] for each in shown] == ["ok", "unknown", "ok"]
        options = (await service.http.get("/api/v1/options")).json()
        assert [each["name"] for each in options["backends"]] == ["local", "far", "echo"]


async def test_one_that_is_not_for_somebody_is_not_there() -> None:
    async with serve(places=places(World(), ("ann",), default="far"), keys=True) as service:
        async with service.client("bob") as bob:
            assert [each["name"] for each in (await bob.get(BACKENDS)).json()] == ["local", "echo"]
            options = (await bob.get("/api/v1/options")).json()
            assert [each["name"] for each in options["backends"]] == ["local", "echo"]
            assert options["default_backend"] == "local"
            refused = await bob.post(SESSIONS, json={"backend": "far"})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            assert "'bob'" in refused.json()["detail"]
            assert (await bob.post(SESSIONS, json={})).json()["backend"] == "local"
        async with service.client("ann") as ann:
            assert [each["name"] for each in (await ann.get(BACKENDS)).json()] == ["far", "local", "echo"]
            made = (await ann.post(SESSIONS, json={})).json()
            assert (made["backend"], made["backend_reason"]) == ("far", "the default")


async def test_a_place_is_chosen_and_the_reason_told() -> None:
    async with serve(places=places(World())) as service:
        made = await service.create(backend="auto")
        assert (made["backend"], made["backend_reason"]) == ("local", "rule 8: nothing else is asked of it")
        refused = await service.http.post(SESSIONS, json={"backend": "auto", "gpus": 1})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "gpus")
        assert "local: it cannot give a session GPUs" in refused.json()["detail"]
        refused = await service.http.post(SESSIONS, json={"image": "alpine:3"})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "image")
        for wrong in ({"image": "-x"}, {"image": ""}, {"gpus": 0}, {"cpus": 0}, {"memory_bytes": 1}, {"needs": ["x"]}):
            assert (await service.http.post(SESSIONS, json=wrong)).status_code == 422, wrong


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (Unreachable("build1:22 does not answer", 12.3), 503, "backend_unreachable", "13"),
        (Unreachable("build1:22 does not answer"), 503, "backend_unreachable", "10"),
        (AccessRefused("the key is refused"), 502, "backend_refused", None),
        (NotProvided("no node has a GPU"), 503, "not_provided", "10"),
        (NotSupported("far", "images"), 422, "not_supported", None),
    ],
)
async def test_what_a_backend_refuses_has_a_status_and_its_words(
    error: BackendError, status: int, code: str, retry: str | None
) -> None:
    world = World()
    world.failure = error
    async with serve(places=places(world)) as service:
        refused = await service.http.post(SESSIONS, json={"backend": "far"})
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert str(error) in refused.json()["detail"]
        assert refused.headers.get("retry-after") == retry
        metrics = (await service.http.get("/metrics")).text
        assert f'terminal_backend_failures_total{{backend="far",error_type="{type(error).__name__}"}} 1.0' in metrics
        assert (await service.http.get(SESSIONS, params={"state": "all"})).json() == []


async def test_health_says_that_a_backend_is_failing_and_serves_on() -> None:
    world = World()
    world.failure = Unreachable("build1.internal:22 does not answer")
    made = places(world)
    async with serve(places=made) as service:
        await wait_until(lambda: any(place.health.is_failing for place in made), description="it was looked at")
        health = (await service.http.get("/health")).json()
        assert (health["status"], health["checks"]["backends"]["status"]) == ("healthy", "degraded")
        assert "internal" not in str(health), "anybody reads this"
        shown = (await service.http.get(BACKENDS)).json()[1]["health"]
        assert (shown["state"], shown["reason"]) == ("failing", "build1.internal:22 does not answer")


async def test_a_session_that_takes_long_is_answered_and_shown() -> None:
    world = World()
    world.gate.clear()
    async with serve(places=places(world), create_wait_seconds=0.05) as service:
        made = await service.create(backend="far")
        path = service.path(made)
        assert (made["state"], made["pid"], made["notice"]) == ("preparing", None, None)
        refused = await service.http.post(path + "/signal", json={"name": "INT"})
        assert (refused.status_code, refused.json()["code"]) == (409, "preparing")
        await service.type(made, "hello")
        world.gate.set()
        session = service.sessions.get(made["session_id"])
        await wait_until(lambda: session.state.value == "running", description="it runs")
        await wait_until(lambda: session.terminal and session.terminal.log.head == 5, description="it was typed")
        assert (await service.http.get(path + "/output")).content == b"hello"
        world.gate.clear()
        second = await service.create(backend="far")
        assert (await service.http.delete(service.path(second))).status_code == 204
        shown = (await service.http.get(service.path(second))).json()
        assert (shown["state"], shown["end_reason"]) == ("ended", "deleted")
        assert second["session_id"] not in world.provided
