"""What runs between a container's `sh` and a program: it sets the program up, and says how the program ended.

An exec can only start an argv: no variables, no directory, and the end that the cluster reports is not to be believed
(`docs/kubernetes.md`). So `BOOT` is started, reads a script from its standard input, and runs it. Lines are short and
have no control characters: a terminal takes them like a person's typing. What it says is between STX and ETX, behind a
nonce that only the script has, so that no program can say the same by accident; it ends `E<code>`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.environment import MARK, check_text
from backends.errors import InvalidProgram

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BOOT = '_ts=;while IFS= read -r _tl;do [ "$_tl" = . ]&&{ eval "$_ts";exit;};_ts="$_ts$_tl\n";done'
"""Reads lines up to a dot and runs them; ends at the end of its input."""

SHELLS = ("bash", "zsh", "fish", "sh")
"""In the order in which a shell is chosen. None is a login shell: profiles would replace the PATH of the image."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE_CHARACTERS = 700
"""A terminal takes lines of up to 4095 bytes."""
_MOST_BYTES = 256 * 1024
_STX, _ETX = b"\x02", b"\x03"
_LONGEST_WORD = 2048
"""What the wrapper says is shorter."""
_NOISE_BYTES = 4 * _MOST_BYTES
"""What a terminal may echo before the program begins."""


@dataclass(frozen=True)
class Setup:
    """What is to be started, and how."""

    mark: str
    """By which its processes are known again."""
    nonce: str
    words: Sequence[str] = ()
    """The program and its arguments; none: the first of `shells` that is there."""
    shells: Sequence[str] = ()
    """Choose one of these."""
    shell: str = ""
    """As what it is asked for, if none is there."""
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """In the value of NAME, `$NAME` and `${NAME}` stand for what it would have been."""
    session_id: str = ""
    size: tuple[int, int] | None = None
    """Rows and columns, if it runs at a terminal."""


_FUNCTIONS = r"""
exec 9>&2 2>/dev/null
trap : HUP INT QUIT TERM USR1 USR2 PIPE ALRM TSTP TTIN TTOU
_ty() { printf '\002%s%s\003' "$_tn" "$1" >&9; }
_tx() { _ty "$1"; exit "$2"; }
_tf() {
_tp= _tq=127
case $1 in
*/*) if [ -d "$1" ]; then _tq=126d; elif [ -x "$1" ]; then _tp=$1; elif [ -e "$1" ]; then _tq=126x; fi;;
*) _ti=$IFS; IFS=:; set -f
for _td in $PATH; do _tc=${_td:-.}/$1
if [ -f "$_tc" ]; then if [ -x "$_tc" ]; then _tp=$_tc; break; fi; _tq=126x; fi; done
set +f; IFS=$_ti;;
esac
[ -n "$_tp" ]; }
: "${HOME:=/}" "${PATH:=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
[ -n "${LC_ALL-}${LC_CTYPE-}${LANG-}" ] || LANG=C.UTF-8
export HOME PATH ${LANG+LANG}
"""

_RUN = r"""
(_ty "B$$"; exec "$_tp" "$@" 2>&9 9>&-)
_ts=$?
_ty "E$_ts"
exit "$_ts"
"""


def compose(setup: Setup) -> bytes:
    """Return the script, dot and all. Raises InvalidProgram: it cannot be said."""
    lines = [f"_tn={setup.nonce}", *_FUNCTIONS.strip().splitlines()]
    if setup.size is not None:
        lines += ["stty rows {} cols {} <&9".format(*setup.size), "export TERM=xterm-256color COLORTERM=truecolor"]
    for name, value in setup.env.items():
        lines += _variable(name, value)
    for name, value in (("TERMINAL_SESSION_ID", setup.session_id), (MARK, setup.mark)):
        lines += [*_value(value, ""), f'export {name}="$_tv"']
    lines += _enter(setup.cwd)
    lines += _choose(setup)
    lines += _RUN.strip().splitlines()
    script = "\n".join(lines)
    if len(script) > _MOST_BYTES:
        raise InvalidProgram("command", f"it and its variables have more than {_MOST_BYTES // 1024} KiB together")
    return f"{script}\n.\n".encode("ascii")


