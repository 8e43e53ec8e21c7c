"""The golden vectors: what the service says and reads is what they say, in every encoding."""

from __future__ import annotations

import base64
import json
from typing import Any, get_args

import msgspec
import pytest

from terminal_service import wire
from transports.codecs import Codec, JsonCodec, MsgpackCodec, RawCodec
from wire.generate import CLIENT, FILE, SERVER, text, vectors

STORED: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
BY_SENDER = {
    sender: [pytest.param(vector, id=vector["name"]) for vector in STORED if vector["from"] == sender]
    for sender in ("server", "client")
}


def plain(fields: dict[str, Any], *, as_base64: bool) -> dict[str, Any]:
    """Return the fields with their bytes as this encoding has them."""
    values = dict(fields)
    for name, value in fields.items():
        if isinstance(value, dict) and value.keys() == {"hex"}:
            data = bytes.fromhex(value["hex"])
            values[name] = base64.b64encode(data).decode() if as_base64 else data
    return values


def test_the_file_is_what_the_program_writes() -> None:
    assert text(vectors()) == FILE.read_text(encoding="utf-8"), "run tests/wire/generate.py and look at the difference"


def test_every_message_and_every_field_has_a_vector() -> None:
    for union, examples in ((wire.ServerMessage, SERVER), (wire.ClientMessage, CLIENT)):
        assert {type(message) for message in examples.values()} == set(get_args(union))
        for kind in get_args(union):
            messages = [vector["fields"] for vector in STORED if vector["fields"]["type"] == kind.__struct_config__.tag]
            names = {field.encode_name for field in msgspec.structs.fields(kind)}
            assert names <= {name for message in messages for name in message}, kind


@pytest.mark.parametrize("vector", BY_SENDER["server"] + BY_SENDER["client"])
def test_independent_decoders_read_the_fields(vector: dict[str, Any]) -> None:
    assert json.loads(vector["json"]) == plain(vector["fields"], as_base64=True)
    unpacked = msgspec.msgpack.decode(bytes.fromhex(vector["msgpack"]))
    assert unpacked == plain(vector["fields"], as_base64=False)
    assert type(unpacked.get("timestamp", 0.0)) is float


@pytest.mark.parametrize("vector", BY_SENDER["server"])
def test_codecs_write_server_messages(vector: dict[str, Any]) -> None:
    message = SERVER[vector["name"]]
    assert JsonCodec().message(message) == vector["json"].encode()
    assert MsgpackCodec().message(message) == bytes.fromhex(vector["msgpack"])
    raw = None if vector["raw"] is None else bytes.fromhex(vector["raw"])
    if isinstance(message, wire.Output):
        assert RawCodec(control=True).output(memoryview(message.data), message.seq, replay=message.replay) == raw
    else:
        assert RawCodec(control=True).message(message) == vector["json"].encode()
        assert RawCodec(control=False).message(message) == raw


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec()], ids=lambda codec: codec.name)
def test_output_is_encoded_as_any_message_with_the_time_it_is_sent(codec: Codec) -> None:
    encoded = codec.output(memoryview(b"abc"), 1003, replay=True)
    decoded = msgspec.json.decode(encoded) if codec.output_is_text else msgspec.msgpack.decode(encoded)
    message = wire.Output(b"abc", 1003, decoded["timestamp"], replay=True)
    assert encoded == codec.message(message)


@pytest.mark.parametrize("vector", BY_SENDER["client"])
def test_codecs_read_client_messages(vector: dict[str, Any]) -> None:
    message = CLIENT[vector["name"]]
    assert JsonCodec().decode(vector["json"]) == message
    assert JsonCodec().decode(vector["json"].encode()) == message, "the first service's clients send binary frames"
    assert MsgpackCodec().decode(bytes.fromhex(vector["msgpack"])) == message
    assert RawCodec(control=True).decode(vector["json"]) == message
    if vector["raw"] is not None:
        assert isinstance(message, wire.Input)
        for control in (False, True):
            assert RawCodec(control=control).decode(bytes.fromhex(vector["raw"])) == wire.Input(message.data)


@pytest.mark.parametrize("vector", BY_SENDER["client"])
def test_fields_unknown_and_in_any_order_change_nothing(vector: dict[str, Any]) -> None:
    fields = {"later": {"a": [1, None]}, **dict(reversed(json.loads(vector["json"]).items()))}
    assert JsonCodec().decode(json.dumps(fields, indent=2)) == CLIENT[vector["name"]]
    fields = {"later": b"\xff", **dict(reversed(plain(vector["fields"], as_base64=False).items()))}
    assert MsgpackCodec().decode(msgspec.msgpack.encode(fields)) == CLIENT[vector["name"]]
