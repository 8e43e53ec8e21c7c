"""The connections of one user to one host: made when needed, shared by all sessions, given up when idle."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh

from backends.base import keep_quiet
from backends.errors import AccessRefused, BackendError, OutOfResources, Unreachable
from backends.ssh.host import Host
from backends.ssh.link import Timing, connect
from backends.ssh.script import SHELL, look_script
from backends.ssh.strays import Strays

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from backends.base import Notice
    from backends.ssh.link import Hop, Link

_T = TypeVar("_T")

WINDOW_BYTES = 1 << 20
"""What a host may send on a channel before it is read here."""

_ANSWER_BYTES = 256 * 1024
_RETRY_SECONDS = (0.5, 60.0)
_CLOSE_SECONDS = 5.0
_REFUSALS = 5
_REFUSED_SECONDS = 0.05
"""How often, and how long after another, a host is asked for a session that refuses the only one."""


class SshPool:
    """Opens channels to the last of `hops`, on as few connections as the host allows.

    After a failed attempt to connect, further ones fail with its error for a while that doubles, with jitter.
    """

    def __init__(
        self,
        hops: Sequence[Hop],
        *,
        timing: Timing = Timing(),  # noqa: B008 - frozen
        max_connections: int = 16,
        max_sessions: int = 0,
    ) -> None:
        """Begin without a connection. `max_sessions` on each, 0: as many as the host allows."""
        self.hop = hops[-1]
        self.timing = timing
        self._hops = hops
        self._max_connections = max_connections
        self._max_sessions = max_sessions
        self._links: list[Link] = []
        self._connecting = asyncio.Lock()
        self._idle: dict[Link, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: BackendError | None = None
        self._failures = 0
        self._next_try = 0.0
        self._host: Host | None = None
        self._closed = False
        self._strays = Strays(self)
        self._hunt: asyncio.Task[None] | None = None

    @property
    def place(self) -> str:
        """Return the host's name for people."""
        return self.hop.place

    @property
    def links(self) -> Sequence[Link]:
        """Return the connections there are."""
        return [link for link in self._links if link.is_open]

    async def host(self, tell: Callable[[Notice], None] = keep_quiet) -> Host:
        """Return what is known of the host; looks once for each connection. Raises BackendError."""
        if self._host is None:
            self._host = Host.read(await self.run(look_script(), tell=tell), self.place)
        return self._host

    async def open(
        self,
        make: Callable[[asyncssh.SSHClientConnection], Awaitable[_T]],
        *,
        tell: Callable[[Notice], None] = keep_quiet,
        discard: Callable[[_T], None],
    ) -> tuple[Link, _T]:
        """Open a channel by `make`; the link counts it until `release`. Raises BackendError, ChannelOpenError.

        Cancelled: `discard` gets what is opened nevertheless.
        """
        refusals = 0
        while True:
            link = await self._choose(tell)
            try:
                return link, await self._guarded(make(link.connection), link, discard)
            except asyncssh.ChannelOpenError as error:
                self.release(link)
                if not link.is_open:
                    raise Unreachable(link.why_lost()) from None
                if not _is_full(error):
                    raise
                refusals += not link.sessions
                if refusals > _REFUSALS:
                    raise OutOfResources(f"{self.place} opens no session: {error.reason}") from None
                if not link.sessions:  # the last one may not be quite gone there
                    await asyncio.sleep(_REFUSED_SECONDS)
                link.limit = link.sessions or self._max_sessions or None
            except (asyncssh.Error, OSError) as error:
                self.release(link)
                raise Unreachable(link.why_lost(error)) from None
            except BaseException:
                self.release(link)
                raise

    async def forward(
        self,
        make: Callable[[asyncssh.SSHClientConnection], Awaitable[_T]],
        *,
        tell: Callable[[Notice], None] = keep_quiet,
        discard: Callable[[_T], None],
    ) -> tuple[Link, _T]:
        """Open a channel that runs nothing there; as `open`, but any refusal is an error."""
        link = await self._choose(tell, forward=True)
        try:
            return link, await self._guarded(make(link.connection), link, discard, forward=True)
        except asyncssh.ChannelOpenError:
            self.release(link, forward=True)
            raise
        except (asyncssh.Error, OSError) as error:
            self.release(link, forward=True)
            raise Unreachable(link.why_lost(error)) from None
        except BaseException:
            self.release(link, forward=True)
            raise

    def release(self, link: Link, *, forward: bool = False) -> None:
        """Count a channel no more."""
        if forward:
            link.forwards -= 1
        else:
            link.sessions -= 1
        if link.is_idle and link.is_open and not self._closed:
            self._idle[link] = asyncio.get_running_loop().call_later(self.timing.idle, self._give_up, link)

    async def run(
        self, script: str, *, tell: Callable[[Notice], None] = keep_quiet, seconds: float | None = None
    ) -> list[str]:
        """Have a script of POSIX shell run there; return the lines it prints. Raises BackendError.

        `seconds`: how long it may take beyond what connecting may. What it prints is bounded.
        """
        begin, end = secrets.token_hex(8), secrets.token_hex(8)
        text = f"echo {begin}\n( {script}\n) </dev/null\necho; echo {end}\nexit 0\n".encode()
        limit = self.timing.connect + (seconds or 0)
        try:
            async with self.channel(_open_shell, tell=tell, discard=_close) as process, asyncio.timeout(limit):
                said = await _answer(process, text)
                await process.wait_closed()
        except asyncssh.ChannelOpenError as error:
            raise AccessRefused(f"{self.place} runs nothing for user {self.hop.user!r}: {error.reason}") from None
        except TimeoutError:
            raise Unreachable(f"{self.place} did not answer within {limit:g} s") from None
        except (asyncssh.Error, OSError) as error:
            raise Unreachable(f"the connection to {self.place} was lost: {error}") from None
        answer = said.partition(begin.encode() + b"\n")[2].partition(b"\n" + end.encode())
        if not answer[1] and process.exit_status is None:
            raise Unreachable(f"the connection to {self.place} was lost")
        if not answer[1]:
            saying = said[-200:].decode("utf-8", "replace").strip()
            raise AccessRefused(f"{self.place} does not run scripts of a POSIX shell for us; it says: {saying!r}")
        return answer[0].decode("utf-8", "surrogateescape").splitlines()

    @asynccontextmanager
    async def channel(
        self,
        make: Callable[[asyncssh.SSHClientConnection], Awaitable[_T]],
        *,
        tell: Callable[[Notice], None] = keep_quiet,
        discard: Callable[[_T], None],
    ) -> AsyncIterator[_T]:
        """Open a channel for a while; see `open`."""
        link, channel = await self.open(make, tell=tell, discard=discard)
        try:
            yield channel
        finally:
            discard(channel)
            self.release(link)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something that `close` waits for."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def end_later(self, leader: int, token: str) -> None:
        """Have the processes of a program ended whose link is lost, as soon as the host is to be had again."""
        if self._closed:
            return
        self._strays.add(leader, token)
        if self._hunt is None or self._hunt.done():
            self._hunt = self.start(self._strays.end_all(), "ssh: end what lost connections left running")

    async def close(self) -> None:
        """Close all connections, once what is to be ended on the host has ended, if that is soon."""
        if self._tasks and self.links:
            await asyncio.wait(self._tasks, timeout=_CLOSE_SECONDS)
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for timer in self._idle.values():
            timer.cancel()
        links, self._links = self._links, []
        await asyncio.gather(*(link.close() for link in links))

    async def _guarded(
        self, opening: Awaitable[_T], link: Link, discard: Callable[[_T], None], *, forward: bool = False
    ) -> _T:
        """Open a channel; if nobody waits for it any longer it is closed once it is there."""
        task = asyncio.ensure_future(opening)  # noqa: TID251 - it outlives a cancelled caller, and `close` ends it
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._count(link, forward=forward)

            def finish(done: asyncio.Future[_T]) -> None:
                self._tasks.discard(task)
                self.release(link, forward=forward)
                if not done.cancelled() and done.exception() is None:
                    discard(done.result())

            self._tasks.add(task)
            task.add_done_callback(finish)
            raise

    async def _choose(self, tell: Callable[[Notice], None], *, forward: bool = False) -> Link:
        """Return a link with room, and count a channel of it."""
        link = self._with_room(forward=forward)
        if link is None:
            async with self._connecting:
                link = self._with_room(forward=forward) or await self._connect(tell)
        self._count(link, forward=forward)
        return link

    def _count(self, link: Link, *, forward: bool) -> None:
        if forward:
            link.forwards += 1
        else:
            link.sessions += 1
        if (timer := self._idle.pop(link, None)) is not None:
            timer.cancel()

    def _with_room(self, *, forward: bool) -> Link | None:
        self._links = [link for link in self._links if link.is_open]
        return next((link for link in self._links if link.has_room or forward), None)

    async def _connect(self, tell: Callable[[Notice], None]) -> Link:
        if self._closed:
            raise Unreachable(f"the connections to {self.place} are being closed")
        if len(self._links) >= self._max_connections:
            raise OutOfResources(f"{self.place} allows no more sessions on {self._max_connections} connections")
        now = time.monotonic()
        if self._failure is not None and now < self._next_try:
            raise _again(self._failure, self._next_try - now)
        try:
            link = await connect(self._hops, self.timing, tell)
        except BackendError as error:
            self._failure = error
            pause = min(_RETRY_SECONDS[1], _RETRY_SECONDS[0] * 2**self._failures) * random.uniform(0.5, 1)  # noqa: S311
            self._failures = min(self._failures + 1, 16)
            self._next_try = time.monotonic() + pause
            raise _again(error, pause) from None
        if self._closed:
            await link.close()
            raise Unreachable(f"the connections to {self.place} are being closed")
        self._failure = None
        self._failures = 0
        self._host = None  # it may be another one by now
        link.limit = self._max_sessions or None
        self._links.append(link)
        return link

    def _give_up(self, link: Link) -> None:
        self._idle.pop(link, None)
        if link.is_idle and link in self._links:
            self._links.remove(link)
            self.start(link.close(), "ssh: close an idle connection")


def _again(error: BackendError, seconds: float) -> BackendError:
    """Return the error of an attempt for somebody who comes later."""
    if isinstance(error, Unreachable):
        return Unreachable(error.reason, seconds)
    if isinstance(error, AccessRefused):
        return AccessRefused(error.reason)
    return error


def _is_full(error: asyncssh.ChannelOpenError) -> bool:
    """Tell whether another connection may help: sshd says no more than `open failed` beyond MaxSessions."""
    return error.code in (asyncssh.OPEN_CONNECT_FAILED, asyncssh.OPEN_RESOURCE_SHORTAGE)


async def _open_shell(connection: asyncssh.SSHClientConnection) -> asyncssh.SSHClientProcess[bytes]:
    return await connection.create_process(SHELL, encoding=None, request_pty=False, window=WINDOW_BYTES)


async def _answer(process: asyncssh.SSHClientProcess[bytes], text: bytes) -> bytes:
    process.stdin.write(text)
    process.stdin.write_eof()
    said = b""
    while (piece := await process.stdout.read(_ANSWER_BYTES)) and len(said) < _ANSWER_BYTES:
        said += piece
    return said


def _close(process: asyncssh.SSHClientProcess[bytes]) -> None:
    process.close()
