"""How long the link to another machine may take for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LinkPatience:
    """How long what may take, in seconds."""

    connect_seconds: float = 20.0
    """For a stream to be opened, and for the holder to answer and to let go of its last owner."""
    first_seconds: float = 3.0
    """For a place to be reached at all, before whoever waits for that is told that it is not."""
    unused_seconds: float = 10.0
    """Without anybody who uses the link: then it is closed."""
    call_seconds: float = 30.0
    """For an answer, a cut in between included."""
    silence_seconds: float = 30.0
    """Without a sign of life from the other side."""
    give_up_seconds: float = 24 * 3600.0
    """For a cut link to be had again; then its programs are `Lost.LINK`."""
    close_seconds: float = 15.0
    """For a program to be ended there, beyond the graces."""
    retry_seconds: tuple[float, float] = (0.05, 5.0)
    """The first pause before the next try, and the longest."""
