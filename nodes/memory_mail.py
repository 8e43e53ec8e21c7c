"""Mail inside one process: for a node that is alone, and for tests, which can lose nodes here at will."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from nodes.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodes.base import CallHandler, NoteHandler
    from nodes.letter import Letter

TURN_LETTERS = 256
"""So many of one sender are read in one turn of the event loop."""


class _Way:
    """What is under way from one node to another."""

    def __init__(self) -> None:
        self.letters: deque[Letter] = deque()
        self.size_bytes = 0
        self.is_due = False

    def take_back(self, letter: Letter) -> None:
        if any(letter is one for one in self.letters):
            self.letters = deque(one for one in self.letters if one is not letter)
            self.size_bytes -= len(letter.body)

    def clear(self) -> None:
        self.letters.clear()
        self.size_bytes = 0


class MemoryPost:
    """Where the mail of one process meets. On one event loop's thread.

    What is sent to a node that is not there waits for it. A node that comes a second time is another process.
    """

    def __init__(self) -> None:
        """Begin without nodes."""
        self._mails: dict[str, MemoryMail] = {}
        self._ways: dict[tuple[str, str], _Way] = {}
        self._held: set[str] = set()
        self._untold: set[tuple[str, str]] = set()

    def way(self, sender: str, to: str) -> _Way:
        """Return what is under way."""
        return self._ways.setdefault((sender, to), _Way())

    def enter(self, mail: MemoryMail) -> None:
        """Begin to deliver to a node; if it was here before, its mail with every other one begins anew."""
        known = self._mails.get(mail.node_id)
        self._mails[mail.node_id] = mail
        if known is not None and known is not mail:
            for node_id in self._partners(mail.node_id):
                self.reset(mail.node_id, node_id)
        for sender, to in list(self._ways):
            if to == mail.node_id:
                self.wake(sender, to)

    def _partners(self, node_id: str) -> list[str]:
        pairs = [pair for pair in self._ways if node_id in pair]
        return sorted({one for pair in pairs for one in pair} - {node_id})

    def hold(self, node_id: str) -> None:
        """Deliver nothing to or from a node, as if it were stopped or cut off."""
        self._held.add(node_id)

    def release(self, node_id: str) -> None:
        """Deliver what was held, and go on."""
        self._held.discard(node_id)
        for untold in sorted(untold for untold in self._untold if untold[0] == node_id):
            self._untold.discard(untold)
            self._tell(*untold)
        for sender, to in list(self._ways):
            self.wake(sender, to)

    def reset(self, one: str, other: str) -> None:
        """Lose what is under way between two nodes, and tell both; one that is held, when it is released."""
        for sender, to in ((one, other), (other, one)):
            self.way(sender, to).clear()
            if sender in self._held:
                self._untold.add((sender, to))
            else:
                asyncio.get_running_loop().call_soon(self._tell, sender, to)

    def _tell(self, node_id: str, lost: str) -> None:
        mail = self._mails.get(node_id)
        if mail is not None and mail.is_open:
            mail.desk.reset(lost)

    def wake(self, sender: str, to: str) -> None:
        """Deliver in a later turn of the event loop."""
        way = self.way(sender, to)
        if not way.is_due:
            way.is_due = True
            asyncio.get_running_loop().call_soon(self._deliver, sender, to)

    def _deliver(self, sender: str, to: str) -> None:
        way = self.way(sender, to)
        way.is_due = False
        mail = self._mails.get(to)
        if mail is None or not mail.is_open or self._held & {sender, to}:
            return
        for _ in range(min(len(way.letters), TURN_LETTERS)):
            if not way.letters:  # a handler has reset it
                return
            letter = way.letters.popleft()
            way.size_bytes -= len(letter.body)
            mail.desk.receive(sender, letter)
        if way.letters:
            self.wake(sender, to)


class MemoryMail:
    """A node's mail (`nodes.base.Mail`) with others of the same post; without one, with itself."""

    def __init__(self, post: MemoryPost | None, node_id: str) -> None:
        """Begin unopened: nothing is read before `run`."""
        self.node_id = node_id
        self.desk = Desk(post=self._post)
        self.is_open = False
        self._office = post or MemoryPost()
        self._stopping = asyncio.Event()

    def send(self, to: str, kind: str, body: bytes) -> None:
        """Send a note."""
        self.desk.note(to, kind, body)

    def backlog_bytes(self, to: str) -> int:
        """How much was sent to a node and has not been read."""
        return self._office.way(self.node_id, to).size_bytes

    async def call(self, to: str, kind: str, body: bytes, *, seconds: float) -> bytes:
        """Ask a node."""
        return await self.desk.call(to, kind, body, seconds=seconds)

    def on_note(self, kind: str, handler: NoteHandler) -> None:
        """Have notes of a kind handled."""
        self.desk.on_note(kind, handler)

    def on_call(self, kind: str, handler: CallHandler) -> None:
        """Have calls of a kind answered."""
        self.desk.on_call(kind, handler)

    def on_reset(self, handler: Callable[[str], None]) -> None:
        """Have resets told."""
        self.desk.on_reset(handler)

    def peer_lost(self, node_id: str) -> None:
        """Have it known that a node is dead: what was under way to it is lost."""
        self._office.reset(self.node_id, node_id)

    async def run(self) -> None:
        """Read until `stop`."""
        self.is_open = True
        self._office.enter(self)
        try:
            await self.desk.run(self._stopping)
        finally:
            self.is_open = False

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    def _post(self, to: str, letter: Letter) -> Callable[[], None]:
        way = self._office.way(self.node_id, to)
        way.letters.append(letter)
        way.size_bytes += len(letter.body)
        self._office.wake(self.node_id, to)
        return lambda: way.take_back(letter)
