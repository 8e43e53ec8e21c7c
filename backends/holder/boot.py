"""The first thing that runs on another machine: finds or makes a place for the holder there, then becomes its bridge.

`python3 -I -c CODE OWNER DIGEST SIZE START [DIRECTORY]`, where CODE is this file (see `durable/boot_code.py`). It says
lines of JSON on standard output, each behind a NUL byte and `MARK`, whatever login scripts have said before::

    {"send": SIZE}       the packed holder is missing: its bytes are to follow on standard input
    {"nobody": true}     START is 0 and no holder of this owner lives here: the end
    {"refused": REASON}  it cannot be: the end
    {"ready": {...}}     who and where this is (`describe`); what follows is the bridge (`bridge.py`)

The place is a directory of this user's that nobody else can change: one in which a holder of this owner lives already,
or the first that can be written to. It is never `XDG_RUNTIME_DIR`: that goes with the login, and a holder must not.
One home may be shared by many machines, so the holder's own directory is named for this one too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import socket
import stat
import sys
import time
from typing import Any

MARK = "terminal boot "
_OLD_SECONDS = 30 * 24 * 3600
_PIECE_BYTES = 64 * 1024
_STICKY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Unfit(Exception):
    """This directory cannot be the place; the message is why."""


def main(arguments: list[str]) -> None:
    """Do all of it; returns only where there is nothing to become."""
    owner, digest, size, start, *given = arguments
    os.umask(0o077)
    places = given or _places()
    name = f"{owner}-{hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]}"
    base = next((place for place in places if _lives(place, name)), None)
    reasons = []
    for place in places if base is None and start == "1" else ():
        try:
            _make(place, name)
            _provide(place, digest, int(size))
        except (Unfit, OSError) as error:
            reasons.append(f"{place}: {_words(error)}")
        else:
            base = place
            break
    if base is None:
        _say(refused="; ".join(reasons)) if reasons else _say(nobody=True)
        return
    try:
        file = _provide(base, digest, int(size))
    except (Unfit, OSError) as error:
        _say(refused=f"{base}: {_words(error)}")
        return
    directory = os.path.join(base, name)
    _say(ready=dict(describe(), directory=directory))
    python = sys.executable or "python3"
    os.execvp(python, [python, "-I", file, directory, "--stdio"])  # noqa: S606 - this interpreter


def describe() -> dict[str, Any]:
    """Return who this is, and the whole environment that a program here starts with."""
    try:
        user = pwd.getpwuid(os.geteuid())
        entry = {"user": user.pw_name, "home": user.pw_dir, "shell": user.pw_shell}
    except KeyError:  # in a container with any number as its user
        entry = {"user": str(os.geteuid()), "home": "/", "shell": "/bin/sh"}
    version = ".".join(str(number) for number in sys.version_info[:3])
    environment = dict(os.environ)  # noqa: TID251 - of the login here
    return dict(entry, environment=environment, host=os.uname().nodename, system=sys.platform, python=version)


def _places() -> list[str]:
    own = f"terminal-service-{os.geteuid()}"
    home = os.path.expanduser("~")
    places = [os.path.join(home, ".cache", "terminal-service")] if os.path.isabs(home) else []
    shared = ("/var/tmp", "/tmp", "/dev/shm")  # noqa: S108 - `_check` looks whose a directory is
    return [*places, *(os.path.join(directory, own) for directory in shared)]


def _lives(place: str, name: str) -> bool:
    """Tell whether a holder answers there."""
    try:
        _check(place)
        os.chdir(os.path.join(place, name))  # names are short now: a socket's may have 107 bytes
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as channel:
            channel.settimeout(5)
            channel.connect("holder.sock")
    except (OSError, Unfit):
        return False
    else:
        return True
    finally:
        os.chdir("/")


def _make(place: str, name: str) -> None:
    """Make the directories, if need be. Raises Unfit, OSError."""
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    for directory in (place, os.path.join(place, name)):
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        _check(directory)


def _check(directory: str) -> None:
    """Raise Unfit unless nobody but this user (and root) can change what is in a directory. Raises OSError."""
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise Unfit("it is no directory")
    if found.st_uid != os.geteuid():
        raise Unfit(f"it belongs to another user ({found.st_uid})")
    if found.st_mode & _STICKY_OTHERS:
        raise Unfit("others can write to it")
    above = os.path.dirname(os.path.realpath(directory))
    while True:
        found = os.stat(above)
        if found.st_uid not in (0, os.geteuid()):
            raise Unfit(f"{above} belongs to another user ({found.st_uid})")
        if found.st_mode & _STICKY_OTHERS and not found.st_mode & stat.S_ISVTX:
            raise Unfit(f"others can write to {above}")
        if above == "/":
            return
        above = os.path.dirname(above)


def _provide(place: str, digest: str, size: int) -> str:
    """Return the path of the packed holder, which is asked for if it is missing. Raises Unfit, OSError."""
    file = os.path.join(place, f"holder-{digest[:16]}.pyz")
    if _has(file, digest):
        with contextlib.suppress(OSError):
            os.utime(file)
        return file
    partial = f"{file}.{os.getpid()}"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "r+b") as stream:
            stream.write(bytes(size))  # a full disk shows before anything is sent
            stream.flush()
            stream.seek(0)
            _say(send=size)
            stream.write(_receive(size, digest))
        os.rename(partial, file)
    except BaseException:
        os.unlink(partial)
        raise
    _tidy(place)
    return file


def _has(file: str, digest: str) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest() == digest


def _receive(size: int, digest: str) -> bytes:
    """Read exactly so much of standard input: what is behind it is the bridge's. Raises Unfit."""
    data = b""
    while len(data) < size:
        piece = os.read(0, min(_PIECE_BYTES, size - len(data)))
        if not piece:
            raise Unfit("the link was cut")
        data += piece
    if hashlib.sha256(data).hexdigest() != digest:
        raise Unfit("what arrived is not what was sent: something on the way changes bytes")
    return data


def _tidy(place: str) -> None:
    """Remove what other versions have left; one that is in use is looked at, or sent again, with each connection."""
    for name in os.listdir(place):
        file = os.path.join(place, name)
        with contextlib.suppress(OSError):
            if name.startswith("holder-") and os.lstat(file).st_mtime < time.time() - _OLD_SECONDS:
                os.unlink(file)


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _say(**fields: Any) -> None:
    data = f"\0{MARK}{json.dumps(fields)}\n".encode()
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main(sys.argv[1:])
