"""Where letters are read and answered: notes to their handlers, calls to tasks, answers to whoever waits for them.

Every kind of mail has one. It knows nothing of how letters travel.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from nodes.errors import CallFailed, Unreachable
from nodes.letter import BODY_BYTES, Letter, What, check_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodes.base import CallHandler, NoteHandler

RUNNING_CALLS = 256
"""So many calls of others are worked on at a time; more wait, in order."""
WAITING_BYTES = 64 * 1024 * 1024
"""So much may wait; what comes beyond it is answered as failed at once."""
LETTER_BYTES = 256
"""What a waiting call weighs beside its body."""

log = structlog.get_logger()


@dataclass(frozen=True)
class _Asked:
    """A call that waits for its answer."""

    to: str
    kind: str
    answer: asyncio.Future[bytes]


@dataclass(frozen=True)
class _Served:
    """A call of another node; answered only while the same life of mail between the two goes on."""

    caller: str
    life: int
    letter: Letter

    @property
    def weight(self) -> int:
        return len(self.letter.body) + LETTER_BYTES


class Desk:
    """Handlers, calls asked and calls served of one node. On the event loop's thread."""

    def __init__(self, *, post: Callable[[str, Letter], Callable[[], None]]) -> None:
        """Begin without handlers. `post(to, letter)` sends a letter; what it returns takes it back if it can."""
        self._post = post
        self._notes: dict[str, NoteHandler] = {}
        self._calls: dict[str, CallHandler] = {}
        self._resets: list[Callable[[str], None]] = []
        self._asked: dict[int, _Asked] = {}
        self._numbers = itertools.count(1)
        self._lives: Counter[str] = Counter()
        self._waiting: deque[_Served] = deque()
        self._waiting_bytes = 0
        self._running: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._is_over = False

    # -- handlers

    def on_note(self, kind: str, handler: NoteHandler) -> None:
        """Have notes of a kind handled."""
        self._notes[kind] = handler

    def on_call(self, kind: str, handler: CallHandler) -> None:
        """Have calls of a kind answered."""
        self._calls[kind] = handler

    def on_reset(self, handler: Callable[[str], None]) -> None:
        """Have it told when messages to or from a node may have been lost."""
        self._resets.append(handler)

    # -- letters out

    def note(self, to: str, kind: str, body: bytes) -> None:
        """Send a note. Raises ValueError if it is too large."""
        check_body(body)
        self._post(to, Letter(What.NOTE, kind, 0, body))

    async def call(self, to: str, kind: str, body: bytes, *, seconds: float) -> bytes:
        """Ask and wait for the answer. Raises Unreachable, CallFailed and ValueError."""
        check_body(body)
        if self._is_over:
            raise Unreachable(to)
        number = next(self._numbers)
        asked = _Asked(to, kind, asyncio.get_running_loop().create_future())
        self._asked[number] = asked
        take_back = self._post(to, Letter(What.CALL, kind, number, body))
        try:
            async with asyncio.timeout(seconds):
                return await asked.answer
        except TimeoutError:
            raise Unreachable(to) from None
        finally:
            del self._asked[number]
            if not asked.answer.done() or asked.answer.cancelled():
                take_back()  # it is not done long after nobody waits for it

    # -- letters in

    def receive(self, sender: str, letter: Letter) -> None:
        """Do what a letter is for; never raises."""
        if letter.what is What.NOTE:
            self._read(sender, letter)
        elif letter.what is What.CALL:
            self._accept(_Served(sender, self._lives[sender], letter))
        else:
            self._settle(sender, letter)

    def _read(self, sender: str, letter: Letter) -> None:
        handler = self._notes.get(letter.kind)
        if handler is None:
            log.warning("a note nobody reads", node=sender, kind=letter.kind)
            return
        try:
            handler(sender, letter.body)
        except Exception:
            log.exception("a note's handler failed", node=sender, kind=letter.kind)

    def _settle(self, sender: str, letter: Letter) -> None:
        asked = self._asked.get(letter.call)
        if asked is None or asked.to != sender or asked.answer.done():
            return  # nobody waits for it any more
        if letter.what is What.ANSWER:
            asked.answer.set_result(letter.body)
        else:
            asked.answer.set_exception(CallFailed(sender, asked.kind, letter.body.decode(errors="replace")))

    def _accept(self, served: _Served) -> None:
        if self._waiting_bytes + served.weight > WAITING_BYTES:
            self._answer(served, What.FAILED, b"too many calls wait there")
            return
        self._waiting.append(served)
        self._waiting_bytes += served.weight
        self._start()

    def _start(self) -> None:
        while self._waiting and self._tasks is not None and len(self._running) < RUNNING_CALLS:
            served = self._waiting.popleft()
            self._waiting_bytes -= served.weight
            task = self._tasks.create_task(self._serve(served), name=f"call {served.letter.kind}")
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    async def _serve(self, served: _Served) -> None:
        handler = self._calls.get(served.letter.kind)
        if handler is None:
            log.warning("a call nobody answers", node=served.caller, kind=served.letter.kind)
            self._answer(served, What.FAILED, b"unknown there")
            return
        try:
            body = await handler(served.caller, served.letter.body)
            if len(body) > BODY_BYTES:
                raise ValueError(f"an answer of {len(body)} bytes is too large")  # noqa: TRY301 - logged below
        except asyncio.CancelledError:
            self._answer(served, What.FAILED, b"stopped there")
            raise
        except Exception as error:
            log.exception("a call's handler failed", node=served.caller, kind=served.letter.kind)
            self._answer(served, What.FAILED, type(error).__name__.encode())
        else:
            self._answer(served, What.ANSWER, body)

    def _answer(self, served: _Served, what: What, body: bytes) -> None:
        if served.life == self._lives[served.caller]:  # else the caller has been told already that it failed
            self._post(served.caller, Letter(what, "", served.letter.call, body))

    # -- trouble and life

    def reset(self, node_id: str, *, loses: bool = True) -> None:
        """Tell that messages to or from a node may have been lost; if it `loses` any, end its calls, both ways."""
        if loses:
            self._lives[node_id] += 1
            for asked in self._asked.values():
                if asked.to == node_id and not asked.answer.done():
                    asked.answer.set_exception(Unreachable(node_id))
            kept = [served for served in self._waiting if served.caller != node_id]
            self._waiting = deque(kept)
            self._waiting_bytes = sum(served.weight for served in kept)
        for handler in self._resets:
            try:
                handler(node_id)
            except Exception:
                log.exception("a reset's handler failed", node=node_id)

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve calls until `stopping` is set; those that still run then are cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._start()
                try:
                    await stopping.wait()
                finally:
                    self._tasks = None
                    for task in self._running:
                        task.cancel()
        finally:
            self._is_over = True
            for asked in self._asked.values():  # no answer is read any more
                if not asked.answer.done():
                    asked.answer.set_exception(Unreachable(asked.to))
