"""The only place that decides who may do what.

Every route and every WebSocket message names its `Action`; `decide` is asked for each. A session id is an
address, never a capability: knowing one gives nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Identity:
    """Who is asking: a user, how that was proved (`local`, `api_key`, `ticket`), and whether they may do everything.

    `role`: all that they may do now is attach in it; None: whatever the user may.
    """

    user: str
    method: str
    is_admin: bool = False
    role: Role | None = None


class Action(enum.Enum):
    """What somebody wants to do."""

    CREATE = "create"
    LIST = "list"
    METRICS = "metrics"
    NODES = "nodes"
    DOCS = "docs"
    DOCS_PAGE = "docs_page"
    CONSOLE = "console"
    HEALTH = "health"

    READ = "read"
    READ_OUTPUT = "read_output"
    ATTACH_READER = "attach_reader"
    ATTACH_WRITER = "attach_writer"
    INPUT = "input"
    RESIZE = "resize"
    SIGNAL = "signal"
    KEEPALIVE = "keepalive"
    UPDATE = "update"
    END = "end"


class Decision(enum.Enum):
    """The answer: go on, say that it is forbidden (403), or say that there is no such thing (404)."""

    ALLOW = "allow"
    DENY = "deny"
    HIDE = "hide"


class Role(enum.Enum):
    """What an attachment may do: `owner` and `writer` everything, `viewer` only look."""

    OWNER = "owner"
    WRITER = "writer"
    VIEWER = "viewer"


FOR_EVERYBODY = frozenset({Action.HEALTH, Action.DOCS_PAGE, Action.CONSOLE})
ON_SERVICE = frozenset({Action.CREATE, Action.LIST, Action.METRICS, Action.NODES, Action.DOCS}) | FOR_EVERYBODY
ON_SESSION = frozenset(Action) - ON_SERVICE

_WRITERS = frozenset({Role.OWNER, Role.WRITER})
_EVERYBODY = frozenset(Role)

MESSAGES: Mapping[str, frozenset[Role]] = MappingProxyType(
    {
        "input": _WRITERS,
        "resize": _WRITERS,
        "signal": _WRITERS,
        "ack": _EVERYBODY,
        "mode": _EVERYBODY,
        "ping": _EVERYBODY,
        "pong": _EVERYBODY,
        "window_update": _EVERYBODY,
        "detach": _EVERYBODY,
    }
)
"""Which roles may send which WebSocket message."""


def decide(identity: Identity | None, action: Action, owner: str | None) -> Decision:
    """Decide about an action on the session of `owner`, or on the service itself.

    `identity` None: nobody proved who they are; they learn whether the service is healthy, and get the pages that
    ask for a key before they show anything, the console and the documentation; nothing else.
    `owner` None: for an action on a session, no such session exists; for CREATE and LIST, one's own is meant.
    Sessions of others are hidden, not forbidden, so that nobody can probe for ids.
    """
    if action in FOR_EVERYBODY:
        return Decision.ALLOW
    if identity is None:
        return Decision.DENY
    if identity.role is not None and action is not attach_action(identity.role):
        return Decision.DENY
    if owner is None:
        return Decision.ALLOW if action in ON_SERVICE else Decision.HIDE
    if identity.is_admin or identity.user == owner:
        return Decision.ALLOW
    return Decision.DENY if action is Action.CREATE else Decision.HIDE


def readable_user(identity: Identity | None) -> str | None:
    """Return the only user whose sessions somebody can read, None: everybody's; nobody's is decided by `decide`."""
    return None if identity is None or identity.is_admin else identity.user


def attach_action(role: Role) -> Action:
    """Return the action that attaching in a role is."""
    return Action.ATTACH_READER if role is Role.VIEWER else Action.ATTACH_WRITER


def may_send(role: Role, message: str) -> bool:
    """Tell whether an attachment in this role may send this type of message; an unknown type nobody may."""
    return role in MESSAGES.get(message, frozenset())
