"""Nodes that write to each other: over Redis or in memory, with all they get written down."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Protocol, Self

from nodes.base import Mail
from nodes.memory_mail import MemoryMail, MemoryPost
from nodes.redis_mail import RedisMail
from replay.redis_address import RedisAddress
from support.wait import wait_until

_names = itertools.count(1)


class RunnableMail(Mail, Protocol):
    """What every kind of mail is beside the contract."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...

    def peer_lost(self, node_id: str) -> None: ...


class MailNode:
    """A process of a node. Leaving it ends it; `kill` ends it without a word."""

    def __init__(self, mail: RunnableMail, node_id: str) -> None:
        self.mail = mail
        self.node_id = node_id
        self.notes: list[tuple[str, bytes]] = []
        self.resets: list[str] = []
        mail.on_note("note", lambda sender, body: self.notes.append((sender, body)))
        mail.on_reset(self.resets.append)
        self._task: asyncio.Task[None] | None = None

    def bodies(self, sender: MailNode) -> list[bytes]:
        return [body for node_id, body in self.notes if node_id == sender.node_id]

    def note(self, to: MailNode, *bodies: bytes) -> None:
        for body in bodies:
            self.mail.send(to.node_id, "note", body)

    async def got(self, sender: MailNode, count: int, *, seconds: float = 30.0) -> list[bytes]:
        """Wait for as many notes."""
        await wait_until(
            lambda: len(self.bodies(sender)) >= count, description=f"{count} notes of a node", timeout=seconds
        )
        return self.bodies(sender)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.mail.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._task is not None
        self.mail.stop()
        async with asyncio.timeout(5):
            await asyncio.gather(self._task, return_exceptions=self._task.cancelled())

    async def kill(self) -> None:
        """End it as `kill -9` does: nothing is written or removed any more."""
        assert self._task is not None
        if isinstance(self.mail, RedisMail):
            self.mail._outbox.stop()
        self.mail.stop()
        await self._task


class Nodes:
    """Makes nodes that can reach each other."""

    def __init__(self, url: str | None) -> None:
        """`url`: of Redis; None: in memory."""
        self.url = url
        self.post = MemoryPost()

    def make(self, name: str | None = None, **options: Any) -> MailNode:
        node_id = name or f"node-{next(_names)}"
        if self.url is None:
            return MailNode(MemoryMail(self.post, node_id), node_id)
        return MailNode(RedisMail(RedisAddress.parse(self.url), node_id, **options), node_id)
