"""What of a terminal's output lasts, and that a preamble brings an emulator there."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.memory import MemoryStore
from terminal_service.modes import CARRY_BYTES, CHECKPOINT_BYTES, REST, STYLES_LIMIT, Modes, ModeScanner
from terminal_service.styles import combine

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from replay.log import Log

PREAMBLES = [
    (b"plain text\r\n", b""),
    (b"\x1b[?1049h", b"\x1b[?1049h"),
    (b"\x1b[?1049h\x1b[?1049l", b""),
    (b"\x1b[?47h\x1b[?1047h", b"\x1b[?1047h"),
    (b"\x1b[?25l", b"\x1b[?25l"),
    (b"\x1b[?25l\x1b[?25h", b""),
    (b"\x1b[?7l\x1b[?7h\x1b[?7l", b"\x1b[?7l"),
    (b"\x1b[?1000;1006h", b"\x1b[?1000h\x1b[?1006h"),
    (b"\x1b[?1000;1006h\x1b[?1000l", b"\x1b[?1006h"),
    (b"\x1b[?2004h\x1b[?1h\x1b=", b"\x1b[?2004h\x1b[?1h\x1b="),
    (b"\x1b=\x1b>", b""),
    (b"\x1b[4h", b"\x1b[4h"),
    (b"\x1b[4h\x1b[4l", b""),
    (b"\x1b[?4h", b""),
    (b"\x1b[2;10r", b"\x1b7\x1b[2;10r\x1b8"),
    (b"\x1b[2;10r\x1b[r", b""),
    (b"\x1b[?1r", b""),
    (b"\x1b[5 q", b"\x1b[5 q"),
    (b"\x1b[5q", b""),
    (b"\x1b(0", b"\x1b(0"),
    (b"\x1b(0\x1b)0\x1b(B", b"\x1b)0"),
    (b"\x1b[1m\x1b[31m", b"\x1b[1m\x1b[31m"),
    (b"\x1b[1m\x1b[m", b""),
    (b"\x1b[1m\x1b[0;4m", b"\x1b[0;4m"),
    (b"\x1b[>4;2m", b""),
    (b"\x1b]0;a title\x07", b"\x1b]2;a title\x07"),
    (b"\x1b]2;\xc3\xbc\x1b\\", b"\x1b]2;\xc3\xbc\x07"),
    (b"\x1b]1;icon\x07", b""),
    (b"\x1b]2;" + b"x" * 1000 + b"\x07", b"\x1b]2;" + b"x" * 256 + b"\x07"),
    (b"\x1b[>1u\x1b[>3u", b"\x1b[>1u\x1b[>3u"),
    (b"\x1b[>1u\x1b[>3u\x1b[<u", b"\x1b[>1u"),
    (b"\x1b[>1u\x1b[<99u", b""),
    (b"\x1b[?25l\x1b[1m\x1b[2;3r\x1b[4h\x1bc", b""),
    (b"\x1b[?1049h\x1b[?25l\x1b[1m\x1b[2;3r\x1b[!p", b"\x1b[?1049h"),
    (b"\x1b[" + b"1" * 100_000 + b"m", b""),
]


def modes_after(*pieces: bytes) -> Modes:
    """Feed pieces as they come from a terminal: what is left unread is fed again with the next one."""
    modes, rest = Modes(), b""
    for piece in pieces:
        rest += piece
        unread = modes.feed(rest)
        assert unread <= CARRY_BYTES
        rest = rest[len(rest) - unread :]
    return modes


@pytest.mark.parametrize(("output", "preamble"), PREAMBLES, ids=lambda value: ascii(value)[:50])
def test_a_preamble_says_what_lasts(output: bytes, preamble: bytes) -> None:
    modes = modes_after(b"before" + output + b"after")
    assert modes.preamble() == preamble
    assert modes_after(preamble) == modes, "an emulator at rest comes to the same modes"
    assert modes_after(preamble).preamble() == preamble
    assert modes_after(b"\x1b[?2004h\x1b[7m\x1b[>7u" + modes.restore()) == modes, "and so does any other"


@pytest.mark.parametrize(("output", "preamble"), PREAMBLES, ids=lambda value: ascii(value)[:50])
def test_a_sequence_may_be_cut_anywhere(output: bytes, preamble: bytes) -> None:
    for cut in range(min(len(output), 5000)):
        assert modes_after(output[:cut], output[cut:]).preamble() == preamble
    if len(output) < 5000:
        assert modes_after(*(output[at : at + 1] for at in range(len(output)))).preamble() == preamble


NUMBERS = st.integers(0, 110).map(lambda number: b"%d" % number)
MODES = st.sampled_from(b"1 5 6 7 9 12 25 45 47 66 69 1000 1002 1006 1007 1047 1049 2004 4 3 999".split())
COLOURS = st.sampled_from([b"38;5;200", b"48;2;1;2;3", b"38:5:9", b"4:3", b"4:0", b"58;5;1", b"0", b"", b"22", b"38;5"])
SEQUENCES = st.one_of(
    st.tuples(st.lists(MODES, min_size=1, max_size=3), st.sampled_from(b"hl")).map(
        lambda drawn: b"\x1b[?" + b";".join(drawn[0]) + bytes([drawn[1]])
    ),
    st.lists(st.one_of(NUMBERS, COLOURS), max_size=4).map(lambda drawn: b"\x1b[" + b";".join(drawn) + b"m"),
    st.sampled_from(
        [
            b"\x1b[4h",
            b"\x1b[4l",
            b"\x1b=",
            b"\x1b>",
            b"\x1b(0",
            b"\x1b)0",
            b"\x1b(B",
            b"\x1b[2;20r",
            b"\x1b[r",
            b"\x1b[3 q",
            b"\x1b[0 q",
            b"\x1b[!p",
            b"\x1bc",
            b"\x1b[>5u",
            b"\x1b[>u",
            b"\x1b[<u",
            b"\x1b[<2u",
            b"\x1b]0;title\x07",
            b"\x1b]2;other\x1b\\",
            b"\x1b]2;cut\x1b[1m",
            b"\x1b]8;;http://x\x07",
        ]
    ),
    st.sampled_from([b"text", b"\r\n", b"\x1b", b"\x1b[", b"\x1b]", b"\x1b[K", b"\x1b[1;", b"\xff\xc3", b"\x1b]2;"]),
)
OUTPUT = st.lists(SEQUENCES, max_size=40).map(b"".join)


@settings(max_examples=150)
@given(output=OUTPUT, cuts=st.lists(st.integers(0, 400), max_size=10))
def test_pieces_give_the_same_modes_as_the_whole(output: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    pieces = [output[start:end] for start, end in itertools.pairwise(places)]
    assert modes_after(*pieces) == modes_after(output)
    assert modes_after(*pieces).preamble() == modes_after(output).preamble()


@settings(max_examples=150)
@given(output=OUTPUT, other=OUTPUT)
def test_a_preamble_restores_all_modes_from_rest_and_from_anywhere(output: bytes, other: bytes) -> None:
    modes = modes_after(output + b"\0")
    assert modes_after(modes.preamble()) == modes
    elsewhere = modes_after(other + b"\0" + modes.restore())
    if not modes.title:
        elsewhere.title = b""  # a title cannot be taken back
    for mode in (b"3", b"12", b"1007"):  # the user's choice at rest
        if mode not in modes.private:
            elsewhere.private.pop(mode, None)
    assert elsewhere == modes


# -- an independent emulator


PYTE_SEQUENCES = st.one_of(
    st.tuples(st.sampled_from([b"?25", b"?7", b"4", b"?6"]), st.sampled_from(b"hl")).map(
        lambda drawn: b"\x1b[" + drawn[0] + bytes([drawn[1]])
    ),
    st.lists(
        st.sampled_from([1, 3, 4, 5, 7, 9, 22, 23, 24, 25, 27, 29, 31, 39, 44, 49, 95, 102, 0]), min_size=1, max_size=3
    ).map(lambda codes: b"\x1b[" + b";".join(b"%d" % code for code in codes) + b"m"),
    st.sampled_from([b"\x1b[38;5;200m", b"\x1b[48;2;1;2;3m", b"\x1b[38;2;9;8;7m"]),
    st.sampled_from([b"\x1b[2;20r", b"\x1b[5;10r", b"\x1b[r", b"\x1b(0", b"\x1b)0", b"\x1b(B", b"\x1b)B"]),
    st.sampled_from([b"\x1b]0;one\x07", b"\x1b]2;two\x1b\\", b"text\r\n", b"\x1b[3;4H"]),
)
PYTE_OUTPUT = st.lists(PYTE_SEQUENCES, max_size=60).map(b"".join)


def emulated(*pieces: bytes) -> dict[str, object]:
    """Return the lasting state of pyte's emulator after some output."""
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    stream.use_utf8 = False  # pyte ignores charsets in UTF-8
    stream.feed(b"\x1b)B")  # pyte begins with line drawing here
    for piece in pieces:
        stream.feed(piece)
    attributes = screen.cursor.attrs._replace(data=" ")
    return {
        "modes": screen.mode,
        "region": screen.margins,
        "title": screen.title,
        "attributes": attributes,
        "charsets": (screen.g0_charset, screen.g1_charset),
        "hidden": screen.cursor.hidden,
    }


