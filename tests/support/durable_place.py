"""A backend whose sessions are durable, on this machine behind a local executor."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import Capabilities
from backends.durable.patience import LinkPatience
from backends.durable.profile import DurableProfile
from backends.durable.target import Target
from backends.durable.terminals import DurableTerminals, durable_shells, recalled, sweep_programs
from backends.errors import BackendError, Unreachable
from backends.profile import Site
from support.holders import holder_pid
from support.local_executor import LocalExecution, LocalExecutor
from support.terminals import is_alive, plain_environment
from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from backends.abilities import Command
    from backends.base import Order, Survivor


class Way(LocalExecutor):
    """The way to a place, which can be cut and closed."""

    def __init__(self, home: object = "/", *prefix: str, **environment: str) -> None:
        super().__init__({"HOME": str(home), **environment})
        self.environment = plain_environment() | environment
        self.is_closed = False
        """Whether nobody gets there."""
        self.refusal: BackendError | None = None
        """What everybody is told who wants to get there."""
        self._prefix = prefix

    async def execute(self, command: Command) -> LocalExecution:
        if self.is_closed:
            raise Unreachable("the way is closed")
        if self.refusal is not None:
            raise self.refusal
        return await super().execute(replace(command, argv=[*self._prefix, *command.argv]))

    def cut(self) -> None:
        """Cut the newest off, whatever it is doing."""
        self.executions[-1].cut()


QUICK = LinkPatience(retry_seconds=(0.01, 0.1), close_seconds=10)


class LocalProfile(DurableProfile, frozen=True, kw_only=True, tag="local-durable"):
    """Has no fields of its own."""


class DurableBackend:
    """What an adapter is like that has nothing but the durable option."""

    name = "durable"
    capabilities = Capabilities(signals=True, reattach=True)

    def __init__(
        self,
        directory: Path,
        *,
        way: Way | None = None,
        patience: LinkPatience = QUICK,
        **fields: Any,
    ) -> None:
        self.home = directory / "home"
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.way = way or Way(self.home)
        self._profile = LocalProfile(name="durable", durable=True, **fields)
        self.target = Target(self.way, self._profile, Site("node-1", directory / "site"), patience=patience)

    async def shells(self, user: str | None = None) -> Sequence[str]:  # noqa: ARG002 - there is one
        return await durable_shells(self.target)

    async def open(self, order: Order) -> DurableTerminals:
        return DurableTerminals(self.target, order)

    async def check(self) -> None:
        await (self.target).reach()

    async def survivors(self) -> Sequence[Survivor]:
        return ()

    async def recall(self, session_id: str) -> Survivor | None:
        return recalled(session_id)

    async def sweep(self, living: Collection[str]) -> None:
        await sweep_programs(self.target, living)

    async def stop(self) -> None:
        """End the holder, as nobody does but tests: its machine is another one."""
        await self.close()
        for directory in self.holder_directories():
            await self.stop_holder(directory)

    async def stop_holder(self, directory: Path) -> None:
        await self.close()
        await asyncio.to_thread(_stop, directory)

    async def close(self) -> None:
        """Let go, as with the end of the service's process."""
        await self.target.close()

    def holder_directories(self) -> list[Path]:
        """Return those of all services that have one there."""
        places = [self.home / ".cache/terminal-service", *([Path(self._profile.durable_directory)])]
        return [path.parent for place in places for path in place.glob("*/holder.sock")]


def stop_holders(places: Iterable[Path]) -> None:
    """End the holders in these places. Blocks."""
    for place in places:
        for socket in place.glob("*/holder.sock"):
            _stop(socket.parent)


def _stop(directory: Path) -> None:
    pid = holder_pid(directory)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        poll_until(lambda: not is_alive(pid), description="the end of a holder")
