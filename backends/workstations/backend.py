"""Google Cloud Workstations: started on demand, reached by SSH through their tunnel."""

from __future__ import annotations

import asyncio
import functools
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from backends.base import Capabilities
from backends.durable.terminals import recalled
from backends.errors import AccessRefused, BackendError, InvalidProgram, NotProvided, Unreachable
from backends.workstations.api import RUNNING, Api
from backends.workstations.environment import WorkstationEnvironment
from backends.workstations.leases import Lease, Leases
from backends.workstations.machine import Machine
from backends.workstations.names import workstation_id
from backends.workstations.over_ssh import make_ssh
from backends.workstations.tunnel import Dialer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from backends.base import Order, Survivor
    from backends.profile import Site
    from backends.ssh.backend import SshBackend
    from backends.workstations.profile import WorkstationsProfile

_FIXED = ("image", "cpus", "memory_bytes", "gpus")
"""What an order may ask for and the workstations' configuration decides."""

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Place:
    """A workstation, and SSH to the run of it that sessions have been in last."""

    machine: Machine
    over_ssh: SshBackend | None = None
    run: float | None = None
    old: list[SshBackend] = field(default_factory=list)
    """SSH to earlier runs, in which sessions may still be closing."""

    async def close_old(self) -> None:
        """Close what is of no use any more."""
        old, self.old = self.old, []
        for backend in old:
            await backend.close()


