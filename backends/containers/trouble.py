"""From what aiodocker, aiohttp and sockets raise to the errors of backends, in words a user can act on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
from typing import TYPE_CHECKING

import aiohttp
from aiodocker.exceptions import DockerError

from backends.errors import AccessRefused, BackendError, NotProvided, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_FOUND, CONFLICT = 404, 409
_NO_CONNECTION = 900
"""What aiodocker calls a connection that could not be made."""
_SERVER_FAULT = 500
_REFUSED = {401, 403}
_TEXT_CHARACTERS = 500


@contextlib.contextmanager
def told(where: str, doing: str) -> Iterator[None]:
    """Raise BackendError in place of whatever goes wrong inside. `where`: the daemon, `doing`: what was tried."""
    try:
        yield
    except (TimeoutError, DockerError, aiohttp.ClientError, OSError) as error:
        raise translate(error, where, doing) from error


def translate(error: BaseException, where: str, doing: str) -> BackendError:
    """Return the error of backends that says it."""
    if isinstance(error, DockerError):
        if error.status != _NO_CONNECTION:
            return _answered(error, where, doing)
        error = error.__context__ or error
    if isinstance(error, asyncio.TimeoutError):
        return Unreachable(f"cannot {doing}: {where} does not answer")
    return _unconnected(error, where)


def _answered(error: DockerError, where: str, doing: str) -> BackendError:
    text = one_line(error.message)
    if error.status in _REFUSED:
        return AccessRefused(f"cannot {doing}: {where} refuses it: {text}")
    if error.status == 429:  # noqa: PLR2004 - Too Many Requests
        return Unreachable(f"cannot {doing}: {where} has too much to do: {text}")
    if error.status > _SERVER_FAULT:
        return Unreachable(f"cannot {doing}: {where} fails: {text}")
    return NotProvided(f"cannot {doing}: {text}")


def _unconnected(error: BaseException, where: str) -> BackendError:
    if isinstance(error, (ssl.SSLError, aiohttp.ClientSSLError)):
        return AccessRefused(f"no TLS with {where}: {one_line(str(error))}")
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None)
    if isinstance(cause, ssl.SSLError):
        return AccessRefused(f"no TLS with {where}: {one_line(str(cause))}")
    if number in {errno.EACCES, errno.EPERM}:
        return AccessRefused(f"this service's user may not use {where}: {os.strerror(number)}")
    if number == errno.ENOENT:
        return Unreachable(f"{where} does not exist: is the daemon running?")
    if number == errno.ECONNREFUSED:
        return Unreachable(f"nobody listens at {where}: is the daemon running?")
    return Unreachable(f"{where} cannot be reached: {one_line(str(cause)) or type(cause).__name__}")


def one_line(text: str) -> str:
    """Return a text of others fit for a message: printable, on one line, not too long."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= _TEXT_CHARACTERS else line[:_TEXT_CHARACTERS] + "…"
