"""Who may do what, as dependencies of routes: every route of the API has exactly one of these."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from fastapi import Depends, Path, Request

from terminal_service.errors import Forbidden, Restarting, UnknownSession
from terminal_service.policy import Action, Decision, Identity, decide
from terminal_service.session import Session
from terminal_service.sessions import Sessions
from terminal_service.shadow import Shadow
from transports.accepted import wants_page
from transports.heads import Head

ONLY_HERE = "only_here"
"""Key in `scope["state"]`: true if no other node has the session, or this one was asked by another. Not a client's."""
Find: TypeAlias = Callable[[str, Callable[[str], bool]], Awaitable[Session | Shadow]]
"""Finds a session by its id on any node, for somebody who may know of sessions of the users that a function says."""

SessionId = Annotated[
    str, Path(description="A session's id, from its creation.", examples=["1c2f7c52-7c1e-4a4e-9d0c-3a2f0f9c8b11"])
]


def identity_of(request: Request) -> Identity | None:
    """Return who asks, as the guard found out."""
    return getattr(request.state, "identity", None)


def prefers_page(request: Request) -> bool:
    """Tell whether a browser asks, for a page to show; the guard asks the same."""
    return wants_page(Head.of(request.scope).listed("accept"))


def knows(identity: Identity | None) -> Callable[[str], bool]:
    """Return what tells whether somebody may know of sessions of a user."""
    return lambda user: decide(identity, Action.READ, user) is Decision.ALLOW


class OnService:
    """Dependency: the action is on the service itself; `page`: another one where a page is asked for.

    Raises Forbidden.
    """

    def __init__(self, action: Action, *, page: Action | None = None) -> None:
        self.action = action
        self._page = page or action

    async def __call__(self, request: Request) -> None:
        """Ask the policy."""
        action = self._page if prefers_page(request) else self.action
        if decide(identity_of(request), action, None) is not Decision.ALLOW:
            raise Forbidden(action.value)


class Finder:
    """Finds the session that a request is about: on this node, or what this node shows of another's."""

    def __init__(self, sessions: Sessions, elsewhere: Find | None = None) -> None:
        """Find one of `sessions`; else `elsewhere`, which raises as `Sessions.get`, and Unavailable."""
        self._sessions = sessions
        self._elsewhere = elsewhere

    async def find(self, request: Request, session_id: str) -> Session | Shadow:
        """Return it. Raises UnknownSession, Restarting, Unavailable."""
        if self._elsewhere is None or getattr(request.state, ONLY_HERE, False):
            return self._sessions.get(session_id)
        return await self._elsewhere(session_id, knows(identity_of(request)))


class OnSession:
    """Dependency: the action is on the session that the path names, which `Found` then hands to the route.

    Raises UnknownSession, Forbidden, Restarting, Unavailable. For a caller who may not know of a session there is
    none. `anywhere`: it can be done to what is shown of another node's session (`FoundAnywhere`).
    """

    def __init__(self, finder: Finder, action: Action, *, anywhere: bool = False) -> None:
        self.action = action
        self._finder = finder
        self._anywhere = anywhere

    async def __call__(self, request: Request, session_id: SessionId) -> None:
        """Find the session and ask the policy."""
        try:
            session: Session | Shadow | None = await self._finder.find(request, session_id)
        except UnknownSession:
            session = None
        decision = decide(identity_of(request), self.action, session.owner if session else None)
        if decision is Decision.DENY:
            raise Forbidden(self.action.value)
        if session is None or decision is Decision.HIDE:
            raise UnknownSession(session_id)
        if isinstance(session, Shadow) and not self._anywhere:
            raise Restarting  # its node has come back this moment; asked again, it answers
        request.state.session = session


async def _found(request: Request) -> Session:
    session: Session = request.state.session
    return session


Found = Annotated[Session, Depends(_found)]
"""The session of the path; the route must depend on `OnSession` too."""
FoundAnywhere = Annotated[Session | Shadow, Depends(_found)]
"""The same, of whatever node; `OnSession` with `anywhere`."""
