"""One program whose terminal the holder itself reads and writes, for an owner that is on another machine.

Output goes into a ring and from there, with positions, to the owner; what the owner has not acknowledged stays.
Input has positions too: what is sent again after a cut link is known again. `next_frame` tells what the owner does
not know yet, always from the present state, so that nothing is queued here.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import termios
from typing import TYPE_CHECKING, Any

from backends.holder import line_discipline
from backends.holder.ring import Ring
from backends.holder.timers import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backends.holder.timers import Clock, Timer
    from backends.holder.tree import Tree

INPUT_BYTES = 256 * 1024
"""Input that waits for the program, at most; an owner sends no more beyond what was told as written."""

CHUNK_BYTES = 32 * 1024
"""Output in one frame, at most: other programs' frames wait for so much."""

QUIET_SECONDS, DRAIN_SECONDS, LEFTOVER_SECONDS = 0.25, 2.0, 1.0
"""After a program has exited: without output, for all output, and for each signal to what it left running."""

_READS = 16
_INTERACTIVE = 1024  # a shorter read emptied the terminal
_WRITE_BYTES = 64 * 1024
_SWEEP_BYTES = 1 << 20
_SLICE_SECONDS = 0.02
_RETRY_SECONDS = (0.01, 2.0)
"""First and longest pause after the terminal hung up under a living program, which may open it again."""


