"""Two nodes and Redis behind nginx, as compose.yaml has them: nobody is tied to a node, and one can be taken away."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.nginx import Nginx
from support.redis_server import RedisServer
from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.client import Client

pytestmark = pytest.mark.platform("linux")

KEY = "0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {KEY}"}
VIEWERS = 4
LINES = 20


@contextlib.asynccontextmanager
async def house(tmp_path: Path) -> AsyncIterator[tuple[Nginx, Service, Service]]:
    """Run all of it; whoever is still there in the end is stopped."""
    with RedisServer(tmp_path) as redis:
        nodes = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            settings = {"API_KEYS": f"ann:{KEY}", "TRUSTED_PROXIES": "127.0.0.1", "REDIS_URL": redis.url}
            nodes.append(Service(tmp_path / name, headers=HEADERS, HOLDER="off", STOP_GRACE_SECONDS="0.3", **settings))
        one, two = nodes
        async with one, two:
            await wait_until(lambda: all_know(one, two), description="the nodes to know each other")
            with Nginx(tmp_path, [one.address, two.address]) as nginx:
                yield nginx, one, two


async def all_know(*nodes: Service) -> bool:
    return all([len((await node.http.get("/api/v1/nodes")).json()) == len(nodes) for node in nodes])


def deadlines(client: Client) -> list[Any]:
    return [message["deadline"] for message in client.messages if message["type"] == "draining"]


async def test_viewers_go_on_through_any_node_when_theirs_is_killed(tmp_path: Path) -> None:
    async with house(tmp_path) as (nginx, one, two), contextlib.AsyncExitStack() as stack:
        session = (await one.create_session(command=["cat"]))["session_id"]
        viewers = [
            await stack.enter_async_context(one.client(session, via=nginx.address, recover_from=0, strict=False))
            for _ in range(VIEWERS)
        ]
        for viewer in viewers:
            await viewer.wait(lambda one=viewer: one.is_attached, "attached")  # type: ignore[misc]
        assert nginx.connections_to(two.address) > 0, "nginx has given none to the node without the session"
        for number in range(LINES):
            viewers[number % VIEWERS].send_line(f"line {number}")
            if number == LINES // 2:
                await two.kill()
        for viewer in viewers:
            await viewer.wait_acked()
        lines = [f"line {number}" for number in range(LINES) for _ in range(2)]  # the echo, and cat
        length = sum(len(line) + 2 for line in lines)
        for viewer in viewers:
            await viewer.wait(lambda one=viewer: one.position >= length, "all output")  # type: ignore[misc]
            assert viewer.data == viewers[0].data
        assert sorted(viewers[0].data.decode().split("\r\n")) == sorted(["", *lines])
        assert max(viewer.attaches for viewer in viewers) > 1
        await one.delete(session)


async def test_a_node_that_drains_tells_viewers_at_every_node_and_takes_nothing_more(tmp_path: Path) -> None:
    async with house(tmp_path) as (nginx, one, two):
        kept = (await one.create_session(command=["cat"]))["session_id"]
        async with two.client(kept, recover_from=0, strict=False) as viewer:
            viewer.send_line("before")
            await viewer.wait_for_output(b"before\r\nbefore")
            draining = await one.start_command("-m", "terminal_service", "drain", "--seconds", "600")
            await viewer.wait(lambda: deadlines(viewer), "draining, from the other node")
            listed = {node["node"]: node["state"] for node in (await one.http.get("/api/v1/nodes")).json()}
            assert sorted(listed.values()) == ["active", "draining"]
            async with httpx.AsyncClient(base_url=nginx.url, headers=HEADERS, trust_env=False, timeout=30) as http:
                for _ in range(4):
                    made = await http.post("/api/v1/sessions", json={"command": ["cat"]})
                    assert made.status_code == 201, made.text
                    assert not (one.state / "sessions" / made.json()["session_id"]).exists()
                    await two.delete(made.json()["session_id"])
            asked = await one.http.post("/api/v1/sessions", json={"command": ["cat"]})
            assert asked.status_code == 201, "the node that drains has the other one make it"
            await two.delete(asked.json()["session_id"])
            viewer.send_line("after")
            await viewer.wait_for_output(b"after\r\nafter")
            viewer.send_input(b"\x04")
            await viewer.wait_ended()
        async with asyncio.timeout(30):
            out, _ = await draining.communicate()
        assert out.endswith(b"Stopped.\n")
        assert await one.wait() == 0
        async with httpx.AsyncClient(base_url=nginx.url, headers=HEADERS, trust_env=False, timeout=30) as http:
            for _ in range(4):  # it is gone: whatever comes is answered by the other
                made = await http.post("/api/v1/sessions", json={"command": ["cat"]})
                assert made.status_code == 201, made.text
                assert (await http.delete(f"/api/v1/sessions/{made.json()['session_id']}")).status_code == 204
        assert (await two.output(kept)).endswith(b"after\r\nafter\r\n"), "what it printed is still to be had"
