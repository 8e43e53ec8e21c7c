"""Which modes a terminal is in, learned by scanning its output; and the bytes that put an emulator there.

A viewer that joins at the recent tail must know what came before it: the alternate screen, mouse reporting,
bracketed paste, the scroll region, colours, the title. Only sequences that leave a lasting mode are looked at
(ECMA-48, xterm's ctlseqs, the kitty keyboard protocol).

Plain text is skipped at memory speed, but colourful output costs a regular expression some 10 ms per MB, more
than everything else that is done with it. So nothing is scanned before somebody joins, and what would be
trimmed unseen (megabytes ago) only quickly, for the private modes: whether the alternate screen is on matters
then, which colour was on does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from terminal_service.styles import combine

if TYPE_CHECKING:
    from replay.log import Log

SLICE_BYTES = 256 * 1024
CHECKPOINT_BYTES = 1024 * 1024
TITLE_SCAN_BYTES = 4096
CARRY_BYTES = TITLE_SCAN_BYTES + 8
"""No sequence that is looked at is longer."""
PRIVATE_CARRY_BYTES = 128
TITLE_LIMIT_BYTES = 256
STYLES_LIMIT = 16
KEYBOARD_STACK_LIMIT = 16

_SEQUENCE = re.compile(
    rb"\x1b(?:"
    rb"\[(?P<prefix>[?>=<!]?+)(?P<params>[0-9;:]{0,64}+)(?P<middle>[ ]?+)(?P<final>[hlmrupq])"
    rb"|\](?P<osc>[02]);(?P<text>[^\x07\x1b]{0,%d}+)(?:\x07|\x1b\\)"
    rb"|(?P<single>[=>c])"
    rb"|(?P<slot>[()])(?P<charset>[0-9A-B])"
    rb")" % TITLE_SCAN_BYTES
)
_BEGUN = re.compile(  # the beginning of one of these, cut short by the end of the data
    rb"\x1b(?:\[[?>=<!]?[0-9;:]{0,64}[ ]?|\](?:[02](?:;[^\x07\x1b]{0,%d}\x1b?)?)?|[()])?\Z" % TITLE_SCAN_BYTES
)

_PRIVATE_START = b"\x1b[?"
# A single byte is found 50 times as fast as three (memchr(3)), but in text full of question marks each costs more
# than it saves: so much of what follows one is searched for all three.
_NEAR_BYTES = 1024
_PRIVATE = re.compile(rb"\x1b\[\?([0-9;]{0,64}+)([hl])")
_PRIVATE_BEGUN = re.compile(rb"\x1b(?:\[(?:\?[0-9;]{0,64}+)?)?\Z")

# Modes whose resting state is "set": they are restored only when reset (xterm ctlseqs, DECSET).
_SET_AT_REST = frozenset({b"7", b"25", b"1007"})
_LASTING = frozenset(b"1 3 5 6 7 9 12 25 45 66 69 1000 1002 1003 1004 1005 1006 1007 1015 1016 2004 2031 2048".split())
_ALTERNATE = frozenset({b"47", b"1047", b"1049"})

# Left as they are by REST: 3 clears the screen; whether 12 and 1007 rest set or reset is the user's choice.
_USERS_CHOICE = frozenset({b"3", b"12", b"1007"})
REST = b"".join(
    (
        b"\x1b[?47l",  # unlike 1049, without moving the cursor
        *(b"\x1b[?%bl" % mode for mode in sorted(_LASTING - _SET_AT_REST - _USERS_CHOICE)),
        *(b"\x1b[?%bh" % mode for mode in sorted(_SET_AT_REST - _USERS_CHOICE)),
        b"\x1b[<%du\x1b[ q\x1b[4l\x1b>\x1b(B\x1b)B\x1b[m" % KEYBOARD_STACK_LIMIT,
        b"\x1b[r\x1b[999H",  # a region's end homes the cursor; what follows goes on at the bottom, as output does
    )
)
"""Ends every lasting mode, so that a preamble can follow in an emulator that is not at rest."""


@dataclass
class Modes:
    """The lasting modes of a terminal at one position of its output."""

    private: dict[bytes, bool] = field(default_factory=dict)
    alternate: bytes = b""
    insert: bool = False
    keypad: bool = False
    region: bytes = b""
    cursor_style: bytes = b""
    charsets: dict[bytes, bytes] = field(default_factory=dict)
    styles: list[bytes] = field(default_factory=list)
    title: bytes = b""
    keyboard: list[bytes] = field(default_factory=list)

    def copy(self) -> Modes:
        """Return a copy that may be fed on its own."""
        return replace(
            self,
            private=dict(self.private),
            charsets=dict(self.charsets),
            styles=list(self.styles),
            keyboard=list(self.keyboard),
        )

    def feed(self, data: bytes | memoryview) -> int:
        """Take output; return how many bytes at its end may be the beginning of a sequence (feed them again)."""
        end = 0
        for match in _SEQUENCE.finditer(data):
            self._apply(match)
            end = match.end()
        begun = _BEGUN.search(data, max(end, len(data) - CARRY_BYTES))
        return 0 if begun is None else len(data) - begun.start()

    def restore(self) -> bytes:
        """Return the bytes that bring an emulator into these modes from whatever modes it is in."""
        return REST + self.preamble()

    def feed_quickly(self, data: bytes) -> int:
        """Take output as `feed` does, but look at private modes (DECSET, DECRST) only; colours are forgotten."""
        self.styles.clear()
        at = data.find(b"?")
        while at >= 0:
            start = data.find(_PRIVATE_START, max(0, at - 2), at + _NEAR_BYTES)
            match = _PRIVATE.match(data, start) if start >= 0 else None
            if match is not None:
                self._mode(b"?", match[1], is_set=match[2] == b"h")
            at = data.find(b"?", at + _NEAR_BYTES if start < 0 else start + len(_PRIVATE_START))
        begun = _PRIVATE_BEGUN.search(data, max(0, len(data) - PRIVATE_CARRY_BYTES))
        return 0 if begun is None else len(data) - begun.start()

    def preamble(self) -> bytes:
        """Return the bytes that bring an emulator at rest into these modes."""
        parts = [b"\x1b]2;" + self.title + b"\x07" if self.title else b""]
        if self.alternate:
            parts.append(b"\x1b[?" + self.alternate + b"h")
        parts += [b"\x1b[?" + mode + (b"h" if is_set else b"l") for mode, is_set in self.private.items()]
        parts += [b"\x1b" + slot + charset for slot, charset in self.charsets.items()]
        parts += [b"\x1b[>" + flags + b"u" for flags in self.keyboard]
        parts += [b"\x1b[4h" if self.insert else b"", b"\x1b=" if self.keypad else b""]
        if self.cursor_style:
            parts.append(b"\x1b[" + self.cursor_style + b" q")
        if self.region:  # setting a region homes the cursor: keep where it is (DECSC/DECRC)
            parts.append(b"\x1b7\x1b[" + self.region + b"r\x1b8")
        parts += [b"\x1b[" + style + b"m" for style in self.styles]
        return b"".join(parts)

    def _apply(self, match: re.Match[bytes]) -> None:
        if match["final"]:
            self._control_sequence(match, match["final"])
        elif match["osc"]:
            self.title = bytes(byte for byte in match["text"] if byte >= 0x20)[:TITLE_LIMIT_BYTES]  # noqa: PLR2004 - C0
        elif match["slot"]:
            self._charset(match["slot"], match["charset"])
        elif match["single"] == b"c":  # RIS: everything
            self.__dict__.update(Modes().__dict__)
        else:
            self.keypad = match["single"] == b"="

    def _control_sequence(self, match: re.Match[bytes], final: bytes) -> None:
        if final == b"m":
            self._style(match)
        elif final in (b"h", b"l"):
            self._mode(match["prefix"], match["params"], is_set=final == b"h")
        elif final == b"r" and not match["prefix"] and not match["middle"]:
            self.region = match["params"]
        elif final == b"u":
            self._keyboard_flags(match["prefix"], match["params"])
        elif final == b"q" and match["middle"]:
            self.cursor_style = match["params"]
        elif final == b"p" and match["prefix"] == b"!":
            self._soft_reset()

    def _style(self, match: re.Match[bytes]) -> None:
        if match["prefix"]:
            return  # xterm's key modifier options, not a style
        params = match["params"]
        if params in (b"", b"0") or params.startswith(b"0;"):
            self.styles.clear()
        if params not in (b"", b"0"):
            self.styles = [*self.styles, params]
            if len(self.styles) > STYLES_LIMIT:
                self.styles = combine(self.styles)

    def _mode(self, prefix: bytes, params: bytes, *, is_set: bool) -> None:
        for mode in params.split(b";"):
            if prefix == b"" and mode == b"4":
                self.insert = is_set
            elif prefix == b"?" and mode in _ALTERNATE:
                self.alternate = mode if is_set else b""
            elif prefix == b"?" and mode in _LASTING:
                self.private.pop(mode, None)
                if is_set != (mode in _SET_AT_REST):
                    self.private[mode] = is_set

    def _keyboard_flags(self, prefix: bytes, params: bytes) -> None:
        if prefix == b">":
            self.keyboard = [*self.keyboard, params][-KEYBOARD_STACK_LIMIT:]
        elif prefix == b"<":
            count = int(params[:4]) if params.isdigit() else 1
            del self.keyboard[max(0, len(self.keyboard) - max(count, 1)) :]

    def _charset(self, slot: bytes, charset: bytes) -> None:
        self.charsets.pop(slot, None)
        if charset != b"B":
            self.charsets[slot] = charset

    def _soft_reset(self) -> None:
        """DECSTR: everything but the screen, the title and the mouse."""
        for mode in (b"1", b"6", b"7", b"25"):
            self.private.pop(mode, None)
        self.insert, self.keypad, self.region = False, False, b""
        self.charsets.clear()
        self.styles.clear()


@dataclass
class _Checkpoint:
    position: int
    modes: Modes


class ModeScanner:
    """A cursor on a log that knows the modes at any position still retained.

    It moves only when asked, or before the log would trim what it has not seen; so output that nobody joins
    late costs it next to nothing. It keeps a checkpoint per MiB of what it scanned; everything from the first
    of them on is retained, so that the modes behind it can be learned when somebody asks.
    """

    def __init__(self, log: Log) -> None:
        """Begin at the oldest retained position, with a terminal at rest."""
        self._log = log
        self._checkpoints = [_Checkpoint(log.first, Modes())]
        self._has_seen_all = log.first == 0

    def begin_at(self, position: int, modes: Modes) -> None:
        """Begin with the modes at a position, from somebody who has seen all; nothing new to whoever has as well."""
        if not self._has_seen_all:
            self._checkpoints, self._has_seen_all = [_Checkpoint(position, modes)], True

    @property
    def lag(self) -> int:
        """How many bytes have not been scanned."""
        return self._log.head - self._checkpoints[-1].position

    @property
    def needed(self) -> int:
        """From where on it needs the log; call `release` before earlier bytes are trimmed."""
        return self._checkpoints[0].position

    def release(self, before: int) -> None:
        """Let everything before a position be trimmed: look quickly at what nobody asked about so far.

        Modes asked for at an older position are from then on those at this one.
        """
        points = self._checkpoints
        while len(points) > 1 and points[1].position <= before:
            del points[0]
        modes, position = points[0].modes.copy(), max(points[0].position, self._log.first)
        end = min(before, self._log.head)
        while position < end:
            piece = self._log.read_range(position, min(end, position + SLICE_BYTES))
            unread = modes.feed_quickly(piece)
            position += len(piece) - unread
            if position + unread == end:
                break
        points[0] = _Checkpoint(position, modes)

    def modes_at(self, position: int) -> Modes:
        """Return the modes at a retained position; scans at most to there."""
        self._scan(position)
        before = [point for point in self._checkpoints if point.position <= position]
        best = before[-1] if before else self._checkpoints[0]
        modes, _ = self._feed(best.modes.copy(), best.position, position)
        return modes

    def _scan(self, target: int) -> None:
        """Move the last checkpoint to `target` or just before it, leaving others behind."""
        while self._checkpoints[-1].position < target:
            last = self._checkpoints[-1]
            position = max(last.position, self._log.first)  # what was trimmed unseen stays unknown
            end = min(target, position + CHECKPOINT_BYTES)
            modes, carried = self._feed(last.modes.copy(), position, end)
            if end - carried <= last.position:
                return
            self._keep(_Checkpoint(end - carried, modes))
            if end == target:
                return  # what is carried is only the beginning of a sequence

    def _keep(self, reached: _Checkpoint) -> None:
        """Note how far it came, leaving a checkpoint per MiB behind."""
        points = self._checkpoints
        if len(points) > 1 and reached.position - points[-2].position < CHECKPOINT_BYTES:
            points[-1] = reached
        else:
            points.append(reached)

    def _feed(self, modes: Modes, position: int, end: int) -> tuple[Modes, int]:
        """Feed `modes` with a range of the log; return it and how many bytes at the end were left unread."""
        carried = b""
        position = max(position, self._log.first)
        while position < end:
            piece = self._log.read(position, min(SLICE_BYTES, end - position))
            position += len(piece)
            data = carried + piece if carried else piece
            unread = modes.feed(data)
            carried = bytes(data[len(data) - unread :]) if unread else b""
        return modes, len(carried)
