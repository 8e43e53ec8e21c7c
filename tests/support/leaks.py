"""Tell what a test left behind in this process: descriptors, threads, child processes."""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Closing is often finished by somebody else: the kernel reaps, a thread ends, a transport closes on the next turn.
SETTLE_SECONDS = 10.0


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Fail if anything opened inside is still open some time after the end.

    Yields once; the failure lists what is left.
    """
    lists = (descriptors, threads, children)
    before = [frozenset(listed()) for listed in lists]
    yield
    if not _leaks(lists, before):
        return
    gc.collect()  # what only a reference cycle holds warns by itself (ResourceWarning), and warnings are errors
    left: list[str] = []

    def settled() -> bool:
        left[:] = _leaks(lists, before)
        return not left

    with suppress(AssertionError):
        poll_until(settled, description="nothing left", timeout=SETTLE_SECONDS)
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


def _leaks(lists: tuple[Callable[[], dict[str, str]], ...], before: list[frozenset[str]]) -> list[str]:
    return [
        f"{name} {state}".rstrip()
        for listed, known in zip(lists, before, strict=True)
        for name, state in sorted(listed().items())
        if name not in known
    ]


# Each tells what there is, by a name that stays the same as long as it exists, with what may change.


def descriptors() -> dict[str, str]:
    """Name every open file descriptor with its target: `descriptor 7 -> socket:[1234]` (Linux; else none)."""
    if sys.platform != "linux":
        return {}
    found = {}
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found[f"descriptor {descriptor.name} -> {descriptor.readlink()}"] = ""
        except FileNotFoundError:  # the descriptor that lists the directory
            continue
    return found


def threads() -> dict[str, str]:
    """Name every live thread of Python."""
    return {
        f"thread {thread.name!r} ({thread.ident})": ""
        for thread in threading.enumerate()
        if not thread.name.startswith("pytest_timeout")  # its timer, where there is no SIGALRM
        # A C library's own that once called Python, of which Python never hears the end: gRPC's pool.
        and not isinstance(thread, threading._DummyThread)
    }


def children() -> dict[str, str]:
    """Name every process below this one, zombies too; what it does and even what it runs may change."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        try:
            found[f"process {child.pid} started {child.create_time():.2f}"] = f"{child.name()!r} {child.status()}"
        except psutil.NoSuchProcess:
            continue
    return found


def processes_of(directory: Path) -> list[list[str]]:
    """Return the command lines of processes that name something in `directory`, but for those that run the tests."""
    found = []
    ours = {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid in ours:
            continue
        with suppress(psutil.Error):
            words = process.cmdline()
            if any(str(directory) in word for word in words) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(words)
    return found
