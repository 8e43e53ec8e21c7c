"""Two processes of the service over a real Redis are one: whatever is asked of either."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from support.redis_server import RedisServer
from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

SESSIONS = "/api/v1/sessions"


async def test_whatever_is_asked_of_a_node_that_does_not_have_the_session_is_answered(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path))
        nodes = [Service(tmp_path / name, REDIS_URL=redis.url, STOP_GRACE_SECONDS="0.3") for name in ("one", "two")]
        for node in nodes:
            await asyncio.to_thread(node.log_path.parent.mkdir)
        one, two = [await stack.enter_async_context(node) for node in nodes]

        async def see_each_other() -> bool:
            counts = [(await node.http.get("/health")).json()["nodes"] for node in (one, two)]
            return counts == [2, 2]

        await wait_until(see_each_other, description="both nodes to see each other")
        view = await two.create_session(command=["cat"], labels={"a": "b"})
        at = f"{SESSIONS}/{view['session_id']}"
        assert (await one.http.get(at)).json()["node"] == view["node"]
        assert [each["session_id"] for each in (await one.http.get(SESSIONS, params={"label": "a=b"})).json()] == [
            view["session_id"]
        ]
        typed = await one.http.post(at + "/input", json={"text": "hello\r"})
        assert typed.status_code == 202

        async def is_echoed() -> bool:
            return (await one.http.get(at + "/output")).content == b"hello\r\nhello\r\n"

        await wait_until(is_echoed, description="the output at the other node")
        largest = {"content": b"\n" * 1024 * 1024, "headers": {"content-type": "application/octet-stream"}}
        assert (await one.http.post(at + "/input", **largest)).status_code in {202, 429}  # type: ignore[arg-type]
        assert (await one.http.patch(at, json={"name": "b"})).json()["name"] == "b"
        assert (await two.info(view["session_id"]))["name"] == "b"
        shown = (await one.http.get("/api/v1/nodes")).json()
        assert {each["node"]: each["answers"] for each in shown}[view["node"]] is False
        following = asyncio.create_task(one.http.get(at + "/output", params={"follow": "true", "from": 0}))
        assert (await one.http.delete(at)).status_code == 204
        assert (await one.http.get(at)).json()["state"] == "ended"
        assert (await following).content.startswith(b"hello\r\nhello\r\n")
        missing = await one.http.get(f"{SESSIONS}/{'0' * 36}")
        assert (missing.status_code, missing.json()["code"]) == (404, "unknown_session")