@settings(max_examples=60)
@given(output=PYTE_OUTPUT)
def test_an_emulator_at_rest_comes_to_the_state_of_one_that_saw_all(output: bytes) -> None:
    assert emulated(modes_after(output).preamble()) == emulated(output)


@settings(max_examples=60)
@given(output=PYTE_OUTPUT, seen=PYTE_OUTPUT)
def test_an_emulator_that_saw_other_output_comes_to_that_state_too(output: bytes, seen: bytes) -> None:
    modes = modes_after(output)
    expected = emulated(output) if modes.title else {**emulated(output), "title": emulated(seen)["title"]}
    without_keyboard = modes.restore().replace(b"\x1b[<16u", b"")  # pyte prints what it does not know
    assert without_keyboard != modes.restore()
    without_style = without_keyboard.replace(b"\x1b[ q", b"")
    assert emulated(seen, without_style) == expected
    assert emulated(seen, without_style, without_style) == expected


# -- styles


@pytest.mark.parametrize(
    ("styles", "combined"),
    [
        ([b"1", b"31"], [b"1", b"31"]),
        ([b"1;31", b"32"], [b"1", b"32"]),
        ([b"1", b"", b"4"], [b"4"]),
        ([b"1;;4"], [b"4"]),
        ([b"1;"], []),
        ([b";1"], [b"1"]),
        ([b"38;5;0;1"], [b"38;5;0", b"1"]),
        ([b"38;2;0;0;0", b"48;5;1"], [b"38;2;0;0;0", b"48;5;1"]),
        ([b"38:2::1:2:3", b"39"], []),
        ([b"4:3", b"4:0"], []),
        ([b"21", b"4"], [b"4"]),
        ([b"1;2", b"22"], []),
        ([b"91;104", b"49"], [b"91"]),
        ([b"12", b"10"], []),
        ([b"777", b"99;1"], [b"1"]),
    ],
)
def test_styles_come_to_what_is_in_effect(styles: list[bytes], combined: list[bytes]) -> None:
    assert combine(styles) == combined


