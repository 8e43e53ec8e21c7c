"""The routes that open, list, show, change and end sessions."""

import base64
import binascii
import math
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import StringConstraints

from terminal_service.choosing import Needs
from terminal_service.errors import Forbidden, InvalidRequest, SessionOver
from terminal_service.fleet import Fleet
from terminal_service.policy import Action, Decision, decide
from terminal_service.session import Session, SessionSpec
from terminal_service.sessions import Sessions
from terminal_service.settings import Settings
from terminal_service.sizes import Size, SizePolicy
from transports.access import Finder, Found, OnService, OnSession, identity_of
from transports.listing import Listing, Wanted
from transports.models import LABELS_LIMIT, ChangeSession, CreateSession, UserId
from transports.openapi import IDEMPOTENT, JSON_ONLY, header, refusals
from transports.views import KeptAlive, SessionView, view_of

PREFIX = "/api/v1/sessions"
PAGE_LIMIT = 1000

StateName = Literal["pending", "preparing", "running", "ending", "ended", "error", "lost", "living", "all"]
Labels = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=320)]],
    Query(
        default_factory=list,
        max_length=LABELS_LIMIT,
        description="`name=value`, or `name` for any value; repeated: all must match.",
    ),
]
States = Annotated[
    list[StateName],
    Query(
        default_factory=lambda: ["living"],
        max_length=9,
        description="Repeated: any of them. `living`, the default: those that have not ended.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]
_LIST_HEADERS = {
    "Link": header('`<…>; rel="next"` if there are more', "string"),
    "X-Incomplete": header("`true` if sessions of other nodes are missing, as they cannot be asked for now", "string"),
}
Cursor = Annotated[str | None, Query(max_length=200, description="From the `Link` header of the page before.")]


class SessionRoutes:
    """Sessions as resources."""

    def __init__(self, sessions: Sessions, finder: Finder, fleet: Fleet) -> None:
        """Serve these; lists are of the whole fleet's."""
        self._sessions = sessions
        self._finder = finder
        self._node = fleet.registry.node_id
        self._listing = Listing(sessions, fleet)

    def add_to(self, api: FastAPI) -> None:
        """Add the routes."""
        one = PREFIX + "/{session_id}"
        api.add_api_route(
            PREFIX,
            self.create,
            methods=["POST"],
            status_code=201,
            operation_id="createSession",
            summary="Open a session",
            tags=["sessions"],
            dependencies=[Depends(OnService(Action.CREATE)), JSON_ONLY, IDEMPOTENT],
            responses={
                201: {"headers": {"Location": header("Where the session is", "string")}},
                **refusals(409, 422, 429, 502, 503, body=True),
            },
        )
        api.add_api_route(
            PREFIX,
            self.page,
            methods=["GET"],
            operation_id="listSessions",
            summary="List sessions",
            tags=["sessions"],
            dependencies=[Depends(OnService(Action.LIST))],
            response_model=list[SessionView],
            responses={200: {"headers": _LIST_HEADERS}, **refusals(422)},
        )
        api.add_api_route(
            one,
            self.read,
            methods=["GET"],
            operation_id="readSession",
            summary="Show a session",
            tags=["sessions"],
            dependencies=[Depends(OnSession(self._finder, Action.READ))],
            responses=refusals(404, 422, 503),
        )
        api.add_api_route(
            one,
            self.change,
            methods=["PATCH"],
            operation_id="changeSession",
            summary="Change a session",
            tags=["sessions"],
            dependencies=[Depends(OnSession(self._finder, Action.UPDATE)), JSON_ONLY, IDEMPOTENT],
            responses=refusals(404, 409, 422, 503, body=True),
        )
        api.add_api_route(
            one,
            self.end,
            methods=["DELETE"],
            status_code=204,
            operation_id="endSession",
            summary="End a session",
            tags=["sessions"],
            dependencies=[Depends(OnSession(self._finder, Action.END)), IDEMPOTENT],
            responses=refusals(404, 422, 503, body=True),
        )
        api.add_api_route(
            one + "/keepalive",
            self.keep_alive,
            methods=["POST"],
            operation_id="keepSessionAlive",
            summary="Keep a session alive",
            tags=["sessions"],
            dependencies=[Depends(OnSession(self._finder, Action.KEEPALIVE)), IDEMPOTENT],
            responses=refusals(404, 409, 422, 503, body=True),
        )

    async def create(self, wanted: CreateSession, request: Request, response: Response) -> SessionView:
        """Open a session: a shell, or a command, at a terminal of its own."""
        session = await self._sessions.create(
            _spec(wanted, self._sessions.settings), self._owner(request, wanted.user_id)
        )
        response.headers["Location"] = f"{request.scope.get('root_path', '')}{PREFIX}/{session.session_id}"
        return view_of(session, self._node)

    def _owner(self, request: Request, user_id: str | None) -> str:
        identity = identity_of(request)
        if identity is None or decide(identity, Action.CREATE, user_id) is not Decision.ALLOW:
            raise Forbidden("create a session for another user")
        return identity.user if user_id is None else user_id

    async def page(
        self,
        request: Request,
        *,
        user_id: Annotated[UserId | None, Query(description="Only this user's.")] = None,
        label: Labels,
        state: States,
        limit: Limit = PAGE_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        """List the sessions you may know of, oldest first: an array, and a `Link` to the next page if there is one.

        Those that have ended are listed for as long as they can be read, if they are asked for by `state`. A session
        of another node is shown as it was some seconds ago.
        """
        wanted = Wanted(identity_of(request), user_id, [_read_label(each) for each in label], state)
        page = await self._listing.page(wanted, after=_read_cursor(cursor), limit=limit)
        headers = {}
        if page.next is not None:
            headers["Link"] = f'<{_next_page(request, page.next)}>; rel="next"'
        if not page.is_complete:
            headers["X-Incomplete"] = "true"
        return Response(page.body(), headers=headers, media_type="application/json")

    async def read(self, session: Found) -> SessionView:
        """Show a session, living or ended."""
        return view_of(session, self._node)

    async def change(self, session: Found, changes: ChangeSession) -> SessionView:
        """Change what is given. A new `ttl_seconds` counts from now."""
        given, settings = changes.model_fields_set, self._sessions.settings
        ttl_seconds = changes.ttl_seconds or settings.session_ttl_seconds
        _check_ttl(ttl_seconds, settings)
        policy = SizePolicy(changes.size_policy or settings.size_policy)
        await self._sessions.update(
            session,
            name=(changes.name or "") if "name" in given else None,
            labels=_merged(session, changes) if "labels" in given else None,
            ttl_seconds=ttl_seconds if "ttl_seconds" in given else None,
            size_policy=policy if "size_policy" in given else None,
        )
        return view_of(session, self._node)

    async def end(self, session: Found) -> None:
        """End the session and its whole process tree; answers when both are gone. Repeating it is harmless."""
        await self._sessions.end(session, "deleted")

    async def keep_alive(self, session: Found) -> KeptAlive:
        """Count as activity: the time to live begins anew."""
        if not session.is_living:
            raise SessionOver(session.session_id, session.end_reason)
        session.bump("keepalive")
        return KeptAlive(
            session_id=session.session_id,
            expires_at=session.expires_at,
            ttl_seconds=session.ttl_seconds,
            last_activity=session.last_activity,
        )


# -- what is asked for


def _spec(wanted: CreateSession, settings: Settings) -> SessionSpec:
    """Return the core's form. Raises InvalidRequest for what the settings do not allow."""
    if wanted.ttl_seconds is not None:
        _check_ttl(wanted.ttl_seconds, settings)
    if wanted.retention_bytes is not None and wanted.retention_bytes > settings.max_retention_bytes:
        raise InvalidRequest("retention_bytes", f"at most {settings.max_retention_bytes} (MAX_RETENTION_BYTES)")
    return SessionSpec(
        shell=wanted.shell,
        command=wanted.command,
        backend=wanted.backend,
        cwd=wanted.cwd,
        env=wanted.env,
        size=Size(wanted.rows, wanted.cols),
        size_policy=SizePolicy(wanted.size_policy) if wanted.size_policy else None,
        name=wanted.name,
        labels=wanted.labels,
        ttl_seconds=wanted.ttl_seconds,
        keepalive=wanted.keepalive,
        retention_bytes=wanted.retention_bytes,
        needs=Needs(
            needs_ssh=wanted.needs_ssh,
            long_lived=wanted.long_lived,
            expected_duration_minutes=wanted.expected_duration_minutes,
            image=wanted.image,
            cpus=wanted.cpus,
            memory_bytes=wanted.memory_bytes,
            gpus=wanted.gpus,
            capabilities=tuple(wanted.needs),
        ),
    )


def _check_ttl(ttl_seconds: float, settings: Settings) -> None:
    limit = settings.session_max_lifetime_seconds
    if limit and ttl_seconds > limit:
        raise InvalidRequest(
            "ttl_seconds", f"at most {limit:.12g}, a session's whole life (SESSION_MAX_LIFETIME_SECONDS)"
        )


def _merged(session: Session, changes: ChangeSession) -> dict[str, str]:
    """Return the labels after a merge patch."""
    merged: dict[str, str | None] = {} if changes.labels is None else {**session.labels, **changes.labels}
    labels = {name: value for name, value in merged.items() if value is not None}
    if len(labels) > LABELS_LIMIT:
        raise InvalidRequest("labels", f"at most {LABELS_LIMIT}")
    return labels


# -- lists


def _read_label(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name:
        raise InvalidRequest("label", "expected name=value or name")
    return name, value if equals else None


def _next_page(request: Request, last: tuple[float, str]) -> str:
    created_at, session_id = last
    cursor = base64.urlsafe_b64encode(f"{created_at!r} {session_id}".encode()).decode().rstrip("=")
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{request.scope.get('root_path', '')}{PREFIX}?{urlencode([*kept, ('cursor', cursor)])}"


def _read_cursor(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        created_at, session_id = text.split(" ", 1)
        place = float(created_at), session_id
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("cursor", "not one that this service gave") from error
    if not math.isfinite(place[0]):
        raise InvalidRequest("cursor", "not one that this service gave")
    return place
