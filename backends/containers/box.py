"""One running container: how programs are started in it, and what became of it when they end oddly."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiodocker.exceptions import DockerError

from backends.base import ExitStatus, Lost
from backends.containers import scripts
from backends.containers.collector import Collector
from backends.containers.trouble import CONFLICT, NOT_FOUND, told
from backends.errors import BackendError, NotProvided, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aiodocker.containers import DockerContainer

    from backends.containers.daemon import Daemon
    from backends.containers.hijack import Hijack, Receiver

KILLED = 128 + 9
"""The exit code of what SIGKILL has ended, as the daemons tell it."""

_SETTLE_SECONDS = 3.0
"""A daemon that has closed a stream may still say that the program runs, so long."""
_RETURN_SECONDS = 20.0
"""How long a daemon that cannot be reached may take to return before what it knows is given up."""
_RETRY_SECONDS = (0.005, 1.0)


@dataclass(frozen=True)
class Start:
    """An exec to start."""

    command: Sequence[str]
    env: Mapping[str, str]
    user: str
    tty: bool


class Box:
    """A container. Everything here may raise BackendError."""

    def __init__(self, daemon: Daemon, container: DockerContainer, memory_bytes: int) -> None:
        """Take a container that runs."""
        self.daemon = daemon
        self.container = container
        self._memory_bytes = memory_bytes
        self._kills = 0

    @property
    def id(self) -> str:
        """The daemon's id of it."""
        return self.container.id

    async def start(self, start: Start, receiver: Receiver) -> tuple[str, Hijack]:
        """Start an exec; return its id and its bytes' connection. Raises NotProvided: the container is gone."""
        with told(self.daemon.address, "start a program"):
            try:
                made = await self.container.exec(
                    list(start.command),
                    stdin=True,
                    tty=start.tty,
                    user=start.user,
                    environment=[f"{name}={value}" for name, value in start.env.items()],
                )
            except DockerError as error:
                if gone := await self._gone_after(error):
                    raise NotProvided(gone) from None
                raise
        return made.id, await self.daemon.hijack(made.id, receiver, tty=start.tty)

    async def _gone_after(self, error: DockerError) -> str:
        if error.status in {NOT_FOUND, CONFLICT, 500}:
            return await self.find_end()
        return ""

    async def find_end(self) -> str:
        """Return why the container does not run; "": it does. Raises BackendError: cannot be learned now."""
        try:
            with told(self.daemon.address, "look at the container"):
                shown = await self.container.show()
        except NotProvided:
            return "the container was removed"
        state = shown["State"]
        if state.get("Running") and not state.get("Dead"):
            return ""
        return self._describe(state)

    def _describe(self, state: Mapping[str, Any]) -> str:
        if state.get("OOMKilled"):
            return f"the container was killed for using more than {amount(self._memory_bytes)} of memory"
        code = state.get("ExitCode")
        told_error = f": {state['Error']}" if state.get("Error") else ""
        return f"the container was stopped (exit code {code}){told_error}"

    async def inspect(self, exec_id: str) -> Mapping[str, Any]:
        """Return what the daemon knows of an exec."""
        with told(self.daemon.address, "look at a program"):
            docker = await self.daemon.connect()
            return await docker.containers.exec(exec_id).inspect()

    async def resize(self, exec_id: str, rows: int, cols: int) -> None:
        """Set the size of an exec's terminal."""
        with told(self.daemon.address, "resize a terminal"):
            docker = await self.daemon.connect()
            await docker.containers.exec(exec_id).resize(h=rows, w=cols)

    async def learn_exit(self, exec_id: str) -> ExitStatus | None:
        """Return how a program ended whose stream is over; None: it still runs, so the stream was cut.

        A stream that ends is no proof of anything: the daemon is asked, and the container is looked at before an
        exit is believed that its end would look like.
        """
        was_away = False
        for pause in _pauses(_SETTLE_SECONDS):
            try:
                status = await self._ask_exit(exec_id)
            except Unreachable as error:
                was_away = True
                try:
                    status = await self._ask_again(exec_id, error)
                except Unreachable as last:
                    return ExitStatus(lost=Lost.LINK, message=str(last))
            if status is not None:
                return _with_absence(status) if was_away else status
            await asyncio.sleep(pause)
        return None

    async def _ask_again(self, exec_id: str, error: Unreachable) -> ExitStatus | None:
        """Ask until the daemon is back. Raises Unreachable: it does not come back."""
        loop = asyncio.get_running_loop()
        last = loop.time() + _RETURN_SECONDS  # asking takes time, too, where nobody answers
        for pause in _pauses(_RETURN_SECONDS):
            await asyncio.sleep(pause)
            try:
                return await self._ask_exit(exec_id)
            except Unreachable as again:
                error = again
            if loop.time() > last:
                break
        raise error

    async def _ask_exit(self, exec_id: str) -> ExitStatus | None:
        try:
            state = await self.inspect(exec_id)
        except NotProvided as error:
            # A daemon forgets its execs with their container, and when it is restarted.
            reason = await self.find_end()
            return ExitStatus(lost=Lost.PLACE, message=reason) if reason else _forgotten(error)
        code = state.get("ExitCode")
        if state.get("Running") or code is None:
            reason = await self.find_end()
            return ExitStatus(lost=Lost.PLACE, message=reason) if reason else None
        if code == KILLED:
            return await self._explain_kill()
        return ExitStatus(code=int(code))

    async def _explain_kill(self) -> ExitStatus:
        """Say what SIGKILL may mean: the end of the container, the end of its memory, or just what it says.

        What could be run there afterwards proves that the container has outlived it. If nothing can, it may be going
        down, which daemons tell a little later than the end of its programs.
        """
        kills = await self._count_kills()
        reason = await self.find_end()
        if kills is None:
            for pause in _pauses(_SETTLE_SECONDS):
                if reason:
                    break
                await asyncio.sleep(pause)
                reason = await self.find_end()
        if reason:
            return ExitStatus(lost=Lost.PLACE, message=reason)
        if kills is not None and kills > self._kills:
            self._kills = kills
            return ExitStatus(code=KILLED, message=f"killed: the container's {amount(self._memory_bytes)} are used up")
        return ExitStatus(code=KILLED)

    async def _count_kills(self) -> int | None:
        """Return how many programs the end of the memory has killed; None: nothing can be run there now."""
        try:
            code, out, _ = await self.run(scripts.KILLS)
        except BackendError:
            return None
        if code:
            return None
        text = out.split()
        return int(text[0]) if text and text[0].isdigit() else 0

    async def run(
        self, script: str, *arguments: object, user: str = "", seconds: float = 20.0
    ) -> tuple[int, bytes, bytes]:
        """Run a script of ours; return its exit code and what it printed, of which only the beginning is kept."""
        collector = Collector()
        start = Start(["/bin/sh", "-c", script, "sh", *map(str, arguments)], {}, user, tty=False)
        exec_id, connection = await self.start(start, collector)
        try:
            async with asyncio.timeout(seconds):
                await collector.ended.wait()
            for pause in _pauses(_SETTLE_SECONDS):
                state = await self.inspect(exec_id)
                if not state.get("Running") and state.get("ExitCode") is not None:
                    return int(state["ExitCode"]), *map(bytes, collector.printed.values())  # type: ignore[return-value]
                await asyncio.sleep(pause)
        except TimeoutError:
            pass
        finally:
            connection.close()
        raise Unreachable("a script of ours does not end in the container")

    async def end(self, pid: int, mark: str, grace_seconds: float, *, user: str) -> bool:
        """End a program's whole tree; False: something of it does not end. `pid` 0: only what carries its mark."""
        steps = round(grace_seconds * 10)
        code, _, _ = await self.run(scripts.END, pid, mark, steps, user=user, seconds=3 * grace_seconds + 20)
        return code == 0


def _forgotten(error: BackendError) -> ExitStatus:
    return ExitStatus(lost=Lost.LINK, message=f"the daemon no longer knows the program: {error}")


def _with_absence(status: ExitStatus) -> ExitStatus:
    if status.lost is not Lost.PLACE:
        return status
    return ExitStatus(lost=Lost.PLACE, message=f"{status.message}; the daemon was away meanwhile")


def _pauses(seconds: float) -> Iterator[float]:
    """Yield pauses that grow, with jitter, until they are so long together."""
    pause, longest = _RETRY_SECONDS
    while seconds > 0:
        yield (chosen := pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
        seconds -= chosen
        pause = min(pause * 2, longest)


def amount(size: int) -> str:
    """Return a number of bytes as people say it."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"
