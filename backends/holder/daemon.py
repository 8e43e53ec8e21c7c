"""The holder's one loop: it forks programs, keeps their terminals open, learns how they end, and hands them out.

It never reads or writes a terminal: whoever owns it gets duplicates of the descriptors and does that. One
connection at a time is the owner; others wait, and may ask but not change anything. What the owner says:

========= ==================================== ==================================================================
op        fields                               answer
========= ==================================== ==================================================================
hello                                          version, pid, operations
list                                           programs: [{key, pid, child, exit, note}], payload: their notes in a
                                               row (`note` is the length); child: how it ends will be known here
spawn     file arguments cwd env size          key, pid; descriptors: master, hopper. The payload is the note
          descriptor_limit user mark           user: who it runs as; mark: `NAME=value`, in its environment
take      key                                  pid, exit; descriptors: master, hopper
annotate  key                                  the payload is the new note
release   key                                  the terminal is closed, the program reaped (now or when it ends)
discard   key                                  as release, after killing it
adopt     pid mark; descriptors: master hopper key: a program whose holder died. The payload is the note
processes                                      processes: [[pid, parent, session, started, mark]] of all programs' trees
signal    signals; processes: [[pid, started]] refused: pids that are in no tree here, or may not be signalled
          or key: the foreground programs
stop                                           the holder ends; terminals it has hang up
========= ==================================== ==================================================================

Events: `owner` (this connection is it now) and `exited` (key, exit). `exit` is {code} or {signal}, null while the
program lives.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from backends.holder import fork, trees
from backends.holder.connection import Connection, peer_user
from backends.holder.exits import peek, reap
from backends.holder.frames import VERSION, BadFrame
from backends.holder.held import Held
from backends.holder.hopper import make_hopper
from backends.holder.users import NotAllowed, is_text

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from backends.holder.users import RunAs

PATIENCE_SECONDS = 5.0
"""A connection that does not read its answer for so long is ended: nobody else waits longer for it."""

_HARMLESS = ("hello", "list")
"""What everybody connected may ask, the owner or not."""


class Refusal(Exception):
    """An operation cannot be done; `kind` is for programs, the rest for people."""

    def __init__(self, kind: str, **fields: Any) -> None:
        super().__init__(kind)
        self.error = {"kind": kind, **fields}


class Answer(NamedTuple):
    """What an operation gives back."""

    fields: dict[str, Any]
    payload: bytes = b""
    descriptors: Sequence[int] = ()


class Holder:
    """See the module."""

    def __init__(
        self,
        listener: socket.socket,
        users: frozenset[int],
        idle_seconds: float | None,
        run_as: RunAs | None = None,
    ) -> None:
        """Serve a bound and listening Unix socket.

        `users` are the ids that may connect, `run_as` whom programs may run as: None if the owner has all the rights
        of this process anyway. Otherwise the owner is not trusted with more than what these users may do.
        """
        self._listener = listener
        self._users = users
        self._idle_seconds = idle_seconds
        self._run_as = run_as
        self._selector = selectors.DefaultSelector()
        self._connections: list[Connection] = []
        self._programs: dict[int, Held] = {}
        self._orphans: set[int] = set()
        self._last_key = 0
        self._stops = False
        self._operations: dict[str, Callable[..., Answer]] = {
            "hello": self._hello,
            "list": self._list,
            "spawn": self._spawn,
            "take": self._take,
            "annotate": self._annotate,
            "release": self._release,
            "discard": self._discard,
            "adopt": self._adopt,
            "processes": self._processes,
            "signal": self._signal,
            "stop": self._stop,
        }

    def run(self) -> None:
        """Serve until told to stop, or until idle (nothing held, nobody connected) for `idle_seconds`."""
        wake, woken = os.pipe()
        for descriptor in (wake, woken):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        self._listener.settimeout(0)
        self._selector.register(self._listener, selectors.EVENT_READ, lambda _: self._accept())
        self._selector.register(wake, selectors.EVENT_READ, lambda _: self._notice_exits(wake))
        while not self._stops:
            idle = not self._programs and not self._connections
            ready = self._selector.select(self._pause(idle=idle))
            if idle and not ready:
                return
            for key, events in ready:
                key.data(events)
            self._turn()

    def _pause(self, *, idle: bool) -> float | None:
        """Return how long the loop may wait, in seconds."""
        return self._idle_seconds if idle else None

    def _turn(self) -> None:
        """Do what is due after all events of a turn."""

    # -- connections

    def _accept(self) -> None:
        try:
            channel, _address = self._listener.accept()
        except OSError as error:
            if error.errno not in fork.EXHAUSTED | {errno.ECONNABORTED, errno.EINTR}:
                raise
            return
        if peer_user(channel) not in self._users:
            channel.close()
            return
        connection = self._connect(channel)
        self._connections.append(connection)
        self._selector.register(channel, selectors.EVENT_READ, lambda _: self._serve(connection))
        if self._is_owner(connection):
            self._tell({"event": "owner"})

    def _connect(self, channel: socket.socket) -> Connection:
        channel.settimeout(PATIENCE_SECONDS)
        return Connection(channel)

    def _serve(self, connection: Connection) -> None:
        try:
            for header, payload in connection.receive():
                self._answer(connection, header, payload)
        except (OSError, EOFError, BadFrame) as error:
            if isinstance(error, BadFrame):
                log(f"connection ended: {error}")
            self._drop(connection)

    def _answer(self, connection: Connection, header: dict[str, Any], payload: bytes) -> None:
        """Do what is asked. A connection that ends in the middle has got nothing: what was forked for it goes."""
        descriptors = connection.take_descriptors(int(header.get("descriptors", 0)))
        reply = {"id": header.get("id")}
        try:
            answer = self._do(connection, header, payload, descriptors)
        except Refusal as refusal:
            connection.send({**reply, "error": refusal.error})
            return
        if "id" not in header:
            return
        try:
            connection.send({**reply, "ok": True, **answer.fields}, answer.payload, answer.descriptors)
        except OSError:
            if header["op"] == "spawn":
                self._discard(answer.fields)
            raise

    def _drop(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        was_owner = self._is_owner(connection)
        self._connections.remove(connection)
        self._selector.unregister(connection.channel)
        connection.close()
        if was_owner and self._connections:
            self._tell({"event": "owner"})

    def _is_owner(self, connection: Connection) -> bool:
        return bool(self._connections) and self._connections[0] is connection

    def _tell(self, event: dict[str, Any]) -> None:
        """Tell the owner, if there is one; who is owner later asks for a list."""
        if not self._connections:
            return
        try:
            self._connections[0].send(event)
        except OSError:
            self._drop(self._connections[0])

    # -- operations

    def _do(self, connection: Connection, header: dict[str, Any], payload: bytes, descriptors: list[int]) -> Answer:
        name = str(header.get("op"))
        try:
            if name not in self._operations:
                raise Refusal("unknown_op")
            if name not in _HARMLESS and not self._is_owner(connection):
                raise Refusal("not_owner")
            return self._operations[name](header, payload, descriptors)
        except (KeyError, TypeError, ValueError, struct.error) as error:
            raise Refusal("bad_request", reason=repr(error)) from None
        finally:
            for descriptor in descriptors:  # those that were not taken
                os.close(descriptor)

    def _hello(self, *_: object) -> Answer:
        return Answer({"version": VERSION, "pid": os.getpid(), "operations": sorted(self._operations)})

    def _list(self, *_: object) -> Answer:
        held = list(self._programs.values())
        shown = [one.describe() for one in held]
        return Answer({"programs": shown}, b"".join(one.note for one in held))

    def _spawn(self, header: dict[str, Any], note: bytes, _: object) -> Answer:
        rows, cols = header["size"]
        user = None if header.get("user") is None else str(header["user"])
        plan = fork.Plan(
            file=str(header["file"]),
            arguments=[str(word) for word in header["arguments"]],
            cwd=str(header["cwd"]),
            env=dict(header["env"]),
            size=(int(rows), int(cols)),
            descriptors=header.get("descriptor_limit"),
            user=user,
        )
        self._check_user(user)
        try:
            hopper = make_hopper()
        except OSError as error:
            raise Refusal("exhausted", reason=os.strerror(error.errno or errno.EMFILE)) from None
        try:
            forked = fork.fork(plan)
        except (fork.ExecFailed, fork.PrepareFailed, fork.Exhausted, NotAllowed) as error:
            os.close(hopper)
            raise _refusal(error, plan) from None
        except BaseException:
            os.close(hopper)
            raise
        held = self._keep(forked._replace(hopper=hopper), note, mark=str(header.get("mark", "")))
        return Answer({"key": held.key, "pid": held.pid}, descriptors=held.descriptors)

    def _take(self, header: dict[str, Any], *_: object) -> Answer:
        held = self._find(header)
        return Answer({"pid": held.pid, "exit": held.exit}, descriptors=held.descriptors)

    def _annotate(self, header: dict[str, Any], note: bytes, _: object) -> Answer:
        self._find(header).note = note
        return Answer({})

    def _release(self, header: dict[str, Any], *_: object) -> Answer:
        held = self._find(header)
        del self._programs[held.key]
        held.close()
        if held.is_child and not reap(held.pid):
            self._orphans.add(held.pid)
        return Answer({})

    def _discard(self, header: dict[str, Any], *_: object) -> Answer:
        held = self._find(header)
        if held.is_child and held.exit is None:
            os.kill(held.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        return self._release(header)

    def _check_user(self, user: str | None) -> None:
        try:
            if self._run_as is not None:
                self._run_as.check(user)
        except NotAllowed as error:
            log(f"refused: {error}")
            raise Refusal("user", reason=str(error)) from None

    def _adopt(self, header: dict[str, Any], note: bytes, descriptors: list[int]) -> Answer:
        master, *hopper = descriptors
        pid = int(header["pid"])
        if self._run_as is not None and not trees.leads_at(pid, master):
            log(f"refused: to keep process {pid}, which does not lead at the terminal that came with it")
            raise Refusal("not_yours", reason=f"process {pid} does not lead a session at this terminal")
        forked = fork.Forked(pid, master, hopper[0] if hopper else None)
        held = self._keep(forked, note, mark=str(header.get("mark", "")), is_child=False)
        descriptors.clear()  # they are kept
        return Answer({"key": held.key})

    def _processes(self, *_: object) -> Answer:
        try:
            return Answer({"processes": trees.find(self._programs.values())})
        except OSError as error:
            raise _exhausted(error) from None

    def _signal(self, header: dict[str, Any], *_: object) -> Answer:
        signals = [int(number) for number in header["signals"]]
        if not signal.valid_signals().issuperset(signals):
            raise ValueError(signals)
        try:
            if "key" in header:
                held = self._find(header)
                return Answer({"refused": trees.signal_foreground(held, held.descriptors[0], signals)})
            wanted = [(int(pid), float(begun)) for pid, begun in header["processes"]]
            refused = trees.signal_them(self._programs.values(), wanted, signals)
        except OSError as error:
            raise _exhausted(error) from None
        if refused and self._run_as is not None:
            log(f"refused: to signal {refused}, which are in no tree here")
        return Answer({"refused": refused})

    def _stop(self, *_: object) -> Answer:
        self._stops = True
        return Answer({})

    # -- programs

    def _keep(self, forked: fork.Forked, note: bytes, *, mark: str, is_child: bool = True) -> Held:
        self._last_key += 1
        held = self._programs[self._last_key] = Held(self._last_key, forked, note, mark=mark, is_child=is_child)
        return held

    def _find(self, header: dict[str, Any]) -> Held:
        try:
            return self._programs[header["key"]]
        except KeyError:
            raise Refusal("unknown_key", key=header.get("key")) from None

    def _notice_exits(self, wake: int) -> None:
        """Learn which programs have ended. They stay zombies until released: their numbers remain their own."""
        os.read(wake, 4096)
        self._orphans = {pid for pid in self._orphans if not reap(pid)}
        for held in list(self._programs.values()):
            if held.is_child and held.exit is None:
                held.exit = peek(held.pid)
                if held.exit is not None:
                    self._exited(held)

    def _exited(self, held: Held) -> None:
        self._tell({"event": "exited", "key": held.key, "exit": held.exit})


def _refusal(error: Exception, plan: fork.Plan) -> Refusal:
    if isinstance(error, fork.ExecFailed):
        is_script = error.number == errno.ENOEXEC and is_text(plan.file)
        return Refusal("exec", errno=error.number, found=error.found, text=is_script)
    if isinstance(error, NotAllowed):
        return Refusal("user", reason=str(error))
    if isinstance(error, fork.PrepareFailed):
        return Refusal("prepare", reason=f"cannot enter directory {plan.cwd!r}: {error}", why=str(error))
    return Refusal("exhausted", reason=str(error))


def _exhausted(error: OSError) -> Refusal:
    return Refusal("exhausted", reason=os.strerror(error.errno or errno.EMFILE))


def log(text: str) -> None:
    """Write a line to the log, if that can be written to: no line is worth the programs."""
    line = "{} holder {}: {}\n".format(time.strftime("%Y-%m-%dT%H:%M:%S%z"), os.getpid(), text)
    with contextlib.suppress(OSError):  # a full disk, a terminal that is gone
        os.write(2, line.encode("utf-8", "replace"))
