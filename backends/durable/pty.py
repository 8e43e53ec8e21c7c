"""One program at a terminal of another machine: positions in both directions, so that a cut link costs nothing.

Output is given to the sink first and acknowledged then; the holder there keeps what was not. Input is kept here
until the terminal there has taken it. What the holder must be told is composed from the state whenever there is room
on the link, and again from the start after each cut.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from backends.base import ExitStatus, Lost
from backends.durable.remains import exit_status
from backends.errors import BackendError
from backends.holder.frames import BadFrame, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backends.base import Sink
    from backends.durable.link import RemoteLink
    from backends.durable.remains import Remains
    from backends.held_child import Tag

_SIGNALS = 64
"""Signals that wait for the link, at most."""
_INTERRUPTS = 64
_INTERRUPT = b"\x03"
_DETACH_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class RemotePty:
    """A `Pty`. Held here are at most one window of output, while reading is paused, and one of input."""

    def __init__(self, link: RemoteLink, key: int, pid: int | None, sink: Sink, tag: Tag) -> None:
        """Begin; see `attached`. Without a `pid` it is not known yet which of the holder's programs it is."""
        self.key = key
        self.position = 0
        """The position after the last byte of output that has arrived."""
        self.on_gap: Callable[[int, int], None] | None = None
        """Called with the positions before and after output that is gone; without it a gap is logged."""
        self._link = link
        self._pid = pid
        self._sink = sink
        self._tag = tag
        self._input_bytes = link.input_bytes
        self._ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._is_attached = False
        self._placed = asyncio.Event()
        # Output.
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._paused = False
        self._exited = False
        self._undelivered = False
        # Input.
        self._typed = 0
        self._written = 0
        self._keys = 0
        self._input = bytearray()  # from `_written` to `_typed`
        self._wants_room = False
        self._interrupts: deque[int] = deque()
        self._has_interrupt_key = False
        self._signals: deque[int] = deque()
        self._last_signal = 0
        # What the holder is told; None: nothing, or told.
        self._size: tuple[int, int] | None = None
        self._grace: float | None = None
        self._note_changed = False
        self._sent = 0
        self._acknowledged = 0
        self._unsaid: set[str] = set()

    # -- Pty

    @property
    def pid(self) -> int | None:
        """Process id on its machine."""
        return self._pid

    @property
    def written(self) -> int:
        """How many bytes of input were ever taken by `write`.

        What this process has taken and the holder there has not is lost if this process dies now; the next one
        learns from this number how much that is.
        """
        return self._typed - self._keys

    @property
    def unconfirmed(self) -> int:
        """How many of these the terminal there is not known to have taken."""
        return len(self._input) - len(self._interrupts)

    def write(self, data: bytes | memoryview) -> int:
        """Take what fits into a window; it is written there once, and kept until then.

        While the link is cut nothing is taken: whoever waits to be told that it was keeps it, should this process die.
        """
        if self._exited or self._ended.done():
            return len(data)
        if not (self._link.is_up and self._is_attached):
            self._wants_room = True
            return 0
        taken = bytes(data[: max(0, self._input_bytes - _INTERRUPTS - len(self._input))])
        self._input += taken
        self._typed += len(taken)
        self._wants_room = self._wants_room or len(taken) < len(data)
        self._link.mark(self)
        return len(taken)

    def interrupt(self) -> bool:
        """Have the interrupt key pressed, ahead of all input on its way, if there was one when last heard.

        If there is none any more the key is typed in its turn: the holder decides.
        """
        if self._exited or self._ended.done():
            return True
        if not self._has_interrupt_key or len(self._interrupts) >= _INTERRUPTS:
            return False
        self._input += _INTERRUPT
        self._typed += 1
        self._keys += 1
        self._interrupts.append(self._typed)
        self._say("interrupts")
        return True

    def resize(self, rows: int, cols: int) -> None:
        """Set the size; it is set there as soon as the link allows."""
        self._size = (rows, cols)
        self._say("size")

    def signal(self, signum: int) -> None:
        """Have the foreground programs signalled, once, as soon as the link allows.

        Raises ValueError for an unknown signal, and ProcessLookupError if too many wait for the link; what the
        other machine says is only logged.
        """
        if signum not in signal.valid_signals():
            raise ValueError(f"no such signal: {signum}")
        if self._exited or self._ended.done():
            return
        if len(self._signals) >= _SIGNALS:
            raise ProcessLookupError("the link is cut, and many signals wait for it")
        self._signals.append(signum)
        self._say("signals")

    def pause_reading(self) -> None:
        """Take no more; what is on its way is held here, and the rest waits in the ring there."""
        self._paused = True

    def resume_reading(self) -> None:
        """Take again."""
        self._paused = False
        self._deliver()
        self.drained()

    async def wait(self) -> ExitStatus:
        """Wait for the end of the program and of its output, or for the link being given up."""
        return await asyncio.shield(self._ended)

    def annotate(self, note: str) -> None:
        """Have a note kept with the program."""
        self._tag = replace(self._tag, note=note)
        self._note_changed = True
        self._say("note")

    async def detach(self) -> None:
        """Let go of the program, once the holder there has what was typed."""
        if self._ended.done():
            return
        try:
            async with asyncio.timeout(_DETACH_SECONDS):
                await self._link.let_go(self)
        except (TimeoutError, BackendError) as error:
            _log.warning("input may be lost", pid=self._pid, bytes=len(self._input), reason=str(error))
        self._ended.cancel()

    async def close(self, grace_seconds: float) -> None:
        """Have the whole process tree ended.

        Bounded by three graces and the link's patience: then it is `Lost.LINK` here, and ended there when the
        link is back.
        """
        if not self._ended.done():
            self._grace = grace_seconds
            self._say("close")
            try:
                async with asyncio.timeout(3 * grace_seconds + self._link.patience.close_seconds):
                    await self.wait()
            except TimeoutError:
                self.lose(ExitStatus(lost=Lost.LINK, message="the link was cut while the program was to be ended"))
        await self.wait()

    # -- what the link says

    @property
    def session_id(self) -> str:
        """Whose program it is."""
        return self._tag.session_id

    @property
    def is_over(self) -> bool:
        """Whether nothing more is wanted of it."""
        return self._ended.done()

    @property
    def note(self) -> bytes:
        """What the holder keeps with it."""
        return self._tag.encode()

    async def until_placed(self) -> None:
        """Wait until it is known which program it is, or that there is none."""
        await self._placed.wait()

    def when_over(self, callback: Callable[[RemotePty], object]) -> None:
        """Have it called, soon, once nothing more is wanted of it."""
        self._ended.add_done_callback(lambda _: callback(self))

    def place(self, remains: Remains) -> None:
        """Learn which of the holder's programs it is; `attached` follows."""
        self.key, self._pid = remains.key, remains.pid
        self._tag = replace(remains.tag, note=self._tag.note) if self._note_changed else remains.tag
        self._input_bytes = self._link.input_bytes

    def link_is_back(self) -> None:
        """Take input again."""
        self._make_room()

    def attached(self, state: dict[str, Any]) -> None:
        """Begin, or begin again, on a new connection: everything is said anew, `state` says what is known there."""
        self._is_attached = True
        self._placed.set()
        self._sent = int(state["accepted"])
        self._acknowledged = int(state["first"])
        if self._typed < self._sent:  # of an earlier process, which this one takes over from
            self._typed = self._written = self._sent
            self._keys = int(state["keys"])
        self._take_signalled(int(state["signalled"]))
        wanted = {"size": self._size is not None, "close": self._grace is not None, "note": self._note_changed}
        self._unsaid = {"signals", "interrupts", *(what for what, is_wanted in wanted.items() if is_wanted)}
        self._link.mark(self)
        self._make_room()

    def hear(self, event: dict[str, Any], payload: bytes) -> None:
        """Take an event of the holder. Raises BadFrame: it does not follow what came before."""
        kind = event["event"]
        if kind == "output":
            self._output(int(event["position"]), payload)
        elif kind == "written":
            self._take_written(int(event["position"]))
        elif kind == "signalled":
            self._take_signalled(int(event["serial"]))
        elif kind == "mode":
            self._has_interrupt_key = event["interrupt"] is not None
        elif kind == "gap":
            self._gap(int(event["first"]), int(event["last"]))
        elif kind == "exited":
            self._exited = True
            self._deliver()
        elif kind == "ended":
            self._end(event)

    def drained(self) -> None:
        """Deliver what has arrived in this turn, and acknowledge it: the sink has it."""
        if self._undelivered:
            self._undelivered = False
            self._sink.drained()
            self._link.mark(self)

    def lose(self, status: ExitStatus) -> None:
        """End without the holder: what has arrived is delivered, the rest nobody will see."""
        if self._ended.done():
            return
        self._placed.set()
        self._exited = True
        self._deliver()
        self.drained()
        self._ended.set_result(status)
        self._forget_input()

    def compose(self) -> Iterator[bytes]:
        """Yield the frames that tell the holder what it does not know."""
        unsaid, self._unsaid = self._unsaid, set()
        interrupts = list(self._interrupts) if "interrupts" in unsaid else []
        if "size" in unsaid and self._size is not None:
            yield self._frame("resize", size=self._size)
        for index, signum in enumerate(self._signals if "signals" in unsaid else ()):
            yield self._frame("kill", serial=self._last_signal + 1 + index, signum=signum)
        for position in interrupts:
            if position > self._written:  # before the key itself
                yield from self._frames_of_input(position - 1)
                yield self._frame("interrupt", position=position)
        yield from self._frames_of_input(self._typed)
        if "note" in unsaid:
            yield self._frame("annotate", self.note)
        if "close" in unsaid:
            yield self._frame("close", grace=self._grace)
        delivered = self.position - self._held_bytes
        if delivered > self._acknowledged:
            self._acknowledged = delivered
            yield self._frame("ack", position=delivered)

    # -- output

    def _output(self, position: int, payload: bytes) -> None:
        if position > self.position:
            raise BadFrame(f"output from {position}, expected {self.position}")
        new = payload[self.position - position :]
        if not new:
            return
        self.position += len(new)
        self._held.append(new)
        self._held_bytes += len(new)
        self._deliver()

    def _deliver(self, *, despite_pause: bool = False) -> None:
        """Give the sink what it may have; a pause does not hold back the last output."""
        while self._held and (self._exited or despite_pause or not self._paused):
            piece = self._held.popleft()
            self._held_bytes -= len(piece)
            self._undelivered = True
            if not self._ended.done():
                self._sink.data_received(piece)

    def _gap(self, first: int, last: int) -> None:
        if first != self.position or last < first:
            raise BadFrame(f"a gap from {first} to {last}, expected from {self.position}")
        self._deliver(despite_pause=True)  # what was before it comes before it
        self.position = last
        if self.on_gap is not None:
            self.on_gap(first, last)
        else:
            _log.warning("output is gone", pid=self._pid, first=first, last=last)

    def _end(self, event: dict[str, Any]) -> None:
        if int(event["head"]) != self.position:
            raise BadFrame(f"ended at {event['head']}, expected {self.position}")
        self._exited = True
        self._deliver()
        self.drained()
        self._link.release(self)
        if not self._ended.done():
            self._ended.set_result(exit_status(event["exit"]))
        self._forget_input()

    # -- input

    def _take_written(self, position: int) -> None:
        if position > self._typed:
            raise BadFrame(f"input written up to {position}, typed {self._typed}")
        if position <= self._written:
            return
        del self._input[: position - self._written]
        self._written = position
        while self._interrupts and self._interrupts[0] <= position:
            self._interrupts.popleft()
        self._tell_taken()

    def _forget_input(self) -> None:
        """Count all as taken: nobody will read it."""
        self._input.clear()
        self._interrupts.clear()
        self._tell_taken()

    def _tell_taken(self) -> None:
        self._wants_room = False
        self._sink.resume_writing()

    def _take_signalled(self, serial: int) -> None:
        while self._last_signal < serial:
            self._last_signal += 1
            if self._signals:
                self._signals.popleft()

    def _make_room(self) -> None:
        if self._wants_room and len(self._input) < self._input_bytes:
            self._wants_room = False
            self._sink.resume_writing()

    def _frames_of_input(self, end: int) -> Iterator[bytes]:
        if self._sent < end:
            start, self._sent = self._sent, end
            piece = bytes(self._input[start - self._written : end - self._written])
            yield self._frame("write", piece, position=start)

    def _say(self, what: str) -> None:
        self._unsaid.add(what)
        self._link.mark(self)

    def _frame(self, operation: str, payload: bytes = b"", **fields: Any) -> bytes:
        return encode({"op": operation, "key": self.key, **fields}, payload)
