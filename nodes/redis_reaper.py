"""Ends what dead nodes left: their logs get an end, their sessions are lost with a reason and count no more.

Each living node is told of a death, and one of them does the work; when that one dies too, the next goes on. What is
lost is decided in one step (`DOOM`), so a node that is back before keeps all it has, and one that is back later keeps
what it has made since.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from nodes.errors import Away
from nodes.lost import end_fields, lose_record, lose_view
from nodes.redis_directory import ENDED_SECONDS
from nodes.redis_link import RedisLink, Run, is_cancelled
from nodes.redis_scripts import DOOM, LIVING, LOSE, NODES, node_key, session_key, user_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nodes.redis_link import Word
    from replay.redis_address import RedisAddress

    Seal: TypeAlias = Callable[..., Awaitable[Any]]

PAUSE_SECONDS = 0.5
"""Between two tries, while another node does it or Redis is away."""
TURN_SECONDS = 10.0
"""How long others wait for a node that has taken this on and says no more."""
BATCH_SESSIONS = 64
TERMINAL_ID = "main"

log = structlog.get_logger()


class Reaper:
    """What this node does about dead ones. `run` is single-use."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        seal: Seal,
        name_node: Callable[[str], str],
        ended_seconds: float = ENDED_SECONDS,
        ttl_seconds: float = 3600.0,
    ) -> None:
        """Begin with none. `seal` ends a log (`replay.redis_seal`); `name_node` tells people where a node ran."""
        self.reaped = 0
        """Sessions this node has found lost."""
        self._link = RedisLink(address)
        self._seal = seal
        self._name_node = name_node
        self._ended_seconds = ended_seconds
        self._ttl_ms = round(ttl_seconds * 1000)
        self._name = uuid.uuid4().hex
        self._dead: dict[str, list[str]] = {}
        """Dead nodes with the sessions that are ended, and not yet known to be."""
        self._is_stopping = False
        self._work = asyncio.Event()

    def reap(self, node_id: str) -> None:
        """Have what a dead node left ended, by this node or another; twice is harmless."""
        self._dead.setdefault(node_id, [])
        self._work.set()

    def stop(self) -> None:
        """Have `run` return after the command it waits for; another node goes on."""
        self._is_stopping = True
        self._work.set()

    async def run(self) -> None:
        """End what is left, until stopped."""
        try:
            while not self._is_stopping and not is_cancelled():
                if not await self._reap_some():
                    await self._pause()
        finally:
            await self._link.close()

    async def _pause(self) -> None:
        """Wait for something to do, or a little if there is something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_SECONDS if self._dead else None):
                await self._work.wait()
        self._work.clear()

    async def _reap_some(self) -> bool:
        """Take one step for each dead node; return whether any came further."""
        moved = False
        for node_id in tuple(self._dead):
            try:
                moved |= await self._step(node_id)
            except Away as error:
                log.warning("what a dead node left cannot be ended now", node_id=node_id, reason=error.reason)
        return moved

    async def _step(self, node_id: str) -> bool:
        names = ("lease", "sessions", "doomed", "reaped", "reaper")
        keys = tuple(node_key(node_id, name) for name in names)
        turn_ms = round(TURN_SECONDS * 1000)
        words: tuple[Word, ...] = (self._name, turn_ms, self._ttl_ms, BATCH_SESSIONS, *self._dead[node_id])
        [[verdict, *doomed]] = await self._link.ask([Run(DOOM, keys, words)])
        self._dead[node_id] = []
        if verdict == b"busy":
            return False
        if verdict == b"yours":
            await self._end(node_id, [session_id.decode() for session_id in doomed])
            return True
        if verdict == b"done":
            await self._link.ask([("SREM", NODES, node_id)])
        del self._dead[node_id]
        return True

    async def _end(self, node_id: str, doomed: Sequence[str]) -> None:
        """End sessions of a node. May be done twice, by two nodes at once, and half."""
        rows = await self._link.ask(
            [("HMGET", session_key(session_id), "node", "user", "living", "record", "view") for session_id in doomed]
        )
        at, reason = time.time(), f"its node {self._name_node(node_id)} is gone"
        here = [
            (session_id, row)
            for session_id, row in zip(doomed, rows, strict=True)
            if row[0] == node_id.encode() and row[2] == b"1"
        ]
        await self._seal_all([session_id for session_id, _ in here], reason, at)
        losses = [self._loss(session_id, row, reason, at) for session_id, row in here]
        uncounts = [
            ("ZREM", key, session_id)
            for session_id, row in zip(doomed, rows, strict=True)
            for key in (LIVING, *((user_key(row[1].decode(), "living"),) if row[1] is not None else ()))
        ]
        replies = await self._link.ask([*losses, *uncounts])
        self._dead[node_id] = list(doomed)
        lost = sum(replies[: len(losses)])
        self.reaped += lost
        if lost:
            log.warning("sessions are lost", node_id=node_id, sessions=lost, reason=reason)

    async def _seal_all(self, session_ids: Sequence[str], reason: str, at: float) -> None:
        """End the logs of sessions: nothing is appended to them any more. Raises Away if one is not."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._seal_one(session_id, reason, at)) for session_id in session_ids]
        for task in tasks:
            if (away := task.result()) is not None:
                raise away

    async def _seal_one(self, session_id: str, reason: str, at: float) -> Away | None:
        name, fields = f"{session_id}/{TERMINAL_ID}", end_fields(reason, at)
        try:
            await self._link.use(
                lambda client: self._seal(
                    client, name, reason=reason, fields=fields, at=at, ttl_seconds=self._ended_seconds
                )
            )
        except Away as error:
            return error
        return None

    def _loss(self, session_id: str, row: Sequence[bytes], reason: str, at: float) -> Run:
        node, _, _, record, view = row
        try:
            record, view = lose_record(record, reason, at), lose_view(view, reason, at)
        except (ValueError, TypeError, AttributeError) as error:
            log.error("entry of a session is damaged", session_id=session_id, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
        return Run(LOSE, (session_key(session_id),), (node, record, view, round(self._ended_seconds * 1000)))
