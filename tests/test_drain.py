"""`terminal-service drain`: no new sessions, clients are told, and the service stops when its sessions have ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from support.crew import Crew
from support.ended import end_of
from support.redis_server import RedisServer
from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from support.client import Client

pytestmark = pytest.mark.platform("linux", "darwin")

LONG = "600"


def told(client: Client) -> list[Any]:
    """Return the deadlines a viewer was told."""
    return [message["deadline"] for message in client.messages if message["type"] == "draining"]


async def drain(service: Service, *arguments: str) -> asyncio.subprocess.Process:
    """Start `terminal-service drain`."""
    return await service.start_command("-m", "terminal_service", "drain", *arguments)


async def begin_to_drain(service: Service, *arguments: str) -> asyncio.subprocess.Process:
    """Start `terminal-service drain`, and wait until the service does, which is not over soon."""
    process = await drain(service, *arguments)

    async def drains() -> bool:
        return bool((await service.http.get("/health")).json()["state"] == "draining")

    await wait_until(drains, description="the service to drain")
    return process


async def test_a_draining_service_takes_no_new_sessions_and_serves_those_it_has(tmp_path: Path) -> None:
    async with Service(tmp_path, DRAIN_SECONDS=LONG) as service:
        session = (await service.create_session(command=["cat"]))["session_id"]
        async with service.client(session) as client:
            began = time.time()
            process = await begin_to_drain(service)
            await client.wait(lambda: told(client), "draining")
            assert began + 600 <= told(client)[0] <= time.time() + 600
            refused = await service.http.post("/api/v1/sessions", json={})
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            assert int(refused.headers["retry-after"]) >= 1
            ready, health, live = [await service.http.get(f"/health{path}") for path in ("/ready", "", "/live")]
            assert (ready.status_code, health.status_code, live.status_code) == (503, 200, 200)
            assert (health.json()["status"], ready.json()["state"]) == ("healthy", "draining")
            assert health.json()["checks"]["sessions"]["detail"] == "draining: no new sessions, 1 left"
            client.send_line("still here")
            await client.wait_for_output(b"still here\r\nstill here")
            async with service.client(session) as late:
                await late.wait(lambda: told(late), "draining, as told before")
                assert told(late) == told(client)
            await service.delete(session)
        code, out, err = await end_of(process)
        assert (code, err) == (0, ""), out
        assert "no new sessions; those that live (1) have 600 s" in out
        assert out.endswith("Stopped.\n")
        assert await service.wait() == 0


async def test_a_session_that_lasts_longer_goes_on_in_the_holder_and_its_viewers_learn_that(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_SESSIONS_ON_EXIT="false") as service:
        session = await service.create_session(command=["cat"])
        first = await begin_to_drain(service, "--seconds", LONG)
        second = await drain(service, "--seconds", "0.2")
        for process in (first, second):
            code, out, err = await end_of(process)
            assert (code, err) == (0, ""), out
            assert "what is left then goes on where it can" in out
        assert await service.wait() == 0
        await service.start()
        assert (await service.http.get("/health")).json()["state"] == "active"
        assert (await service.info(session["session_id"]))["pid"] == session["pid"]
        async with service.client(session["session_id"], recover_from=0) as client:
            await client.wait(lambda: told(client), "draining")
            assert told(client) == [None]
        async with service.client(session["session_id"]) as client:
            client.send_line("hello")
            await client.wait_for_output(b"hello\r\nhello")
        await service.delete(session["session_id"])


async def test_a_session_that_lasts_longer_ends_where_the_setting_says_so(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_SESSIONS_ON_EXIT="true", DRAIN_SECONDS="0.3") as service:
        session = await service.create_session(command=["cat"])
        assert "what is left then ends" in (await end_of(await drain(service)))[1]
        assert await service.wait() == 0
        assert not psutil.pid_exists(session["pid"])


async def test_a_service_without_sessions_is_drained_at_once(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        code, out, err = await end_of(await drain(service))
        assert (code, err, out.endswith("Stopped.\n")) == (0, "", True)
        assert await service.wait() == 0
        assert await end_of(await drain(service)) == (0, f"No service is running on {service.state}.\n", "")


async def test_a_draining_service_is_stopped_as_any_and_replaced_by_none(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        await service.create_session(command=["cat"])
        draining = await begin_to_drain(service, "--seconds", LONG)
        successor = await service.start_successor()
        assert await successor.wait() == 2
        assert "it is draining" in service.log()
        code, out, _ = await end_of(await drain(service, "--seconds=-1"))
        assert (code, out) == (1, "Not drained: seconds are 0 to 2592000.\n")
        assert await service.stop() == 0
        assert (await end_of(draining))[0] == 0


async def test_workers_drain_together_and_end_together(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        async with Crew(tmp_path, redis.url, HOLDER="off") as crew:
            await crew.create_everywhere(2)  # and more, on one of them
            pids = [worker.pid for worker in crew.workers()]
            process = await drain(crew, "--seconds", LONG)
            await wait_until(lambda: all_refuse(crew), description="all workers to refuse new sessions")
            psutil.Process(pids[0]).kill()  # it is started again, and drains too; its sessions are lost
            await wait_until(lambda: len(crew.workers()) == 2, description="a new worker")
            await wait_until(lambda: all_refuse(crew), description="the new worker to drain")
            refused = [(await crew.http.post("/api/v1/sessions", json={})).json() for _ in range(6)]
            assert {answer["code"] for answer in refused} == {"draining"}
            for session in (await crew.http.get("/api/v1/sessions")).json():
                await crew.delete(session["session_id"], missing_ok=True)
            code, out, err = await end_of(process)
            assert (code, err) == (0, ""), out
            assert "no new sessions; those that live" in out
            assert out.endswith("Stopped.\n")
            assert await crew.wait() == 0


async def all_refuse(crew: Crew) -> bool:
    """Tell whether each of many connections, which come to all workers, says so."""
    states = [(await crew.http.get("/health")).json()["state"] for _ in range(12)]
    return set(states) == {"draining"}
