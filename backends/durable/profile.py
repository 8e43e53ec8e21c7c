"""The fields of profiles whose sessions may be durable."""

from __future__ import annotations

import posixpath
import sys

from backends.profile import Profile

_BUFFER_LIMITS = 4096, 64 << 20


class DurableProfile(Profile, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the profiles of backends that reach other machines; `check_durable` belongs into `__post_init__`."""

    durable: bool = False
    """Whether programs run in a holder there, which is put there (it needs Python >= 3.8) and outlives every cut."""
    durable_python: str = "python3"
    """The Python there, as a word on the PATH or a path."""
    durable_directory: str = ""
    """Where the holder lives there, an absolute path; empty: `~/.cache/terminal-service`, or in `/var/tmp`, `/tmp`."""
    durable_buffer_bytes: int = 1 << 20
    """How much of each program's output is kept there while the link is cut; then the program waits."""
    durable_give_up_seconds: float = 24 * 3600.0
    """After so long without a link its sessions are lost."""


def check_durable(profile: DurableProfile) -> None:
    """Raise ValueError naming the field that is wrong."""
    if profile.durable and sys.platform == "win32":
        raise ValueError("durable: a service on Windows cannot offer it")
    lowest, highest = _BUFFER_LIMITS
    if not lowest <= profile.durable_buffer_bytes <= highest:
        raise ValueError(f"durable_buffer_bytes: {profile.durable_buffer_bytes} is not in {lowest} to {highest}")
    if not profile.durable_give_up_seconds > 0:
        raise ValueError("durable_give_up_seconds: is to be more than 0")
    if profile.durable_directory and not posixpath.isabs(profile.durable_directory):
        raise ValueError("durable_directory: is to be an absolute path")
    if not profile.durable_python or "\0" in profile.durable_python:
        raise ValueError("durable_python: is to be a word")
