"""What is kept about sessions beyond the process: enough to say, after a crash, what was lost and why."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE_NAME = "session.json"


class Records(Protocol):
    """Keeps one small record per session. Calls may block for a file operation: make them off the loop."""

    def save(self, session_id: str, record: dict[str, Any]) -> None:
        """Keep a record, in place of an older one. Raises OSError (a full disk, say)."""
        ...

    def all(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Return every record that can be read."""
        ...

    def delete(self, session_id: str) -> None:
        """Forget a record; deleting twice is harmless."""
        ...


class FileRecords:
    """Records as JSON files, each beside the logs of its session; replaced as a whole, never half written."""

    def __init__(self, directory: Path) -> None:
        """Use the directory of the logs."""
        self._directory = directory

    def save(self, session_id: str, record: dict[str, Any]) -> None:
        """Write to a new file (mode 0600), then put it in the place of the old one."""
        folder = self._directory / session_id
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh = folder / (FILE_NAME + ".new")
        try:
            with open(fresh, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                json.dump(record, file)
            fresh.replace(folder / FILE_NAME)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise

    def all(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Read all; one that is not JSON is left out (its log is still found by the store)."""
        found: list[tuple[str, dict[str, Any]]] = []
        for path in self._directory.glob(f"*/{FILE_NAME}"):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                found.append((path.parent.name, record))
        return found

    def delete(self, session_id: str) -> None:
        """Remove the file, and the directory when nothing else is in it."""
        folder = self._directory / session_id
        for name in (FILE_NAME, FILE_NAME + ".new"):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: a log, or a damaged file kept for inspection
            folder.rmdir()


class MemoryRecords:
    """Records that live as long as the process."""

    def __init__(self) -> None:
        """Begin empty."""
        self._records: dict[str, dict[str, Any]] = {}

    def save(self, session_id: str, record: dict[str, Any]) -> None:
        """Keep a record."""
        self._records[session_id] = record

    def all(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Return all."""
        return list(self._records.items())

    def delete(self, session_id: str) -> None:
        """Forget one."""
        self._records.pop(session_id, None)
