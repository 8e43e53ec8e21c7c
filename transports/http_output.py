"""The route that gives a terminal's output as bytes: a range of it, or all that is still to come."""

from collections import Counter
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from starlette.responses import Response

from terminal_service.audience import Audience
from terminal_service.errors import LimitReached
from terminal_service.policy import Action
from terminal_service.session import Session
from terminal_service.sessions import Sessions
from terminal_service.shadow import Shadow
from transports import problems, ranges
from transports.access import Finder, FoundAnywhere, OnSession
from transports.follower import Follower
from transports.heads import Refusal
from transports.http_sessions import PREFIX
from transports.openapi import header, refusals
from transports.ranges import Start, starting_point

RANGE_BYTES = 1024 * 1024
RANGE_BYTES_LIMIT = 4 * 1024 * 1024
"""A range is copied whole before it is sent, so that it cannot be trimmed in the middle."""

_MAX_POSITION = 2**63 - 1
Position = Annotated[int, Query(ge=0, le=_MAX_POSITION)]

_HEADERS = {
    "X-Terminal-From": header("Position of the first byte of this answer"),
    "X-Terminal-Head": header("Position of the end of the output, when the answer began"),
    "X-Terminal-First": header("The oldest position kept"),
    "X-Terminal-Epoch": header("Names the history of bytes that positions belong to", "string"),
    "X-Terminal-Lost-Bytes": header("How many of the bytes asked for are no longer kept; missing: none"),
}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_RANGE = header("`bytes first-last/head`: the positions of this answer's bytes, the last one included", "string")
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All of the output; or nothing, as there is no more; or a stream",
        "content": _BYTES,
        "headers": _HEADERS,
    },
    206: {
        "description": "A part of the output",
        "content": _BYTES,
        "headers": {**_HEADERS, "Content-Range": _RANGE},
    },
}


class OutputRoutes:
    """Output over plain HTTP."""

    def __init__(self, sessions: Sessions, finder: Finder) -> None:
        """Serve the output of these."""
        self._sessions = sessions
        self._finder = finder
        self._followers: Counter[str] = Counter()

    def add_to(self, api: FastAPI) -> None:
        """Add the route."""
        api.add_api_route(
            PREFIX + "/{session_id}/output",
            self.read,
            methods=["GET"],
            operation_id="readOutput",
            summary="Read or follow the output",
            tags=["terminals"],
            dependencies=[Depends(OnSession(self._finder, Action.READ_OUTPUT, anywhere=True))],
            response_class=Response,
            responses={**_ANSWERS, **refusals(404, 409, 410, 416, 422, 429, 503)},
        )

    async def read(
        self,
        session: FoundAnywhere,
        *,
        start: Annotated[int, Query(alias="from", ge=0, le=_MAX_POSITION, description="The position to begin at.")] = 0,
        limit: Annotated[
            int | None,
            Query(
                ge=1,
                le=_MAX_POSITION,
                description=f"At most this many bytes. Without `follow` {RANGE_BYTES} if missing, and never more "
                f"than {RANGE_BYTES_LIMIT}: go on at the end of what came.",
            ),
        ] = None,
        follow: Annotated[bool, Query(description="Send what is still to come too, until the session ends.")] = False,
        strict: Annotated[bool, Query(description="Refuse (416) rather than leave out what is lost.")] = False,
        epoch: Annotated[
            str | None, Query(max_length=64, description="The epoch the position belongs to, if that is known.")
        ] = None,
    ) -> Response:
        """Read raw output from a position.

        Bytes that are no longer kept are never left out silently: the answer begins at the oldest kept and
        `X-Terminal-Lost-Bytes` tells how many are missing; with `strict` it is a 416. A position beyond the end
        is a 416 too; at the end the answer is empty. Another `epoch` begins at the oldest byte kept.

        With `follow` the answer goes on until the session ends. A reader that is so slow that bytes it has not
        got are trimmed is cut off (the chunked body does not end properly): it comes back for the position it
        has, and is told what is missing.
        """
        terminal = _terminal(session)
        begin = _begin(terminal, start, epoch, strict=strict)
        if begin.lost_bytes:
            terminal.told_gap("trimmed", begin.lost_bytes)
        if follow:
            return self._follow(session, terminal, begin, limit)
        return _range(terminal, begin, min(limit or RANGE_BYTES, RANGE_BYTES_LIMIT))

    def _follow(self, session: Session | Shadow, terminal: Audience, begin: Start, limit: int | None) -> Response:
        most = self._sessions.settings.max_viewers_per_session
        key = session.session_id
        if self._followers[key] >= most:
            raise LimitReached("followers of a session", most)
        self._followers[key] += 1
        return Follower(
            terminal,
            begin.position,
            limit_bytes=limit,
            headers=ranges.headers(terminal.log, begin),
            over=lambda: self._leave(key),
        )

    def _leave(self, key: str) -> None:
        self._followers[key] -= 1
        if not self._followers[key]:
            del self._followers[key]


def _terminal(session: Session | Shadow) -> Audience:
    if session.terminal is not None:
        return session.terminal
    if session.is_living:
        raise Refusal(problems.build(409, "not_started", "the session is still being started"))
    raise Refusal(problems.build(410, "output_lost", f"there is no output that could be read: {session.end_reason}"))


def _begin(terminal: Audience, asked: int, epoch: str | None, *, strict: bool) -> Start:
    log = terminal.log
    start = starting_point(log, asked, epoch)
    if start is None:
        detail = f"position {asked} is beyond the end of the output, {log.head}"
        raise _unsatisfiable(terminal, "position_beyond_end", detail)
    if strict and not start.is_exact:
        if not start.is_same_epoch:
            raise _unsatisfiable(terminal, "epoch_changed", f"the output's epoch is {log.epoch}")
        detail = f"position {asked} is no longer kept; the oldest is {log.first}"
        raise _unsatisfiable(terminal, "position_trimmed", detail)
    return start


def _unsatisfiable(terminal: Audience, code: str, detail: str) -> Refusal:
    log = terminal.log
    told = {
        "Content-Range": f"bytes */{log.head}",
        "X-Terminal-Head": str(log.head),
        "X-Terminal-First": str(log.first),
        "X-Terminal-Epoch": log.epoch,
    }
    headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    return Refusal(problems.build(416, code, detail, headers=headers))


def _range(terminal: Audience, begin: Start, limit: int) -> Response:
    """Return the bytes as they are now: 200 if these are all there ever were, or none; else 206 (RFC 9110, 15.3.7)."""
    log = terminal.log
    end = min(begin.position + limit, log.head)
    data = log.read_range(begin.position, end)
    terminal.counters.delivered_bytes += len(data)
    headers = ranges.headers(log, begin)
    is_part = bool(data) and len(data) < log.head
    if is_part:
        headers["Content-Range"] = f"bytes {begin.position}-{end - 1}/{log.head}"
    return Response(data, 206 if is_part else 200, headers, "application/octet-stream")