class Stream:
    """A program's terminal, its ring, its input, and its end.

    `changed` is called when `next_frame` may have something to tell. The ring being full, the program is read no
    further and waits, or, if `trims`, the oldest output goes while no owner is there.
    """

    def __init__(
        self,
        key: int,
        pid: int,
        master: int,
        *,
        ring_bytes: int,
        trims: bool,
        tree: Tree,
        clock: Clock,
        selector: selectors.BaseSelector,
        changed: Callable[[Stream], None],
    ) -> None:
        self.key = key
        self.ring = Ring(ring_bytes)
        self.accepted = 0
        """The position after the last byte of input that was taken."""
        self._last_key = 0
        """The position after the last interrupt key that was asked for."""
        self._keys = 0
        self.last_signal = 0
        """The serial number of the last signal that was asked for."""
        self.exit: dict[str, Any] | None = None
        self.is_over = False
        """Whether the program has ended and nothing more will be read."""
        self._pid = pid
        self._master = master
        self._trims = trims
        self._tree = tree
        self._clock = clock
        self._selector = selector
        self._changed = changed
        self._input = bytearray()
        self._cursor: int | None = None
        self._window = 0
        self._told: dict[str, Any] = {}
        self._interrupt_key: int | None = None
        self._watched = 0
        self._room_awaited = False
        self._hung_up = False
        self._retry: Timer | None = None
        self._retry_seconds = 0.0
        self._life: Steps | None = None
        self._closing: Steps | None = None
        self._watch()

    @property
    def written(self) -> int:
        """The position after the last byte of input that the terminal has taken."""
        return self.accepted - len(self._input)

    @property
    def keys(self) -> int:
        """How many bytes of the input that was taken are interrupt keys that jumped the queue, or tried to."""
        return self._keys - (self._last_key > self.accepted)

    # -- what the owner says

    def attach(self, position: int, window: int) -> None:
        """Tell an owner everything from `position` of the output on, at most `window` bytes ahead of its word."""
        if not 0 <= position <= self.ring.head or window < 1:
            raise ValueError(f"position {position} of {self.ring.head}, window {window}")
        self._cursor = position
        self._window = window
        self._told.clear()
        self._look_at_mode()
        self._watch()
        self._changed(self)

    def detach(self) -> None:
        """Tell nothing more: there is no owner."""
        self._cursor = None
        self._watch()

    def acknowledge(self, position: int) -> None:
        """Forget the output before `position`: the owner keeps it."""
        self.ring.forget(position)
        self._watch()
        self._wake()
        self._changed(self)

    def write(self, position: int, data: bytes) -> str | None:
        """Take what is new of the input that begins at `position`; return why nothing was taken, if so."""
        if position > self.accepted:
            return "input_gap"
        new = data[self.accepted - position :]
        if len(self._input) + len(new) > INPUT_BYTES:
            return "input_full"
        self.accepted += len(new)
        if self.exit is None:  # else nobody will read it
            self._input += new
            self._write()
        self._changed(self)
        return None

    def interrupt(self, position: int) -> bool:
        """Do what the interrupt key does, if it is one now; input up to `position` counts as written then.

        The key itself is input too, the last before `position`: where it is an ordinary byte it comes in its turn.
        """
        if position > self._last_key:
            self._last_key = position
            self._keys += 1
        if self.written >= position or self._life is not None:
            return True
        if not line_discipline.interrupt(self._master, self._pid):
            return False
        del self._input[: max(0, position - self.written)]
        self.accepted = max(self.accepted, position)
        self._watch()
        self._changed(self)
        return True

    def resize(self, rows: int, cols: int) -> None:
        """Set the size of the terminal."""
        if not self.is_over:
            line_discipline.set_size(self._master, rows, cols)

    def signal(self, serial: int, signum: int) -> None:
        """Signal the foreground programs, once for each serial number; raises as `signal_foreground` does."""
        if serial <= self.last_signal:
            return
        self.last_signal = serial
        self._changed(self)
        if self._life is None:
            line_discipline.signal_foreground(self._master, self._pid, signum)

    def close(self, grace_seconds: float) -> None:
        """End everything in the terminal: HUP, TERM, KILL, each after a grace. Harmless twice."""
        if self._closing is None and not self.is_over:
            self._closing = Steps(self._clock, self._close(grace_seconds))

    # -- what the holder says

    def exited(self, status: dict[str, Any]) -> None:
        """Learn how the program ended: its last output follows, then `is_over`."""
        if self.exit is not None:
            return
        self.exit = status
        self._input.clear()
        self._cancel_retry()
        self._hung_up = False  # look again: what was hung up may have been opened since
        self._life = Steps(self._clock, self._finish())
        self._watch()
        self._changed(self)

    def release(self) -> None:
        """Let go of everything; the master is closed by its owner."""
        for steps in (self._life, self._closing):
            if steps is not None:
                steps.cancel()
        self._cancel_retry()
        self.is_over = True
        self._watch()

    def next_frame(self) -> tuple[dict[str, Any], bytes] | None:
        """Return what the owner is to be told next, if there is anything now."""
        if self._cursor is None:
            return None
        header: dict[str, Any] | None = None
        if self._cursor < self.ring.first:
            header = {"event": "gap", "first": self._cursor, "last": self.ring.first}
            self._cursor = self.ring.first
        elif self.exit is not None and "exited" not in self._told:
            self._told["exited"] = True
            header = {"event": "exited", "exit": self.exit}
        elif self._told.get("written") != self.written:
            self._told["written"] = self.written
            header = {"event": "written", "position": self.written}
        elif self._told.get("signalled", 0) != self.last_signal:
            self._told["signalled"] = self.last_signal
            header = {"event": "signalled", "serial": self.last_signal}
        elif self._told.get("mode", "") != self._interrupt_key:
            self._told["mode"] = self._interrupt_key
            header = {"event": "mode", "interrupt": self._interrupt_key}
        if header is not None:
            return dict(header, key=self.key), b""
        return self._next_output() or self._end_frame()

    def _next_output(self) -> tuple[dict[str, Any], bytes] | None:
        cursor = self._cursor
        if cursor is None:
            return None
        open_bytes = self._window - (cursor - self.ring.first)
        data = self.ring.read(cursor, min(CHUNK_BYTES, open_bytes)) if open_bytes > 0 else b""
        if not data:
            return None
        self._cursor = cursor + len(data)
        return {"event": "output", "key": self.key, "position": cursor}, data

    def _end_frame(self) -> tuple[dict[str, Any], bytes] | None:
        if not self.is_over or self._cursor != self.ring.head or "ended" in self._told:
            return None
        self._told["ended"] = True
        return {"event": "ended", "key": self.key, "exit": self.exit, "head": self.ring.head}, b""

    # -- the terminal

    def _watch(self) -> None:
        """Have the selector look at what is of interest now."""
        events = 0
        if not self.is_over and not self._hung_up:
            if self.ring.free or self._may_trim():
                events |= selectors.EVENT_READ
            if self._input:
                events |= selectors.EVENT_WRITE
        if events == self._watched:
            return
        if not events:
            self._selector.unregister(self._master)
        elif not self._watched:
            self._selector.register(self._master, events, self._ready)
        else:
            self._selector.modify(self._master, events, self._ready)
        self._watched = events

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE & self._watched:
            self._write()
        if events & selectors.EVENT_READ & self._watched:
            self._read()
        self._changed(self)

    def _may_trim(self) -> bool:
        return self._trims and self._cursor is None

    def _read(self) -> bool:
        """Read what is there, or until others have waited long enough; tell whether anything was read."""
        taken = False
        for _ in range(_READS):
            if not self.ring.free and self._may_trim():
                self.ring.forget(self.ring.first + max(1, self.ring.size // 8))
            space = self.ring.space()
            if not space:
                break
            try:
                count = os.readv(self._master, [space])
            except BlockingIOError:
                break
            except OSError:  # EIO, whatever else it is called elsewhere: others' terminals must not end for it
                count = 0
            if not count:
                self._hang_up()
                break
            taken = True
            self._retry_seconds = 0.0
            self.ring.add(count)
            if count < _INTERACTIVE:
                break
        self._look_at_mode()
        self._watch()
        return taken

    def _write(self) -> None:
        """Write what the terminal takes."""
        try:
            while self._input:
                written = os.write(self._master, bytes(self._input[:_WRITE_BYTES]))
                del self._input[:written]
        except BlockingIOError:
            pass
        except OSError:
            self._hang_up()
        self._look_at_mode()
        self._watch()

    def _hang_up(self) -> None:
        """Nobody has the terminal open: for ever, or until a program that closed it opens it again."""
        self._hung_up = True
        if self._life is not None:
            self._life.wake()
        elif self._retry is None:
            first, longest = _RETRY_SECONDS
            self._retry_seconds = min(max(self._retry_seconds * 2, first), longest)
            self._retry = self._clock.call_later(self._retry_seconds, self._look_again)
        self._watch()

    def _look_again(self) -> None:
        self._retry = None
        self._hung_up = False
        self._watch()

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _look_at_mode(self) -> None:
        """Know whether there is an interrupt key: the owner decides by it what to do with what it has queued."""
        if self.is_over:
            return
        with contextlib.suppress(termios.error):  # hung up
            key = line_discipline.interrupt_key(self._master)
            self._interrupt_key = None if key is None else key[0]

    # -- the end

    def _wake(self) -> None:
        if self._life is not None:
            self._life.wake()

    def _finish(self) -> Iterator[float | None]:
        """Read the last output, end what was left running, and look once more."""
        spent = quiet = 0.0
        while not self._hung_up and spent < DRAIN_SECONDS and quiet < QUIET_SECONDS:
            head = self.ring.head
            if not self._read() and not self.ring.free:
                yield None  # what is in the terminal waits for the owner, and so does its end
                continue
            if not self._hung_up:
                yield _SLICE_SECONDS
                spent += _SLICE_SECONDS
                quiet = 0.0 if self.ring.head != head else quiet + _SLICE_SECONDS
        yield from self._tree.end(LEFTOVER_SECONDS)
        begun = self.ring.head
        while not self._hung_up and self.ring.head - begun < _SWEEP_BYTES:
            if not self._read():
                if self.ring.free:
                    break
                yield None
        self.is_over = True
        self._watch()
        self._changed(self)

    def _close(self, grace_seconds: float) -> Iterator[float | None]:
        yield from self._tree.end(grace_seconds)
        yield LEFTOVER_SECONDS  # a killed process is gone at once, unless the kernel is stuck in it (a dead disk)
        self.exited({"lost": "the process cannot be ended"})
