"""Which nodes live, over Redis: a lease each, renewed all the time, and everybody's look at all of them.

A node is dead when its lease is missing at every look for some seconds in which Redis has answered; those seconds
are the observer's own. So no two clocks are compared, and Redis that was away, or has forgotten everything, kills
nobody: each node has renewed its lease soon after Redis is back, before anybody may be missing for so long.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from nodes.base import NodeFacts, NodeState
from nodes.errors import Away, NameTaken
from nodes.redis_link import RedisLink, Run, is_cancelled
from nodes.redis_scripts import NODES, RENEW, node_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from nodes.base import LossHandler, OwnLossHandler
    from nodes.redis_link import Command, Word
    from replay.redis_address import RedisAddress

GONE_SECONDS = 10.0
"""How long it is said that a node has left for good."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Pace:
    """How fast it goes. All nodes have the same; dead is who has not renewed for `lease + turn + missing` seconds.

    `missing` is more than `limit + retry`, within which each node has renewed its lease once Redis is back.
    """

    lease: float = 4.5
    turn: float = 1.0
    """Between two renewals, which are looks too."""
    retry: float = 0.3
    """After one that failed."""
    limit: float = 1.5
    """How long one may take."""
    missing: float = 3.5
    """How long a lease is looked for in vain before its node is dead."""


