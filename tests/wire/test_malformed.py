"""What cannot be read is refused with a DecodeError that says why, whatever it is, and soon."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from terminal_service import wire
from transports.codecs import Codec, JsonCodec, MsgpackCodec, RawCodec
from wire.generate import CLIENT

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

HUGE = 10**400

# What is wrong, and what the error must name.
MALFORMED_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({}, "type"),
    ({"type": "nope"}, "nope"),
    ({"type": ""}, "type"),
    ({"type": 1}, "type"),
    ({"type": None}, "type"),
    ({"type": ["input"]}, "type"),
    ({"type": "output", "data": "", "seq": 1}, "output"),
    ({"type": "input"}, "data"),
    ({"type": "input", "data": None}, "data"),
    ({"type": "input", "data": 7}, "data"),
    ({"type": "input", "data": ["a"]}, "data"),
    ({"type": "resize"}, "rows"),
    ({"type": "resize", "rows": 24}, "cols"),
    ({"type": "resize", "rows": 0, "cols": 80}, "rows"),
    ({"type": "resize", "rows": 24, "cols": -1}, "cols"),
    ({"type": "resize", "rows": 10**6, "cols": 80}, "rows"),
    ({"type": "resize", "rows": 24, "cols": 1001}, "cols"),
    ({"type": "resize", "rows": "24", "cols": 80}, "rows"),
    ({"type": "resize", "rows": 24.5, "cols": 80}, "rows"),
    ({"type": "resize", "rows": True, "cols": 80}, "rows"),
    ({"type": "ack", "seq": -1}, "seq"),
    ({"type": "ack", "seq": 2**63}, "seq"),
    ({"type": "ack", "seq": 1.5}, "seq"),
    ({"type": "ack", "seq": "1"}, "seq"),
    ({"type": "ack", "bytes": -1}, "bytes"),
    ({"type": "signal"}, "name"),
    ({"type": "signal", "name": "SIGINT"}, "name"),
    ({"type": "signal", "name": "STOP"}, "name"),
    ({"type": "signal", "name": 2}, "name"),
    ({"type": "mode"}, "mode"),
    ({"type": "mode", "mode": "fast"}, "mode"),
    ({"type": "ping", "timestamp": "now"}, "timestamp"),
    ({"type": "pong", "timestamp": None}, "timestamp"),
    ({"type": "window_update"}, "window_size"),
    ({"type": "window_update", "window_size": 0}, "window_size"),
    ({"type": "window_update", "window_size": 2**40}, "window_size"),
]
MALFORMED_NUMBERS = [0, -1, -(2**63), 2**63, 1.0, "1", True, [1]]

MALFORMED_JSON: list[tuple[str | bytes, str]] = [
    ("", "truncated"),
    ("{", "truncated"),
    ("null", "object"),
    ("[]", "object"),
    ('"input"', "object"),
    ("7", "object"),
    ("{} {}", "type"),
    ('{"type":"detach"} x', "trailing"),
    ('{"type":"detach",}', "malformed"),
    ("{'type':'detach'}", "malformed"),
    ('\ufeff{"type":"detach"}', "malformed"),
    ('{"type":"input","data":"YQ"}', "data"),
    ('{"type":"input","data":"Y Q="}', "data"),
    ('{"type":"input","data":"YQ==\\n"}', "data"),
    ('{"type":"input","data":"_-__"}', "data"),
    ('{"type":"input","data":"\u2603"}', "data"),
    ('{"type":"ping","timestamp":NaN}', "malformed"),
    ('{"type":"ping","timestamp":-Infinity}', "malformed"),
    ('{"type":"ping","timestamp":1e999}', "timestamp"),
    (f'{{"type":"ping","timestamp":{HUGE}}}', "timestamp"),
    (f'{{"type":"ack","seq":{HUGE}}}', "seq"),
    (f'{{"type":"resize","rows":{HUGE}{HUGE},"cols":1}}', "rows"),
    ('{"type":"detach","x":' + "[" * 100_000 + "]" * 100_000 + "}", "cannot be read"),
    ('{"type":"detach","x":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}", "cannot be read"),
    ("[" * 1_000_000, "object"),
    ("\0", "malformed"),
]
MALFORMED_BYTES: list[tuple[str | bytes, str]] = [
    (b"\xff\xfe", "malformed"),
    (b'{"type":"\xff"}', "cannot be read"),
    (b'{"type":"input","data":"\xff\xff\xff\xff"}', "data"),
    (b'{"type":"signal","name":"\xc3"}', "cannot be read"),
]
MALFORMED_MSGPACK = [
    (b"", "truncated"),
    (b"\xc1", "malformed"),
    (b"\x81", "truncated"),
    (b"\x90", "object"),
    (b"\x81\xa4type\xa6detachx", "trailing"),
    (b"\x81\xa4type\xa2\xff\xff", "cannot be read"),
    (b"\x81\x01\xa6detach", "key"),
    (b"\x82\xa4type\xa5input\xa4data\xa1s", "data"),
    (b"\x82\xa4type\xa5input\xa4data\xc6\xff\xff\xff\xff", "truncated"),
    (b"\x82\xa4type\xa6detach\xa1x\xdd\xff\xff\xff\xff", "truncated"),
    (b"\xdf\xff\xff\xff\xff", "truncated"),
    (b"\x82\xa4type\xa6detach\xa1x" + b"\x91" * 100_000 + b"\x90", "cannot be read"),
    (b"\x82\xa4type\xa6detach\xa1x" + b"\x81\xa1a" * 100_000 + b"\x90", "cannot be read"),
    (b"\x91" * 1_000_000, "object"),
    (b"\x82\xa4type\xa3ack\xa3seq\xcf" + b"\xff" * 8, "seq"),
    (b"\x82\xa4type\xa3ack\xa3seq\xcb\x7f\xf8" + bytes(6), "seq"),
]


def refusal(codec: Codec, data: bytes | str) -> str:
    with pytest.raises(wire.DecodeError) as refused:
        codec.decode(data)
    return str(refused.value)


@pytest.mark.parametrize(("fields", "named"), MALFORMED_FIELDS, ids=lambda value: str(value)[:60])
def test_a_wrong_field_is_named(fields: dict[str, Any], named: str) -> None:
    assert named in refusal(JsonCodec(), json.dumps(fields))
    assert named in refusal(JsonCodec(), json.dumps(fields).encode())
    assert named in refusal(RawCodec(control=True), json.dumps(fields))
    assert named in refusal(MsgpackCodec(), msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("number", MALFORMED_NUMBERS, ids=str)
def test_inputs_are_numbered_from_one(number: object) -> None:
    assert "`$.n`" in refusal(JsonCodec(), json.dumps({"type": "input", "data": "YQ==", "n": number}))
    packed = msgspec.msgpack.encode({"type": "input", "data": b"a", "n": number})
    assert "`$.n`" in refusal(MsgpackCodec(), packed)


@pytest.mark.parametrize(("data", "named"), MALFORMED_JSON + MALFORMED_BYTES, ids=lambda value: ascii(value)[:40])
def test_what_is_no_json_message_is_refused(data: str | bytes, named: str) -> None:
    assert named in refusal(JsonCodec(), data)


@pytest.mark.parametrize(("data", "named"), MALFORMED_MSGPACK, ids=lambda value: ascii(value)[:40])
def test_what_is_no_msgpack_message_is_refused(data: bytes, named: str) -> None:
    assert named in refusal(MsgpackCodec(), data)


def test_msgpack_is_binary() -> None:
    assert "binary" in refusal(MsgpackCodec(), "text")


def test_a_refusal_is_short() -> None:
    told = refusal(JsonCodec(), json.dumps({"type": "x" * 100_000}))
    assert len(told) < 400
    assert "`$.type`" in told


def test_raw_bytes_are_input_whatever_they_are(rng: random.Random) -> None:
    for control in (False, True):
        data = rng.randbytes(1000)
        assert RawCodec(control=control).decode(data) == wire.Input(data)
    assert RawCodec(control=False).decode('{"type":"detach"}') == wire.Input(b'{"type":"detach"}')


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Return what is left of a message after one to five accidents."""
    mutant = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(mutant) + 1)
        match rng.randrange(5):
            case 0:
                del mutant[place:]
            case 1:
                del mutant[place : place + rng.randrange(1, 8)]
            case 2:
                mutant[place:place] = rng.randbytes(rng.randrange(1, 5))
            case 3:
                mutant[place:place] = mutant[: rng.randrange(1, 40)]
            case _:
                mutant[place : place + 1] = rng.choice(b'\0\x81\xff"{}[],:0123456789e-\\').to_bytes()
    return bytes(mutant)


