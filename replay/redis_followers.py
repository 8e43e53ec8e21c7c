"""Logs of other nodes, followed: read from Redis into local memory, where any number of readers attach to them.

One follower a log, however many viewers; the number of connections does not grow with the logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from replay.log import Log
    from replay.redis_address import RedisAddress

LINGER_SECONDS = 10.0
"""How long a log is still followed that nobody reads: a viewer that comes back finds it warm."""


class Followed:
    """One caller's hold of a followed log. What holds of the log is shared with all others who follow it.

    `log` has the epoch, positions, events and retention of the owner's; nobody but the follower appends to it.
    `changed` is called once (on the event loop, never within `follow`) if `log` is no good any more: another
    history has its name, or it is gone, or Redis kept too little to go on. Nothing is appended to it then; it can be
    read until `release`; whoever wants more follows the name again.
    """

    changed: Callable[[], None]

    @property
    def log(self) -> Log:
        """The local log; its readers are notified as those of any log are."""
        raise NotImplementedError

    @property
    def trouble(self) -> str | None:
        """Why there may be nothing new for a while: Redis does not answer; None: it does."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go; the last who does ends the following, after a while. Twice is harmless."""
        raise NotImplementedError


class Followers:
    """All logs that this node follows. `run` owns the tasks; it is single-use and needs no Redis to begin."""

    def __init__(self, address: RedisAddress, *, linger_seconds: float = LINGER_SECONDS) -> None:
        """Begin with none."""
        raise NotImplementedError

    async def run(self) -> None:
        """Follow until `stop`."""
        raise NotImplementedError

    def stop(self) -> None:
        """End soon; nothing more is appended to any log, and who waits in `follow` is told an OSError."""
        raise NotImplementedError

    async def follow(self, name: str) -> Followed:
        """Return the log of that name, with everything Redis has of it now.

        Raises LogMissing, or one of `redis_connection.TROUBLE` if Redis cannot be asked now.
        """
        raise NotImplementedError
