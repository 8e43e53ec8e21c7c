"""A TCP connection from inside a container, by whatever program there can make one.

So it reaches what the session's programs reach, its own loopback first, whichever network the container has and
wherever its daemon is.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

from backends.abilities import Channel, Command
from backends.errors import BackendError, InvalidProgram, NotSupported, Unreachable

if TYPE_CHECKING:
    from backends.containers.environment import ContainerEnvironment
    from backends.containers.execution import ContainerExecution

_HOST = re.compile(r"[A-Za-z0-9_:%][A-Za-z0-9_.:%-]{0,252}")
_CONNECT_SECONDS = 20.0
_NO_TOOL = 69
_SAID_BYTES = 4096

_PYTHON = """
import os, socket, sys, threading
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 15)
except OSError as e:
    sys.exit('refused: %s' % e)
s.settimeout(None)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
sys.stderr.write('connected\\n'); sys.stderr.flush()
def send():
    try:
        while True:
            d = os.read(0, 65536)
            if not d: break
            s.sendall(d)
        s.shutdown(socket.SHUT_WR)
    except OSError: pass
threading.Thread(target=send, daemon=True).start()
try:
    while True:
        d = s.recv(65536)
        if not d: break
        while d: d = d[os.write(1, d):]
except OSError: pass
"""

# BusyBox's nc says nothing when it is connected, but runs a program then: its 0 and 1 are the connection.
# From there `dd`, because BusyBox's `cat` uses sendfile: from a socket to a pipe it waits for the socket with the pipe
# locked (Linux 5.12 and later), and whoever reads the pipe, conmon or containerd's shim, waits with it: for what is in
# the pipe already, too, and where no signal reaches it.
_RELAY = r"""
echo connected >&5
cat <&3 &
dd bs=65536 >&4 2>/dev/null
kill $!
"""

# Each says on standard error when it is connected. $1 host, $2 port, $3 Python's program, $4 the relay.
_SCRIPT = r"""
if command -v python3 >/dev/null; then exec python3 -c "$3" "$1" "$2"; fi
if command -v socat >/dev/null; then exec socat -d -d - "TCP:$1:$2"; fi
command -v nc >/dev/null || exit 69
case $(nc --help 2>&1) in
*"-e PROG"*) command -v dd >/dev/null || exit 69; exec nc "$1" "$2" -e /bin/sh -c "$4" 3<&0 4>&1 5>&2 ;;
*) exec nc -v "$1" "$2" ;;
esac
"""

_CONNECTED = re.compile(rb"^connected$|successfully connected|starting data transfer|\bopen$|succeeded!", re.MULTILINE)


async def connect_from(environment: ContainerEnvironment, backend: str, host: str, port: int) -> ForwardedConnection:
    """Connect; return when the other side has accepted. Raises Unreachable, NotSupported, InvalidProgram."""
    if not _HOST.fullmatch(host):
        raise InvalidProgram("host", f"{host!r} is no name of a host")
    if not 1 <= port <= 65535:  # noqa: PLR2004 - TCP's
        raise InvalidProgram("port", f"{port} is not within 1 and 65535")
    execution = await environment.execute(Command(("/bin/sh", "-c", _SCRIPT, "sh", host, str(port), _PYTHON, _RELAY)))
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            first = await _until_connected(execution, f"{host}:{port}", backend)
    except TimeoutError:
        await asyncio.shield(execution.close())
        raise Unreachable(f"{host}:{port} does not answer in the container") from None
    except BaseException:
        await asyncio.shield(execution.close())
        raise
    return ForwardedConnection(execution, first)


async def _until_connected(execution: ContainerExecution, where: str, backend: str) -> bytes:
    """Return what has arrived already. Raises Unreachable, NotSupported."""
    said = b""
    async for channel, part in execution:
        if channel is Channel.STDOUT:
            return part
        said = (said + part)[-_SAID_BYTES:]
        if _CONNECTED.search(said):
            return b""
    status = await execution.wait()
    if status.code == _NO_TOOL:
        raise NotSupported(backend, "port_forwarding in an image without python3, socat and nc (and dd)")
    reason = said.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
    raise Unreachable(f"{where} cannot be reached from the container: {reason or status.message or status.code}")


class ForwardedConnection:
    """A `Connection` over the command that made it."""

    def __init__(self, execution: ContainerExecution, first: bytes) -> None:
        """Take the command over."""
        self._execution = execution
        self._pieces = execution.__aiter__()
        self._first = first

    async def read(self) -> bytes:
        """Return what has arrived; b"" at the end. Raises OSError."""
        if self._first:
            first, self._first = self._first, b""
            return first
        async for channel, part in self._pieces:
            if channel is Channel.STDOUT:
                return part
        status = await self._execution.wait()
        if status.lost is not None:
            raise ConnectionResetError(status.message)
        return b""

    async def write(self, data: bytes) -> None:
        """Send all of it."""
        await self._execution.write(data)

    async def write_eof(self) -> None:
        """Send no more."""
        with contextlib.suppress(NotSupported):
            await self._execution.close_input()

    async def close(self) -> None:
        """Release everything."""
        with contextlib.suppress(BackendError):
            await self._execution.close()