class WorkstationsBackend:
    """The workstations of one configuration; sessions of one owner share theirs."""

    def __init__(self, profile: WorkstationsProfile, site: Site) -> None:
        """Take the profile; nothing is read or connected yet."""
        self.name = profile.name or "workstations"
        self.capabilities = Capabilities(
            exec=True, files=True, port_forwarding=True, signals=True, reattach=profile.durable
        )
        self._profile = profile
        self._site = site
        self._api = Api(profile)
        self._leases = Leases(site.directory)
        self._places: dict[str, _Place] = {}
        self._dialer: Dialer | None = None
        self._changing = asyncio.Lock()

    async def shells(self, user: str | None = None) -> Sequence[str]:
        """Return the names of the shells in a workstation that is in use; none is started for this."""
        for place in self._places.values():
            if place.over_ssh is not None and place.machine.is_used:
                return await place.over_ssh.shells(user)
        return ()

    async def open(self, order: Order) -> WorkstationEnvironment:
        """Return an environment in the owner's workstation, which may have to be created and started first.

        A session of an earlier process comes back to where it was.
        """
        for name in _FIXED:
            if getattr(order, name) is not None:
                raise InvalidProgram(
                    name, f"the configuration {self._profile.config!r} of backend {self.name!r} decides"
                )
        lease = await self._leases.get(order.session_id)
        if lease is not None:
            return await self._come_back(lease, order)
        place = await self._place(self._name_for(order.owner), order.owner)
        machine = place.machine
        await machine.enter(order.tell)
        left = functools.partial(self._leave, place, order)
        try:
            run = machine.run
            await self._leases.put(order.session_id, Lease(machine.name, order.owner, run))
            over_ssh = await self._over_ssh(place, run).open(order)
        except BaseException:
            await left()
            raise
        return WorkstationEnvironment(over_ssh, fate=functools.partial(machine.fate, run), left=left)

    async def _come_back(self, lease: Lease, order: Order) -> WorkstationEnvironment:
        """Return the environment of a session of an earlier process, in the same run of its workstation only.

        Where programs are durable it need not be within reach: the link is made when it is.
        """
        place = await self._place(lease.workstation, lease.owner)
        left = functools.partial(self._leave, place, order)
        place.machine.join(order.tell)
        try:
            await self._insist(place.machine, lease.run)
            over_ssh = await self._over_ssh(place, lease.run).open(order)
        except BaseException:
            await left()
            raise
        return WorkstationEnvironment(over_ssh, fate=functools.partial(place.machine.fate, lease.run), left=left)

    async def _insist(self, machine: Machine, run: float | None) -> None:
        """Raise NotProvided if that run is over; where programs are durable it need not be known now."""
        try:
            fate = await machine.fate(run)
        except Unreachable as error:
            if not self._profile.durable:
                raise
            _log.warning("a session is taken up without a look at its workstation", reason=str(error))
            return
        if fate:
            raise NotProvided(fate)

    async def check(self) -> None:
        """See whether the configuration can be read and allows SSH, and whether the one workstation exists."""
        rules = await self._api.rules()
        if not rules.takes_tcp:
            raise NotProvided(f"the configuration {self._profile.config} disables TCP connections, and with them SSH")
        name = self._profile.workstation
        if name and await self._api.look(name) is None:
            raise NotProvided(f"there is no workstation {name} in configuration {self._profile.config}")

    async def survivors(self) -> Sequence[Survivor]:
        """Return none: nothing runs on this machine."""
        return ()

    async def recall(self, session_id: str) -> Survivor | None:
        """Return what runs on in the workstation a session was in."""
        if not self._profile.durable or await self._leases.get(session_id) is None:
            return None
        return recalled(session_id)

    async def sweep(self, living: Collection[str]) -> None:
        """Let go of workstations in which sessions were that live no more, as if these had just ended.

        Nothing is ever deleted: the owners' files are there.
        """
        gone, left = await self._leases.prune(living)
        wanted = {lease.workstation for lease in left}
        for name, owner in {lease.workstation: lease.owner for lease in gone}.items():
            place = await self._place(name, owner)
            seen = await self._api.look(name)
            if seen is None or seen.state != RUNNING:
                continue
            if self._profile.durable:
                await self._over_ssh(place, seen.started_at).sweep(living)
            if name not in wanted and not place.machine.is_used:
                place.machine.let_go()

    async def stop(self) -> None:
        """Have what runs on in workstations end: their sessions have ended, so nothing does."""

    async def close(self) -> None:
        """Close all connections; workstations whose end was only put off are stopped."""
        async with asyncio.TaskGroup() as closing:
            for place in self._places.values():
                closing.create_task(place.close_old())
                if place.over_ssh is not None:
                    closing.create_task(place.over_ssh.close())
        async with asyncio.TaskGroup() as closing:
            for place in self._places.values():
                closing.create_task(place.machine.close())
        self._places.clear()
        if self._dialer is not None:
            await self._dialer.close()
        await self._api.close()

    def _name_for(self, owner: str) -> str:
        return self._profile.workstation or workstation_id(self._profile.name_prefix, owner)

    async def _leave(self, place: _Place, order: Order) -> None:
        try:
            await self._leases.drop(order.session_id)
        except BackendError as error:
            _log.warning("a session's workstation is still on record", reason=str(error))
        await place.machine.leave(order.tell)
        if not place.machine.is_used:
            await place.close_old()

    async def _place(self, name: str, owner: str) -> _Place:
        async with self._changing:
            if self._dialer is None:
                context = await asyncio.to_thread(_context, self._profile.ca_file)
                self._dialer = Dialer(
                    context=context,
                    ping_seconds=self._profile.ping_seconds,
                    connect_seconds=self._profile.connect_seconds,
                )
            if name not in self._places:
                self._places[name] = _Place(
                    Machine(
                        name,
                        owner=owner,
                        node_id=self._site.node_id,
                        api=self._api,
                        dialer=self._dialer,
                        profile=self._profile,
                    )
                )
            return self._places[name]

    def _over_ssh(self, place: _Place, run: float | None) -> SshBackend:
        """Return SSH to a run of a workstation; it begins anew, with nothing in mind of an earlier run."""
        if place.over_ssh is None or place.run != run:
            if place.over_ssh is not None:
                place.old.append(place.over_ssh)
            place.over_ssh, place.run = make_ssh(place.machine, run, self._profile, self._site), run
        return place.over_ssh


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=Path(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise AccessRefused(f"ca_file {ca_file} is of no use: {error.strerror or error}") from None
