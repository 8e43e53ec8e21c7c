"""Which numbered inputs have been taken: each once, in order, however often a client resends them."""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS_LIMIT = 4096
"""How many client ids a terminal remembers; beyond it the one heard of longest ago is forgotten."""


class Verdict(enum.Enum):
    """What to do with a numbered input."""

    TAKE = "take"
    REPEATED = "repeated"
    OUT_OF_ORDER = "out_of_order"


@dataclass(slots=True)
class Count:
    """One client's inputs: the highest number taken into the queue, and the highest written to the PTY."""

    taken: int = 0
    written: int = 0


class InputLedger:
    """Numbers per client id; bounded by forgetting the client that typed longest ago."""

    def __init__(self, written_number: Callable[[str], int] = lambda _: 0) -> None:
        """Begin with no client; `written_number` says what an earlier process has written of one."""
        self._written_number = written_number
        self._counts: OrderedDict[str, Count] = OrderedDict()

    def count(self, client: str) -> Count:
        """Return what is known of a client; asking makes nobody known."""
        known = self._counts.get(client)
        if known is None:
            number = self._written_number(client)
            known = Count(number, number)
        return known

    def _remember(self, client: str) -> Count:
        count = self._counts[client] = self.count(client)
        self._counts.move_to_end(client)
        if len(self._counts) > CLIENTS_LIMIT:
            self._counts.popitem(last=False)
        return count

    def offer(self, client: str, number: int) -> Verdict:
        """Judge input `number` (from 1) of a client; one that is to be taken counts as taken."""
        taken = self.count(client).taken
        if number <= taken:
            return Verdict.REPEATED
        if number != taken + 1:
            return Verdict.OUT_OF_ORDER
        self._remember(client).taken = number
        return Verdict.TAKE

    def mark_written(self, client: str, number: int) -> None:
        """Note that the PTY has taken input `number` whole."""
        count = self._remember(client)
        count.written = max(count.written, number)
        count.taken = max(count.taken, number)  # forgotten while it waited: what was written stays written
