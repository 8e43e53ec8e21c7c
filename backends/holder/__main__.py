"""Run a holder: `python -m backends.holder DIRECTORY`.

It listens on `DIRECTORY/holder.sock` and ends when it holds nothing and nobody is connected. Exit codes: 0 after
that (or at once, in the background: it is ready), 2 if it is told what cannot be, 3 if the directory has a holder
already.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import os
import signal
import socket
import sys

from backends.holder import EXIT_HELD, SOCKET
from backends.holder.daemon import Holder, log
from backends.holder.users import RunAs, open_code, open_to_others, own_name

LOCK, LOG = "holder.lock", "holder.log"
IDLE_SECONDS = 5.0
BACKLOG = 16


def main() -> int:
    """Run in the foreground or in the background; return the exit code."""
    options = _parse()
    options.directory = os.path.abspath(options.directory)
    if options.stdio:
        from backends.holder.bridge import bridge  # noqa: PLC0415 - a holder has no use for it

        return bridge(options.directory)
    serves_another = options.allow_user is not None
    mask = os.umask(0o077)
    os.makedirs(options.directory, mode=0o700, exist_ok=True)
    os.chdir(options.directory)  # names are short now: a socket's may have 107 bytes
    os.chmod(".", 0o711 if serves_another else 0o700)
    if not _lock():
        return EXIT_HELD
    kind = _kind(streams=options.streams)
    users = {os.geteuid(), 0}
    listener = _listen()
    if serves_another:
        os.chown(SOCKET, options.allow_user, -1)  # nobody else can change what is in this directory
        users.add(options.allow_user)
    if not (options.foreground or serves_another):
        _go_to_background()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # what a terminal sends to everything started from it
    os.umask(mask)  # what the programs inherit
    os.chdir("/")
    log("ready")
    idle_seconds = None if options.stay or serves_another else IDLE_SECONDS
    kind(listener, frozenset(users), idle_seconds, options.run_as).run()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(options.directory, SOCKET))
    log("ended")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m backends.holder", description="Own shells, so that the service may restart."
    )
    parser.add_argument("directory", help="where its socket and its log are")
    parser.add_argument("--foreground", action="store_true", help="stay in the foreground; log to standard error")
    parser.add_argument("--stay", action="store_true", help="do not end when idle")
    parser.add_argument("--streams", action="store_true", help="read and write terminals for an owner elsewhere")
    parser.add_argument(
        "--stdio", action="store_true", help="speak for the directory's holder here, which is started if need be"
    )
    parser.add_argument(
        "--allow-user",
        type=_user_id,
        metavar="USER",
        help="the service's user, if it is another one than this holder's: implies --foreground and --stay",
    )
    parser.add_argument(
        "--run-as",
        type=RunAs,
        metavar="NAME[,NAME...]",
        help="run programs as these users and nobody else; @NAME: the members of a group, but root",
    )
    options = parser.parse_args()
    if options.allow_user is not None:
        if options.streams or options.stdio:
            parser.error("--allow-user is for a service on this machine")
        if options.run_as is None and os.geteuid() == 0:
            parser.error("--allow-user needs --run-as, or that user could have programs run as root")
        options.run_as = options.run_as or RunAs(own_name())
        place = open_to_others(options.directory) or open_code()
        if place:
            parser.error(f"{place!r} can be changed by other users: it is to be root's alone")
    return options


def _user_id(text: str) -> int:
    import pwd  # noqa: PLC0415 - few holders need it

    try:
        return int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid
    except KeyError:
        raise argparse.ArgumentTypeError(f"there is no user {text!r}") from None


def _kind(*, streams: bool) -> type[Holder]:
    if not streams:
        return Holder
    from backends.holder.streams import StreamHolder  # noqa: PLC0415 - its memory is for those who need it

    return StreamHolder


def _lock() -> bool:
    """Become the directory's one holder; the descriptor stays open as long as the process lives."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True


def _listen() -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)  # of a holder that was killed: we have its lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(SOCKET)
    os.chmod(SOCKET, 0o600)
    listener.listen(BACKLOG)
    return listener


def _go_to_background() -> None:
    """Let go of whoever started this process: its session, its terminal, its standard files."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        journal = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError:  # a full disk: shells are worth more than what is said of them
        journal = null
    for number, descriptor in ((0, null), (1, null), (2, journal)):
        os.dup2(descriptor, number)
    for descriptor in {null, journal}:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