def _variable(name: str, value: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        raise InvalidProgram(f"env[{name!r}]", "a name is made of A-Z, a-z, 0-9 and `_` in a container")
    check_text(f"env[{name!r}]", value)
    yield from _value(value, name)
    yield f'export {name}="$_tv"'


def _value(value: str, name: str) -> Iterator[str]:
    """Yield lines that put a value into `_tv`; `$name` in it stands for what the variable has now."""
    yield "_tv="
    own = rf"(\$(?:\{{{name}\}}|{name}(?![A-Za-z0-9_])))" if name else "(?!)"
    for part in re.split(own, value) if name else [value]:
        if name and part in (f"${name}", f"${{{name}}}"):
            yield f'_tv="$_tv${{{name}-}}"'
            continue
        for start in range(0, len(part), _LINE_CHARACTERS // 5):
            yield from _piece(part[start : start + _LINE_CHARACTERS // 5])


def _piece(text: str) -> Iterator[str]:
    if text.isascii() and text.isprintable():
        yield f'_tv="$_tv"{shlex.quote(text)}'
        return
    octal = "".join(f"\\0{byte:03o}" for byte in text.encode("utf-8", "surrogateescape"))
    for start in range(0, len(octal), _LINE_CHARACTERS // 5 * 5):
        yield f"_tv=\"$_tv$(printf '%bx' '{octal[start : start + _LINE_CHARACTERS // 5 * 5]}')\""
        yield '_tv="${_tv%x}"'


def _enter(cwd: str | None) -> Iterator[str]:
    yield 'cd "$HOME"'
    if cwd is not None:
        check_text("cwd", cwd)
        yield from _value(cwd if cwd.startswith("/") else f"./{cwd}", "")
        yield '[ -e "$_tv" ] || _tx Dm 1'
        yield '[ -d "$_tv" ] || _tx Dk 1'
        yield 'CDPATH= cd "$_tv" || _tx Dd 1'


def _choose(setup: Setup) -> Iterator[str]:
    """Yield lines that find the program, and say so if they cannot."""
    yield "set --"
    if setup.shells:
        listing = f'_ta=; for _tw in {" ".join(SHELLS)}; do _tf "$_tw" && _ta="$_ta $_tw"; done; _tx "S$_ta" 1'
        yield f'for _tw in {" ".join(map(shlex.quote, setup.shells))}; do _tf "$_tw" && break; done'
        yield f'[ -n "$_tp" ] || {{ {listing}; }}'
        return
    for word in setup.words:
        check_text("command", word)
        yield from _value(word, "")
        yield 'set -- "$@" "$_tv"'
    yield '_tf "$1" || _tx "X$_tq" 127'
    yield "shift"


class Marks:
    """Takes what the wrapper says out of a program's output. Holds back only what may become such a word."""

    def __init__(self, nonce: str) -> None:
        """Expect words behind this nonce."""
        self._head = _STX + nonce.encode()
        self._held = b""
        self.begun: int | None = None
        """The wrapper's process id, once the program runs."""
        self.refused: str | None = None
        """Why it does not run, as the wrapper has it."""
        self.ended: int | None = None
        """The program's exit code."""

    def feed(self, data: bytes) -> bytes:
        """Return what of this is the program's output; nothing is until it has begun."""
        if self._held:
            data, self._held = self._held + data, b""
        output = []
        while True:
            at = data.find(self._head)
            if at < 0:
                break
            end = data.find(_ETX, at)
            if end < 0:
                if len(data) - at < _LONGEST_WORD:
                    self._held = data[at:]
                    data = data[:at]
                break
            if self.begun is not None:
                output.append(data[:at])
            self._hear(data[at + len(self._head) : end].decode(errors="replace"))
            data = data[end + 1 :]
        if not self._held:
            data = self._hold_back(data)
        if self.begun is None:
            return b""
        return b"".join([*output, data]) if output else data

    def flush(self) -> bytes:
        """Return what was held back: there is no more."""
        held, self._held = self._held, b""
        return held if self.begun is not None else b""

    @property
    def holds(self) -> bool:
        """Whether something is held back."""
        return bool(self._held)

    def _hold_back(self, data: bytes) -> bytes:
        """Keep the end of `data` if the head of a word may begin there."""
        at = data.rfind(_STX, max(0, len(data) - len(self._head)))
        if at < 0 or not self._head.startswith(data[at:]):
            return data
        self._held = data[at:]
        return data[:at]

    def _hear(self, word: str) -> None:
        kind, rest = word[:1], word[1:]
        if kind == "B" and rest.isdecimal():
            self.begun = int(rest)
        elif kind == "E" and rest.isdecimal():
            self.ended = int(rest)
        else:
            self.refused = word
