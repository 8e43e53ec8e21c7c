"""Logs as ring files in a directory: they survive the death of the process that wrote them."""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from replay.errors import LogDamaged, LogMissing, StorageFull
from replay.log import MINIMUM_RETENTION_BYTES, SLACK_BYTES, Log
from replay.memory import MemoryRegion, make_epoch
from replay.ringfile import Damage, RingFile
from replay.takeover import take_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SUFFIX = ".ring"


class FileStore:
    """Keeps every log in `<directory>/<session id>/<terminal id>.ring`; directories are private (0700)."""

    def __init__(self, directory: Path, *, capacity: Callable[[int], int] | None = None) -> None:
        """Use a directory, which is made if need be. Raises OSError.

        `capacity`: how many bytes a ring holds of which so many are retained for readers, if more (for a keeper).
        """
        self._directory = directory
        self._capacity = capacity or (lambda retention_bytes: retention_bytes)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)

    def create(self, name: str, retention_bytes: int) -> Log:
        """Begin a new log; on a full disk one in memory with `degraded` set, which gets its file when there is room."""
        return self.begin(name, retention_bytes, epoch=make_epoch(), start=0)

    def begin(self, name: str, retention_bytes: int, *, epoch: str, start: int) -> Log:
        """Do what `create` does, for a history of which everything before `start` is kept elsewhere, or lost."""
        retention = max(retention_bytes, MINIMUM_RETENTION_BYTES)
        size = max(retention, self._capacity(retention)) + SLACK_BYTES
        path = self._path(name)

        def make(*, is_late: bool) -> RingFile:
            self._make_directory(path.parent)
            return RingFile.create(path, size=size, retention_bytes=retention, epoch=int(epoch, 16), is_late=is_late)

        try:
            region = make(is_late=False)
        except StorageFull as error:
            log = Log(
                MemoryRegion(size),
                retention_bytes=retention,
                epoch=epoch,
                spare=MemoryRegion,
                make_durable=partial(make, is_late=True),
                start=start,
                head=start,
            )
            log.degraded = error
            return log
        region.publish(start, start)
        return Log(region, retention_bytes=retention, epoch=epoch, spare=MemoryRegion, start=start, head=start)

    def open(self, name: str, *, is_over: bool = False) -> Log:
        """Return a stored log. A damaged file is moved aside first. Raises LogMissing, LogDamaged.

        What a killed process had read is there; what it lost is told by an event (see `take_over`).

        A file that cannot be looked at now (no descriptor left, say) stays where it is.
        """
        path = self._path(name)
        try:
            region = RingFile.open(path)
        except FileNotFoundError:
            raise LogMissing(name) from None
        except OSError as error:
            raise LogDamaged(name, str(error), str(path)) from error
        except Damage as error:
            raise LogDamaged(name, str(error), str(_set_aside(path))) from error
        return take_over(region, is_over=is_over, at=time.time())

    def names(self) -> Iterable[str]:
        """Return the names of all stored logs."""
        return [f"{path.parent.name}/{path.stem}" for path in self._directory.glob(f"*/*{SUFFIX}")]

    def delete(self, name: str) -> None:
        """Remove a log's file, and its session's directory when it is empty."""
        path = self._path(name)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: another terminal, a record, or a damaged file kept
            path.parent.rmdir()

    async def settle(self, seconds: float) -> None:
        """Nothing to do: it is where it is kept."""

    def close(self) -> None:
        """Nothing is held between calls."""

    def _path(self, name: str) -> Path:
        session_id, _, terminal_id = name.partition("/")
        return self._directory / session_id / (terminal_id + SUFFIX)

    @staticmethod
    def _make_directory(path: Path) -> None:
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageFull(str(error)) from error
        os.chmod(path, 0o700)  # noqa: PTH101 - mkdir's mode is subject to the umask


def _set_aside(path: Path) -> Path:
    """Rename a damaged file so that it is no log any more; return where it is now."""
    aside = path.with_suffix(f".damaged-{time.time_ns()}")
    try:
        return path.rename(aside)
    except OSError:
        return path  # a directory that cannot be written to: reported again by the next process
