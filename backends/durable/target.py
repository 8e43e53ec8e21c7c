"""One place elsewhere with one link to the holder there, which all its sessions share."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from backends.durable.boot import Surroundings, boot
from backends.durable.boot_code import boot_command
from backends.durable.link import RemoteLink
from backends.durable.patience import LinkPatience
from backends.errors import BackendError, PlaceGone, Unreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from backends.abilities import Executor
    from backends.base import Notice
    from backends.durable.profile import DurableProfile
    from backends.durable.wire import Stream
    from backends.profile import Site


_OWNER = "owner"


class Reached(NamedTuple):
    """The link, up or cut for the moment, and what is known of the place."""

    link: RemoteLink
    surroundings: Surroundings


class Target:
    """See the module. `close` it in the end; a link that nobody uses is closed before."""

    def __init__(
        self,
        executor: Executor,
        profile: DurableProfile,
        site: Site,
        *,
        patience: LinkPatience = LinkPatience(),  # noqa: B008 - frozen
        fate: Callable[[], Awaitable[str | None]] | None = None,
    ) -> None:
        """Begin without a link. Of the patience the profile says when to give up.

        `fate`, asked before a cut link is made again, says why the place is gone for good; None: it is not.
        """
        self._executor = executor
        self._fate = fate
        self._profile = profile
        self._directory = site.directory
        self._patience = replace(patience, give_up_seconds=profile.durable_give_up_seconds)
        self._link: RemoteLink | None = None
        self._begun_at = 0.0
        self._surroundings: Surroundings | None = None
        self._listeners: set[Callable[[Notice], None]] = set()
        self._users = 0
        self._idle: asyncio.TimerHandle | None = None
        self._closings: set[asyncio.Task[None]] = set()

    async def reach(self) -> Reached:
        """Return the link as soon as the holder has been reached. Raises BackendError."""
        with self.used():
            link = self.link()
            await link.until_reached()
        if self._surroundings is None:
            raise AssertionError("a holder is reached through a boot")
        return Reached(link, self._surroundings)

    async def is_there(self) -> bool:
        """Tell whether a holder of ours lives there, without starting one. Raises BackendError: or why none could."""
        if self._link is not None and self._link.is_up:
            return True
        try:
            booted = await boot(self._executor, await self._command(starts=False))
        except OSError as error:
            raise Unreachable(str(error)) from error
        if booted is None:
            return False
        await booted.stream.close()
        return True

    def link(self) -> RemoteLink:
        """Return the link there is, or begin to make one."""
        if self._link is not None and self._link.lost.done():
            self._drop()
        if self._link is None:
            self._begun_at = asyncio.get_running_loop().time()
            self._link = RemoteLink(
                self._open_stream,
                owner=_OWNER,  # alone in a holder of its own: what is connected there already is a cut link
                patience=self._patience,
                ring_bytes=self._profile.durable_buffer_bytes,
                tell=self._tell,
            )
            self._link.begin()
        return self._link

    @contextlib.contextmanager
    def used(self, listener: Callable[[Notice], None] | None = None) -> Iterator[None]:
        """Keep the link as long as this lasts."""
        self.join(listener)
        try:
            yield
        finally:
            self.leave(listener)

    def join(self, listener: Callable[[Notice], None] | None = None) -> None:
        """Keep the link until `leave`; the listener is told what becomes of it."""
        self._users += 1
        if listener is not None:
            self._listeners.add(listener)
        self._watch_idle(None)

    def leave(self, listener: Callable[[Notice], None] | None = None) -> None:
        """Take `join` back."""
        self._users -= 1
        if listener is not None:
            self._listeners.discard(listener)
        if not self._users:
            self._watch_idle(self._patience.unused_seconds)

    async def close(self) -> None:
        """Let go of the place; what runs there runs on. Harmless twice."""
        self._watch_idle(None)
        self._drop()
        if self._closings:
            await asyncio.wait(self._closings)

    def _watch_idle(self, seconds: float | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if seconds is not None and self._link is not None:
            self._idle = asyncio.get_running_loop().call_later(seconds, self._drop_idle)

    def _drop_idle(self) -> None:
        if self._link is not None and self._link.has_programs:  # they are to be ended once the link is back
            self._watch_idle(self._patience.unused_seconds)
        else:
            self._drop()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            closing = asyncio.get_running_loop().create_task(link.close(), name="close a remote link")
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)

    async def _command(self, *, starts: bool) -> list[str]:
        return await asyncio.to_thread(self._make_command, starts=starts)

    def _make_command(self, *, starts: bool) -> list[str]:
        profile = self._profile
        owner = own_name(self._directory)
        return boot_command(profile.durable_python, owner, starts=starts, directory=profile.durable_directory)

    async def _open_stream(self) -> Stream:
        """Have a bridge started. Raises OSError: to be tried again; BackendError: whoever waits is told at once."""
        link = self._link
        try:
            if link is not None and link.was_reached:
                await self._check_fate()
            booted = await boot(self._executor, await self._command(starts=True))
        except PlaceGone:
            raise
        except (BackendError, OSError) as error:
            waits = link is not None and not (link.was_reached or link.has_programs)
            seconds = asyncio.get_running_loop().time() - self._begun_at
            if isinstance(error, Unreachable | OSError):
                if waits and seconds > self._patience.first_seconds:
                    raise error if isinstance(error, Unreachable) else Unreachable(str(error)) from error
            elif waits:
                raise
            raise ConnectionError(str(error)) from error  # programs are there: it may be put right
        if booted is None:
            raise AssertionError("it was to be started")
        self._surroundings = booted.surroundings
        return booted.stream

    async def _check_fate(self) -> None:
        reason = None if self._fate is None else await self._fate()
        if reason is not None:
            raise PlaceGone(reason)

    def _tell(self, notice: Notice) -> None:
        for listener in list(self._listeners):
            listener(notice)


def own_name(directory: Path) -> str:
    """Return the name of this service there: nobody else has it, and its next process has it too. Blocks."""
    file = directory / _OWNER
    with contextlib.suppress(FileNotFoundError):
        return file.read_text("ascii").strip()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = directory / f"{_OWNER}.{secrets.token_hex(4)}"
    partial.write_text(f"{secrets.token_hex(16)}\n", "ascii")
    try:
        file.hardlink_to(partial)  # whole, and once, whoever else is doing it
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    return file.read_text("ascii").strip()
