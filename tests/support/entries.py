"""Sessions as nodes know them."""

from __future__ import annotations

import json

from nodes.base import Entry


def make_entry(
    session_id: str, *, node_id: str = "one", user: str = "ann", at: float = 1.0, living: bool = True
) -> Entry:
    record = {"owner": user, "created_at": at, "end_reason": "", "history": [["pending", "asked for", at]]}
    view = {
        "session_id": session_id,
        "state": "running" if living else "ended",
        "history": [{"state": "pending", "reason": "asked for", "at": at}],
        "pid": 7,
        "expires_at": 2.0,
        "viewers": [{"client_id": "c"}],
        "terminals": [{"terminal_id": "main", "pid": 7}],
    }
    return Entry(session_id, node_id, user, at, living, json.dumps(record).encode(), json.dumps(view).encode())
