"""The part of the composition root that is about backends: which there are, and whether they can be used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from backends.base import BackendError
from terminal_service.descriptors import raise_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backends.base import Backend
    from terminal_service.settings import Settings

RESERVED_DESCRIPTORS, RESERVED_SHARE = 64, 8
"""Sessions leave so many descriptors free, or that part of a small limit: viewers and requests need some too."""


class StartError(Exception):
    """The system does not give what the service needs; the message is one line for whoever starts it."""


def make_backends(settings: Settings, environment: Mapping[str, str]) -> dict[str, Backend]:
    """Return the backends by name, the default one first."""
    local: Backend
    if sys.platform == "win32":
        from backends.windows import WindowsBackend

        local = WindowsBackend(environment)
    else:
        from backends.forkers import HolderForker, OwnForker
        from backends.posix import Limits, PosixBackend

        before, limit = raise_limit()
        reserve = min(RESERVED_DESCRIPTORS, max(0, limit) // RESERVED_SHARE)  # without limit, none
        directory = settings.holder_dir
        forker = OwnForker() if directory is None else HolderForker(directory, starts=settings.holder == "on")
        local = PosixBackend(environment, forker, limits=Limits(inherited=before, reserve=reserve))
    from backends.echo import EchoBackend

    echo = EchoBackend()
    return {local.name: local, echo.name: echo}


async def close_backends(settings: Settings, backends: Mapping[str, Backend], *, ends_all: bool) -> None:
    """Let go of where programs run; a holder of our own ends once there is nothing in it."""
    for backend in backends.values():
        if ends_all and settings.holder == "on":
            await backend.stop()
        await backend.close()


async def check_backends(backends: Iterable[Backend]) -> None:
    """Raise StartError if it cannot be known what runs: taken for lost it would be ended by the next start."""
    for backend in backends:
        try:
            await backend.survivors()
        except BackendError as error:
            raise StartError(str(error)) from error


async def check_shell(settings: Settings, backend: Backend) -> None:
    """Refuse a default shell that is not there now, and not when somebody asks for a session. Raises StartError."""
    wanted = settings.default_shell
    if wanted is None:
        return
    found = await backend.shells()
    if wanted not in found:
        raise StartError(f"DEFAULT_SHELL={wanted!r} is wrong; allowed: {', '.join(found) or 'none: there is no shell'}")
