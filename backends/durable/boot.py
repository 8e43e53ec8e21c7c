"""Reaches the holder elsewhere by one command: that starts it, with the packed holder sent first if need be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from backends.abilities import Command
from backends.durable.boot_code import OLDEST, packed_holder
from backends.durable.stream import ExecutionStream
from backends.errors import NotProvided
from backends.executable import NOT_EXECUTABLE, NOT_FOUND
from backends.holder.boot import MARK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.abilities import Executor

_NOISE_BYTES = 64 * 1024
_LINE_BYTES = 8 * 1024 * 1024
"""The whole environment there is in one line."""
_START = b"\0" + MARK.encode()


@dataclass(frozen=True)
class Surroundings:
    """Who and where programs are that run there; see `holder.boot.describe`."""

    user: str
    home: str
    shell: str
    environment: dict[str, str]
    host: str
    system: str
    python: str
    directory: str
    """The holder's."""


class Booted(NamedTuple):
    """A stream whose other end is a bridge to the holder, or about to be."""

    stream: ExecutionStream
    surroundings: Surroundings


async def boot(executor: Executor, command: Sequence[str]) -> Booted | None:
    """Run a `boot_command`; None: it was to start none, and there is none.

    Raises OSError: the link was cut (or the executor cannot reach the place), try again. Raises NotProvided: no
    holder can be there, and why; and what the executor raises beside Unreachable.
    """
    stream = ExecutionStream(await executor.execute(Command(command)))
    try:
        surroundings = await _talk(stream, command[0])
    except BaseException:
        await stream.close()
        raise
    if surroundings is None:
        await stream.close()
        return None
    return Booted(stream, surroundings)


async def _talk(stream: ExecutionStream, python: str) -> Surroundings | None:
    while True:
        said = await _next_line(stream, python)
        match said:
            case {"send": int()}:
                await stream.write(packed_holder().data)
            case {"ready": dict(fields)}:
                known = {name: fields[name] for name in Surroundings.__dataclass_fields__}
                return Surroundings(**known)
            case {"nobody": True}:
                return None
            case {"refused": str(reason)}:
                raise NotProvided(f"no place for the durable holder: {reason}")
            case {"old": str(version)}:
                oldest = ".".join(map(str, OLDEST))
                raise NotProvided(f"a durable session needs Python >= {oldest} there; {python!r} is {version}")
            case _:
                raise NotProvided(f"{python!r} there says what is not known: {str(said)[:200]}")


async def _next_line(stream: ExecutionStream, python: str) -> dict[str, Any]:
    """Return what is said next, whatever login scripts have said before it."""
    data = b""
    while True:
        noise, _, rest = data.partition(_START)
        line, ended, behind = rest.partition(b"\n")
        if ended:
            break
        if len(noise) > _NOISE_BYTES or len(data) > _LINE_BYTES:
            raise NotProvided(f"no holder can be started there; it says: {noise[:200]!r}")
        more = await stream.read_piece()
        if not more:
            raise await _failed(stream, data, python)
        data += more
    stream.give_back(behind)
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {"": line[:200]}


async def _failed(stream: ExecutionStream, data: bytes, python: str) -> Exception:
    """Return what it means that the command has ended."""
    status = await stream.wait()
    words = stream.said or data.decode("utf-8", "replace").strip()[-500:] or status.message
    if status.code == NOT_FOUND:
        return NotProvided(f"a durable session needs Python there, and there is no {python!r}: {words}")
    if status.code == NOT_EXECUTABLE:
        return NotProvided(f"a durable session needs Python there, and {python!r} cannot be executed: {words}")
    if status.code:
        return NotProvided(f"no holder can be started there: {words or f'exit code {status.code}'}")
    return ConnectionError(status.message or words or "the link was cut")
