"""Programs of an earlier process that are looked for in the holder elsewhere, as soon as that is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.base import ExitStatus, Lost
from backends.durable.remains import find_remains

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from backends.durable.pty import RemotePty
    from backends.durable.requests import Requests
    from backends.holder_link import Reply

_NOT_THERE = "the program is not there any more: its machine was started anew, or its holder has ended"


class Search:
    """Those of one link. What is asked here is asked again on each new connection, until it is answered."""

    def __init__(
        self, requests: Requests, *, window: int, connect: Callable[[RemotePty, dict[str, Any]], RemotePty]
    ) -> None:
        """Look for none yet; `connect` is called with each that was found, and what the holder says of it."""
        self._requests = requests
        self._window = window
        self._connect = connect
        self._wanted: set[RemotePty] = set()

    def __bool__(self) -> bool:
        """Whether any is looked for."""
        return bool(self._wanted)

    def begin(self, pty: RemotePty) -> None:
        """Look for the program of a session; one that is not there ends as `Lost.NODE`."""
        self._wanted.add(pty)
        request = self._requests.ask("list", {}, take=lambda reply: self._find(pty, reply))
        request.answer.add_done_callback(lambda answer: self._check(pty, answer))

    def end(self, pty: RemotePty) -> bool:
        """Look for it no longer; tell whether it was looked for."""
        wanted = pty in self._wanted
        self._wanted.discard(pty)
        return wanted

    def _find(self, pty: RemotePty, reply: Reply) -> None:
        if pty not in self._wanted:
            return
        found = [remains for remains in find_remains(reply) if remains.tag.session_id == pty.session_id]
        if not found:
            self._lose(pty, ExitStatus(lost=Lost.NODE, message=_NOT_THERE))
            return
        pty.place(found[-1])
        fields = {"key": pty.key, "position": pty.position, "window": self._window}
        request = self._requests.ask("attach", fields, take=lambda reply: self._attach(pty, reply))
        request.answer.add_done_callback(lambda answer: self._check(pty, answer))

    def _attach(self, pty: RemotePty, reply: Reply) -> None:
        if self.end(pty):
            self._connect(pty, reply.fields)
        else:
            self._requests.ask("detach", {"key": pty.key})

    def _check(self, pty: RemotePty, answer: asyncio.Future[Any]) -> None:
        """Notice that what was asked will not be answered: the holder is another one, or has refused."""
        error = None if answer.cancelled() else answer.exception()
        if error is not None and pty in self._wanted:
            self._lose(pty, ExitStatus(lost=Lost.NODE, message=str(error)))

    def lose(self, status: ExitStatus) -> None:
        """Look for none any more: all end so."""
        for pty in list(self._wanted):
            self._lose(pty, status)

    def _lose(self, pty: RemotePty, status: ExitStatus) -> None:
        self._wanted.discard(pty)
        pty.lose(status)
