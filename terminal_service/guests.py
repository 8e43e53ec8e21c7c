"""The viewers that other nodes have of this node's terminals: their way in, and what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from terminal_service import node_wire as notes
from terminal_service.errors import Restarting, ServiceError, UnknownSession
from terminal_service.remote_viewer import RemoteViewer
from terminal_service.sizes import Size

if TYPE_CHECKING:
    from nodes.base import Mail
    from terminal_service.clock import Clock
    from terminal_service.session import Session
    from terminal_service.sessions import Sessions

FACTS_SECONDS = 5.0
"""So often guests are told how long a session that they watch has to live."""

log = structlog.get_logger()


class Guests:
    """Serves them. Everything is a callback of the mail; nothing is awaited."""

    def __init__(self, sessions: Sessions, mail: Mail, *, clock: Clock) -> None:
        """Have the mail of guests come here; before the mail runs."""
        self._sessions = sessions
        self._mail = mail
        self._clock = clock
        self._viewers: dict[tuple[str, str], RemoteViewer] = {}
        """By node and name."""
        self._told: dict[tuple[str, str], notes.Present] = {}
        """Who is attached, as a node was told last: the same message to many viewers goes there once."""
        self._facts_told_at = float("-inf")
        mail.on_call(notes.JOIN, self._join)
        mail.on_note(notes.GUEST, self._take)
        mail.on_reset(self._forget_node)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._viewers)

    # -- coming in

    async def _join(self, node: str, body: bytes) -> bytes:
        """Take somebody in, or say why not."""
        try:
            return notes.encode(self._take_in(node, notes.decode_join(body)))
        except ServiceError as error:
            return notes.encode(notes.refuse(error))

    def _take_in(self, node: str, join: notes.Join) -> notes.Joined:
        session = self._sessions.get(join.session_id)
        terminal = session.terminal
        if terminal is None:
            raise session.has_no_output()
        if terminal.terminal_id != join.terminal_id:
            raise UnknownSession(session.session_id)
        viewer = RemoteViewer(terminal, join, now=self._clock.monotonic, tell=lambda note: self._tell(node, note))
        admission = terminal.receive(viewer)
        self._viewers[node, join.viewer] = viewer
        first = terminal.log.first
        modes = terminal.modes_at(first)
        head = terminal.log.head
        return notes.Joined(admission.bookmark, admission.input_n, first, modes, self._facts(session), head)

    def _facts(self, session: Session) -> notes.Facts:
        left = session.deadline - self._clock.monotonic() if session.is_living else None
        return notes.Facts(session.session_id, session.ttl_seconds, left, session.spec.keepalive)

    # -- what they do

    def _take(self, node: str, body: bytes) -> None:
        """Act on a note; one that cannot be read, or of nobody known, changes nothing."""
        try:
            note = notes.decode_guest(body)
        except msgspec.MsgspecError as error:
            log.error("note of another node cannot be read", node=node, reason=str(error))  # noqa: TRY400 - no bug of ours to trace
            return
        viewer = self._viewers.get((node, note.viewer))
        if viewer is None:
            if not isinstance(note, notes.Left):
                self._tell(node, notes.Closed(note.viewer, 1012, str(Restarting())))
            return
        try:
            self._act(node, viewer, note)
        except ServiceError as error:
            viewer.terminal.refuse(viewer, error.code, str(error))

    def _act(self, node: str, viewer: RemoteViewer, note: notes.GuestNote) -> None:
        terminal = viewer.terminal
        match note:
            case notes.Typed():
                terminal.type(viewer, note.n, note.data)
            case notes.Progressed():
                viewer.progress(note)
            case notes.Sized():
                terminal.report_size(viewer, Size(note.rows, note.cols))
            case notes.Signalled():
                terminal.signal(note.name)
            case notes.Repaint():
                terminal.repaint()
            case notes.Active():
                self._sessions.get(viewer.session_id).bump("viewer")
            case notes.Left():
                viewer.delivered = note.position
                terminal.detach(viewer)
                self._drop(node, note.viewer)

    def _drop(self, node: str, name: str) -> None:
        viewer = self._viewers.pop((node, name), None)
        if viewer is not None and not self._has_others(node, viewer.session_id):
            self._told.pop((node, viewer.session_id), None)

    def _has_others(self, node: str, session_id: str) -> bool:
        return any(n == node and v.session_id == session_id for (n, _), v in self._viewers.items())

    def _forget_node(self, node: str) -> None:
        """Take all viewers of a node for gone: it does not know of them any more, or cannot be reached."""
        for key, viewer in list(self._viewers.items()):
            if key[0] == node:
                viewer.terminal.detach(viewer)
                self._drop(*key)

    # -- what they are told

    def _tell(self, node: str, note: notes.HostNote) -> None:
        if isinstance(note, notes.Present):
            key = node, note.session_id
            told = self._told.get(key)
            if told is not None and told.viewers is note.viewers:
                return
            self._told[key] = note
        self._mail.send(node, notes.HOST, notes.encode(note))
        if isinstance(note, notes.Closed):
            self._drop(node, note.viewer)

    def tick(self) -> None:
        """Tell nodes, from time to time, how long what they watch has to live."""
        now = self._clock.monotonic()
        if now - self._facts_told_at < FACTS_SECONDS:
            return
        self._facts_told_at = now
        for node, session_id in {(node, viewer.session_id) for (node, _), viewer in self._viewers.items()}:
            if self._sessions.has(session_id):
                self._tell(node, self._facts(self._sessions.get(session_id)))
