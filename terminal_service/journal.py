"""What the next process must know of a terminal's input and activity, in words that survive this one's death.

The words are mapped from the head of the log's file: memory of the kernel, so that a process that is killed leaves
exactly what it had stored. Each is stored whole, and nothing else is sure: whatever takes more than one is in an
order that means the same after every single store. Reading it again changes nothing, so that a process that is
killed while it recovers does no harm either.

Layout, 64-bit words::

    0 version   1 boot   2 created   3 bumped (nanoseconds << 3 | source)
    4 oldest   5 next                           the items of input on their way: those from oldest to before next
    6 interrupt (number << 9 | place)           the item that may just have interrupted the program
    8 ...   four words an item, at its number modulo `ITEMS_LIMIT`:
            number << 9 | place   total   before   start
    72 ...  three words a client, its place being the index of the first:
            hash of its key (0: free)   highest number written   bytes written of the number after that

`before` is how much of the item's bytes the terminal had taken under an earlier process, `start` how much input in all
will have been taken before the rest: so the terminal's own exact count (`Pty.written`) less `start` is what it has of
the rest. An item's words do not matter until `next` has been stored.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

JOURNAL_WORDS = 496
ITEMS_LIMIT = 16
"""How many items may have been begun and not finished."""
CLIENTS_LIMIT = 141
"""How many clients are known to the next process; beyond it the one heard of longest ago is forgotten."""

SOURCES = ("created", "input", "resize", "viewer", "update", "keepalive")
"""What counts as activity; at most eight, and none ever changes its place."""

_VERSION = 2
_VERSION_WORD, _BOOT, _CREATED, _BUMPED, _OLDEST, _NEXT, _INTERRUPT = range(7)
_ITEMS, _ITEM_WORDS = 8, 4
_CLIENTS = _ITEMS + ITEMS_LIMIT * _ITEM_WORDS
_CLIENT_WORDS = 3
_PLACE_BITS = 9
_SOURCE_BITS = 3
_SOURCE_CODES = {source: code for code, source in enumerate(SOURCES)}
_NANOSECONDS = 1_000_000_000


class Activity(NamedTuple):
    """When a session was created and last active, in seconds of this machine's monotonic clock."""

    created: float
    bumped: float
    source: str


