"""What happens to a terminal between two bytes of its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened between two bytes of output.

    `index` counts a log's events from 1; `position` is where in the output it happened; `at` is wall-clock
    seconds, for display only.
    """

    index: int
    position: int
    kind: str
    fields: Mapping[str, object]
    at: float
