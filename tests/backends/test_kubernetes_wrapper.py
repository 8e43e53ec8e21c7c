"""What the wrapper says is told from what programs print, and programs get what they are given."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import InvalidProgram
from backends.kubernetes.wrapper import BOOT, Marks, Setup, compose

if TYPE_CHECKING:
    from collections.abc import Sequence

NONCE = "0123456789abcdef01234567"
pytestmark = pytest.mark.platform("linux")

pieces = st.lists(
    st.sampled_from([b"\x02", b"\x03", NONCE.encode(), b"E7", b"\x02" + NONCE.encode()[:9], b"text", b"\0", b"B1"])
    | st.binary(max_size=50)
)


def feed(marks: Marks, data: bytes, cuts: Sequence[int]) -> bytes:
    """Feed in pieces."""
    output, last = b"", 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        output += marks.feed(data[last:cut])
        last = cut
    return output + marks.flush()


@given(pieces, st.lists(st.integers(min_value=0)), st.integers(min_value=0, max_value=255))
def test_output_is_exact_however_it_is_cut(parts: list[bytes], cuts: list[int], code: int) -> None:
    printed = b"".join(parts)
    head = b"\x02" + NONCE.encode()
    if head in printed:
        return  # a program cannot know it
    marks = Marks(NONCE)
    stream = b"echo of a script" + head + b"B42\x03" + printed + head + b"E%d\x03" % code
    assert feed(marks, stream, cuts) == printed
    assert (marks.begun, marks.ended) == (42, code)


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0)))
def test_without_a_last_word_all_is_output(printed: bytes, cuts: list[int]) -> None:
    marks = Marks(NONCE)
    marks.feed(b"\x02" + NONCE.encode() + b"B42\x03")
    assert feed(marks, printed, cuts) == printed
    assert marks.ended is None


def run(shell: Sequence[str], setup: Setup) -> tuple[bytes, Marks]:
    """Run the wrapper at pipes, where it speaks on stderr."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "_tv": "taken", "_tn": "taken"}
    done = subprocess.run(
        [*shell, "-c", BOOT, setup.mark], input=compose(setup), capture_output=True, env=environment, check=False
    )
    marks = Marks(setup.nonce)
    marks.feed(done.stderr)
    return done.stdout, marks


@pytest.fixture(params=["dash", "bash", "busybox"])
def shell(request: pytest.FixtureRequest) -> Sequence[str]:
    path = shutil.which(request.param)
    if path is None:
        pytest.skip(f"no {request.param} here")
    return [path, "sh"] if request.param == "busybox" else [path]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        'it\'s "quoted" $HOME `x` \\ %s',
        "lines\n\n",
        "\x02\x03\x04\x7f\x1b",
        "ü🙂 \udcff",
        "x" * 5000,
        "é" * 999,
    ],
    ids=range(8),
)
def test_values_arrive_as_they_are(shell: Sequence[str], value: str) -> None:
    show = 'printf "%s|%s|%s" "$1" "$VALUE" "$GREETING"'
    setup = Setup("ts-1", NONCE, words=["sh", "-c", show, "sh", value], env={"VALUE": value, "GREETING": "$GREETING!"})
    output, marks = run(shell, setup)
    data = value.encode("utf-8", "surrogateescape")
    assert output == data + b"|" + data + b"|!"
    assert marks.ended == 0


def test_a_variable_is_put_into_its_own_value_only(shell: Sequence[str]) -> None:
    env = {"PATH": "/first:$PATH:${PATH}/x", "OTHER": "$PATH $OTHERS"}
    output, _ = run(shell, Setup("ts-1", NONCE, words=["sh", "-c", 'printf "%s|%s" "$PATH" "$OTHER"'], env=env))
    path = os.environ["PATH"]
    assert output.decode() == f"/first:{path}:{path}/x|$PATH $OTHERS"


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"words": ["no-such-command"]}, "X127"),
        ({"words": ["exit"]}, "X127"),
        ({"words": ["/etc/passwd"]}, "X126x"),
        ({"words": ["/etc"]}, "X126d"),
        ({"words": ["true"], "cwd": "/no-such"}, "Dm"),
        ({"words": ["true"], "cwd": "/etc/passwd"}, "Dk"),
        ({"shells": [""]}, None),
    ],
)
def test_what_cannot_be_started_is_said(shell: Sequence[str], fields: dict[str, object], refused: str | None) -> None:
    _, marks = run(shell, Setup("ts-1", NONCE, **fields))  # type: ignore[arg-type]
    assert marks.begun is None
    assert marks.refused == refused if refused else str(marks.refused).startswith("S ")


def test_what_cannot_be_said_is_refused() -> None:
    for env in ({"A-B": "x"}, {"A": "\0"}, {"A": "x" * 300_000}):
        with pytest.raises(InvalidProgram):
            compose(Setup("ts-1", NONCE, words=["true"], env=env))


def test_lines_are_such_as_a_terminal_takes() -> None:
    script = compose(Setup("ts-1", NONCE, words=["\x03" * 3000, "'" * 3000], env={"A": "'" * 999}, size=(24, 80)))
    assert max(map(len, script.split(b"\n"))) < 4000
    assert not any(byte < 32 and byte != 10 for byte in script)