class RedisRegistry:
    """The lease of this node, and what is known of the others. `run` is single-use."""

    def __init__(
        self,
        address: RedisAddress,
        facts: NodeFacts,
        *,
        home: str = "",
        ttl_seconds: float = 3600.0,
        pace: Pace | None = None,
    ) -> None:
        """Begin without a lease.

        `home` names the directory whose lock this process has: a lease that a process of the same home left is taken
        over at once, as the lock proves that process dead. Without, it is waited for until the lease is over.
        """
        self.ready = asyncio.Event()
        """Set once this node is known to the others."""
        self.trouble: str | None = None
        self.incarnation = uuid.uuid4().hex
        self._facts = facts
        self._home = home
        self._ttl_ms = round(ttl_seconds * 1000)
        self._pace = pace or Pace()
        self._link = RedisLink(address)
        self._turn = 0
        self._looks = _Looks(self._pace)
        self._heard: list[str] = []
        self._refused_since: float | None = None
        self._on_lost: list[LossHandler] = []
        self._on_own_loss: list[OwnLossHandler] = []
        self._stopping = asyncio.Event()
        self._news = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._at_rest.set()

    @property
    def node_id(self) -> str:
        """The name of this node."""
        return self._facts.node_id

    def nodes(self) -> Mapping[str, NodeFacts]:
        """Return the living nodes (and those AWAY) as last seen, this one too."""
        return {**self._looks.nodes, self.node_id: self._facts}

    def is_living(self, node_id: str) -> bool:
        """Whether a node lives, or is AWAY."""
        return node_id == self.node_id or node_id in self._looks.nodes

    def place(self, node_id: str) -> str:
        """Return where a node runs, or ran until it died; its id, if it was never seen."""
        return self._facts.place if node_id == self.node_id else self._looks.places.get(node_id, node_id)

    def announce(self, *, sessions: int | None = None, state: NodeState | None = None) -> None:
        """Say something else of this node from now on; a state at once, a number with the next renewal."""
        facts = self._facts
        self._facts = replace(
            facts, sessions=facts.sessions if sessions is None else sessions, state=state or facts.state
        )
        if self._facts.state is not facts.state:
            self._news.set()

    def on_lost(self, handler: LossHandler) -> None:
        """Have it told when another node is dead."""
        self._on_lost.append(handler)

    def on_own_loss(self, handler: OwnLossHandler) -> None:
        """Have it told when others have found this node dead, or its name is another's."""
        self._on_own_loss.append(handler)

    # -- the loop

    async def run(self) -> None:
        """Renew and look until stopped. Raises NameTaken."""
        self._at_rest.clear()
        try:
            while not self._stopping.is_set() and not is_cancelled():
                await self._take_turn()
                await self._pause()
        finally:
            self._at_rest.set()
            await self._link.close()

    def stop(self) -> None:
        """Have `run` return after the command it waits for."""
        self._stopping.set()
        self._news.set()

    async def leave(self, away_seconds: float) -> None:
        """Stop, and tell the others to wait so long for the next process of this node; 0: not to wait. Raises Away."""
        self.stop()
        try:
            async with asyncio.timeout(self._pace.limit):
                await self._at_rest.wait()
                self._facts = replace(self._facts, state=NodeState.AWAY)
                await self._link.ask([self._renewal(away_seconds or GONE_SECONDS, is_gone=not away_seconds)])
        except TimeoutError as error:
            raise Away("no answer in time") from error
        finally:
            await self._link.close()

    async def _pause(self) -> None:
        seconds = self._pace.turn if self.trouble is None else self._pace.retry
        due = self._looks.due()
        if due is not None:
            seconds = min(seconds, max(0.0, due - _now()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        if not self._stopping.is_set():
            self._news.clear()

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(self._pace.limit):
                renewed = await self._ask()
        except (Away, TimeoutError) as error:
            self._looks.forget_missing()
            reason = error.reason if isinstance(error, Away) else "no answer in time"
            if self.trouble is None:
                log.warning("the other nodes cannot be seen", node_id=self.node_id, reason=reason)
            self.trouble = reason
            return
        if self.trouble is not None:
            log.info("the other nodes can be seen again", node_id=self.node_id)
            self.trouble = None
        self._settle(renewed)

    async def _ask(self) -> Sequence[bytes]:
        """Renew the lease and look at all others; return what became of the lease."""
        known = self._looks.candidates()
        replies = await self._link.try_all(
            [
                self._renewal(self._pace.lease),
                ("SADD", NODES, self.node_id),
                ("PEXPIRE", NODES, self._ttl_ms),
                ("SMEMBERS", NODES),
                *(_look(node_id) for node_id in known),
            ]
        )
        renewed, members = replies[0], replies[3]
        if isinstance(members, BaseException):
            members = ()
        else:
            self._looks.forget_dead(keep={member.decode() for member in members})
        new = {member.decode() for member in members} - {*known, self.node_id}
        replies[4:] += await self._link.try_all([_look(node_id) for node_id in new])
        if isinstance(renewed, BaseException):
            raise Away(str(renewed))
        self._looks.see(dict(zip((*known, *new), replies[4:], strict=True)), _now())
        return [bytes(word) for word in renewed]

    def _renewal(self, seconds: float, *, is_gone: bool = False) -> Command:
        self._turn += 1
        said = {
            **asdict(self._facts),
            "state": self._facts.state.value,
            "incarnation": self.incarnation,
            "turn": self._turn,
            "home": self._home,
            "gone": is_gone,
        }
        home = "" if self.ready.is_set() else self._home
        life = round(seconds * 1000)
        words: tuple[Word, ...] = (self.incarnation, self._turn, home, json.dumps(said), life, *self._heard)
        return Run(RENEW, (node_key(self.node_id, "lease"), node_key(self.node_id, "reaped")), words)

    def _settle(self, renewed: Sequence[bytes]) -> None:
        verdict, *reaped = renewed
        if verdict == b"taken":
            self._be_refused()
            return
        self._refused_since = None
        if verdict == b"renewed":
            self.ready.set()
        self._heard = [session_id.decode() for session_id in reaped]
        if reaped:
            log.error("other nodes found this one dead", node_id=self.node_id, sessions=len(reaped))
            for own_handler in self._on_own_loss:
                own_handler(self._heard)
        for node_id in self._looks.bury(_now()):
            log.warning("a node is gone", node_id=node_id)
            for handler in self._on_lost:
                handler(node_id)

    def _be_refused(self) -> None:
        """Raise NameTaken if it is certain that the other process lives: it has renewed its lease."""
        if self.ready.is_set():
            log.error("another process has this node's name now", node_id=self.node_id)
            for handler in self._on_own_loss:
                handler(None)
            raise NameTaken(self.node_id)
        if self._refused_since is None:
            self._refused_since = _now()
        if _now() - self._refused_since > self._pace.lease + self._pace.turn:
            raise NameTaken(self.node_id)


class _Looks:
    """What the looks at the other nodes have shown. Takes replies and times, knows no Redis."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.nodes: dict[str, NodeFacts] = {}
        self.places: dict[str, str] = {}
        self._missing: dict[str, float] = {}
        """Since when they are missing at each look."""
        self._gone: set[str] = set()
        """Those that said that they leave."""
        self._dead: set[str] = set()
        self._forgotten: set[str] = set()
        self._last_look: float | None = None

    def candidates(self) -> tuple[str, ...]:
        """Return who is to be looked for."""
        return tuple({*self.nodes, *self._missing, *self._dead})

    def forget_missing(self) -> None:
        """Begin anew: it is not certain that they could have renewed."""
        self._missing.clear()

    def forget_dead(self, *, keep: AbstractSet[str]) -> None:
        """Look no more for the dead of whom nothing is left; what a look that is under way shows of them is nothing."""
        self._forgotten = self._dead - keep
        self._dead &= keep
        candidates = self.candidates()
        self.places = {node_id: place for node_id, place in self.places.items() if node_id in candidates}

    def due(self) -> float | None:
        """Return when the next of them is dead."""
        return min(self._missing.values()) + self._pace.missing if self._missing else None

    def see(self, found: Mapping[str, Any], now: float) -> None:
        """Take what a look has shown of each: a lease, none, or an exception."""
        if self._last_look is not None and now - self._last_look > 2 * self._pace.turn + self._pace.limit:
            self.forget_missing()  # this process was stopped, and so may have been the others
        self._last_look = now
        for node_id, lease in found.items():
            if node_id in self._forgotten and lease is None:
                continue
            if isinstance(lease, BaseException):
                self._missing.pop(node_id, None)
            elif lease is None:
                if node_id not in self._dead:
                    self._missing.setdefault(node_id, now)
            else:
                self._take(node_id, json.loads(lease))

    def _take(self, node_id: str, said: dict[str, Any]) -> None:
        self._missing.pop(node_id, None)
        if said["gone"]:
            if node_id not in self._dead:
                self._gone.add(node_id)
            return
        self._dead.discard(node_id)
        self._gone.discard(node_id)
        self.places[node_id] = said["place"]
        self.nodes[node_id] = NodeFacts(
            node_id, said["place"], NodeState(said["state"]), tuple(said["backends"]), said["sessions"]
        )

    def bury(self, now: float) -> Sequence[str]:
        """Return who is dead from now on."""
        dead = [*self._gone, *(node for node, since in self._missing.items() if now - since >= self._pace.missing)]
        for node_id in dead:
            self._missing.pop(node_id, None)
            self.nodes.pop(node_id, None)
        self._gone.clear()
        self._dead.update(dead)
        return dead


def _look(node_id: str) -> Command:
    return ("GET", node_key(node_id, "lease"))


def _now() -> float:
    return asyncio.get_running_loop().time()
