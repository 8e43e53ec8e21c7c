"""One workstation: started for the first session, shared by all of them, stopped after the last one if so wanted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from backends.base import Notice
from backends.errors import AccessRefused, BackendError, NotProvided, Unreachable
from backends.workstations.api import RUNNING, STARTING, STOPPED, STOPPING, pauses
from backends.workstations.limits import Limits, span
from backends.workstations.names import MADE_BY, OWNER, label, readable
from backends.workstations.tunnel import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.workstations.api import Api, Seen, Token
    from backends.workstations.profile import WorkstationsProfile
    from backends.workstations.tunnel import Dialer, Tunnel

    Tell = Callable[[Notice], None]

_UNAUTHORIZED, _FORBIDDEN, _NOTHING_LISTENS = 401, 403, 503

_EARLY = 0.1
"""A token is renewed when less than this part of its time is left."""

_LOOK_SECONDS = 30.0
"""How often the limits are looked at, at least: the last traffic moves one of them, and a start the other."""

_log = structlog.get_logger(__name__)


class Machine:
    """A workstation that sessions share. Its methods raise BackendError; `close` in the end."""

    def __init__(
        self, name: str, *, owner: str, node_id: str, api: Api, dialer: Dialer, profile: WorkstationsProfile
    ) -> None:
        """Know it by name; nothing is asked yet."""
        self.name = name
        self._owner = readable(owner)
        self._node_id = node_id
        self._api = api
        self._dialer = dialer
        self._profile = profile
        self._tells: list[Tell] = []
        self._starting = asyncio.Lock()
        self._seen: Seen | None = None
        self._token: Token | None = None
        self._tunnels: set[Tunnel] = set()
        self._limits: Limits | None = None
        self._sent_at = 0.0
        self._watching: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None

    @property
    def is_used(self) -> bool:
        """Tell whether a session is in it."""
        return bool(self._tells)

    def join(self, tell: Tell) -> None:
        """Let a session back in that was there already, however the workstation is now; see `enter`."""
        self._tells.append(tell)
        self._watch_limits()

    async def enter(self, tell: Tell) -> None:
        """See that it runs, for one more session; `tell` hears of it until `leave`. Cancelled or failed: left again."""
        self._tells.append(tell)
        try:
            await self._cancel_stop()
            async with asyncio.timeout(self._profile.start_timeout_seconds), self._starting:
                await self._start()
        except TimeoutError:
            await self.leave(tell)
            raise NotProvided(
                f"workstation {self.name} does not run after {span(self._profile.start_timeout_seconds)}"
                f"{f': it is {self._seen.state_name}' if self._seen else ''}"
            ) from None
        except BaseException:
            await self.leave(tell)
            raise

    async def leave(self, tell: Tell) -> None:
        """Let a session go; the last one makes the stop policy take effect."""
        self._tells.remove(tell)
        if self._tells:
            return
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._seen is not None:
            self.let_go()

    def let_go(self) -> None:
        """Have the stop policy take effect: nobody is in it."""
        if self._profile.stop_after_seconds is not None and self._stopping is None:
            work = self._stop_after(self._profile.stop_after_seconds)
            self._stopping = asyncio.get_running_loop().create_task(work, name=f"stop workstation {self.name}")

    @property
    def run(self) -> float | None:
        """Return when it was started last, in wall-clock seconds: programs live in one run of it only."""
        return self._seen.started_at if self._seen else None

    async def look(self) -> Seen | None:
        """See how it is, without doing anything about it. Raises BackendError."""
        seen = await self._api.look(self.name)
        if seen is not None:
            self._seen = self._seen or seen
        return seen

    async def fate(self, run: float | None) -> str:
        """Return why programs of that run are no more; "": nothing is known against it. Raises BackendError."""
        seen = await self._api.look(self.name)
        if seen is None:
            return f"workstation {self.name} was deleted"
        if seen.state in (STOPPING, STOPPED):
            over = self._limits.reached(time.time(), self._last_sent()) if self._limits else ""
            return f"workstation {self.name} is {seen.state_name}{f': {over}' if over else ''}"
        if run is not None and seen.started_at != run:
            return f"workstation {self.name} was stopped and started again"
        return ""

    async def connect(self, port: int) -> Tunnel:
        """Connect to a port of it. Raises AccessRefused, NotProvided (it runs no more), Unreachable."""
        try:
            tunnel = await self._open(port)
        except (Refused, OSError) as error:
            raise await self._explain(error, port) from error
        self._last_sent()
        self._tunnels.add(tunnel)
        return tunnel

    async def close(self) -> None:
        """Let go of it. If it is to be stopped later, that is asked for now: nobody will do it then."""
        pending = self._stopping is not None and not self._stopping.done()
        await self._cancel_stop()
        if self._watching is not None:
            self._watching.cancel()
        if pending and not self._tells:
            await self._stop()

    async def _start(self) -> None:
        """Create it if that is wanted, start it if need be, and wait until it runs."""
        found = await self._api.look(self.name)
        if found is None:
            await self._create()
        elif not self._profile.workstation and found.annotations.get(OWNER, self._owner) != self._owner:
            raise AccessRefused(f"workstation {self.name} is somebody else's, by its annotation {OWNER}")
        seen = await self._until_running()
        if self._limits is None or self._limits.started_at != seen.started_at:
            limits = await self._know(seen)
            await self._until_sshd()
            self._limits = limits
        self._watch_limits()

    async def _until_running(self) -> Seen:
        """Start it, once it is neither starting nor stopping already."""
        for pause in pauses():
            seen = await self._api.look(self.name)
            if seen is None:
                raise NotProvided(f"workstation {self.name} was deleted while it was started")
            self._meet(seen)
            if seen.state == RUNNING:
                return seen
            if seen.state in (STARTING, STOPPING):
                await asyncio.sleep(pause)
            else:
                await self._api.start(self.name, self._meet)
        raise AssertionError("pauses never end")

    async def _until_sshd(self) -> None:
        """Wait until something listens: that a workstation runs says nothing of the programs in it."""
        deadline = time.monotonic() + self._profile.sshd_seconds
        for pause in pauses():
            try:
                tunnel = await self.connect(self._profile.port)
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                self._progress(f"workstation {self.name} runs, and sshd is awaited", state="running")
                await asyncio.sleep(pause)
            else:
                await tunnel.close()
                return

    async def _create(self) -> None:
        if self._profile.workstation:
            raise NotProvided(f"there is no workstation {self.name} in configuration {self._profile.config}")
        self._progress(f"workstation {self.name} is being created", state="creating")
        await self._api.create(self.name, labels={MADE_BY: label(self._node_id)}, annotations={OWNER: self._owner})

    async def _know(self, seen: Seen) -> Limits:
        """Read what its configuration says. Raises NotProvided: it keeps SSH out."""
        rules = await self._api.rules()
        if not rules.takes_tcp:
            raise NotProvided(
                f"the configuration {self._profile.config} disables TCP connections, without which there is no SSH; "
                "the operator must allow them (disableTcpConnections)"
            )
        return Limits(self.name, rules, seen.started_at, self._profile.warn_before_seconds)

    def _meet(self, seen: Seen) -> None:
        """Take note of it; tell if its state has changed on the way to running."""
        before, self._seen = self._seen, seen
        if seen.state != RUNNING and (before is None or before.state != seen.state):
            self._progress(f"workstation {self.name} is {seen.state_name}", state=seen.state_name)

    def _progress(self, message: str, *, state: str) -> None:
        self._tell(Notice("progress", message, {"workstation": self.name, "state": state}))

    def _tell(self, notice: Notice) -> None:
        for tell in list(self._tells):
            tell(notice)

    def _watch_limits(self) -> None:
        self._news.set()
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch(), name="limits of a workstation")

    async def _watch(self) -> None:
        """Warn before Google stops it."""
        while True:
            self._news.clear()
            pause = _LOOK_SECONDS
            limits = self._limits or await self._learn()
            if limits is not None:
                now = time.time()
                for notice in limits.due(now, self._last_sent()):
                    self._tell(notice)
                next_at = limits.next_at(now, self._last_sent())
                if next_at is not None:
                    pause = min(pause, next_at - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def _learn(self) -> Limits | None:
        """Find out the limits of a run that sessions have come back to; None: not now."""
        if self._starting.locked():
            return None
        try:
            seen = await self.look()
            if seen is not None and seen.state == RUNNING:
                self._limits = await self._know(seen)
        except BackendError as error:
            _log.warning("limits of a workstation are not known", workstation=self.name, reason=str(error))
        return self._limits

    def _last_sent(self) -> float:
        """Return when it last got bytes from here; forget tunnels that are closed."""
        self._sent_at = max([self._sent_at, *(tunnel.sent_at for tunnel in self._tunnels)])
        self._tunnels = {tunnel for tunnel in self._tunnels if tunnel.is_open}
        return self._sent_at

    async def _open(self, port: int) -> Tunnel:
        """Open a tunnel; a token that is not taken is replaced once. Raises Refused, OSError, BackendError."""
        seen = self._seen or await self.look()
        if seen is None:
            raise NotProvided(f"there is no workstation {self.name}")
        host = seen.host
        try:
            return await self._dialer.open(host, port, await self._secret(port))
        except Refused as refused:
            if refused.status != _UNAUTHORIZED:
                raise
        self._token = None
        return await self._dialer.open(host, port, await self._secret(port))

    async def _secret(self, port: int) -> str:
        seconds = self._profile.token_seconds
        if self._token is None or self._token.expires_at - time.time() < seconds * _EARLY:
            self._token = await self._api.token(self.name, port=port, seconds=seconds)
        return self._token.secret

    async def _explain(self, error: Refused | OSError, port: int) -> BackendError:
        """Say why there is no tunnel: the API knows whether the workstation runs."""
        try:
            if fate := await self.fate(None):
                return NotProvided(fate)
        except BackendError as unknown:
            _log.warning("workstation could not be looked at", workstation=self.name, reason=str(unknown))
        if not isinstance(error, Refused):
            return Unreachable(f"the tunnel to workstation {self.name} cannot be opened: {error}")
        if error.status in (_UNAUTHORIZED, _FORBIDDEN):
            return AccessRefused(
                f"the tunnel to workstation {self.name} is refused ({error}), also with a new token; "
                "the operator must see to roles/workstations.user for the account"
            )
        if error.status == _NOTHING_LISTENS:
            return Unreachable(f"nothing listens on port {port} of workstation {self.name}; its image must run sshd")
        return Unreachable(f"the tunnel to workstation {self.name} answers {error}")

    async def _stop_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._stop()

    async def _stop(self) -> None:
        try:
            await self._api.stop(self.name)
        except BackendError as error:
            _log.warning("workstation could not be stopped", workstation=self.name, reason=str(error))
        else:
            _log.info("workstation is being stopped", workstation=self.name)

    async def _cancel_stop(self) -> None:
        """Have it run on, if it is not being stopped already."""
        stopping, self._stopping = self._stopping, None
        if stopping is not None:
            stopping.cancel()
            await asyncio.wait([stopping])
