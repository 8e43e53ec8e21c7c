"""What a run consists of: which servers, which workloads, how much of each, in turns."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from picows import WSHandshakeError
from redis.exceptions import RedisError

from bench import workloads
from bench.client import BenchError
from bench.nodes import Nodes
from bench.servers import Server, Service, Terminado, Ttyd
from bench.text import Text, write_text
from bench.wires import JsonWire, MsgpackWire, RawWire, TerminadoWire, TtydWire
from bench.workloads import Contender, Printed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from bench.targets import Numbers

SERVERS = ("bare", "terminado", "ttyd", "service", "redis", "nodes")
WORKLOADS = ("memory", "bulk", "echo", "fan-out", "resume", "create", "ready")
BARE_LOOPS = ("tight", "uvloop")
NODES_NAMES = {"redis": "service with Redis", "nodes": "two nodes"}


@dataclass(frozen=True)
class Sizes:
    """How much of each workload, bytes as a terminal delivers them."""

    rounds: int
    bulk_bytes: int
    keys: int  # per round and contender
    sessions: int
    viewers: int
    fan_out_bytes: int
    backlog_bytes: int
    resumes: int
    creates: int
    starts: int

    def with_rounds(self, rounds: int | None) -> Sizes:
        """Return the same with another number of rounds, if one is given."""
        return replace(self, rounds=rounds) if rounds else self

    def as_dict(self) -> dict[str, int]:
        """Return it for JSON."""
        return asdict(self)


FULL = Sizes(
    rounds=5,
    bulk_bytes=68_000_000,
    keys=500,
    sessions=50,
    viewers=100,
    fan_out_bytes=2_000_000,
    backlog_bytes=8 * 2**20,
    resumes=20,
    creates=30,
    starts=3,
)
QUICK = Sizes(
    rounds=1,
    bulk_bytes=1_000_000,
    keys=20,
    sessions=2,
    viewers=5,
    fan_out_bytes=100_000,
    backlog_bytes=500_000,
    resumes=2,
    creates=2,
    starts=1,
)


class Plan:
    """One run. Afterwards `numbers`, `skipped` (not here) and `failed` (went wrong) say what came of it."""

    def __init__(self, sizes: Sizes, directory: Path, only: Sequence[str]) -> None:
        self.numbers: Numbers = {}
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self._sizes = sizes
        self._directory = directory
        self._bare = BARE_LOOPS if "bare" in only else ()
        self._servers: list[Server] = []
        self._contenders: list[Contender] = []
        self._candidates: list[Server] = []
        servers: Sequence[Server] = (
            *(Terminado(directory), Ttyd(directory), Service(directory)),
            *(Nodes(directory, "redis", 1), Nodes(directory, "nodes", 2)),
        )
        for server in servers:
            reason = server.missing()
            if server.name in only and reason:
                self.skipped[server.name] = reason
            elif server.name in only:
                self._candidates.append(server)

    async def run(self, names: Sequence[str]) -> None:
        """Run the workloads, each for all contenders; what fails is noted and the rest goes on."""
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "memory": self._memory,
            "bulk": self._bulk,
            "echo": self._echo,
            "fan-out": self._fan_out,
            "resume": self._resume,
            "create": self._create,
        }
        with ExitStack() as stack:
            for server in self._candidates:
                with self._noting(server.name, "start"):
                    self._start(server, stack)
            for name, step in steps.items():
                if name in names:
                    _progress(name)
                    await step()
        if "ready" in names:
            self._ready()

    def _start(self, server: Server, stack: ExitStack) -> None:
        stack.callback(server.stop)
        server.start()
        self._servers.append(server)
        self._contenders += _contenders(server)

    async def _memory(self) -> None:
        """Weigh each server while it is fresh: later its heap has room that was used before."""
        for server in self._servers:
            contender = _headline(server)
            with self._noting(contender.name, "memory"):
                for metric, value in (await workloads.weigh(contender, self._sizes.sessions)).items():
                    self._add(contender.name, metric, value)

    async def _bulk(self) -> None:
        warm = self._text("warm", self._sizes.bulk_bytes // 20)
        text = self._text("bulk", self._sizes.bulk_bytes)
        for contender in self._contenders:
            with self._noting(contender.name, "bulk"):
                await workloads.print_once(contender, warm)
        for number in range(self._sizes.rounds):
            _progress(f"  round {number + 1} of {self._sizes.rounds}")
            for loop in self._bare:
                with self._noting(f"bare {loop}", "bulk"):
                    self._add_printed(f"bare {loop}", workloads.read_once(loop, text))
            for contender in self._contenders:
                with self._noting(contender.name, "bulk"):
                    self._add_printed(contender.name, await workloads.print_once(contender, text))

    async def _echo(self) -> None:
        contenders = [contender for contender in self._contenders if not contender.ack]
        for number in range(self._sizes.rounds):
            with self._noting("all", "echo"):
                answers = await workloads.echo_once(contenders, self._sizes.keys, seed=number)
                for contender, seconds in zip(contenders, answers, strict=True):
                    ordered = sorted(seconds)
                    self._add(contender.name, "echo_p50_us", ordered[len(ordered) // 2] * 1e6)
                    self._add(contender.name, "echo_p99_us", ordered[len(ordered) * 99 // 100] * 1e6)

    async def _fan_out(self) -> None:
        """Measure the servers that can show one terminal to many; ttyd cannot."""
        text = self._text("fan-out", self._sizes.fan_out_bytes)
        for _ in range(self._sizes.rounds):
            for server in self._servers:
                if server.shares:
                    contender = _headline(server)
                    with self._noting(contender.name, "fan-out"):
                        rate = await workloads.fan_out(contender, text, self._sizes.viewers)
                        self._add(contender.name, "fan_out_mb_per_cpu_second", rate / 1e6)

    async def _resume(self) -> None:
        text = self._text("backlog", self._sizes.backlog_bytes)
        for service in self._services():
            contender = _headline(service)
            with self._noting(contender.name, "resume"):
                for first, rate in await workloads.resume(contender, text, self._sizes.resumes):
                    self._add(contender.name, "resume_first_byte_ms", first * 1e3)
                    self._add(contender.name, "resume_mb_per_second", rate / 1e6)

    async def _create(self) -> None:
        for service in self._services():
            with self._noting("service msgpack", "create"):
                for seconds in workloads.create(service, self._sizes.creates):
                    self._add("service msgpack", "create_ms", seconds * 1e3)

    def _ready(self) -> None:
        """Start the service anew, with nothing else running."""
        _progress("ready")
        for service in self._services():
            with self._noting("service msgpack", "ready"):
                for seconds in workloads.start(service, self._sizes.starts):
                    self._add("service msgpack", "ready_seconds", seconds)

    def _services(self) -> list[Service]:
        return [server for server in self._servers if isinstance(server, Service)]

    def _text(self, name: str, terminal_bytes: int) -> Text:
        return write_text(self._directory / f"{name}.txt", terminal_bytes)

    def _add(self, contender: str, metric: str, value: float) -> None:
        self.numbers.setdefault(contender, {}).setdefault(metric, []).append(value)

    def _add_printed(self, contender: str, printed: Printed) -> None:
        for metric, value in asdict(printed).items():
            if value is not None:
                self._add(contender, metric, value)

    @contextmanager
    def _noting(self, contender: str, workload: str) -> Iterator[None]:
        try:
            yield
        except (BenchError, OSError, WSHandshakeError, RedisError, subprocess.SubprocessError) as error:
            self.failed[f"{contender}, {workload}"] = f"{type(error).__name__}: {error}"


def _contenders(server: Server) -> list[Contender]:
    if isinstance(server, Service):
        return [
            Contender("service msgpack", server, MsgpackWire()),
            Contender("service msgpack ack", server, MsgpackWire(), ack=True),
            Contender("service raw", server, RawWire()),
            Contender("service json", server, JsonWire()),
        ]
    if isinstance(server, Nodes):
        return [Contender(NODES_NAMES[server.name], server, MsgpackWire())]
    return [Contender(server.name, server, TtydWire() if isinstance(server, Ttyd) else TerminadoWire())]


def _headline(server: Server) -> Contender:
    """Return the contender that stands for the server where its encodings need not be told apart."""
    return _contenders(server)[0]


def _progress(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)
