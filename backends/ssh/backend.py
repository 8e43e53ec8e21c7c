"""Hosts reached by SSH."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from backends.base import Capabilities, Order
from backends.errors import InvalidProgram, UserRefused
from backends.ssh.credentials import Credentials
from backends.ssh.durable import DurableSshEnvironment
from backends.ssh.environment import SshEnvironment
from backends.ssh.link import Hop, Timing
from backends.ssh.pool import SshPool
from backends.ssh.trust import RecordedKeys

if sys.platform != "win32":  # where no profile is durable
    from backends.durable.target import Target
    from backends.durable.terminals import DurableTerminals, durable_shells, recalled, sweep_programs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from backends.base import Survivor
    from backends.profile import Site
    from backends.ssh.profile import Hop as Way
    from backends.ssh.profile import SshProfile


class SshBackend:
    """One host, for all whom its operator lets in. Connections are shared by all sessions of a user there."""

    def __init__(
        self,
        profile: SshProfile,
        site: Site,
        *,
        find_way: Callable[[str], Sequence[Hop]] | None = None,
        fate: Callable[[], Awaitable[str | None]] | None = None,
    ) -> None:
        """Take the profile; nothing is read or connected yet.

        For a backend that gets there in a way of its own: `find_way` returns the hosts on the way for a user, `fate`
        why the host is gone for good (see `Target`).
        """
        self.name = profile.name or "ssh"
        self.capabilities = Capabilities(
            exec=True, files=True, port_forwarding=True, signals=True, reattach=profile.durable
        )
        self._profile = profile
        self._site = site
        self._directory = site.directory
        self._find_way = find_way or self._hops
        self._fate = fate
        self._pools: dict[str, SshPool] = {}
        self._targets: dict[str, Target] = {}
        self._timing = Timing(
            profile.connect_seconds, profile.keepalive_seconds, profile.keepalive_count, profile.idle_seconds
        )

    async def shells(self, user: str | None = None) -> Sequence[str]:
        """Return the names of the shells there, the user's own first."""
        user = user or self._some_user()
        if self._profile.durable:
            return await durable_shells(self._target(user))
        host = await self._pool(user).host()
        return list(host.shells)

    async def open(self, order: Order) -> SshEnvironment:
        """Return an environment, once the host is reached; where it is durable, at once."""
        for field in ("image", "cpus", "memory_bytes", "gpus"):
            if getattr(order, field) is not None:
                raise InvalidProgram(
                    field, f"a host reached by SSH is as it is: backend {self.name!r} cannot choose it"
                )
        user = self._profile.user_of.get(order.owner) or self._profile.user
        if not user:
            raise UserRefused(order.owner, f"nobody has said who this is on {self._profile.host}")
        pool = self._pool(user)
        if self._profile.durable:
            terminals = DurableTerminals(self._target(user), order)
            return DurableSshEnvironment(pool, order, terminals, term=self._profile.term, allows=self._allows)
        await pool.host(order.tell)
        return SshEnvironment(pool, order, term=self._profile.term, allows=self._allows)

    async def check(self) -> None:
        """Have a look run there; where sessions are durable, one by the Python there."""
        user = self._some_user()
        await self._pool(user).run("echo")
        if self._profile.durable:
            await self._target(user).is_there()

    async def survivors(self) -> Sequence[Survivor]:
        """Return none: on this machine nothing runs on."""
        return ()

    async def recall(self, session_id: str) -> Survivor | None:
        """Return what a holder there has; none where programs end with their connection."""
        return recalled(session_id) if self._profile.durable else None

    async def sweep(self, living: Collection[str]) -> None:
        """End what holders there have of sessions that are not among the living."""
        if self._profile.durable:
            for user in {self._profile.user, *self._profile.user_of.values()} - {""}:
                await sweep_programs(self._target(user), living)

    async def stop(self) -> None:
        """Do nothing: a holder that has no more programs ends by itself."""

    async def close(self) -> None:
        """Close all connections; what holders have runs on."""
        targets = list(self._targets.values())
        self._targets.clear()
        await asyncio.gather(*(target.close() for target in targets))
        pools = list(self._pools.values())
        self._pools.clear()
        await asyncio.gather(*(pool.close() for pool in pools))

    def _allows(self, variable: str) -> bool:
        """Tell whether a variable may be asked for."""
        return any(
            variable.startswith(pattern[:-1]) if pattern.endswith("*") else variable == pattern
            for pattern in self._profile.environment
        )

    def _some_user(self) -> str:
        return self._profile.user or next(iter(self._profile.user_of.values()))

    def _target(self, user: str) -> Target:
        if user not in self._targets:
            executor = SshEnvironment(self._pool(user), Order("link"))
            self._targets[user] = Target(executor, self._profile, self._site, fate=self._fate)
        return self._targets[user]

    def _pool(self, user: str) -> SshPool:
        if user not in self._pools:
            self._pools[user] = SshPool(
                self._find_way(user),
                timing=self._timing,
                max_connections=self._profile.max_connections,
                max_sessions=self._profile.max_sessions,
            )
        return self._pools[user]

    def _hops(self, user: str) -> list[Hop]:
        profile = self._profile
        return [*(self._hop(each, each.user) for each in profile.jump), self._hop(profile, user)]

    def _hop(self, given: Way | SshProfile, user: str) -> Hop:
        return Hop(given.host, given.port, user, Credentials.of(given), RecordedKeys.of(given, self._directory))
