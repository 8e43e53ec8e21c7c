"""What a holder and its owner say to each other, as golden vectors in holder.json.

`python tests/wire/generate_holder.py` writes the file anew; a difference in it is a change of the protocol, which may
only add. A vector::

    name      unique
    from      "owner" or "holder"
    header    the JSON object
    payload   in hex
    frame     the bytes of the frame, in hex
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backends.holder.frames import VERSION, encode

FILE = Path(__file__).with_name("holder.json")
EVERY_BYTE = bytes(range(256))
POSITION = 2**53 - 1
NOTE = b'{"session_id": "s", "mark": "m", "note": ""}'
EPOCH = "0123456789abcdef0123456789abcdef"

_PROGRAM = {
    "file": "/bin/sh",
    "arguments": ["-c", "echo ☃ \udcff"],
    "cwd": "/",
    "env": {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    "size": [24, 80],
    "descriptor_limit": None,
    "user": None,
}
_STATE = {"first": 1000, "head": 5000, "accepted": 70, "written": 60, "keys": 1, "signalled": 2, "exit": None}

OWNER: dict[str, tuple[dict[str, Any], bytes]] = {
    "hello": ({"op": "hello", "id": 1}, b""),
    "list": ({"op": "list", "id": 2}, b""),
    "spawn": ({**_PROGRAM, "op": "spawn", "id": 3}, NOTE),
    "take": ({"key": 1, "op": "take", "id": 4}, b""),
    "annotate": ({"key": 1, "op": "annotate", "id": 5}, EVERY_BYTE),
    "release": ({"key": 1, "op": "release", "id": 6}, b""),
    "discard": ({"key": 1, "op": "discard", "id": 7}, b""),
    "adopt": ({"pid": 4711, "mark": "TREE=1f2e", "op": "adopt", "id": 8, "descriptors": 2}, NOTE),
    "signal": ({"processes": [[4711, 2542282.0]], "signals": [15, 18], "op": "signal", "id": 9}, b""),
    "signal the foreground": ({"key": 1, "signals": [2], "op": "signal", "id": 9}, b""),
    "processes": ({"op": "processes", "id": 17}, b""),
    "stop": ({"op": "stop", "id": 10}, b""),
    "ping": ({"op": "ping", "id": 0}, b""),
    "claim": ({"owner": "service-1", "op": "claim", "id": 11}, b""),
    "look": ({"words": ["bash"], "path": "/usr/bin:/bin", "cwd": "/", "op": "look", "id": 13}, b""),
    "spawn with a ring": (
        {
            **_PROGRAM,
            "ring": 1 << 20,
            "window": 1 << 18,
            "trim": False,
            "token": EPOCH,
            "mark": "TERMINAL_PROCESS_TREE=m",
            "op": "spawn",
            "id": 14,
        },
        NOTE,
    ),
    "attach": ({"key": 1, "position": 1000, "window": 1 << 20, "op": "attach", "id": 15}, b""),
    "detach": ({"key": 1, "op": "detach", "id": 16}, b""),
    "ack": ({"op": "ack", "key": 1, "position": POSITION}, b""),
    "write": ({"op": "write", "key": 1, "position": 0}, EVERY_BYTE),
    "interrupt": ({"op": "interrupt", "key": 1, "position": 71}, b""),
    "resize": ({"op": "resize", "key": 1, "size": [50, 200]}, b""),
    "kill": ({"op": "kill", "key": 1, "serial": 3, "signum": 10}, b""),
    "close": ({"op": "close", "key": 1, "grace": 0.5}, b""),
}

HOLDER: dict[str, tuple[dict[str, Any], bytes]] = {
    "owner": ({"event": "owner"}, b""),
    "superseded": ({"event": "superseded"}, b""),
    "exited by code": ({"event": "exited", "key": 1, "exit": {"code": 3}}, b""),
    "exited by signal": ({"event": "exited", "key": 1, "exit": {"signal": 9}}, b""),
    "hello answered": ({"id": 1, "ok": True, "version": VERSION, "pid": 42, "operations": ["hello", "list"]}, b""),
    "hello answered by a holder with rings": (
        {"id": 1, "ok": True, "version": VERSION, "pid": 42, "operations": [], "epoch": EPOCH, "input_bytes": 1 << 18},
        b"",
    ),
    "list answered": (
        {
            "id": 2,
            "ok": True,
            "programs": [
                {"key": 1, "pid": 4711, "child": True, "exit": None, "note": len(NOTE)},
                {"key": 2, "pid": 4712, "child": True, "exit": {"code": 0}, "note": 0, "stream": _STATE},
            ],
        },
        NOTE,
    ),
    "processes answered": ({"id": 17, "ok": True, "processes": [[4711, 42, 4711, 2542282.0, "1f2e"]]}, b""),
    "spawn answered": ({"id": 3, "ok": True, "key": 1, "pid": 4711, "descriptors": 2}, b""),
    "spawn with a ring answered": ({"id": 14, "ok": True, "key": 1, "pid": 4711, "epoch": EPOCH}, b""),
    "spawn refused": ({"id": 3, "error": {"kind": "exec", "errno": 2, "found": None, "text": False}}, b""),
    "look answered": ({"id": 13, "ok": True, "files": {"bash": {"file": "/bin/bash"}}, "directory": 0}, b""),
    "operation not known": ({"id": 9, "error": {"kind": "unknown_op"}}, b""),
    "claim answered": ({"id": 11, "ok": True, "owner": True}, b""),
    "attach answered": ({"id": 15, "ok": True, **_STATE}, b""),
    "write refused": ({"id": None, "error": {"kind": "input_gap", "key": 1, "accepted": 70}}, b""),
    "output": ({"event": "output", "key": 1, "position": POSITION - 256}, EVERY_BYTE),
    "gap": ({"event": "gap", "first": 10, "last": 20, "key": 1}, b""),
    "written": ({"event": "written", "position": 70, "key": 1}, b""),
    "signalled": ({"event": "signalled", "serial": 3, "key": 1}, b""),
    "mode with an interrupt key": ({"event": "mode", "interrupt": 3, "key": 1}, b""),
    "mode without an interrupt key": ({"event": "mode", "interrupt": None, "key": 1}, b""),
    "exited that cannot be ended": ({"event": "exited", "exit": {"lost": "it cannot be ended"}, "key": 1}, b""),
    "ended": ({"event": "ended", "key": 1, "exit": {"code": 0}, "head": POSITION}, b""),
}


def vectors() -> list[dict[str, Any]]:
    """Return all vectors, in the order of the lists above."""
    said = [("owner", *item) for item in OWNER.items()] + [("holder", *item) for item in HOLDER.items()]
    return [
        {
            "name": name,
            "from": sender,
            "header": header,
            "payload": payload.hex(),
            "frame": encode(header, payload).hex(),
        }
        for sender, name, (header, payload) in said
    ]


def text(found: list[dict[str, Any]]) -> str:
    """Return what the file holds: one field a line, so that a change is easy to see."""
    return json.dumps(found, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(vectors()), encoding="utf-8")
