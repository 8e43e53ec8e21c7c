"""Which session is in which workstation, on disk: what a process that was killed would have let go of."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import msgspec

from backends.errors import OutOfResources

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


class Lease(msgspec.Struct, frozen=True):
    """A session's place."""

    workstation: str
    owner: str
    run: float | None
    """When the workstation was started, in wall-clock seconds."""


class Leases:
    """All of this node's, in one file, which is replaced whole. Every method raises OutOfResources: no disk."""

    def __init__(self, directory: Path) -> None:
        """Read nothing yet."""
        self._file = directory / "sessions.json"
        self._lock = asyncio.Lock()

    async def get(self, session_id: str) -> Lease | None:
        """Return a session's."""
        async with self._lock:
            return (await self._read()).get(session_id)

    async def put(self, session_id: str, lease: Lease) -> None:
        """Note a session's."""
        async with self._lock:
            await self._write({**await self._read(), session_id: lease})

    async def drop(self, session_id: str) -> None:
        """Forget a session's."""
        async with self._lock:
            leases = await self._read()
            if leases.pop(session_id, None) is not None:
                await self._write(leases)

    async def prune(self, living: Collection[str]) -> tuple[list[Lease], list[Lease]]:
        """Forget those of sessions that live no more. Return these, and those that are left."""
        async with self._lock:
            leases = await self._read()
            left = {session_id: lease for session_id, lease in leases.items() if session_id in living}
            if len(left) < len(leases):
                await self._write(left)
            return [lease for session_id, lease in leases.items() if session_id not in left], list(left.values())

    async def _read(self) -> dict[str, Lease]:
        return await asyncio.to_thread(_read, self._file)

    async def _write(self, leases: dict[str, Lease]) -> None:
        try:
            await asyncio.to_thread(_write, self._file, leases)
        except OSError as error:
            raise OutOfResources(f"{self._file} cannot be written: {error.strerror}") from error


def _read(file: Path) -> dict[str, Lease]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Lease])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise OutOfResources(f"{file} cannot be read: {error}") from error


def _write(file: Path, leases: dict[str, Lease]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        partial.write_bytes(msgspec.json.encode(leases))
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
