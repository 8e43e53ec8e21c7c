"""What the kernel's line discipline can be asked and told through the master side of a PTY. Nothing here blocks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios

# Not in Python's termios everywhere; asm-generic/ioctls.h and termbits.h. Where a kernel has other numbers
# (MIPS, PowerPC, SPARC) the calls fail and the portable way is taken.
_TIOCSIG = 0x40045436
_TIOCGPTPEER = 0x5441
# pty_signal() of drivers/tty/pty.c refuses all others.
_TTY_SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP})


def set_size(master: int, rows: int, cols: int) -> None:
    """Set the terminal's size; the kernel sends SIGWINCH if it changed."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))  # tcsetwinsize is of Python 3.11


def interrupt(master: int, session: int) -> bool:
    """Do what the interrupt key does, ahead of everything queued; False if it is an ordinary byte now.

    A key typed behind a full input queue is not seen by the line discipline (measured: 12 KiB of unread lines
    in front of a ^C, and it never arrived). The key discards the queued input anyway, so that is done first,
    and then the key itself is typed: so its echo, the restart of stopped output and the signal are the kernel's
    own. With NOFLSH the queue must stay, and only the signal is sent.
    """
    key = interrupt_key(master)
    if key is None:
        return False
    if termios.tcgetattr(master)[3] & termios.NOFLSH or not _type_alone(master, key):
        with contextlib.suppress(ProcessLookupError):  # the key would reach nobody either
            signal_foreground(master, session, signal.SIGINT)
    return True


def interrupt_key(master: int) -> bytes | None:
    """Return the interrupt key; None while there is none (raw mode, say)."""
    attributes = termios.tcgetattr(master)
    key: bytes = attributes[6][termios.VINTR]
    return key if attributes[3] & termios.ISIG and key != _disabled(master) else None


def _type_alone(master: int, key: bytes) -> bool:
    """Discard all input on its way, then type `key`; False if that cannot be done here."""
    if sys.platform != "linux":
        return False
    try:
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False  # no descriptor left, an old kernel, or nobody has the terminal open
    try:
        termios.tcflush(master, termios.TCOFLUSH)  # what is between the two sides
        termios.tcflush(slave, termios.TCIFLUSH)  # what the line discipline holds
    finally:
        os.close(slave)
    try:
        return os.write(master, key) == 1
    except BlockingIOError:
        return False


def _disabled(master: int) -> bytes:
    return bytes([os.fpathconf(master, "PC_VDISABLE") & 0xFF])


def signal_foreground(master: int, session: int, signum: int) -> None:
    """Send a signal to the foreground process group of this session.

    Raises ProcessLookupError if there is none, PermissionError, ValueError for an unknown signal.
    """
    if signum not in signal.valid_signals():
        raise ValueError(f"no such signal: {signum}")
    group = _foreground(master, session)
    if sys.platform == "linux" and signum in _TTY_SIGNALS:
        with contextlib.suppress(OSError):
            fcntl.ioctl(master, _TIOCSIG, signum)  # the kernel's own, whoever the group belongs to
            return
    os.killpg(group, signum)


def _foreground(master: int, session: int) -> int:
    """Return the foreground group, known to exist and to be the session's.

    The terminal remembers the number of a group that has ended, and another one may have got it since.
    """
    group = os.tcgetpgrp(master)
    if group <= 0:
        raise ProcessLookupError("the terminal has no foreground process group")
    try:
        is_ours = os.getsid(group) == session
    except ProcessLookupError:
        is_ours = True  # its leader has ended: while others are in it, nobody gets its number
    if not is_ours:
        raise ProcessLookupError("the terminal's foreground process group has ended")
    with contextlib.suppress(PermissionError):  # it exists, and is another user's
        os.killpg(group, 0)
    return group
