"""A holder that also serves an owner on another machine: it reads and writes terminals itself.

An owner speaks through a bridge (`bridge.py`), which may be cut at any moment. What it asks beside `daemon.py`:

========== ========================================= ============================================================
op         fields                                    answer, or effect
========== ========================================= ============================================================
hello                                                also: epoch (of this process and all its programs),
                                                     input_bytes (how far input may be ahead of `written`)
claim      owner                                     owner: whether this connection is it. At once, and the
                                                     connection before is told `superseded`, if that claimed the
                                                     same name: it is a cut link that nobody noticed
ping
look       words path cwd                            files: {word: {file} or {errno}}; directory: an errno, or 0
spawn      also ring, window, trim, token, mark      also epoch; no descriptors. The program's output is told from
                                                     the start. With a token that was seen before: that program
attach     key position window                       first, head, accepted, written, keys (how much of accepted is
                                                     interrupt keys), signalled, exit; the output from position on
                                                     is told from now on
detach     key                                       no more is told
ack        key position                              the owner keeps the output before position: it is forgotten
write      key position                              the payload is input, its first byte has that position: what
                                                     was taken before is skipped. Refused: input_gap, input_full
                                                     (both with the accepted position)
interrupt  key position                              done: whether the interrupt key was pressed. It is the last
                                                     byte of the input before position, and jumps the queue
resize     key size
kill       key serial signum                         signals the foreground programs, once for each serial number.
                                                     Refused: no_process, not_permitted
close      key grace                                 ends all that runs there: HUP, TERM, KILL, each after a grace
========== ========================================= ============================================================

A request without `id` is answered only if it is refused. Events, each with `key`: `output` (position, payload),
`gap` (first, last: output that is gone; only with `trim`, or where it was acknowledged before), `written`
(position: input the terminal has taken), `mode` (interrupt: the code of the interrupt key, null without one),
`signalled` (serial), `exited` (exit; `lost` in it says why there is none: the process cannot be ended), `ended`
(exit, head: all has been told).
`superseded` has no key.

The ring (default 1 MiB) is where output waits. When it is full the program is read no further: it waits in turn,
and nothing is lost, however long nobody is there. With `trim` it runs on while nobody is, and the oldest output goes.
"""

from __future__ import annotations

import os
import selectors
import termios
from typing import TYPE_CHECKING, Any

from backends.holder import place
from backends.holder.daemon import Answer, Holder, Refusal
from backends.holder.stream import INPUT_BYTES, Stream
from backends.holder.stream_connection import StreamConnection
from backends.holder.timers import Clock
from backends.holder.tree import Tree

if TYPE_CHECKING:
    import socket

    from backends.holder.connection import Connection
    from backends.holder.held import Held
    from backends.holder.users import RunAs

RING_BYTES = 1 << 20
RING_LIMITS = 4096, 64 << 20

_HARMLESS = frozenset({"ping", "claim"})