def decode_all(codec: Codec, make: Callable[[], bytes | str], count: int) -> int:
    """Decode so many messages; return how many were refused."""
    refused = 0
    for _ in range(count):
        data = make()
        began = time.thread_time()
        try:
            codec.decode(data)
        except wire.DecodeError:
            refused += 1
        assert time.thread_time() - began < 1, data
    return refused


@pytest.mark.full
def test_malformed_messages_are_refused_and_nothing_else(rng: random.Random, size: Callable[[int, int], int]) -> None:
    count = size(50_000, 1_000_000) // 5
    as_json = [wire.encode_json(message) for message in CLIENT.values()]
    as_msgpack = [wire.encode_msgpack(message) for message in CLIENT.values()]
    makers: list[tuple[Codec, Callable[[], bytes | str]]] = [
        (JsonCodec(), lambda: mutate(rng, rng.choice(as_json))),
        (JsonCodec(), lambda: mutate(rng, rng.choice(as_json)).decode("utf-8", "replace")),
        (RawCodec(control=True), lambda: mutate(rng, rng.choice(as_json)).decode("latin-1")),
        (MsgpackCodec(), lambda: mutate(rng, rng.choice(as_msgpack))),
        (MsgpackCodec(), lambda: rng.randbytes(rng.randrange(60))),
    ]
    refused = [decode_all(codec, make, count) for codec, make in makers]
    assert all(number > count // 2 for number in refused), refused
