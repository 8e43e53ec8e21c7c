"""Looks for processes in a container, signals and ends them, by scripts that a second exec runs."""

from __future__ import annotations

import hashlib
import signal
from typing import TYPE_CHECKING

from backends.errors import NotProvided, Unreachable
from backends.kubernetes.channels import Outcome, Pulse, Stream, answered, open_exec

if TYPE_CHECKING:
    from backends.kubernetes.api import Api
    from backends.kubernetes.channels import Target

_PREFIX = "ts-"
_OUTPUT_BYTES = 64 * 1024
_SECONDS = 30.0

# Processes are known by their mark: in the argv of the wrapper, in the environment of all it started. (The scripts'
# own argv has it without its first letter, and as a pattern, so that they do not find themselves.)
_FIND = r"""
m="[t]$1"
find() { L= W=
for f in $(grep -l -e "$m" /proc/[0-9]*/cmdline 2>/dev/null); do f=${f#/proc/}; W="$W ${f%/*}"; done
for f in $(grep -l -e "$m" /proc/[0-9]*/environ 2>/dev/null); do f=${f#/proc/}; L="$L ${f%/*}"; done
for f in /proc/[0-9]*/stat; do
{ read -r l <"$f"; } 2>/dev/null || continue
p=${l%% *}; case $l in *") "*) ;; *) continue;; esac
set -- ${l##*) }
case $1 in Z|X) continue;; esac
case " $W " in *" $p "*) ;; *" $4 "*) L="$L $p";; esac
done; }
"""

_END = (
    _FIND
    + r"""
g=$2 t=0.1 n=1; sleep 0.01 2>/dev/null || t=1 n=10
for s in HUP TERM KILL; do
find; [ $s = KILL ] && L="$L$W"
[ -n "$L" ] && { kill -s $s $L; kill -s CONT $L; } 2>/dev/null
i=0; while :; do find; [ -z "$L$W" ] && exit 0; [ $i -ge $g ] && break; sleep $t; i=$((i+n)); done
done
echo $L $W
"""
)

_SIGNAL = (
    _FIND
    + r"""
s=$2; find; for w in $W; do
{ read -r l <"/proc/$w/stat"; } 2>/dev/null || continue
set -- ${l##*) }; g=$6
for f in /proc/[0-9]*/stat; do
{ read -r l <"$f"; } 2>/dev/null || continue
p=${l%% *}; set -- ${l##*) }
[ "$3" = "$g" ] && [ "$p" != "$w" ] && kill -s "$s" "$p"
done; done
"""
)

_INTERRUPT = (
    _FIND
    + r"""
find; for w in $W; do
stty -a <"/proc/$w/fd/0" 2>/dev/null | grep -q -e '-isig' && { echo raw; exit 0; }
done
"""
    + _SIGNAL
)

_LIST = r"""
m="[t]$1"
for f in $(grep -l -e "$m" /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null); do
tr '\000' '\n' <"$f" 2>/dev/null | grep -o -e "$m[-0-9a-f]*"; done | sort -u
"""

_PROBE = r"""
for s in "$@"; do command -v "$s" >/dev/null 2>&1 && echo "$s"; done; exit 0
"""


def service_mark(node_id: str) -> str:
    """Return how the marks of all programs of this node begin."""
    return f"{_PREFIX}{_digest(node_id)}-"


def session_mark(node_id: str, session_id: str) -> str:
    """Return how the marks of all programs of this session begin."""
    return f"{service_mark(node_id)}{_digest(session_id)}-"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


class Processes:
    """Those of one container."""

    def __init__(self, api: Api, target: Target, pulse: Pulse) -> None:
        """Look at nothing yet."""
        self.api = api
        self.target = target
        self.pulse = pulse

    async def end(self, mark: str, grace_seconds: float) -> None:
        """End all with a mark that begins so: HUP, TERM, KILL, each after the grace. Raises BackendError."""
        seconds = _SECONDS + 3 * grace_seconds
        left = await self._run(_END, mark[1:], str(int(grace_seconds * 10)), seconds=seconds)
        if left.strip():
            raise Unreachable(f"processes in pod {self.target.pod} cannot be ended: {left.decode().strip()}")

    async def interrupt(self, mark: str) -> bool:
        """Do what the interrupt key does, if it is switched on; else return False. Raises BackendError."""
        return b"raw" not in await self._run(_INTERRUPT, mark[1:], "INT")

    async def signal(self, mark: str, name: str) -> None:
        """Signal the programs in the foreground of the terminal. Raises BackendError."""
        await self._run(_SIGNAL, mark[1:], name)

    async def marks(self, prefix: str) -> list[str]:
        """Return the marks that begin so of what runs there. Raises BackendError."""
        return (await self._run(_LIST, prefix[1:])).decode(errors="replace").split()

    async def programs(self, *names: str) -> list[str]:
        """Return those of these names that are on the PATH there. Raises BackendError."""
        return (await self._run(_PROBE, *names)).decode(errors="replace").split()

    async def _run(self, script: str, *arguments: str, seconds: float = _SECONDS) -> bytes:
        async with answered(f"look at the processes in pod {self.target.pod}", seconds):
            return await self._converse(["/bin/sh", "-c", script, "sh", *arguments])

    async def _converse(self, argv: list[str]) -> bytes:
        channels = await open_exec(self.api, self.target, argv, pulse=self.pulse, stdin=False)
        output, said = b"", b""
        try:
            while True:
                channel, data = await channels.receive()
                if channel == Stream.STATUS:
                    outcome = Outcome.parse(data)
                    break
                if channel == Stream.STDOUT and len(output) < _OUTPUT_BYTES:
                    output += data
                elif len(said) < _OUTPUT_BYTES:
                    said += data
        finally:
            await channels.close()
        if outcome.code is None:
            raise not_started(outcome.message or said.decode(errors="replace"))
        return output


def not_started(message: str) -> NotProvided:
    """Return the error for a container in which not even a shell can be started."""
    if "/bin/sh" in message or "no such file" in message:
        message = f"there is no /bin/sh in the image, which sessions need ({message})"
    return NotProvided(f"nothing can be started in the container: {message}")


def signal_name(number: int) -> str:
    """Return a signal's name as `kill -s` has it. Raises ValueError: there is none of this number."""
    return signal.Signals(number).name.removeprefix("SIG")
