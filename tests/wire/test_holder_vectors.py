"""The golden vectors of the holder: both sides say and read what they say, and a real holder answers so."""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest

from backends.holder.frames import Decoder, encode
from wire.generate_holder import FILE, HOLDER, OWNER, text, vectors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORED: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
BY_NAME = {vector["name"]: vector for vector in STORED}
ALL = [pytest.param(vector, id=vector["name"]) for vector in STORED]


def test_the_file_is_what_the_program_writes() -> None:
    written = FILE.read_text(encoding="utf-8")
    assert text(vectors()) == written, "run tests/wire/generate_holder.py and look at the difference"


@pytest.mark.parametrize("vector", ALL)
def test_a_frame_is_two_lengths_a_header_and_a_payload(vector: dict[str, Any]) -> None:
    frame, payload = bytes.fromhex(vector["frame"]), bytes.fromhex(vector["payload"])
    lengths = struct.unpack("!II", frame[:8])
    assert (len(frame) - 8, lengths[1]) == (sum(lengths), len(payload))
    assert json.loads(frame[8 : 8 + lengths[0]]) == vector["header"]
    assert frame[8 + lengths[0] :] == payload
    assert encode(vector["header"], payload) == frame
    assert Decoder().feed(frame) == [(vector["header"], payload)]


def test_frames_arrive_whole_whatever_pieces_they_come_in() -> None:
    stream = b"".join(bytes.fromhex(vector["frame"]) for vector in STORED)
    wanted = [(vector["header"], bytes.fromhex(vector["payload"])) for vector in STORED]
    for size in (1, 7, 4096):
        decoder = Decoder()
        found = [each for start in range(0, len(stream), size) for each in decoder.feed(stream[start : start + size])]
        assert found == wanted


def test_fields_unknown_and_in_any_order_are_read() -> None:
    header = {"later": {"a": [1, None]}, **dict(reversed(OWNER["spawn"][0].items()))}
    ((found, _),) = Decoder().feed(encode(header))
    assert found == header


if sys.platform != "win32":
    from backends.holder.connection import Connection
    from backends.holder.reach import reach
    from backends.holder.streams import StreamHolder

    UNREAD: WeakKeyDictionary[Connection, list[tuple[dict[str, Any], bytes]]] = WeakKeyDictionary()

    @pytest.fixture
    def holder(tmp_path: Path) -> Iterator[Connection]:
        """Start a real one; it is stopped in the end."""
        connection = Connection(reach(str(tmp_path), "--streams", environment={"PATH": "/usr/bin:/bin"}))
        try:
            yield connection
        finally:
            connection.send({"op": "stop"})
            while connection.channel.recv(65536):
                pass
            connection.close()

    def shape(value: Any) -> Any:
        """Return what kind of thing a field holds, the value itself left out."""
        return {name: shape(each) for name, each in value.items()} if isinstance(value, dict) else type(value)

    def until(connection: Connection, wanted: str) -> tuple[dict[str, Any], bytes]:
        """Read up to an event, or to the answer of that number; the others are for later calls."""
        unread = UNREAD.setdefault(connection, [])
        while True:
            for index, (header, _) in enumerate(unread):
                if wanted in {str(header.get("event")), str(header.get("id", "none"))}:
                    return unread.pop(index)
            unread += connection.receive()

    def send(connection: Connection, name: str, **fields: Any) -> None:
        """Send the bytes of a vector, with some fields of this day."""
        vector = BY_NAME[name]
        if not fields:
            connection.channel.sendall(bytes.fromhex(vector["frame"]))
        else:
            connection.send({**vector["header"], **fields}, bytes.fromhex(vector["payload"]))

    def test_a_real_holder_is_spoken_to_in_these_bytes(holder: Connection) -> None:
        assert until(holder, "owner") == HOLDER["owner"]
        send(holder, "hello")
        header, _ = until(holder, "1")
        assert shape(header) == shape(HOLDER["hello answered by a holder with rings"][0])
        assert {name.partition(" ")[0] for name in OWNER} == set(header["operations"])
        send(holder, "claim")
        assert until(holder, "11") == HOLDER["claim answered"]
        send(holder, "spawn with a ring", arguments=["-c", "stty raw -echo; echo ready; head -c 256; exit 3"])
        header, _ = until(holder, "14")
        assert shape(header) == shape(HOLDER["spawn with a ring answered"][0])
        header, payload = until(holder, "output")
        assert (header, payload) == ({"event": "output", "key": 1, "position": 0}, b"ready\n")
        send(holder, "kill", signum=28)  # SIGWINCH
        assert until(holder, "signalled") == HOLDER["signalled"]
        send(holder, "resize")
        send(holder, "ack", position=6)
        send(holder, "detach")
        assert until(holder, "16")[0]["ok"] is True
        send(holder, "attach", position=6)
        header, _ = until(holder, "15")
        assert set(header) == set(HOLDER["attach answered"][0])
        send(holder, "write")
        output = b""
        while len(output) < 256:  # in as many pieces as the terminal gives
            header, payload = until(holder, "output")
            assert header == {"event": "output", "key": 1, "position": 6 + len(output)}
            output += payload
        assert output == bytes(range(256))
        assert until(holder, "exited")[0] == HOLDER["exited by code"][0]
        assert until(holder, "ended")[0] == {**HOLDER["ended"][0], "exit": {"code": 3}, "head": 6 + 256}
        send(holder, "write", position=10_000)
        assert until(holder, "None")[0] == {"id": None, "error": {"kind": "input_gap", "key": 1, "accepted": 256}}
        send(holder, "list")
        (program,) = until(holder, "2")[0]["programs"]
        assert set(program["stream"]) == set(HOLDER["attach answered"][0]) - {"id", "ok"}
        send(holder, "release")
        assert until(holder, "6")[0]["ok"] is True

    def test_every_operation_of_a_holder_is_documented() -> None:
        listener = socket.socket(socket.AF_UNIX)
        try:
            operations = set(StreamHolder(listener, frozenset(), None)._operations)
        finally:
            listener.close()
        documented = {
            word
            for module in ("backends.holder.daemon", "backends.holder.streams")
            for word in re.findall(r"^(\w+)\b", sys.modules[module].__doc__ or "", re.MULTILINE)
        }
        assert operations <= documented
