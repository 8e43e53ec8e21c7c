"""What is written of a session whose node is gone: the only place here that knows fields of a record and of a view.

They are those of `terminal_service.recovery.make_record` and `transports.views.SessionView`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE = "lost"


def end_fields(reason: str, at: float) -> Mapping[str, Any]:
    """Return the fields of the event with which a log ends; `at`: wall-clock seconds."""
    return {"reason": reason, "exit_code": None, "signal": None, "pid": None, "at": at, "state": STATE}


def lose_record(record: bytes, reason: str, at: float) -> bytes:
    """Return a session's record as it is once the session is lost."""
    fields = _parse(record)
    fields["history"] = [*fields.get("history", ()), [STATE, reason, at]]
    fields["end_reason"] = reason
    return json.dumps(fields, ensure_ascii=False).encode()


def lose_view(view: bytes, reason: str, at: float) -> bytes:
    """Return what is shown of a session once it is lost."""
    fields = _parse(view)
    fields["history"] = [*fields.get("history", ()), {"state": STATE, "reason": reason, "at": at}]
    fields |= {"state": STATE, "end_reason": reason, "pid": None}
    fields |= {"expires_at": None, "lifetime_ends_at": None, "kept_alive_by": [], "viewers": [], "responder": None}
    fields["terminals"] = [{**terminal, "pid": None} for terminal in fields.get("terminals", ())]
    return json.dumps(fields, ensure_ascii=False).encode()


def _parse(text: bytes) -> dict[str, Any]:
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise TypeError("not an object")
    return fields
