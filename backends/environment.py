"""The environment variables a child starts with: an allow-list, what describes the terminal, what was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backends.errors import InvalidProgram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backends.base import Program

MARK = "TERMINAL_PROCESS_TREE"
"""Carries an unguessable token of one terminal, by which its processes are known wherever they went."""

# What a login would set or what says where and in which language the user works. Everything else stays with the
# service: it holds its secrets. Handles to other things of the user's (SSH_AUTH_SOCK, DISPLAY, DBUS_...) are
# capabilities, not descriptions, and are given per session by whoever may give them. XDG_RUNTIME_DIR is only
# the well-known per-user directory, without which podman and `systemctl --user` do not work.
_POSIX_NAMES = "HOME USER LOGNAME SHELL PATH LANG LANGUAGE TZ TMPDIR XDG_RUNTIME_DIR __CF_USER_TEXT_ENCODING"
_POSIX = frozenset(_POSIX_NAMES.split())
_POSIX_PREFIX = "LC_"

# Without SystemRoot sockets and .NET do not start; the others are the places every Windows program asks for.
_WINDOWS_NAMES = """
    ALLUSERSPROFILE APPDATA COMMONPROGRAMFILES COMMONPROGRAMFILES(X86) COMMONPROGRAMW6432 COMPUTERNAME COMSPEC
    DRIVERDATA HOMEDRIVE HOMEPATH LOCALAPPDATA NUMBER_OF_PROCESSORS OS PATH PATHEXT PROCESSOR_ARCHITECTURE
    PROGRAMDATA PROGRAMFILES PROGRAMFILES(X86) PROGRAMW6432 PSMODULEPATH PUBLIC SYSTEMDRIVE SYSTEMROOT TEMP TMP
    TZ USERDOMAIN USERNAME USERPROFILE WINDIR
"""
_WINDOWS = frozenset(_WINDOWS_NAMES.split())

_MAX_SIZE = 0xFFFF  # struct winsize holds unsigned shorts
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def posix_base(environment: Mapping[str, str], *, user: str, home: str, shell: str) -> dict[str, str]:
    """Return the allow-listed part of `environment`, completed by what a login would have set."""
    base = {name: value for name, value in environment.items() if name in _POSIX or name.startswith(_POSIX_PREFIX)}
    return complete_base(base, user=user, home=home, shell=shell)


def complete_base(environment: Mapping[str, str], *, user: str, home: str, shell: str) -> dict[str, str]:
    """Return an environment completed by what a login would have set."""
    base = dict(environment)
    for name, value in (("HOME", home), ("USER", user), ("LOGNAME", user), ("SHELL", shell)):
        base.setdefault(name, value)
    base.setdefault("PATH", _DEFAULT_PATH)
    if not any(base.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")):
        base["LANG"] = "C.UTF-8"  # both ends of this terminal speak UTF-8
    return base


def windows_base(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the allow-listed part of a Windows environment (names are compared without case)."""
    return {name: value for name, value in environment.items() if name.upper() in _WINDOWS}


def child_environment(base: Mapping[str, str], program: Program, mark: str) -> dict[str, str]:
    """Return the whole environment of a program; raises InvalidProgram for what no environment can hold.

    `base` is what `posix_base` or `windows_base` made.
    """
    variables = {**base, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    variables |= {name: _expand(name, value, variables) for name, value in program.env.items()}
    variables |= {"TERMINAL_SESSION_ID": program.session_id, MARK: mark}
    for name, value in variables.items():
        _check(name, value)
    return variables


def _expand(name: str, value: str, variables: Mapping[str, str]) -> str:
    """Put the value that `name` would have had in the place of `$name` and `${name}`; nothing else is expanded."""
    had = variables.get(name, "")
    return re.sub(rf"\$(?:\{{{re.escape(name)}\}}|{re.escape(name)}(?![A-Za-z0-9_]))", lambda _: had, value)


def _check(name: str, value: str) -> None:
    field = f"env[{name!r}]"
    if not name or "=" in name:
        raise InvalidProgram(field, "a name has at least one character and no '='")
    check_text(field, name)
    check_text(field, value)


def check_program(program: Program) -> None:
    """Raise InvalidProgram for a command, a directory or a size that no system takes."""
    if program.command is not None:
        if not program.command or not program.command[0]:
            raise InvalidProgram("command", "has no program to execute")
        for index, word in enumerate(program.command):
            check_text(f"command[{index}]", word)
    if program.cwd is not None:
        check_text("cwd", program.cwd)
    if not all(1 <= length <= _MAX_SIZE for length in (program.rows, program.cols)):
        raise InvalidProgram("size", f"rows and cols are 1 to {_MAX_SIZE}")


def check_text(field: str, text: str) -> None:
    """Raise InvalidProgram unless `text` can be passed to a system call."""
    if "\0" in text:
        raise InvalidProgram(field, "contains a NUL character")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidProgram(field, "contains half a surrogate pair") from None
