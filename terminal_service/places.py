"""The places where sessions can run: a backend each, with what its operator says of it, and how it is."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.profile import Profile
from terminal_service.choosing import AUTO, DEFAULT_RULES, Choice, NothingFits, choose, why_never
from terminal_service.errors import Forbidden, InvalidRequest, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backends.base import Backend
    from terminal_service.choosing import Needs, Rule

NEAR = frozenset({"local", "echo"})
"""Kinds of places that are this machine: asking one is a look at a disk at most."""
EVERYBODY = "*"


class HealthState(enum.Enum):
    """Whether sessions can be opened at a place."""

    UNKNOWN = "unknown"
    OK = "ok"
    FAILING = "failing"


@dataclass
class Health:
    """How a place is, as it was seen last."""

    state: HealthState = HealthState.UNKNOWN
    reason: str = ""
    """Why it fails, for people."""
    since: float | None = None
    """When it became what it is, in wall-clock seconds."""
    checked_at: float | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the last look found that sessions cannot be opened."""
        return self.state is HealthState.FAILING

    def note(self, reason: str | None, at: float) -> bool:
        """Note what was seen, None: all is well; return whether the state is another one."""
        state = HealthState.OK if reason is None else HealthState.FAILING
        is_other = state is not self.state
        if is_other:
            self.since = at
        self.state, self.reason, self.checked_at = state, reason or "", at
        return is_other


@dataclass(eq=False)
class Place:
    """One backend, under the name that sessions ask for."""

    name: str
    backend: Backend
    profile: Profile = field(default_factory=Profile)
    """As its operator wrote it; a plain one where it was not written."""
    health: Health = field(default_factory=Health)
    doubt: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by whoever found that it cannot be reached: it is looked at soon."""
    known_shells: Sequence[str] = ()
    """Where it is not near: those that it had when it was asked last."""

    def __post_init__(self) -> None:
        """Take this machine for well: it is nowhere else."""
        if self.is_near:
            self.health.state = HealthState.OK

    @property
    def kind(self) -> str:
        """What sort of backend it is."""
        return str(type(self.profile).__struct_config__.tag) if type(self.profile) is not Profile else self.backend.name

    @property
    def is_local(self) -> bool:
        """Whether programs run as users of this machine."""
        return self.kind == "local" or type(self.profile) is Profile

    @property
    def is_near(self) -> bool:
        """Whether it is this machine."""
        return self.kind in NEAR or type(self.profile) is Profile

    def admits(self, user: str) -> bool:
        """Whether a user may have sessions here."""
        return EVERYBODY in self.profile.users or user in self.profile.users


class Places:
    """All of them, by name, and the rules to choose by."""

    def __init__(self, places: Sequence[Place], *, default: str = "", rules: Sequence[Rule] = DEFAULT_RULES) -> None:
        """`default` is used where a session names none: a name, or `auto`; empty: the first that its owner may use."""
        self._places = {place.name: place for place in places}
        self._default = default
        self._rules = rules

    @classmethod
    def of(cls, backends: Mapping[str, Backend]) -> Places:
        """Return places for everybody, with nothing said about them."""
        return cls([Place(name, backend) for name, backend in backends.items()])

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def get(self, name: str) -> Place | None:
        """Return a place; None: there is none of this name (any more)."""
        return self._places.get(name)

    @property
    def names(self) -> Sequence[str]:
        """The names of all."""
        return tuple(self._places)

    @property
    def first(self) -> Place:
        """The one that the service came with."""
        return next(iter(self._places.values()))

    def of_user(self, user: str) -> Sequence[Place]:
        """Return those that a user may use, the default one first."""
        found = [place for place in self if place.admits(user)]
        return sorted(found, key=lambda place: place.name != self._default)

    def default_of(self, user: str) -> str:
        """Return what is used where a user names none: a name, `auto`, or empty: they may use none."""
        if self._default == AUTO:
            return AUTO
        return next((place.name for place in self.of_user(user)), "")

    def choose(self, name: str | None, needs: Needs, user: str) -> Sequence[Choice]:
        """Return where a session belongs, and why: one place, or with `auto` all that would do, the best first.

        Raises InvalidRequest, Unsupported, Forbidden.
        """
        wanted = name or self.default_of(user)
        if wanted == AUTO:
            return self._choose(needs, user)
        if not wanted:
            raise Forbidden("open a session: there is no backend that you may use")
        place = self._places.get(wanted)
        if place is None:
            known = ", ".join(place.name for place in self.of_user(user))
            raise InvalidRequest("backend", f"{wanted!r} is not one of: {known or 'none that you may use'}, {AUTO}")
        if not place.admits(user):
            raise Forbidden(f"open sessions on backend {wanted!r}: its operator has not named {user!r} among its users")
        unmet = why_never(place, needs)
        if unmet is not None:
            raise Unsupported(unmet[0], f"backend {wanted!r}: {unmet[1]}")
        return [Choice(place, "asked for by name" if name else "the default")]

    def _choose(self, needs: Needs, user: str) -> Sequence[Choice]:
        allowed = self.of_user(user)
        default = None if self._default == AUTO else next(iter(allowed), None)
        try:
            return choose(allowed, default, self._rules, needs, user)
        except NothingFits as nothing:
            raise InvalidRequest(nothing.field, str(nothing)) from nothing
