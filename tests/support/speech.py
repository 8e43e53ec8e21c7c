"""How a client speaks: only this module of the test client knows the three encodings.

Written from the protocol alone, with no code of the service, so that an error in the service's codec cannot
hide in both. Messages are dicts; `data` and `preamble` are bytes whatever the encoding.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec

Message = dict[str, Any]

SUBPROTOCOLS = {"json": "terminal.v1.json", "msgpack": "terminal.v1.msgpack", "raw": "terminal.v1.raw"}
_BYTES = ("data", "preamble")

REQUIRED = {
    "attached": "session_id terminal_id client_id role mode recover seq head first epoch rows cols window "
    "heartbeat_interval input_n",
    "output": "data seq timestamp replay",
    "replay_end": "seq sha256",
    "gap": "first last lost_bytes reason",
    "resize": "rows cols seq client_id",
    "heartbeat": "timestamp session_id seq expires_at viewers",
    "ping": "timestamp",
    "pong": "timestamp",
    "input_ack": "n",
    "viewers": "viewers",
    "flow_pause": "bytes",
    "flow_resume": "bytes",
    "storage": "durable reason",
    "draining": "deadline",
    "notice": "kind message seq timestamp",
    "session_ended": "reason exit_code signal pid timestamp",
    "error": "code error timestamp",
}
"""The types of messages a server may send, and the fields each must have."""


def encode(encoding: str, message: Message) -> str | bytes:
    """Encode a client's message; a raw client's unnumbered input is the bare bytes."""
    if encoding == "msgpack":
        return msgspec.msgpack.encode(message)
    if encoding == "raw" and message["type"] == "input" and "n" not in message:
        return bytes(message["data"])
    fields = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in message.items()
    }
    return json.dumps(fields)


def decode(encoding: str, frame: str | bytes) -> Message:
    """Decode a server's frame; a raw server's binary frame becomes `{"type": "raw_output", "data": ...}`.

    Raises ValueError for what is not the encoding's kind of frame, or not decodable.
    """
    if isinstance(frame, bytes):
        if encoding == "raw":
            return {"type": "raw_output", "data": frame}
        if encoding == "json":
            raise ValueError("binary frame in the JSON encoding")
        message = msgspec.msgpack.decode(frame)
    else:
        if encoding == "msgpack":
            raise ValueError("text frame in the MessagePack encoding")
        message = json.loads(frame)
        for name in _BYTES:
            if name in message:
                message[name] = base64.b64decode(message[name], validate=True)
    if not isinstance(message, dict):
        raise ValueError(f"message is no map: {message!r}")  # noqa: TRY004 - one error for all bad frames
    return message
