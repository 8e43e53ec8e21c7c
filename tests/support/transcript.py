"""What a client holds of a terminal's output, and whether what it is told fits together.

No I/O: messages (dicts, see `support.speech`) go in; bytes with positions come out. Every deviation from the
protocol raises `Deviation`: a hole that is not told is the one thing that must never happen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.speech import REQUIRED

if TYPE_CHECKING:
    from support.speech import Message


class Deviation(AssertionError):
    """The server said what the protocol does not allow."""


@dataclass(frozen=True)
class Gap:
    """Bytes the client was told it will not get: from `first` to `last`, positions."""

    first: int
    last: int
    reason: str


@dataclass
class Request:
    """What the client asked for with its attach; `position` None: the recent tail."""

    session_id: str
    client_id: str
    position: int | str | None
    epoch: str | None


class Transcript:
    """Bytes from `start` on, with the gaps that were told; `position` is where the next byte belongs.

    Memory is that of the output: it is for tests, which bound what they print.
    """

    def __init__(self) -> None:
        self.start = 0
        self.data = bytearray()
        self.past: list[tuple[int, bytes]] = []  # what was held before each gap, with its position
        self.gaps: list[Gap] = []
        self.epoch: str | None = None
        self.position: int | None = None
        self.resizes: list[Message] = []
        self.replays = 0
        self.replays_cut = 0
        self.resumed: list[int] = []  # positions at which later attaches continued
        self.is_over = False
        self._request: Request | None = None
        self._attached: Message | None = None
        self._replayed = hashlib.sha256()
        self._replay_told = False

    def ask(self, request: Request) -> None:
        """Note what is asked for by the attach that follows."""
        if self._attached is not None and not self._replay_told:
            self.replays_cut += 1
        self._request = request
        self._attached = None
        self.is_over = False

    def take(self, message: Message) -> None:
        """Check one message, and keep what it brings. Raises Deviation."""
        kind = message.get("type")
        if kind == "raw_output":
            self._take_raw(message)
            return
        _check(kind in REQUIRED, f"unknown type {kind!r}")
        missing = [name for name in REQUIRED[str(kind)].split() if name not in message]
        _check(not missing, f"{kind} lacks {missing}")
        _check(not self.is_over or kind in {"viewers", "error"}, f"{kind} after session_ended")
        if kind == "error":
            return
        _check((self._attached is None) == (kind == "attached"), f"{kind} before or as a second attached")
        match kind:
            case "attached":
                self._take_attached(message)
            case "output":
                self._take_output(message)
            case "replay_end":
                self._take_replay_end(message)
            case "gap":
                self._take_gap(message)
            case "resize":
                self._take_resize(message)
            case "heartbeat":
                _check(message["session_id"] == self._asked.session_id, "heartbeat of another session")
                _check(message["seq"] >= self._here, "heartbeat behind what was delivered")
            case "session_ended":
                self.is_over = True

    def forget(self) -> None:
        """Drop the bytes held; positions go on. For viewers that only watch."""
        self.past.clear()
        self.data.clear()
        self.start = self._here

    @property
    def _here(self) -> int:
        assert self.position is not None, "attached comes first"
        return self.position

    @property
    def _asked(self) -> Request:
        assert self._request is not None, "ask() comes before take()"
        return self._request

    def _take_attached(self, message: Message) -> None:
        request = self._asked
        seq, head, first = message["seq"], message["head"], message["first"]
        _check(message["session_id"] == request.session_id, f"attached to {message['session_id']}")
        _check(message["client_id"] == request.client_id, f"attached as {message['client_id']}")
        _check(first <= seq <= head, f"attached at {seq}, outside {first}..{head}")
        same_log = self.epoch is None or message["epoch"] == self.epoch
        match message["recover"]:
            case "exact":
                _check(same_log, "exact recovery of another log")
                _check(request.position is not None, "exact recovery that nobody asked for")
                if isinstance(request.position, int):
                    _check(seq == request.position, f"asked for {request.position}, exact at {seq}")
            case "gap":
                _check(message.get("lost_bytes", 0) > 0 or not same_log, "gap without lost_bytes")
                if same_log:
                    lost_from = seq - message["lost_bytes"]
                    if isinstance(request.position, int):
                        _check(
                            lost_from == request.position, f"{seq - lost_from} lost, really {seq - request.position}"
                        )
                    self.gaps.append(Gap(lost_from, seq, "attach"))
            case "tail":
                _check(request.position is None, f"tail, though asked for {request.position}")
            case other:
                _check(fine=False, what=f"recover is {other!r}")
        if not same_log or self.position is None:
            self.start = seq
            self.data.clear()
        elif seq > self.position:
            self._skip(seq)
        else:
            self.resumed.append(seq)
            del self.data[seq - self.start :]  # asked again for what is held already: it must come out the same
        self.epoch = message["epoch"]
        self.position = seq
        self._attached = message
        self._replayed = hashlib.sha256()
        self._replay_told = False

    def _take_output(self, message: Message) -> None:
        data, seq = message["data"], message["seq"]
        _check(len(data) > 0, "empty output")
        _check(seq == self._here + len(data), f"output of {len(data)} ends at {seq}, was at {self._here}")
        _check(message["replay"] is (seq <= self._head_at_attach), f"replay is {message['replay']} at {seq}")
        self._append(data, is_replay=message["replay"])

    def _take_raw(self, message: Message) -> None:
        _check(self._attached is not None, "output before attached")
        _check(not self.is_over, "output after session_ended")
        end = self._here + len(message["data"])
        _check(end <= self._head_at_attach or self._here >= self._head_at_attach, "replay and live in a frame")
        self._append(message["data"], is_replay=end <= self._head_at_attach)

    @property
    def _head_at_attach(self) -> int:
        assert self._attached is not None, "attached comes first"
        return int(self._attached["head"])

    def _append(self, data: bytes, *, is_replay: bool) -> None:
        if is_replay:
            self._replayed.update(data)
        else:
            _check(self._replay_told, "live output before replay_end")
        self.data += data
        self.position = self._here + len(data)

    def _take_replay_end(self, message: Message) -> None:
        _check(not self._replay_told, "second replay_end")
        _check(message["seq"] == self._here, f"replay_end at {message['seq']}, was at {self._here}")
        _check(message["seq"] >= self._head_at_attach, "replay_end before the end of the replay")
        _check(message["sha256"] == self._replayed.hexdigest(), "replay_end with another sha256")
        self._replay_told = True
        self.replays += 1

    def _take_gap(self, message: Message) -> None:
        first, last = message["first"], message["last"]
        _check(first == self._here, f"gap from {first}, was at {self._here}")
        if message["reason"] == "torn":
            _check((last, message["lost_bytes"]) == (first, 0), f"torn from {first} to {last}")
            self.gaps.append(Gap(first, last, "torn"))
            return
        _check(last > first, f"gap from {first} to {last}")
        _check(message["lost_bytes"] == last - first, f"gap of {message['lost_bytes']}, really {last - first}")
        _check(message["reason"] in {"trimmed", "skipped", "epoch"}, f"gap because of {message['reason']!r}")
        self.gaps.append(Gap(first, last, message["reason"]))
        self._skip(last)

    def _skip(self, position: int) -> None:
        self.past.append((self.start, bytes(self.data)))
        self.data.clear()
        self.start = self.position = position

    def _take_resize(self, message: Message) -> None:
        _check(message["seq"] <= self._here, f"resize at {message['seq']}, ahead of {self._here}")
        self.resizes.append(message)


def _check(fine: bool, what: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not fine:
        raise Deviation(what)
