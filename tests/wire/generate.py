"""Every message of the WebSocket protocol in every encoding, as golden vectors in vectors.json.

`python tests/wire/generate.py` writes the file anew; a difference in it is a change of the protocol. A vector::

    name      unique
    from      "server" or "client"
    fields    the message; bytes as {"hex": ...}, fields left out are absent on the wire
    json      the text frame of `terminal.v1.json` (and of a client without subprotocol)
    msgpack   the binary frame of `terminal.v1.msgpack`, in hex
    raw       the binary frame of `terminal.v1.raw`, in hex; null where it has none. With `control=1` input and
              output look like this, and everything else is the text frame of `json`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

from msgspec import UNSET, structs

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from terminal_service import wire
from transports.codecs import RawCodec

FILE = Path(__file__).with_name("vectors.json")
EVERY_BYTE = bytes(range(256))
POSITION = 2**53 - 1
"""The largest that every language's clients read right, floats or not."""
TIME = 1700000000.25

_ATTACHED = wire.Attached(
    session_id="2f6f6b0e-6c39-4d1a-9d4e-0d3f5c1f8a11",
    terminal_id="main",
    client_id="client-1",
    role="writer",
    mode="exact",
    recover="exact",
    seq=1000,
    head=5000,
    first=0,
    epoch="0123456789abcdef",
    rows=24,
    cols=80,
    window=262144,
    heartbeat_interval=60.0,
    input_n=7,
)

SERVER: dict[str, wire.ServerMessage] = {
    "attached exact": _ATTACHED,
    "attached gap": structs.replace(
        _ATTACHED, recover="gap", seq=4000, first=4000, lost_bytes=3000, preamble=b"\x1b[?1049h\x1b[?25l"
    ),
    "attached tail of an ended session": structs.replace(
        _ATTACHED, client_id="zoë ☃", role="viewer", mode="live", recover="tail", ended=True
    ),
    "output": wire.Output(b"$ ls\r\n", 1006, TIME, replay=False),
    "output of replayed bytes": wire.Output(EVERY_BYTE, POSITION, TIME, replay=True),
    "output of one byte": wire.Output(b"\0", 1, TIME, replay=False),
    "replay_end": wire.ReplayEnd(seq=5000, sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    "gap trimmed": wire.Gap(first=10, last=20, lost_bytes=10, reason="trimmed"),
    "gap skipped": wire.Gap(first=0, last=POSITION, lost_bytes=POSITION, reason="skipped", preamble=b"\x1b[1m"),
    "gap torn": wire.Gap(first=30, last=30, lost_bytes=0, reason="torn"),
    "resize": wire.Resized(rows=50, cols=200, seq=1006, client_id="client-1"),
    "heartbeat": wire.Heartbeat(timestamp=TIME, session_id="s", seq=1006, expires_at=TIME + 3600, viewers=2),
    "heartbeat without end": wire.Heartbeat(timestamp=TIME, session_id="s", seq=0, expires_at=None, viewers=1),
    "ping": wire.ServerPing(TIME),
    "pong": wire.ServerPong(TIME),
    "input_ack": wire.InputAck(n=8),
    "viewers": wire.Viewers(
        viewers=[
            {"client_id": "a", "user": "ann", "role": "owner", "rows": 24, "cols": 80, "position": 1006},
            {"client_id": "b", "user": "bob", "role": "viewer", "rows": None, "cols": None, "position": 0},
        ],
        responder="a",
    ),
    "viewers without responder": wire.Viewers(viewers=[], responder=None),
    "flow_pause": wire.FlowPause(bytes=262144),
    "flow_resume": wire.FlowResume(bytes=100),
    "storage lost": wire.StorageState(durable=False, reason="no room for terminal output: No space left on device"),
    "storage back": wire.StorageState(durable=True, reason=""),
    "draining": wire.Draining(deadline=TIME + 3600),
    "draining no more": wire.Draining(deadline=None),
    "notice": wire.Notice(
        kind="link_lost", message="the connection to build1 is lost, trying again", seq=1006, timestamp=TIME
    ),
    "notice with fields": wire.Notice(
        kind="ending_soon",
        message="the workstation is stopped in 5 minutes",
        seq=0,
        timestamp=TIME,
        fields={"at": TIME + 300, "limit": "idle"},
    ),
    "session_ended by exit": wire.SessionEnded(
        reason="Process exited", exit_code=3, signal=None, pid=4711, timestamp=TIME
    ),
    "session_ended by signal": wire.SessionEnded(
        reason="ttl", exit_code=None, signal="SIGHUP", pid=None, timestamp=TIME, message="it took too long"
    ),
    "error": wire.Error(code="forbidden", error="a viewer may not send input", timestamp=TIME),
    "error of input out of order": wire.Error(
        code="input_out_of_order", error="n: expected 9", timestamp=TIME, expected=9
    ),
}

CLIENT: dict[str, wire.ClientMessage] = {
    "input": wire.Input(b"ls\r"),
    "input numbered": wire.Input("ü☃\x03".encode(), n=POSITION),
    "input of every byte": wire.Input(EVERY_BYTE),
    "input of nothing": wire.Input(b"", n=1),
    "resize by client": wire.Resize(rows=1, cols=1000),
    "ack of a position": wire.Ack(seq=POSITION),
    "ack of a count": wire.Ack(bytes=65536),
    **{f"signal {name}": wire.Signal(name) for name in get_args(wire.SignalName)},
    **{f"mode {name}": wire.Mode(name) for name in get_args(wire.ModeName)},
    "ping by client": wire.Ping(TIME),
    "pong by client": wire.Pong(TIME),
    "window_update": wire.WindowUpdate(window_size=1048576),
    "detach": wire.Detach(),
}


def vectors() -> list[dict[str, Any]]:
    """Return all vectors, in the order of the lists above."""
    return [_vector(name, "server", message) for name, message in SERVER.items()] + [
        _vector(name, "client", message) for name, message in CLIENT.items()
    ]


def text(found: list[dict[str, Any]]) -> str:
    """Return what the file holds: one field a line, so that a change is easy to see."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _vector(name: str, sender: str, message: wire.ServerMessage | wire.ClientMessage) -> dict[str, Any]:
    raw = _raw(message)
    return {
        "name": name,
        "from": sender,
        "fields": _fields(message),
        "json": wire.encode_json(message).decode(),
        "msgpack": wire.encode_msgpack(message).hex(),
        "raw": None if raw is None else raw.hex(),
    }


def _fields(message: wire.ServerMessage | wire.ClientMessage) -> dict[str, Any]:
    values: dict[str, Any] = {"type": message.__struct_config__.tag}
    for field in structs.fields(message):
        value = getattr(message, field.name)
        if value is not UNSET and value != {} and not (value is None and not field.required):
            values[field.name] = {"hex": value.hex()} if isinstance(value, bytes) else value
    return values


def _raw(message: wire.ServerMessage | wire.ClientMessage) -> bytes | None:
    if isinstance(message, wire.Output | wire.Input):
        return bytes(message.data)
    return RawCodec(control=False).message(message) if isinstance(message, wire.ServerMessage) else None


if __name__ == "__main__":
    FILE.write_text(text(vectors()), encoding="utf-8")
