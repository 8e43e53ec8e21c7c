"""The service's side of a holder on another machine: reached again after every cut, until patience ends.

Whoever uses it supplies `open_stream`, which runs `python3 holder.pyz DIRECTORY --stdio` over there (see
`holder/pack.py`) and gives its two ends. Errors of `RemoteLink`::

    HolderError   a BackendError: no holder is to be had, or it refused; `error` has its words
    HolderGone    the link was given up, or the holder there was replaced by another one, while something was asked
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any, cast

import structlog

from backends.base import ExitStatus, Lost, keep_quiet
from backends.durable.news import LinkNews
from backends.durable.patience import LinkPatience
from backends.durable.pty import RemotePty
from backends.durable.remains import find_remains
from backends.durable.requests import Requests, look_at, spawn_fields
from backends.durable.search import Search
from backends.durable.taken import Taken
from backends.durable.wire import Cut, Wire, messages_of
from backends.errors import BackendError, PlaceGone, Unreachable
from backends.held_child import Tag
from backends.holder.frames import BadFrame
from backends.holder_link import HolderError, Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from backends.base import Notice, Sink
    from backends.durable.remains import Remains
    from backends.durable.requests import Request
    from backends.durable.wire import Stream
    from backends.holder.fork import Plan

_FAREWELL_SECONDS = 2.0
"""How long the end of a link waits for the holder to hear what it was told."""

_REPLACED = "the holder there has ended, and with it all it had"

_log = structlog.get_logger(__name__)


class RemoteLink:
    """The one owner of a holder elsewhere. Single-use: `start` (or `begin`), and `close` in the end."""

    def __init__(
        self,
        open_stream: Callable[[], Awaitable[Stream]],
        *,
        owner: str,
        patience: LinkPatience | None = None,
        ring_bytes: int = 1 << 20,
        tell: Callable[[Notice], None] = keep_quiet,
    ) -> None:
        """`owner` names this service there: it displaces connections of the same name, which are cut ones of its own.

        `open_stream` raises OSError (try again) or BackendError, as PlaceGone (it is of no use: the link is given up).
        `tell` is told when the link is cut, back, or given up.
        """
        self.patience = patience or LinkPatience()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the link was given up, with the reason."""
        self.cuts = 0
        """How often the link was cut."""
        self._open_stream = open_stream
        self._owner = owner
        self._ring_bytes = ring_bytes
        self._news = LinkNews(tell)
        self._task: asyncio.Task[None] | None = None
        self._closings: set[asyncio.Task[None]] = set()
        """Of streams that are cut: the next one does not wait for that."""
        self._is_closing = False
        self._reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._up = asyncio.Event()
        self._reason = "not tried"
        self._owns = asyncio.Event()
        self._wire: Wire | None = None
        self._epoch = ""
        self.input_bytes = 0
        """How far input may be ahead of what is written there."""
        self._requests = Requests()
        self._taken = Taken()
        self._search = Search(self._requests, window=ring_bytes, connect=self._connect)

    async def start(self) -> None:
        """Reach the holder. Raises BackendError."""
        self.begin()
        try:
            await self.until_reached()
        except BaseException:
            await self.close()
            raise

    def begin(self) -> None:
        """Begin to reach the holder."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="remote link")

    async def until_reached(self) -> None:
        """Wait until the holder has been reached once. Raises BackendError."""
        try:
            async with asyncio.timeout(self.patience.connect_seconds):
                await asyncio.shield(self._reached)
        except TimeoutError:
            raise Unreachable(f"no holder is reached in time: {self._reason}") from None

    @property
    def was_reached(self) -> bool:
        """Whether the holder has been reached once."""
        return self._reached.done() and self._reached.exception() is None

    @property
    def has_programs(self) -> bool:
        """Whether anything is to be told of a program, or to one."""
        return bool(self._taken or self._search)

    @property
    def is_up(self) -> bool:
        """Whether the holder is reached now."""
        return self._wire is not None

    async def close(self) -> None:
        """Let go of the holder and what it has; harmless twice."""
        if self._task is not None:
            await self._finish_saying()
            self._is_closing = True
            self._task.cancel()
            await asyncio.wait([self._task])
            if self._closings:
                await asyncio.wait(self._closings)
            if not self._task.cancelled():
                self._task.result()
        self._give_up("closed here")

    async def _finish_saying(self) -> None:
        """Wait, if the link is up, until the holder has heard what it was told: answers come in order."""
        if self.is_up:
            with contextlib.suppress(TimeoutError, HolderError):  # it learns from the cut link
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await self.call("hello")

    # -- programs

    async def spawn(self, plan: Plan, sink: Sink, *, tag: Tag, trim: bool = False) -> RemotePty:
        """Execute a program at a new terminal there, once, whatever happens to the link meanwhile.

        `trim`: while the link is cut and the ring full, the program runs on and the oldest output goes (told as a
        gap); else it waits. Raises HolderError; cancelled: what was started is ended.
        """

        def take(reply: Reply) -> RemotePty:
            pty = RemotePty(self, reply.fields["key"], reply.fields["pid"], sink, tag)
            return self._connect(pty, {"accepted": 0, "first": 0, "signalled": 0})

        fields = {**spawn_fields(plan, tag), "ring": self._ring_bytes, "trim": trim}
        request = self._requests.ask("spawn", fields, tag.encode(), take=take, undo=self._end)
        return cast("RemotePty", await self._answer(request))

    async def survivors(self) -> Sequence[Remains]:
        """Return what the holder there has. Raises HolderError."""
        return find_remains(await self.call("list"))

    async def adopt(self, remains: Remains, sink: Sink, position: int) -> RemotePty:
        """Go on with a program's output from `position` on. Raises HolderError."""

        def take(reply: Reply) -> RemotePty:
            pty = RemotePty(self, remains.key, remains.pid, sink, remains.tag)
            pty.position = position
            return self._connect(pty, reply.fields)

        fields = {"key": remains.key, "position": position, "window": self._ring_bytes}
        request = self._requests.ask("attach", fields, take=take, undo=self._leave)
        return cast("RemotePty", await self._answer(request))

    async def find(self, session_id: str, sink: Sink, position: int) -> RemotePty:
        """Go on with the program of a session, as soon as the holder is reached, from `position` of its output on.

        If it is not there any more, that is how it ends (`Lost.NODE`).
        """
        pty = RemotePty(self, 0, None, sink, Tag(session_id, "", ""))
        pty.position = position
        self._search.begin(pty)
        try:
            await pty.until_placed()
        except asyncio.CancelledError:
            if not self._search.end(pty):
                self._leave(pty)  # it came at the same moment
            raise
        return pty

    async def call(self, operation: str, payload: bytes = b"", **fields: Any) -> Reply:
        """Ask what may be asked twice, and wait. Raises HolderError."""
        return cast("Reply", await self._answer(self._requests.ask(operation, fields, payload)))

    # -- what programs say

    def mark(self, pty: RemotePty) -> None:
        """Have a program composed its frames when there is room."""
        if self._wire is not None:
            self._taken.mark(pty)
            self._wire.wake()

    def has(self, key: int) -> bool:
        """Whether a program is one of this link's."""
        return key in self._taken

    def release(self, pty: RemotePty) -> None:
        """Have the holder forget a program that is over."""
        if self._taken.forget(pty):
            self._requests.ask("release", {"key": pty.key})

    async def let_go(self, pty: RemotePty) -> None:
        """Have nothing more told of a program; returns when what was typed has arrived. Raises HolderError."""
        try:
            if self._wire is not None:
                self._wire.send_bytes(b"".join(pty.compose()))
            await self.call("detach", key=pty.key)
        finally:
            self._taken.forget(pty)

    def _leave(self, pty: RemotePty) -> None:
        self._taken.forget(pty)
        self._requests.ask("detach", {"key": pty.key})

    def _end(self, pty: RemotePty) -> None:
        self._taken.forget(pty)
        self._requests.ask("discard", {"key": pty.key})

    # -- the link

    async def _run(self) -> None:
        """Keep the link up until it is given up."""
        loop = asyncio.get_running_loop()
        first, longest = self.patience.retry_seconds
        lost_at, pause = loop.time(), first
        refusal: BackendError | None = None
        try:
            # A task group that fails in the moment in which its task is cancelled may lose that (Python < 3.13).
            while not self._is_closing and loop.time() - lost_at < self.patience.give_up_seconds:
                self._reason = await self._connected()
                if self._up.is_set():
                    self._up.clear()
                    lost_at, pause = loop.time(), first
                    self.cuts += 1
                    _log.info("the link to a remote holder is cut", reason=self._reason)
                self._tell_cut(lost_at)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - so that not all come at once
                pause = min(2 * pause, longest)
            if not self._is_closing:
                self._news.given_up(self._reason)
        except BackendError as error:
            self._reason, refusal = str(error), error
            self._tell_cut(loop.time())
            self._news.given_up(self._reason)
        finally:
            is_gone = isinstance(refusal, PlaceGone)
            self._give_up(self._reason if is_gone else f"the link was given up: {self._reason}", refusal)

    def _tell_cut(self, since: float) -> None:
        """Tell people, if there are programs whose link is not there."""
        if self.was_reached or self.has_programs:
            self._news.cut(self._reason, since)

    async def _connected(self) -> str:
        """Connect and stay so; return why the connection has ended. Raises BackendError: it is of no use."""
        try:
            async with asyncio.timeout(self.patience.connect_seconds):
                stream = await self._open_stream()
        except OSError as error:  # TimeoutError too
            return str(error) or type(error).__name__
        wire = Wire(
            stream,
            hear=self._hear,
            turn=self._turn,
            compose=self._taken.compose,
            silence_seconds=self.patience.silence_seconds,
        )
        reason, refusal = "", None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wire.run(), name="remote link: wire")
                await self._greet(wire)
        except* (Cut, OSError, BadFrame) as cuts:
            reason = "; ".join(messages_of(cuts))
        except* BackendError as refusals:
            refusal = HolderError("; ".join(messages_of(refusals)))
        finally:
            self._wire = None
            self._owns.clear()
            self._requests.disconnect()
            self._close_soon(stream)
        if refusal is not None:
            raise refusal
        return reason

    def _close_soon(self, stream: Stream) -> None:
        closing = asyncio.get_running_loop().create_task(stream.close(), name="remote link: close a stream")
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    async def _greet(self, wire: Wire) -> None:
        """Become the owner, and go on where the last connection ended."""
        async with asyncio.timeout(self.patience.connect_seconds):
            hello = await self._requests.greet(wire, "hello")
            if "claim" not in hello.fields["operations"]:
                raise HolderError("the holder there does not serve owners elsewhere")
            claimed = await self._requests.greet(wire, "claim", owner=self._owner)
            if not claimed.fields["owner"]:
                await self._owns.wait()
            self._take_epoch(str(hello.fields["epoch"]))
            self.input_bytes = int(hello.fields["input_bytes"])
            await self._attach(wire)
        for pty in self._taken:  # before requests: `detach` is answered when the input has arrived
            wire.send_bytes(b"".join(pty.compose()))
        self._wire = wire
        self._requests.connect(wire)
        self._up.set()
        if not self._reached.done():
            self._reached.set_result(None)
        self._news.back()
        for pty in self._taken:
            pty.link_is_back()

    async def _attach(self, wire: Wire) -> None:
        """Go on with all programs; asked for all at once, for each answer takes a round trip."""
        asked = [
            (pty, self._requests.greet(wire, "attach", key=pty.key, position=pty.position, window=self._ring_bytes))
            for pty in self._taken
        ]
        for pty, answer in asked:
            try:
                state = await answer
            except HolderError as error:
                self._taken.forget(pty)
                pty.lose(ExitStatus(lost=Lost.NODE, message=str(error)))
            else:
                pty.attached(state.fields)

    def _take_epoch(self, epoch: str) -> None:
        """Notice that it is another holder than before: what that had is lost."""
        if self._epoch and self._epoch != epoch:
            _log.error("a remote holder has ended", programs=len(self._taken))
            self._taken.lose(ExitStatus(lost=Lost.NODE, message=_REPLACED))
            self._requests.fail(_REPLACED, for_good=False)
        self._epoch = epoch

    def _give_up(self, reason: str, refusal: BackendError | None = None) -> None:
        """End for good: what runs there runs on, and nobody here knows how."""
        if self.lost.done():
            return
        self.lost.set_result(reason)
        if not self._reached.done():
            self._reached.set_exception(refusal or HolderError(reason))
            look_at(self._reached)
        status = ExitStatus(lost=Lost.PLACE if isinstance(refusal, PlaceGone) else Lost.LINK, message=reason)
        self._taken.lose(status)
        self._search.lose(status)
        self._requests.fail(reason, for_good=True)

    # -- frames

    def _turn(self) -> None:
        for pty in self._taken:
            pty.drained()

    def _hear(self, header: dict[str, Any], payload: bytes) -> None:
        if "event" in header:
            self._hear_event(header, payload)
        elif not self._requests.hear(header, payload) and "error" in header:
            self._hear_refusal(header["error"])

    def _hear_event(self, header: dict[str, Any], payload: bytes) -> None:
        pty = self._taken.get(header.get("key", 0))
        if header["event"] == "owner":
            self._owns.set()
        elif header["event"] == "superseded":
            raise HolderError("another service, of the same name, has taken over")
        elif pty is not None:
            pty.hear(header, payload)

    def _hear_refusal(self, error: dict[str, Any]) -> None:
        """Learn that something was refused that asked for no answer."""
        kind = error.get("kind")
        if kind in ("input_gap", "input_full"):
            raise BadFrame(f"the holder expects other input: {error}")
        _log.warning("a remote holder refused", **{f"refusal_{name}": value for name, value in error.items()})

    async def _answer(self, request: Request) -> Any:
        return await self._requests.wait(request, self.patience.call_seconds)

    def _connect(self, pty: RemotePty, state: dict[str, Any]) -> RemotePty:
        self._taken.add(pty)
        pty.attached(state)
        return pty
