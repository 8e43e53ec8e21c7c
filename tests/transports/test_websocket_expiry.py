"""Time to live: who keeps a session alive, and what its end leaves: nothing that runs, and then nothing at all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import psutil
from websockets.exceptions import ConnectionClosed

from support.talk import Talk
from support.wait import wait_until

if TYPE_CHECKING:
    from support.shared import SharedService

TTL_SECONDS = 2
SETTINGS = {"SESSION_TTL_SECONDS": str(TTL_SECONDS), "ENDED_SESSION_SECONDS": "3"}
TREE = "trap '' HUP TERM; (trap '' HUP TERM; sleep 600 & setsid sleep 600 & wait) & printf READY; wait"


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended (one that only waits for its parent counts)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def ended(service: SharedService, session: str) -> dict[str, Any]:
    """Wait for the end of a session that may be forgotten soon after; return what is said of it."""

    async def look() -> dict[str, Any] | None:
        info = await service.info(session)
        return info if info["state"] == "ended" else None

    found: dict[str, Any] = await wait_until(look, description="the end")
    return found


async def test_only_a_writer_that_is_there_keeps_a_session_alive(service: SharedService) -> None:
    """The interval of pings is the default: fifteen times the time to live."""
    kinds: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "viewer": ({}, {"role": "viewer"}),
        "keepalive false": ({"keepalive": False}, {}),
    }
    async with asyncio.TaskGroup() as tasks:
        for kind, (fields, query) in kinds.items():
            tasks.create_task(watched(service, fields, query), name=kind)
        tasks.create_task(kept(service), name="writer")
        tasks.create_task(nobody(service), name="nobody")


async def watched(service: SharedService, fields: dict[str, Any], query: dict[str, Any]) -> None:
    session = (await service.create_session(command=["cat"], **fields))["session_id"]
    async with Talk(service, session, encoding="plain", **query) as talk:
        message = await talk.hear("session_ended")
        assert (message["reason"], message["exit_code"]) == ("ttl", None)
        assert (await talk.closed())[0] == 1000
    assert (await ended(service, session))["end_reason"] == "ttl"


async def kept(service: SharedService) -> None:
    view = await service.create_session(command=["cat"])
    session = view["session_id"]
    async with Talk(service, session, encoding="plain") as talk:
        while time.time() < view["expires_at"] + TTL_SECONDS:
            await talk.hear("ping")
        info = await service.info(session)
        assert (info["state"], info["last_bump"]["source"]) == ("running", "viewer")
    assert (await ended(service, session))["end_reason"] == "ttl"


async def test_who_keeps_a_session_alive_is_shown(service: SharedService) -> None:
    session = (await service.create_session(command=["cat"]))["session_id"]
    other = (await service.create_session(command=["cat"], keepalive=False))["session_id"]
    async with (
        Talk(service, session, client_id="looks", role="viewer") as looks,
        Talk(service, session, client_id="types") as types,
        Talk(service, other, client_id="is_no_activity") as is_no_activity,
    ):
        for talk in (looks, types, is_no_activity):
            await talk.hear("attached")
        shown = await service.info(session)
        assert (shown["kept_alive_by"], shown["responder"]) == (["types"], "types")
        shown = await service.info(other)
        assert (shown["kept_alive_by"], shown["responder"]) == ([], "is_no_activity")


async def nobody(service: SharedService) -> None:
    session = (await service.create_session(command=["cat"]))["session_id"]
    assert (await ended(service, session))["end_reason"] == "ttl"


async def test_a_time_to_live_cut_short_reaches_who_is_attached_at_once(service: SharedService) -> None:
    """Their next ping was to be in 30 s, and only its answer keeps the session alive."""
    session = (await service.create_session(command=["cat"], ttl_seconds=1000))["session_id"]
    async with Talk(service, session, encoding="plain") as talk:
        await talk.hear("attached")
        answer = await service.http.patch(f"/api/v1/sessions/{session}", json={"ttl_seconds": TTL_SECONDS})
        first_end = answer.json()["expires_at"]
        while time.time() < first_end + TTL_SECONDS:
            await talk.hear("ping")
        info = await service.info(session)
        assert (info["state"], info["last_bump"]["source"]) == ("running", "viewer")
    assert (await ended(service, session))["end_reason"] == "ttl"


async def test_activity_moves_the_end(service: SharedService) -> None:
    async with asyncio.TaskGroup() as tasks:
        for by in ("input", "resize", "keepalive", "http input"):
            tasks.create_task(moves_the_end(service, by), name=by)


async def moves_the_end(service: SharedService, by: str) -> None:
    view = await service.create_session(command=["cat"], keepalive=False)
    session, path = view["session_id"], f"/api/v1/sessions/{view['session_id']}"
    async with Talk(service, session) as talk:
        turn = 0
        while time.time() < view["expires_at"] + TTL_SECONDS / 2:
            turn += 1
            match by:
                case "input":
                    await talk.type("x\n")
                case "resize":
                    await talk.send("resize", rows=24, cols=80 + turn % 2)
                case "keepalive":
                    await service.http.post(f"{path}/keepalive")
                case _:
                    await service.http.post(f"{path}/input", json={"text": "x\n"})
            await asyncio.sleep(0.1)
        info = await service.info(session)
        assert (info["state"], info["last_bump"]["source"]) == ("running", by.removeprefix("http "))
        assert info["expires_at"] > view["expires_at"]


async def test_reading_and_pinging_are_no_activity(service: SharedService) -> None:
    session = (await service.create_session(command=["cat"], keepalive=False))["session_id"]
    async with Talk(service, session) as talk:

        async def chatter() -> None:
            with contextlib.suppress(ConnectionClosed):  # it ends while this speaks
                while True:
                    await talk.send("ping", timestamp=1e18)
                    await talk.send("ack", seq=0)
                    await asyncio.sleep(0.05)

        chattering = asyncio.create_task(chatter())
        assert (await talk.hear("session_ended"))["reason"] == "ttl"
        assert (await talk.closed())[0] == 4410
        await chattering
        assert len(talk.all("pong")) > 1, "it was heard all the while"


async def test_the_end_takes_the_whole_tree_and_then_the_session_is_forgotten(service: SharedService) -> None:
    view = await service.create_session(command=["bash", "-c", TREE])
    session = view["session_id"]
    async with Talk(service, session, role="viewer", recover_from=0) as talk:
        await talk.output(rb"READY")
        processes = [psutil.Process(view["pid"])]
        await wait_until(lambda: len(processes[0].children(recursive=True)) >= 3, description="the tree to have grown")
        processes += processes[0].children(recursive=True)
        assert (await talk.hear("session_ended"))["reason"] == "ttl"
        assert (await talk.closed())[0] == 4410
    assert [process.pid for process in processes if not is_gone(process.pid)] == []
    async with Talk(service, session, recover_from=0) as talk:
        assert (await talk.closed())[0] == 4410
        assert talk.data == b"READY", "what has ended can be read for a while"

    async def is_forgotten() -> bool:
        return (await service.http.get(f"/api/v1/sessions/{session}")).status_code == 404

    await wait_until(is_forgotten, description="the session to be forgotten")
    async with Talk(service, session) as talk:
        assert (await talk.closed())[0] == 4404
    async with Talk(service, session, encoding="plain") as talk:
        assert (await talk.closed())[0] == 1008


async def test_who_looks_at_what_has_ended_is_sent_away_when_it_is_forgotten(service: SharedService) -> None:
    session = (await service.create_session(command=["printf", "words"]))["session_id"]
    async with Talk(service, session, mode="frozen") as talk:
        code, reason = await talk.closed()
        assert (code, reason) == (4410, "session ended")
        assert talk.data == b""
