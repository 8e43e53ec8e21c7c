"""What the service asks of the other processes of its kind: contracts in plain types, and what they exchange.

Four things, each with an implementation over Redis, and one in memory for a process that is alone:

- a `Registry` knows which nodes live;
- a `Directory` knows every session of all nodes;
- a `TicketStore` keeps what one node gives out and any may take;
- `Mail` carries messages between two nodes, in order and once.

All belong to the event loop's thread. `run` of each owns its tasks and is single-use; it needs no Redis to begin, and
whatever goes wrong with Redis is tried again until it goes right.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias


class NodeState(Enum):
    """What a node takes."""

    ACTIVE = "active"
    DRAINING = "draining"
    """It keeps what it has, and takes no new sessions."""
    AWAY = "away"
    """Its process has stopped and said so; its programs go on, and another process of it is awaited."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says of itself."""

    node_id: str
    place: str
    """Where it runs, for people: host name, address it listens at, process id."""
    state: NodeState
    backends: tuple[str, ...]
    sessions: int
    """How many living sessions it has: its load."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What all nodes know of a session."""

    session_id: str
    node_id: str
    """The node that has, or had, its programs."""
    user: str
    created_at: float
    """Wall-clock seconds; with the id it is the session's place in every list, and never changes."""
    is_living: bool
    record: bytes
    """JSON: what another process needs to show the session once its node is gone (`recovery.make_record`)."""
    view: bytes
    """JSON: what the HTTP API shows of it (`transports.views.SessionView`), at most seconds old."""


LossHandler: TypeAlias = Callable[[str], None]
"""Called with the id of a node that is dead to all from now on. Returns soon; must not raise."""
OwnLossHandler: TypeAlias = Callable[[Sequence[str] | None], None]
"""Called with sessions of this node that others have found lost, None: all there are. Returns soon; must not raise."""


class MailFigures(Protocol):
    """What was counted of mail, to and from all nodes."""

    written_messages: int
    written_bytes: int
    read_messages: int
    read_bytes: int
    resets: int


class Registry(Protocol):
    """Which nodes live. One lease a node, renewed all the time; whoever does not renew it is dead to all others."""

    trouble: str | None
    """Why the other nodes cannot be seen at the moment; None: they can."""

    @property
    def node_id(self) -> str:
        """The name of this node; it stays the same when its process is another one."""
        ...

    def nodes(self) -> Mapping[str, NodeFacts]:
        """Return the living nodes (and those AWAY) as last seen, this one too."""
        ...

    def is_living(self, node_id: str) -> bool:
        """Whether a node lives, or is AWAY."""
        ...

    def announce(self, *, sessions: int | None = None, state: NodeState | None = None) -> None:
        """Say something else of this node from now on."""
        ...

    def on_lost(self, handler: LossHandler) -> None:
        """Have it told when another node is dead: it has been away for too long, or has left for good."""
        ...

    def on_own_loss(self, handler: OwnLossHandler) -> None:
        """Have it told when others have found this node dead, or its name is another's."""
        ...

    async def run(self) -> None:
        """Live until stopped. Raises NameTaken: another living process has, or has taken, this node's name."""
        ...

    def stop(self) -> None:
        """Have `run` return."""
        ...

    async def leave(self, away_seconds: float) -> None:
        """Stop, and tell the others: to wait so long for the next process of this node; 0: not to wait at all.

        Bounded by two seconds or so. Raises Away: they find out by themselves.
        """
        ...


class Directory(Protocol):
    """Every session of all nodes. Each method raises Away."""

    async def claim(self, session_id: str, user: str, *, limit_all: int, limit_user: int) -> None:
        """Count a session that is about to be made by this node. Atomic over all nodes. Raises Full."""
        ...

    async def save(self, entries: Sequence[Entry]) -> Sequence[str]:
        """Make these sessions of this node known, or known as they are now; return the ids of those that were lost.

        A session was lost if another node has found this one dead meanwhile: it ends here.
        One that has ended is counted no more; it stays listed until it is forgotten, or its time in Redis is over.
        """
        ...

    async def forget(self, session_id: str, user: str) -> None:
        """Remove a session of this node, living or not; it is counted no more, and does not come back by `save`.

        Twice is harmless.
        """
        ...

    async def find(self, session_id: str) -> Entry | None:
        """Return what is known of a session; None: there is none."""
        ...

    async def page(self, *, after: tuple[float, str] | None, user: str | None, limit: int) -> Sequence[Entry]:
        """Return up to `limit` sessions of all nodes (of a user), oldest first, that stand after a place in the list.

        Places are `(created_at, session_id)`. Fewer than `limit`: there are no more.
        """
        ...


class TicketStore(Protocol):
    """What is kept for a short while under the hash of a secret, and can be taken once, by one of all nodes."""

    async def put(self, digest: bytes, data: bytes, *, seconds: float, user: str, limit: int) -> bool:
        """Keep something for a user; False: they have `limit` of them already."""
        ...

    async def take(self, digest: bytes) -> bytes | None:
        """Return what was kept, the first time only. Raises Away: it may be used up."""
        ...


class Assignments(Protocol):
    """Which node carries out what a user may ask for again at any node: it knows whether that was done."""

    async def assign(self, user: str, digest: bytes, node_id: str, *, instead_of: str | None = None) -> str:
        """Return the node that a request belongs to: this one if it was nobody's, or `instead_of`'s, until now.

        Kept for a day, and for the last 1,000 requests of each user. Raises Away.
        """
        ...


NoteHandler: TypeAlias = Callable[[str, bytes], None]
"""Called with the sender's node id and the body. Returns soon; must not raise."""
CallHandler: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
"""Called with the caller's node id and the body; returns the answer. Runs in a task of its own."""


class Mail(Protocol):
    """Messages between two nodes: in order, each once, none lost, as long as both processes live.

    When that cannot be kept up (the other process is another one now, or is dead to all) both sides are told by
    `on_reset`: everything that was under way to or from that node may or may not have come, and begins anew.
    Handlers are set before `run`.
    """

    async def run(self) -> None:
        """Carry messages until `stop`."""
        ...

    def stop(self) -> None:
        """Have `run` return soon, once what was sent is written, and calls are answered, if that can be done now."""
        ...

    def send(self, to: str, kind: str, body: bytes) -> None:
        """Send a note to a node, this one too. Never blocks; the bound is the caller's: `backlog_bytes`.

        Raises ValueError if the body has more than 8 MiB.
        """
        ...

    def backlog_bytes(self, to: str) -> int:
        """How much was sent to a node and is not known to have come."""
        ...

    async def call(self, to: str, kind: str, body: bytes, *, seconds: float) -> bytes:
        """Ask a node and return its answer. Bodies have at most 8 MiB, or ValueError is raised.

        Raises Unreachable: it may have been done or not; and CallFailed: its handler raised, or it is overloaded.
        """
        ...

    def on_note(self, kind: str, handler: NoteHandler) -> None:
        """Have notes of a kind handled, in order for each sender."""
        ...

    def on_call(self, kind: str, handler: CallHandler) -> None:
        """Have calls of a kind answered."""
        ...

    def on_reset(self, handler: Callable[[str], None]) -> None:
        """Have it told when messages to or from a node may have been lost."""
        ...

    def peer_lost(self, node_id: str) -> None:
        """Give up a node that is dead: reset what is between it and this one."""
        ...