@given(st.lists(st.lists(st.one_of(NUMBERS, COLOURS), max_size=8).map(b";".join), max_size=60))
def test_styles_in_effect_are_few(styles: list[bytes]) -> None:
    assert len(combine(styles)) < STYLES_LIMIT
    modes = modes_after(*(b"\x1b[" + style + b"m" for style in styles))
    assert len(modes.styles) <= STYLES_LIMIT
    assert combine(modes.styles) == combine(style for style in styles if len(style) <= 64)


# -- the scanner


@pytest.fixture
def log() -> Iterator[Log]:
    made = MemoryStore().create("s/main", 8 * 1024 * 1024)
    yield made
    made.close()


def colourful(rng: random.Random, size: int) -> bytes:
    """Return output with a lasting sequence about every hundred bytes."""
    kinds = [b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25l", b"\x1b[?25h", b"\x1b[1m", b"\x1b[38;5;%dm", b"\x1b[m"]
    kinds += [b"\x1b]2;title %d\x07", b"\x1b[2;%dr", b"\x1b[>%du", b"\x1b[<u", b"\x1b(0", b"\x1b(B", b"\x1b[?2004h"]
    made = bytearray()
    while len(made) < size:
        kind = rng.choice(kinds)
        made += kind % rng.randrange(100) if b"%" in kind else kind
        made += b"x" * rng.randrange(200)
    return bytes(made[:size])


def test_modes_at_any_position_are_those_of_a_scan_from_the_beginning(log: Log, rng: random.Random) -> None:
    output = colourful(rng, 5 * 1024 * 1024)
    scanner = ModeScanner(log)
    for start in range(0, len(output), 700_001):
        log.append(output[start : start + 700_001])
        for _ in range(4):
            position = rng.randrange(log.head + 1)
            assert scanner.modes_at(position) == modes_after(output[:position])
    assert scanner.modes_at(0) == Modes()
    assert scanner.modes_at(log.head) == modes_after(output)
    assert scanner.modes_at(CHECKPOINT_BYTES) == modes_after(output[:CHECKPOINT_BYTES])


def test_a_scan_is_not_repeated(log: Log, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = 0
    feed = Modes.feed

    def counting(self: Modes, data: bytes | memoryview) -> int:
        nonlocal scanned
        scanned += len(data)
        return feed(self, data)

    log.append(colourful(rng, 7 * 1024 * 1024))
    scanner = ModeScanner(log)
    monkeypatch.setattr(Modes, "feed", counting)
    scanner.modes_at(log.head)
    assert scanned <= log.head + CHECKPOINT_BYTES
    assert scanner.lag <= CARRY_BYTES
    for _ in range(10):
        scanned = 0
        scanner.modes_at(rng.randrange(log.first, log.head))
        assert scanned <= 2 * CHECKPOINT_BYTES


def test_what_is_trimmed_after_a_quick_look_leaves_its_private_modes(log: Log) -> None:
    scanner = ModeScanner(log)
    log.append(b"\x1b[?1049h\x1b[?1000;2004h\x1b[31m")
    for _ in range(40):
        scanner.release(log.head + 1_000_000 - log.retention_bytes)
        log.append(b"x" * 999_000 + b"\x1b[?25")
        log.append(b"l")
    assert log.first > 10**7
    assert log.first <= scanner.needed
    log.append(b"\x1b[4m")
    assert scanner.modes_at(log.first).preamble() == b"\x1b[?1049h\x1b[?1000h\x1b[?2004h\x1b[?25l"
    assert scanner.modes_at(log.head).preamble() == b"\x1b[?1049h\x1b[?1000h\x1b[?2004h\x1b[?25l\x1b[4m"


def test_modes_of_retained_output_are_right_whatever_was_trimmed(log: Log, rng: random.Random) -> None:
    scanner, margin = ModeScanner(log), 64 * 1024
    for _ in range(300):
        piece = b"\x1b[?25%c" % rng.choice(b"hl") + b"\x1b[?%d%c" % (rng.choice([1000, 2004]), rng.choice(b"hl"))
        piece += b"x" * rng.randrange(100_000)
        if log.head + len(piece) - log.retention_bytes > scanner.needed:
            scanner.release(log.head + len(piece) - log.retention_bytes + margin)
        log.append(piece)
        if rng.random() < 0.1:
            scanner.modes_at(rng.randrange(max(log.first, scanner.needed), log.head + 1))
    assert log.first > 0
    history = modes_history(log, scanner.modes_at(scanner.needed), scanner.needed)
    for position, modes in history:
        assert scanner.modes_at(position).private == modes.private


def modes_history(log: Log, modes: Modes, start: int) -> list[tuple[int, Modes]]:
    """Return the modes at every 50,000th retained position, from a scan of all bytes from `start`."""
    data = log.read_range(start, log.head)
    history = []
    for cut in range(0, len(data), 50_000):
        there = modes.copy()
        there.feed(data[:cut])
        history.append((start + cut, there))
    return history


def test_modes_learned_in_full_are_not_lost_to_a_quick_look(log: Log) -> None:
    scanner = ModeScanner(log)
    log.append(b"\x1b]2;title\x07\x1b[>1u")
    scanner.modes_at(log.head)
    log.append(b"x" * 1000)
    scanner.release(500)
    assert scanner.modes_at(log.head).preamble() == b"\x1b]2;title\x07\x1b[>1u"
    assert scanner.needed == 500


def test_what_was_trimmed_unseen_stays_unknown(log: Log) -> None:
    scanner = ModeScanner(log)
    log.append(b"\x1b[?1049h")
    log.append(b"x" * log.retention_bytes)
    log.append(b"\x1b[?25l")
    assert scanner.modes_at(log.head).preamble() == b"\x1b[?25l"
    log.trim(log.head)
    assert scanner.modes_at(log.first).preamble() == b"\x1b[?25l"


def test_a_quick_look_can_be_cut_anywhere_in_a_private_mode() -> None:
    sequence = b"\x1b[?1000;1006h"
    for cut in range(len(sequence)):
        modes = Modes()
        unread = modes.feed_quickly(b"x" * 200 + sequence[:cut])
        assert unread == cut
        assert modes.feed_quickly(sequence + b"\x1b[1m") == 0
        assert modes.preamble() == b"\x1b[?1000h\x1b[?1006h"


def test_a_quick_look_finds_private_modes_at_any_distance_from_a_question_mark() -> None:
    for distance in range(2100):
        modes = Modes()
        modes.feed_quickly(b"?" + b"x" * distance + b"\x1b[?1049h" + b"?" * (distance % 7) + b"\x1b[?25l")
        assert modes.preamble() == b"\x1b[?1049h\x1b[?25l"


def test_rest_is_rest() -> None:
    assert modes_after(REST) == Modes()
