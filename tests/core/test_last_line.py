"""The last line of output as text: what a terminal would show of it, whatever the output is."""

from __future__ import annotations

import time
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from terminal_service.last_line import LIMIT_CHARACTERS, TAIL_BYTES, last_line

if TYPE_CHECKING:
    import random


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (b"", None),
        (b"\r\n \t\r\n", None),
        (b"one\r\ntwo\r\n\r\n", "two"),
        (b"one\r\ntwo", "two"),
        ("größer 😀 👩‍👩‍👧\r\n".encode(), "größer 😀 👩‍👩‍👧"),
        ("cut \u00fc".encode()[:-1], "cut"),
        (b"binary \xff\xfe rest", "binary  rest"),
        # colours, titles and other strings
        (b"\x1b[1;31mred\x1b[0m \x1b[38:2::1:2:3mtrue\x1b[m\n", "red true"),
        (b"\x1b]0;title\x07\x1b[?2004h\x1b[01;32mann@host\x1b[00m:\x1b[01;34m~\x1b[00m$ ", "ann@host:~$"),
        (b"text\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "textlink"),
        (b"before\x1bP+q544e\x1b\\after", "beforeafter"),
        (b"text\x1b]0;never ended", "text"),
        (b"text\x1b[38;5", "text"),
        (b"text\x1b(B\x1b=\x1b%G", "text"),
        (b"bell\x07 and \x00nothing\x7f", "bell and nothing"),
        # the cursor within a line
        (b"10%\r20%\r\x1b[K30%", "30%"),
        (b"long line\rshort", "shortline"),
        (b"abc\b\b\x1b[Kx", "ax"),
        (b"abc\x1b[2Dx", "axc"),
        (b"abc\x1b[2K\rnew", "new"),
        (b"abcdef\x1b[3D\x1b[1K", "def"),
        (b"abc\r\x1b[2Cx", "abx"),
        (b"a\x1b[5Gb", "a   b"),
        (b"a\tb", "a       b"),
        (b"$ ls /tm\b\b\x1b[1@x\x1b[1P", "$ ls /xm"),
        (b"abcd\x1b[3D\x1b[2X", "a  d"),
        (b"done\r\n\x1b[1m\x1b[7m%\x1b[0m" + b" " * 78 + b"\r \r\r\x1b[Jhost% \x1b[K", "host%"),  # zsh
        # lines and screens
        (b"one\x1b[Atwo", "two"),
        (b"old\x1b[H\x1b[2Jnew", "new"),
        (b"$ vim\r\n\x1b[?1049h~\r\n~\r\n\x1b[24;1Hfile 1L", "file 1L"),
        (b"$ vim\r\n\x1b[?1049h~\r\n~\x1b[24;1Hfile 1L\x1b[?1049l\x1b[K", "$ vim"),
        (b"$ vim\r\n\x1b[?1049h~\x1b[?1049l$ ls", "$ ls"),
        (b"before\r\n\x1b[?1049l", "before"),
        # what is not for eyes
        ("a\u202eb\u200bc\u2028d\u00a0e\u0085f".encode(), "abc d e f"),
    ],
)
def test_a_line_is_what_a_terminal_would_show(output: bytes, line: str | None) -> None:
    assert last_line(output) == line


@pytest.mark.parametrize(
    ("tail", "line"),
    [
        (b"alf a line\r\n$ ", "$"),
        (b"tle of a window\x07$ ", "$"),
        (b"tle of a window\x1b\\$ ", "$"),
        (b"progress\x1b[32m ok", "ok"),
        (b"a long line without an end", "a long line without an end"),
        (b"drawn by vim\x1b[5;1Hmore\x1b[?1049l", None),
        (b"drawn by vim\x1b[?1049l\r\n$ ls", "$ ls"),
    ],
)
def test_what_has_lost_its_beginning_is_not_taken_for_text(tail: bytes, line: str | None) -> None:
    assert last_line(tail, is_cut=True) == line


def test_a_line_is_short() -> None:
    assert last_line(b"x" * 1000) == "x" * LIMIT_CHARACTERS
    assert last_line(b"x" + b" " * 1000 + b"y") == "x"


PIECES = st.sampled_from(
    [
        *"a 😀é[]P?;:012hlmKJGHCD@PX\\`\x1b\r\n\b\t\a\0\x7f\x85\u202e\u2028",
        "47",
        "1049",
        "999999999999",
        "\x1b[",
        "\x1b]",
    ]
)
OUTPUT = st.binary() | st.lists(PIECES, max_size=200).map(lambda pieces: "".join(pieces).encode())


@given(output=OUTPUT, is_cut=st.booleans())
@example(output=b"\x1b[999G\x1b[999C\x1b[999C\x1b[999Cx", is_cut=False)
def test_nothing_makes_it_fail_or_show_what_it_should_not(*, output: bytes, is_cut: bool) -> None:
    line = last_line(output, is_cut=is_cut)
    if line is not None:
        assert 0 < len(line) <= LIMIT_CHARACTERS
        assert line == line.strip()
        kinds = {unicodedata.category(each) for each in line if each != "\u200d"}
        assert not {kind for kind in kinds if kind[0] == "C"}
        assert kinds.isdisjoint({"Zl", "Zp"})


@pytest.mark.parametrize(
    "unit",
    [b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b[?1049h", b"\x1b[?1049h\x1b[?1049l", b"a\r", b"\r \n", b"\b\n", b"\t",
     b"ab\x1b[2K", b"\x1b[999C\x1b[999@", b"\x1b[0", b"[0;", b"\x1b[C\n", b" ", b"\xff", b"\xf0\x9f"],
)  # fmt: skip
def test_the_worst_output_takes_milliseconds(unit: bytes) -> None:
    output = (unit * TAIL_BYTES)[:TAIL_BYTES]
    began = time.perf_counter()
    last_line(output, is_cut=True)
    assert time.perf_counter() - began < 0.1  # fifty times what it takes here


def test_random_bytes_are_read_too(rng: random.Random) -> None:
    for _ in range(1000):
        last_line(rng.randbytes(TAIL_BYTES), is_cut=True)
