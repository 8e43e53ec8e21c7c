"""What is to happen to connections through the chaos proxy: only this module turns a seed into a plan.

Nothing here does I/O: `Plan(seed, storm).fate(i)` depends on its arguments alone, so a failing run is
repeated by its seed and a single connection by its seed and number.
"""

from __future__ import annotations

import enum
import math
import random
from dataclasses import dataclass


class End(enum.Enum):
    """How a connection comes to its end."""

    NONE = "none"  # only when one of the peers ends it
    FIN = "fin"  # both sides see an orderly end of file
    RST = "rst"  # both sides see a reset (SO_LINGER 0)
    FREEZE = "freeze"  # half open: nothing moves any more and nobody is told


class Way(enum.Enum):
    """A direction of a connection."""

    UP = "up"  # client to server
    DOWN = "down"  # server to client


@dataclass(frozen=True)
class Lane:
    """What one direction of one connection suffers. Times in seconds, sizes in bytes; 0 means: not at all."""

    delay_seconds: float = 0.0
    bytes_per_second: int = 0
    fragment_bytes: int = 0  # every write is cut to 1..this many bytes
    stall_after_bytes: int = 0
    stall_seconds: float = 0.0  # once: this direction alone stands still, the other one goes on


@dataclass(frozen=True)
class Fate:
    """What one connection suffers: its end after exactly `cut_bytes` bytes in direction `cut_way`."""

    end: End = End.NONE
    cut_way: Way = Way.DOWN
    cut_bytes: int = 0
    freeze_seconds: float = 0.0  # how long a half-open connection is held before it is reset
    up: Lane = Lane()
    down: Lane = Lane()
    seed: str = ""  # of the sizes of fragments

    def lane(self, way: Way) -> Lane:
        """Return what this direction suffers."""
        return self.up if way is Way.UP else self.down


@dataclass(frozen=True)
class Storm:
    """How bad the weather is: shares are probabilities per connection, ranges are drawn log-uniformly.

    Log-uniform, because a cut after 3 bytes and one after 30,000 find different faults: both must be common.
    """

    fin_share: float = 0.4
    rst_share: float = 0.4
    freeze_share: float = 0.0
    cut_bytes: tuple[int, int] = (1, 20_000)
    cut_up_share: float = 0.3
    cut_up_bytes: tuple[int, int] = (1, 2_000)
    freeze_seconds: float = 1.0
    delay_share: float = 0.0
    delay_seconds: tuple[float, float] = (0.001, 0.02)
    throttle_share: float = 0.0
    bytes_per_second: tuple[int, int] = (20_000, 1_000_000)
    fragment_share: float = 0.0
    fragment_bytes: tuple[int, int] = (1, 64)
    stall_share: float = 0.0
    stall_seconds: tuple[float, float] = (0.01, 0.1)


CALM = Storm(fin_share=0.0, rst_share=0.0)


@dataclass(frozen=True)
class Plan:
    """The fates of all connections, in the order in which they are accepted."""

    seed: int | str
    storm: Storm = CALM
    every: Fate | None = None  # instead of the storm: the same fate for each

    def fate(self, index: int) -> Fate:
        """Return what is to happen to the connection with this number (from 0)."""
        if self.every is not None:
            return self.every
        # A string seeds by its SHA-512: the same plan with every Python version and hash seed.
        dice = random.Random(f"{self.seed}/{index}")
        storm = self.storm
        way = Way.UP if dice.random() < storm.cut_up_share else Way.DOWN
        span = storm.cut_up_bytes if way is Way.UP else storm.cut_bytes
        return Fate(
            end=_end(dice, storm),
            cut_way=way,
            cut_bytes=round(_log_uniform(dice, *span)),
            freeze_seconds=storm.freeze_seconds,
            up=_lane(dice, storm),
            down=_lane(dice, storm),
            seed=f"{self.seed}/{index}",
        )


def _end(dice: random.Random, storm: Storm) -> End:
    point = dice.random()
    for end, share in (
        (End.FIN, storm.fin_share),
        (End.RST, storm.rst_share),
        (End.FREEZE, storm.freeze_share),
    ):
        if point < share:
            return end
        point -= share
    return End.NONE


def _lane(dice: random.Random, storm: Storm) -> Lane:
    # Everything is drawn whether used or not, so that changing one share changes nothing else of the plan.
    delay = _log_uniform(dice, *storm.delay_seconds)
    rate = round(_log_uniform(dice, *storm.bytes_per_second))
    fragment = round(_log_uniform(dice, *storm.fragment_bytes))
    stall_after = round(_log_uniform(dice, *storm.cut_bytes))
    stall = _log_uniform(dice, *storm.stall_seconds)
    delayed, throttled, fragmented, stalled = (dice.random() for _ in range(4))
    return Lane(
        delay_seconds=delay if delayed < storm.delay_share else 0.0,
        bytes_per_second=rate if throttled < storm.throttle_share else 0,
        fragment_bytes=fragment if fragmented < storm.fragment_share else 0,
        stall_after_bytes=stall_after if stalled < storm.stall_share else 0,
        stall_seconds=stall if stalled < storm.stall_share else 0.0,
    )


def _log_uniform(dice: random.Random, low: float, high: float) -> float:
    return math.exp(dice.uniform(math.log(low), math.log(high)))