class StreamHolder(Holder):
    """See the module."""

    def __init__(
        self,
        listener: socket.socket,
        users: frozenset[int],
        idle_seconds: float | None,
        run_as: RunAs | None = None,
    ) -> None:
        super().__init__(listener, users, idle_seconds, run_as)
        self._epoch = os.urandom(16).hex()
        self._clock = Clock()
        self._streams: dict[int, Stream] = {}
        self._tokens: dict[str, int] = {}
        self._eager: dict[int, Stream] = {}
        """Programs that may have something to tell, in turn."""
        self._watched: dict[Connection, int] = {}
        self._operations.update(
            {
                "ping": lambda *_: Answer({}),
                "claim": lambda *_: Answer({}),  # done where the connection is known
                "look": lambda header, *_: Answer(place.look(**_look_fields(header))),
                "attach": self._attach,
                "detach": self._detach,
                "ack": self._ack,
                "write": self._write,
                "interrupt": self._interrupt,
                "resize": self._resize,
                "kill": self._kill,
                "close": self._close,
            }
        )

    # -- the loop

    def _pause(self, *, idle: bool) -> float | None:
        pauses = [pause for pause in (super()._pause(idle=idle), self._clock.pause()) if pause is not None]
        owner = self._owner()
        if self._eager and owner is not None and owner.has_room:
            pauses.append(0)
        return min(pauses) if pauses else None

    def _turn(self) -> None:
        self._clock.run()
        self._pump()
        for connection in list(self._connections):
            self._settle(connection)

    def _owner(self) -> StreamConnection | None:
        first = self._connections[0] if self._connections else None
        return first if isinstance(first, StreamConnection) else None

    def _pump(self) -> None:
        """Tell the owner what there is, a frame of each program in turn, as far as it takes it."""
        for _ in range(len(self._eager) + 16):
            owner = self._owner()
            if not self._eager or owner is None or not owner.has_room:
                return
            stream = self._eager.pop(next(iter(self._eager)))
            frame = stream.next_frame()
            if frame is None:
                continue
            self._eager[stream.key] = stream
            owner.send(*frame)

    def _settle(self, connection: Connection) -> None:
        """Send what waits, and watch the connection for what is of interest."""
        if connection not in self._connections or not isinstance(connection, StreamConnection):
            return
        try:
            connection.flush()
        except OSError:
            self._drop(connection)
            return
        events = selectors.EVENT_READ if connection.has_room else 0
        events |= selectors.EVENT_WRITE if connection.wants_room else 0
        if self._watched.get(connection) != events:
            self._watched[connection] = events
            self._selector.modify(connection.channel, events, lambda ready: self._ready(connection, ready))

    def _ready(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_READ:  # room is used at the end of the turn
            self._serve(connection)

    def _connect(self, channel: socket.socket) -> Connection:
        return StreamConnection(channel)

    def _drop(self, connection: Connection) -> None:
        if self._is_owner(connection):
            for stream in self._streams.values():
                stream.detach()
        self._watched.pop(connection, None)
        super()._drop(connection)

    # -- operations on connections

    def _do(self, connection: Connection, header: dict[str, Any], payload: bytes, descriptors: list[int]) -> Answer:
        if header.get("op") == "claim" and isinstance(connection, StreamConnection):
            return self._claim(connection, str(header.get("owner", "")))
        try:
            return super()._do(connection, header, payload, descriptors)
        except ProcessLookupError as error:
            raise Refusal("no_process", reason=str(error)) from None
        except PermissionError as error:
            raise Refusal("not_permitted", reason=str(error)) from None
        except (OSError, termios.error) as error:
            raise Refusal("system", reason=str(error)) from None

    def _claim(self, connection: StreamConnection, name: str) -> Answer:
        connection.name = name
        owner = self._owner()
        if owner is not None and owner is not connection and name and owner.name == name:
            self._connections.remove(connection)
            self._connections.insert(1, connection)
            self._tell({"event": "superseded"})
            self._settle(owner)
            self._drop(owner)
        return Answer({"owner": self._is_owner(connection)})

    def _hello(self, *rest: object) -> Answer:
        return Answer({**super()._hello(*rest).fields, "epoch": self._epoch, "input_bytes": INPUT_BYTES})

    def _list(self, *rest: object) -> Answer:
        answer = super()._list(*rest)
        for program in answer.fields["programs"]:
            stream = self._streams.get(program["key"])
            if stream is not None:
                program["stream"] = _state(stream)
        return answer

    # -- operations on programs

    def _spawn(self, header: dict[str, Any], note: bytes, rest: object) -> Answer:
        if "ring" not in header:
            return super()._spawn(header, note, rest)
        ring_bytes = int(header["ring"]) or RING_BYTES
        if not RING_LIMITS[0] <= ring_bytes <= RING_LIMITS[1]:
            raise ValueError(f"ring: {ring_bytes} is not in {RING_LIMITS}")
        token = str(header.get("token", ""))
        held = self._programs.get(self._tokens.get(token, 0))
        if held is None:
            held = self._programs[super()._spawn(header, note, rest).fields["key"]]
            for descriptor in held.descriptors[1:]:  # the hopper is for owners that write themselves
                os.close(descriptor)
            del held.descriptors[1:]
            try:
                self._streams[held.key] = self._stream(held, header, ring_bytes)
            except OSError as error:
                self._discard({"key": held.key})
                raise Refusal("exhausted", reason=str(error)) from None
            if token:
                self._tokens[token] = held.key
        self._streams[held.key].attach(0, int(header.get("window", ring_bytes)))
        return Answer({"key": held.key, "pid": held.pid, "epoch": self._epoch})

    def _stream(self, held: Held, header: dict[str, Any], ring_bytes: int) -> Stream:
        master = held.descriptors[0]
        mark_name, _, mark = str(header.get("mark", "")).partition("=")
        return Stream(
            held.key,
            held.pid,
            master,
            ring_bytes=ring_bytes,
            trims=bool(header.get("trim")),
            tree=Tree(held.pid, mark_name, mark, lambda: os.tcgetpgrp(master)),
            clock=self._clock,
            selector=self._selector,
            changed=self._changed,
        )

    def _changed(self, stream: Stream) -> None:
        self._eager[stream.key] = stream
        if stream.is_over:
            self._programs[stream.key].close()

    def _exited(self, held: Held) -> None:
        stream = self._streams.get(held.key)
        if stream is None:
            super()._exited(held)
        elif held.exit is not None:
            stream.exited(held.exit)

    def _take(self, header: dict[str, Any], *rest: Any) -> Answer:
        if self._find(header).key in self._streams:
            raise Refusal("streamed", key=header["key"])
        return super()._take(header, *rest)

    def _release(self, header: dict[str, Any], *rest: object) -> Answer:
        key = self._find(header).key
        stream = self._streams.pop(key, None)
        if stream is not None:
            stream.release()
            self._eager.pop(key, None)
            self._tokens = {token: other for token, other in self._tokens.items() if other != key}
        return super()._release(header, *rest)

    def _attach(self, header: dict[str, Any], *_: object) -> Answer:
        stream = self._streamed(header)
        stream.attach(int(header["position"]), int(header["window"]))
        return Answer(_state(stream))

    def _detach(self, header: dict[str, Any], *_: object) -> Answer:
        self._streamed(header).detach()
        return Answer({})

    def _ack(self, header: dict[str, Any], *_: object) -> Answer:
        self._streamed(header).acknowledge(int(header["position"]))
        return Answer({})

    def _write(self, header: dict[str, Any], payload: bytes, _: object) -> Answer:
        stream = self._streamed(header)
        trouble = stream.write(int(header["position"]), payload)
        if trouble is not None:
            raise Refusal(trouble, key=stream.key, accepted=stream.accepted)
        return Answer({"accepted": stream.accepted, "written": stream.written})

    def _interrupt(self, header: dict[str, Any], *_: object) -> Answer:
        return Answer({"done": self._streamed(header).interrupt(int(header["position"]))})

    def _resize(self, header: dict[str, Any], *_: object) -> Answer:
        rows, cols = header["size"]
        self._streamed(header).resize(int(rows), int(cols))
        return Answer({})

    def _kill(self, header: dict[str, Any], *_: object) -> Answer:
        self._streamed(header).signal(int(header["serial"]), int(header["signum"]))
        return Answer({})

    def _close(self, header: dict[str, Any], *_: object) -> Answer:
        self._streamed(header).close(float(header["grace"]))
        return Answer({})

    def _streamed(self, header: dict[str, Any]) -> Stream:
        stream = self._streams.get(self._find(header).key)
        if stream is None:
            raise Refusal("not_streamed", key=header["key"])
        return stream


def _state(stream: Stream) -> dict[str, Any]:
    return {
        "first": stream.ring.first,
        "head": stream.ring.head,
        "accepted": stream.accepted,
        "written": stream.written,
        "keys": stream.keys,
        "signalled": stream.last_signal,
        "exit": stream.exit,
    }


def _look_fields(header: dict[str, Any]) -> dict[str, Any]:
    return {"words": [str(word) for word in header["words"]], "path": str(header["path"]), "cwd": str(header["cwd"])}
