"""How many file descriptors this process may have; only this module changes that."""

from __future__ import annotations

import contextlib
import sys


def raise_limit() -> tuple[int, int]:
    """Take all descriptors the system allows (a session needs three); return the limit that was, and the one now."""
    if sys.platform == "win32":
        raise AssertionError("there is no such limit")
    import resource  # noqa: PLC0415 - not there on Windows

    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and then refuses that
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return before, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