class Journal:
    """The journal of one terminal, in `JOURNAL_WORDS` words of memory that somebody else owns.

    Not thread-safe: it belongs to the event loop's thread.
    """

    def __init__(self, words: memoryview, *, boot: int | None = None) -> None:
        """Go on with what the words say (format "Q"); all zero, or of an unknown version: nothing is known.

        `boot` stands for this run of the machine, whose monotonic clock all its processes share.
        """
        boot = BOOT if boot is None else boot
        if len(words) != JOURNAL_WORDS or words.format != "Q":
            raise AssertionError("a journal is so many 64-bit words")
        self._words = words
        self._client: str | None = None
        self._place = 0
        """Of `_client`, the one last looked up: nearly always it is the next one too."""
        if words[_VERSION_WORD] != _VERSION:
            self._clear()
        if words[_BOOT] != boot:
            words[_BUMPED] = 0  # of a clock that is gone
            words[_BOOT] = boot
        self._places = OrderedDict(
            (words[place], place) for place in range(_CLIENTS, JOURNAL_WORDS, _CLIENT_WORDS) if words[place]
        )
        """The place of each client by its hash, the one heard of longest ago first (as far as this process knows)."""

    def _clear(self) -> None:
        words = self._words
        words[_VERSION_WORD] = 0
        for index in range(JOURNAL_WORDS):
            words[index] = 0
        words[_VERSION_WORD] = _VERSION

    def move(self, words: memoryview) -> None:
        """Go on in other memory that has the same content: that of a log that has got a file only now."""
        self._words = words

    def leave(self) -> None:
        """Store nothing any more where another process goes on."""
        self._words = memoryview(bytearray(JOURNAL_WORDS * 8)).cast("Q")

    # -- input

    def written_number(self, client: str) -> int:
        """Return the highest number of a client that was written; 0 for one that is not known (any more)."""
        place = self._places.get(_hash(client))
        return 0 if place is None else self._words[place + 1]

    def begin(self, client: str, number: int, total: int, written: int) -> int:
        """Note that an item of `total` bytes is about to be written, while the terminal has taken `written` in all.

        Return how many of its bytes the terminal has already, from an earlier process: those must be left out.
        Items are finished in the order they were begun, and at most `ITEMS_LIMIT` are not.
        """
        words = self._words
        place = self._place if client == self._client else self._look_up(client)
        before, taken = words[place + 1], 0
        item = words[_NEXT]
        if item - words[_OLDEST] >= ITEMS_LIMIT:
            raise AssertionError("too many items are on their way")
        if number <= before:
            taken = total
        elif number == before + 1:
            taken = min(words[place + 2], total)
        elif not self._is_begun(place, number - 1):
            self._store_number(place, number - 1)  # it was forgotten: all before was written, for the order is kept
        slot = _slot(item)
        words[slot] = number << _PLACE_BITS | place
        words[slot + 1] = total
        words[slot + 2] = taken
        words[slot + 3] = written
        words[_NEXT] = item + 1
        return taken

    def finish(self, client: str, number: int) -> None:
        """Note that everything of a client up to `number` counts as written."""
        words = self._words
        place = self._place if client == self._client else self._look_up(client)
        if number > words[place + 1]:
            self._store_number(place, number)
        oldest = words[_OLDEST]
        slot = _slot(oldest)
        if oldest < words[_NEXT] and words[slot] == number << _PLACE_BITS | place:
            words[_OLDEST] = oldest + 1

    def _is_begun(self, place: int, number: int) -> bool:
        sought = number << _PLACE_BITS | place
        return any(self._words[slot] == sought for slot in self._slots())

    def _slots(self) -> Iterator[int]:
        """Return where the words of the items on their way begin, the oldest first."""
        return map(_slot, range(self._words[_OLDEST], self._words[_NEXT]))

    def _store_number(self, place: int, number: int) -> None:
        self._words[place + 2] = 0
        self._words[place + 1] = number  # it stays far below 2^54: numbers are taken one by one

    def begin_interrupt(self, client: str, number: int) -> None:
        """Note that an item may be about to interrupt the program.

        Killed before `end_interrupt`: it counts as written, with what its sender typed before it, for that would
        have been discarded. An interrupt that is lost is typed again; one too many ends another program.
        """
        place = self._place if client == self._client else self._look_up(client)
        self._words[_INTERRUPT] = number << _PLACE_BITS | place

    def end_interrupt(self) -> None:
        """Note that the interrupt has been settled, or was none."""
        self._words[_INTERRUPT] = 0

    def settle(self, written: int) -> None:
        """Work out what an earlier process left unfinished, when it is known how much the terminal has taken."""
        words = self._words
        number, place = divmod(words[_INTERRUPT], 1 << _PLACE_BITS)
        if number:
            if number > words[place + 1]:
                self._store_number(place, number)
            words[_INTERRUPT] = 0
        for slot in self._slots():
            name, total, before, start = words[slot : slot + _ITEM_WORDS]
            number, place = divmod(name, 1 << _PLACE_BITS)
            taken = before + max(written - start, 0)
            if not taken or number <= words[place + 1]:
                continue
            if taken >= total:
                self._store_number(place, number)
            else:
                words[place + 2] = taken
        words[_OLDEST] = words[_NEXT]

    def _look_up(self, client: str) -> int:
        """Return a client's place: the one it has, a free one, or that of the client heard of longest ago."""
        key = _hash(client)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = self._free_place()
            self._words[place + 2] = 0
            self._words[place + 1] = 0
            self._words[place] = key
        self._places.move_to_end(key)
        self._client, self._place = client, place
        return place

    def _free_place(self) -> int:
        if len(self._places) < CLIENTS_LIMIT:
            return _CLIENTS + _CLIENT_WORDS * len(self._places)
        busy = {self._words[slot] % (1 << _PLACE_BITS) for slot in self._slots()}
        key = next(key for key, place in self._places.items() if place not in busy)
        return self._places.pop(key)

    # -- activity

    @property
    def activity(self) -> Activity | None:
        """What an earlier process, or this one, stored since the machine was started; None: nothing."""
        nanoseconds, code = divmod(self._words[_BUMPED], 1 << _SOURCE_BITS)
        if not nanoseconds or code >= len(SOURCES):
            return None
        return Activity(self._words[_CREATED] / _NANOSECONDS, nanoseconds / _NANOSECONDS, SOURCES[code])

    def note_created(self, seconds: float) -> None:
        """Store when the session was created, in seconds of the monotonic clock."""
        self._words[_CREATED] = int(seconds * _NANOSECONDS)

    def note_activity(self, seconds: float, source: str) -> None:
        """Store when the session was active last, in seconds of the monotonic clock, and what that was."""
        self._words[_BUMPED] = int(seconds * _NANOSECONDS) << _SOURCE_BITS | _SOURCE_CODES[source]


def _slot(item: int) -> int:
    """Return the index of an item's first word."""
    return _ITEMS + item % ITEMS_LIMIT * _ITEM_WORDS


def _hash(client: str) -> int:
    """Return 64 bits that stand for a client's key; never 0."""
    return int.from_bytes(blake2b(client.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def _find_boot() -> int:
    """Return 64 bits that stand for this run of the machine.

    Where the system has no id for it, by when it was started: if the wall clock is set, that looks like another one.
    """
    if sys.platform != "linux":
        return _hash(str(int(psutil.boot_time())))
    try:
        return _hash(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    except OSError:
        return _hash(os.urandom(16).hex())  # no /proc: like no other


BOOT = _find_boot()
