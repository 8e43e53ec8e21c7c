"""What was asked of a holder elsewhere and not answered yet: asked again on each new connection."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from backends.environment import MARK
from backends.holder.frames import BadFrame
from backends.holder_link import HolderError, HolderGone, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.durable.wire import Wire
    from backends.held_child import Tag
    from backends.holder.fork import Plan


class Request:
    """`take` makes what was wanted of the answer; `undo` is for what nobody waits for any more."""

    def __init__(
        self,
        header: dict[str, Any],
        payload: bytes,
        take: Callable[[Reply], Any],
        undo: Callable[[Any], None],
    ) -> None:
        self.header = header
        self.payload = payload
        self.take = take
        self.undo = undo
        self.is_sent = False
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(look_at)

    def hear(self, header: dict[str, Any], payload: bytes) -> None:
        """Take the answer, in the same turn as what comes behind it."""
        if "error" in header:
            if not self.answer.done():
                self.answer.set_exception(refusal(header["error"]))
            return
        taken = self.take(Reply(header, payload, ()))
        if self.answer.done():  # nobody waits for it any more
            self.undo(taken)
        else:
            self.answer.set_result(taken)


class Requests:
    """All requests of one link, in their order."""

    def __init__(self) -> None:
        """Begin with none, and without a connection."""
        self._wire: Wire | None = None
        self._last_id = 0
        self._kept: dict[int, Request] = {}
        self._greetings: dict[int, Request] = {}
        self._reason: str | None = None

    def connect(self, wire: Wire) -> None:
        """Ask what is unanswered, and whatever comes, on this connection."""
        self._wire = wire
        for request in list(self._kept.values()):
            self._send(wire, request)

    def disconnect(self) -> None:
        """Keep what is asked until there is another connection."""
        self._wire = None
        self._greetings.clear()

    def greet(self, wire: Wire, operation: str, **fields: Any) -> asyncio.Future[Reply]:
        """Ask on this connection alone, before `connect`."""
        request = self._make(operation, fields, b"", lambda reply: reply, lambda _: None)
        self._greetings[request.header["id"]] = request
        wire.send(request.header)
        return request.answer

    def ask(
        self,
        operation: str,
        fields: dict[str, Any],
        payload: bytes = b"",
        take: Callable[[Reply], Any] = lambda reply: reply,
        undo: Callable[[Any], None] = lambda _: None,
    ) -> Request:
        """Ask what may be asked twice, now or as soon as there is a connection."""
        request = self._make(operation, fields, payload, take, undo)
        if self._reason is not None:
            request.answer.set_exception(HolderGone(self._reason))
            return request
        self._kept[request.header["id"]] = request
        if self._wire is not None:
            self._send(self._wire, request)
        return request

    async def wait(self, request: Request, seconds: float) -> Any:
        """Return the answer. Raises HolderError, HolderGone; cancelled or late: what was asked is undone."""
        try:
            async with asyncio.timeout(seconds):
                return await request.answer
        except BaseException as error:
            answer = request.answer
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                request.undo(answer.result())  # it came at the same moment
            if not request.is_sent:
                self._kept.pop(request.header["id"], None)
            if isinstance(error, TimeoutError):
                raise HolderGone("the holder does not answer in time") from None
            raise

    def hear(self, header: dict[str, Any], payload: bytes) -> bool:
        """Take an answer; tell whether it was one to a request that is known."""
        number = header.get("id")
        request = self._greetings.pop(number, None) or self._kept.pop(number, None)  # type: ignore[arg-type]  # null
        if request is not None:
            request.hear(header, payload)
        return request is not None

    def fail(self, reason: str, *, for_good: bool) -> None:
        """Answer with HolderGone: what was asked of a holder that is gone, or (`for_good`) all and whatever comes."""
        if for_good:
            self._reason = reason
        for number, request in list(self._kept.items()):
            if request.is_sent or for_good:
                del self._kept[number]
                if not request.answer.done():
                    request.answer.set_exception(HolderGone(reason))

    def _make(
        self,
        operation: str,
        fields: dict[str, Any],
        payload: bytes,
        take: Callable[[Reply], Any],
        undo: Callable[[Any], None],
    ) -> Request:
        self._last_id += 1
        return Request({**fields, "op": operation, "id": self._last_id}, payload, take, undo)

    def _send(self, wire: Wire, request: Request) -> None:
        request.is_sent = True
        try:
            wire.send(request.header, request.payload)
        except BadFrame as error:
            del self._kept[request.header["id"]]
            request.answer.set_exception(HolderError(str(error)))


def spawn_fields(plan: Plan, tag: Tag) -> dict[str, Any]:
    """Return how a plan is told; the token is that of this one start, however often it is asked for."""
    fields = plan._asdict()
    fields["descriptor_limit"] = fields.pop("descriptors")
    return {**fields, "token": secrets.token_hex(16), "mark": f"{MARK}={tag.mark}"}


def refusal(error: dict[str, Any]) -> HolderError:
    """Return what the holder's refusal is here."""
    return HolderError(f"the holder refused: {error.get('reason') or error.get('kind')}", error)


def look_at(answer: asyncio.Future[Any]) -> None:
    """Let nobody be warned of an answer that nobody waited for."""
    if not answer.cancelled():
        answer.exception()
