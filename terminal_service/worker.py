"""What a process knows that is one of several behind one port (`WORKERS`), and its link to the parent of all.

The parent (`workers`) hands down two descriptors and says so in one variable, which counts for its own child only:
the socket to listen on, and a channel. One line of JSON each way, as on the control socket:

========= ============================ ============================================================================
from      message                      meaning
========= ============================ ============================================================================
parent    {stop: cause, ends_all}      end
parent    {hurry: true}                end now
parent    {drain: seconds}             take no new sessions, and end when the parent says so
worker    {ready: url}                 it serves
worker    {draining: sessions}         it drains, with so many living sessions
worker    {drained: true}              they have ended, or the time is over
worker    {stopping: sessions}         it has begun to end, with so many living sessions
========= ============================ ============================================================================

The end of the channel means that the other one is dead. A worker without a parent lets go of its shells and ends:
nobody would start it again, nor tell it to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from typing import TYPE_CHECKING, Any

import structlog

from terminal_service.asked import Asked, Stop
from terminal_service.control import LINE_BYTES, decode, encode
from terminal_service.listeners import ListenError
from terminal_service.state import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

VARIABLE = "TERMINAL_SERVICE_WORKER"

log = structlog.get_logger()


class Worker:
    """This process, as one of several."""

    def __init__(self, number: int, place: str, listener: socket.socket, channel: socket.socket) -> None:
        """Own the sockets; see `from_environment`."""
        self.number = number
        self._place = place
        self._listener = listener
        self._channel = channel
        self._heard = b""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Worker | None:
        """Return what the parent has handed down; None: nobody has, or it was meant for another process.

        Raises StateError: the parent has died meanwhile.
        """
        text = environment.get(VARIABLE)
        if text is None:
            return None
        told = json.loads(text)
        if told["parent"] != os.getppid():
            if _are_here(told["listener"], told["channel"]):
                raise StateError("the parent process has ended, and a worker serves nobody without it")
            return None
        listener, channel = (socket.socket(fileno=told[name]) for name in ("listener", "channel"))
        for name in ("listener", "channel", "crew"):  # the last one is only kept open
            os.set_inheritable(told[name], False)  # noqa: FBT003 - positional only
        channel.setblocking(False)  # noqa: FBT003 - positional only
        return cls(told["number"], told["place"], listener, channel)

    def inherit(self, otherwise: Callable[[str], socket.socket | None]) -> Callable[[str], socket.socket | None]:
        """Return what finds the socket for a place: the parent's, or for the metrics another one.

        It raises ListenError: what is configured now is not where the parent listens.
        """

        def find(place: str) -> socket.socket | None:
            if place.startswith("PROMETHEUS_PORT"):
                return otherwise(place)
            if place != self._place:
                raise ListenError(f"a worker listens where its parent does: {self._place}, not {place}")
            return self._listener

        return find

    @contextlib.contextmanager
    def heard(self, asked: Asked) -> Iterator[None]:
        """Do what the parent says, and name this worker in every line that is logged."""
        loop = asyncio.get_running_loop()
        structlog.contextvars.bind_contextvars(worker=self.number)
        asked.on_begin = lambda sessions: self._tell(stopping=sessions)
        asked.on_drained = lambda _: self._tell(drained=True)
        loop.add_reader(self._channel, self._listen, asked)
        try:
            yield
        finally:
            loop.remove_reader(self._channel)

    def announce(self, url: str) -> None:
        """Tell the parent that this process serves."""
        self._tell(ready=url)

    def _tell(self, **message: Any) -> None:
        try:
            self._channel.send(encode(message))  # a line and another one in all: they fit
        except OSError as error:
            log.debug("the parent process cannot be told", reason=str(error))

    def _listen(self, asked: Asked) -> None:
        try:
            some = self._channel.recv(LINE_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            some = b""
        if not some:
            asyncio.get_running_loop().remove_reader(self._channel)
            asked.to_stop(Stop("the parent process has ended", ends_all=False))
            return
        *lines, self._heard = (self._heard + some).split(b"\n")
        for line in lines:
            message = decode(line)
            if "stop" in message:
                asked.to_stop(Stop(message["stop"], ends_all=message["ends_all"]))
            elif "drain" in message:
                self._tell(draining=asked.on_drain(message["drain"]))
            elif "hurry" in message:
                asked.on_hurry()


def _are_here(*descriptors: int) -> bool:
    """Tell whether these are open sockets: a process that only has the variable has not got what it names."""
    try:
        return all(stat.S_ISSOCK(os.fstat(descriptor).st_mode) for descriptor in descriptors)
    except OSError:
        return False
