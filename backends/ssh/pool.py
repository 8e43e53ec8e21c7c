"""The connections of one user to one host: made when needed, shared by all sessions, given up when idle."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh

from backends.base import AccessRefused, BackendError, NotSupported, OutOfResources, Unreachable, keep_quiet
from backends.ssh.link import Timing, connect
from backends.ssh.script import SHELL, look_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence

    from backends.base import Notice
    from backends.ssh.link import Hop, Link

_T = TypeVar("_T")

WINDOW_BYTES = 1 << 20
"""What a host may send on a channel before it is read here."""

_PACKET_BYTES = 32 * 1024
_ANSWER_BYTES = 256 * 1024
_RETRY_SECONDS = (0.5, 60.0)
_KNOWN_NOT_SHELLS = frozenset({"nologin", "false", "tmux", "screen", "git-shell"})


@dataclass(frozen=True)
class Host:
    """What a look at a host has told; as a user's login shell has it."""

    shell: str
    """Path of the user's login shell."""
    shells: Mapping[str, str]
    """Names and paths of the shells that exist, the user's own first."""
    variables: Mapping[str, str]


class SshPool:
    """Opens channels to the last of `hops`, on as few connections as the host allows.

    After a failed attempt to connect, further ones fail with its error for a while that doubles, with jitter.
    """

    def __init__(self, hops: Sequence[Hop], *, timing: Timing = Timing(), max_connections: int = 16) -> None:  # noqa: B008 - frozen
        """Begin without a connection."""
        self.hop = hops[-1]
        self.timing = timing
        self._hops = hops
        self._max_connections = max_connections
        self._links: list[Link] = []
        self._connecting = asyncio.Lock()
        self._idle: dict[Link, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: BackendError | None = None
        self._failures = 0
        self._next_try = 0.0
        self._host: Host | None = None
        self._closed = False

    @property
    def place(self) -> str:
        """Return the host's name for people."""
        return self.hop.place

    @property
    def links(self) -> Sequence[Link]:
        """The connections there are."""
        return [link for link in self._links if link.is_open]

    async def host(self, tell: Callable[[Notice], None] = keep_quiet) -> Host:
        """Return what is known of the host; looks once. Raises BackendError."""
        if self._host is None:
            self._host = _read_host(await self.run(look_script(), tell=tell), self.place)
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
        while True:
            link = await self._choose(tell)
            try:
                channel = await self._guarded(make(link.connection), link, discard)
            except asyncssh.ChannelOpenError as error:
                self.release(link)
                if not link.is_open:
                    raise Unreachable(link.why_lost()) from None
                if not _is_full(error):
                    raise
                if link.channels == 0:
                    raise OutOfResources(f"{self.place} opens no channel: {error.reason}") from None
                link.limit = link.channels
            except OSError:
                self.release(link)
                raise Unreachable(link.why_lost()) from None
            except BaseException:
                self.release(link)
                raise
            else:
                return link, channel

    def release(self, link: Link) -> None:
        """Count a channel no more."""
        link.channels -= 1
        if link.channels or not link.is_open:
            return
        self._idle[link] = asyncio.get_running_loop().call_later(self.timing.idle, self._give_up, link)

    async def run(self, script: str, *, tell: Callable[[Notice], None] = keep_quiet) -> list[str]:
        """Have a script of POSIX shell run there; return the lines it prints. Raises BackendError."""
        begin, end = secrets.token_hex(8), secrets.token_hex(8)
        text = f"echo {begin}\n( {script}\n) </dev/null\necho; echo {end}\nexit 0\n".encode()
        async with self.channel(self._shell, tell=tell, discard=_close) as process:
            process.stdin.write(text)
            process.stdin.write_eof()
            said = b""
            while (piece := await process.stdout.read(_ANSWER_BYTES)) and len(said) < _ANSWER_BYTES:
                said += piece
        answer = said.partition(begin.encode() + b"\n")[2].partition(b"\n" + end.encode())
        if not answer[1]:
            raise NotSupported(
                self.place, f"a POSIX shell as its users' (it says {said[:200].decode('utf-8', 'replace')!r})"
            )
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

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for timer in self._idle.values():
            timer.cancel()
        links, self._links = self._links, []
        await asyncio.gather(*(link.close() for link in links))

    @staticmethod
    async def _shell(connection: asyncssh.SSHClientConnection) -> asyncssh.SSHClientProcess[bytes]:
        return await connection.create_process(SHELL, encoding=None, request_pty=False, window=WINDOW_BYTES)

    async def _guarded(self, opening: Awaitable[_T], link: Link, discard: Callable[[_T], None]) -> _T:
        """Open a channel; if nobody waits for it any longer it is closed once it is there."""
        task = asyncio.ensure_future(opening)  # noqa: TID251 - it outlives a cancelled caller, and `close` ends it
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            link.channels += 1

            def finish(done: asyncio.Future[_T]) -> None:
                self._tasks.discard(task)
                self.release(link)
                if not done.cancelled() and done.exception() is None:
                    discard(done.result())

            self._tasks.add(task)
            task.add_done_callback(finish)
            raise

    async def _choose(self, tell: Callable[[Notice], None]) -> Link:
        """Return a link with room, and count a channel of it."""
        link = self._with_room()
        if link is None:
            async with self._connecting:
                link = self._with_room() or await self._connect(tell)
        link.channels += 1
        if (timer := self._idle.pop(link, None)) is not None:
            timer.cancel()
        return link

    def _with_room(self) -> Link | None:
        self._links = [link for link in self._links if link.is_open]
        return next((link for link in self._links if link.has_room), None)

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
        self._failure = None
        self._failures = 0
        self._links.append(link)
        return link

    def _give_up(self, link: Link) -> None:
        self._idle.pop(link, None)
        if link.channels == 0 and link in self._links:
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


def _close(process: asyncssh.SSHClientProcess[bytes]) -> None:
    process.close()


def _read_host(lines: Sequence[str], place: str) -> Host:
    shell, known, variables = "", [], {}
    for line in lines:
        kind, _, value = line.partition(" ")
        if kind == "shell":
            shell = value
        elif kind == "known":
            known.append(value)
        elif kind == "variable":
            name, _, value = value.partition("=")
            variables[name] = value
    if not shell:
        raise NotSupported(place, "sessions: it does not tell its users' shell")
    shells: dict[str, str] = {}
    for path in (shell, *known):
        name = path.rpartition("/")[2]
        if name not in _KNOWN_NOT_SHELLS:
            shells.setdefault(name, path)
    return Host(shell, shells, variables)
