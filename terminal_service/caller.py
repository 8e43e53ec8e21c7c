"""The other side of `control`: a process that asks the running service to end, or to make way for itself."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from terminal_service.control import CONTROL_FILE, LINE_BYTES, Refused, decode, encode
from terminal_service.kin import is_same_user, receive_with
from terminal_service.listeners import is_listening, short_address, unix_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

ANSWER_SECONDS = 10.0
_MOST_SOCKETS = 200


@dataclass
class Answer:
    """What the service said, and the sockets that came with it: whoever has this closes them."""

    fields: dict[str, Any]
    sockets: Sequence[socket.socket] = field(default_factory=list)


class Caller:
    """A connection to the running service. Calls block, for a bounded time."""

    def __init__(self, channel: socket.socket) -> None:
        """Use a connected socket; see `call`."""
        self._channel = channel
        self._heard = b""
        self._is_over = False

    @classmethod
    def call(cls, directory: Path) -> Caller | None:
        """Connect to the service that uses a state directory; None: none listens there. Raises Refused, OSError."""
        if sys.platform == "win32":
            raise Refused("Windows does not hand sockets from process to process")
        channel = unix_socket()
        try:
            channel.settimeout(ANSWER_SECONDS)
            with short_address(directory / CONTROL_FILE) as address:
                channel.connect(address)
            _check_user(channel, directory)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            channel.close()
            return None
        except BaseException:
            channel.close()
            raise
        return cls(channel)

    def ask(self, op: str, **fields: Any) -> Answer:
        """Ask and wait for the answer. Raises Refused (with the reason), OSError (also: no answer in time)."""
        self._channel.settimeout(ANSWER_SECONDS)
        self.say(op=op, **fields)
        sockets: list[socket.socket] = []
        try:
            return Answer(_accept(self._hear_line(sockets)), sockets)
        except BaseException:
            for each in sockets:
                each.close()
            raise

    def say(self, **message: Any) -> None:
        """Say something. Raises OSError."""
        self._channel.sendall(encode(message))

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the process; tell whether it came."""
        deadline = time.monotonic() + seconds
        while not self._is_over and (left := deadline - time.monotonic()) > 0:
            self._channel.settimeout(left)
            with contextlib.suppress(TimeoutError):
                self._listen()
        return self._is_over

    @property
    def is_over(self) -> bool:
        """Whether the process has closed the connection, as far as is known now. Never blocks."""
        self._channel.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while not self._is_over:
                self._listen()
        return self._is_over

    @property
    def is_done(self) -> bool:
        """Whether it has said that it has let go of everything."""
        return b'"done"' in self._heard

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def _listen(self) -> None:
        try:
            some = self._channel.recv(LINE_BYTES)
        except ConnectionResetError:
            some = b""
        self._is_over = not some
        self._heard = (self._heard + some)[-LINE_BYTES:]

    def _hear_line(self, sockets: list[socket.socket]) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            some, more = receive_with(self._channel, LINE_BYTES - len(line), _MOST_SOCKETS)
            sockets += more
            if not some:
                raise ConnectionResetError("the service ended the connection")
            line += some
        try:
            return decode(line)
        except ValueError as error:
            raise Refused(f"it does not speak this protocol: {error}") from None

    def __enter__(self) -> Self:
        """Be closed in the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        self.close()


def _check_user(channel: socket.socket, directory: Path) -> None:
    if not is_same_user(channel):
        raise Refused(f"the service in {str(directory)!r} belongs to another user")


def _accept(message: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that is no refusal. Raises Refused."""
    if not message.get("ok"):
        raise Refused(str(message.get("reason", "it does not say why")))
    return message


def inherit(answer: Answer) -> dict[str, socket.socket]:
    """Return a predecessor's listening sockets by what each was told to listen on; others are closed.

    Raises Refused: not all that were sent have come (the kernel drops what a process has no descriptors for).
    """
    places = [str(place) for place in answer.fields.get("places", [])]
    if len(places) != len(answer.sockets) or not all(map(is_listening, answer.sockets)):
        for each in answer.sockets:
            each.close()
        raise Refused("its listening sockets did not arrive")
    return dict(zip(places, answer.sockets, strict=True))
