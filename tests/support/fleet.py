"""Several nodes of the service on one Redis: real processes, each with a port and a state directory of its own.

Only this module of the tests starts them together. Use::

    async with Fleet(tmp_path, redis.url) as fleet:
        one, other = fleet.nodes
        session = (await one.create_session(command=["cat"]))["session_id"]
        async with other.client(session) as client:
            ...
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support.chaos import ChaosProxy
from support.redis_server import RedisServer
from support.restarts import Restarts
from support.shared import process
from support.wait import wait_until
from support.weather import Plan

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from support.client import Client
    from support.service import Service
    from support.shared import SharedService

STREAM = Path(__file__).parent / "stream.py"
DEAD_SECONDS = 10.0
"""Within so long everybody knows that a node is dead."""


class Fleet:
    """Nodes that know each other once this is entered.

    `urls`: the Redis of each node, where they do not all reach it by the same address. `programs`: what runs some of
    them instead of `run.py`, by number. Sessions go on without their node, and are ended with the test.
    """

    def __init__(
        self,
        directory: Path,
        url: str = "",
        *,
        count: int = 2,
        urls: Sequence[str] = (),
        programs: Mapping[int, Sequence[str]] | None = None,
        **settings: str,
    ) -> None:
        self.nodes = [
            Restarts(
                directory / f"node-{number}",
                program=(programs or {}).get(number, ("run.py",)),
                **{"REDIS_URL": url, "STOP_GRACE_SECONDS": "0.3", **settings},
            )
            for number, url in enumerate(urls or [url] * count)
        ]

    async def each(self, do: Callable[[Restarts], Awaitable[Any]]) -> None:
        """Do something with all nodes at once."""
        await asyncio.gather(*(do(node) for node in self.nodes))

    async def wait_whole(self, *, seconds: float = 30.0) -> None:
        """Wait until each node sees all."""
        for node in self.nodes:
            await wait_until(
                lambda node=node: self._sees_all(node),  # type: ignore[misc]
                description="nodes that know each other",
                timeout=seconds,
            )

    async def _sees_all(self, node: Service) -> bool:
        return len(await nodes_seen_by(node)) == len(self.nodes)

    def entrance(self, plan: Plan | None = None, *, dice: random.Random | None = None) -> ChaosProxy:
        """See `entrance`."""
        return entrance(self.nodes, plan, dice=dice)

    async def __aenter__(self) -> Self:
        """Start all at once."""
        try:
            await self.each(lambda node: node.start())
            await self.wait_whole()
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all at once; a failed test gets the end of each log."""
        for node in self.nodes:
            with contextlib.suppress(AssertionError, ProcessLookupError):
                node.send_signal(signal.SIGCONT)
        if error is None:
            await self.each(end_sessions)
        await self.each(lambda node: node.__aexit__(kind, error, trace))


def entrance(nodes: Sequence[Service], plan: Plan | None = None, *, dice: random.Random | None = None) -> ChaosProxy:
    """Return a way in for who does not choose: each connection goes to a node by chance, or to all in turn."""

    def choose(number: int) -> tuple[str, int]:
        node = dice.choice(nodes) if dice else nodes[number % len(nodes)]
        return node.address

    return ChaosProxy(choose, plan or Plan(0))


async def output_of(node: Service, session_id: str, size: int) -> bytes:
    """Return the output of a living session as a node has it, once that is `size` bytes; it may be a moment behind."""

    async def output() -> bytes | None:
        found = await node.output(session_id)
        return found if len(found) >= size else None

    return await wait_until(output, description=f"{size} bytes of output")


@contextlib.contextmanager
def processes(directory: Path, *, count: int = 2, **settings: str) -> Iterator[list[SharedService]]:
    """Run nodes for many tests, on a Redis of their own; see `support.shared`."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(RedisServer(directory)).url
        services = []
        for number in range(count):
            home = directory / f"node-{number}"
            home.mkdir()
            services.append(stack.enter_context(process(home, headers=None, REDIS_URL=url, **settings)))
        yield services


async def end_sessions(node: Restarts) -> None:
    """End what a node has, if it runs."""
    if node._process is not None:
        for session in (await node.http.get("/api/v1/sessions")).json():
            await node.http.delete(f"/api/v1/sessions/{session['session_id']}")


async def nodes_seen_by(node: Service) -> list[dict[str, Any]]:
    """Return the living nodes as one of them sees them."""
    answer = await node.http.get("/api/v1/nodes")
    assert answer.is_success, answer.text
    seen: list[dict[str, Any]] = answer.json()
    return seen


def stream_command(seed: int, rate: int) -> list[str]:
    """Return the command of a program that prints what its seed decides."""
    return [sys.executable, str(STREAM), str(seed), str(rate)]


async def past(client: Client, *, further: int, seconds: float = 30.0) -> None:
    """Wait until a client has so many bytes more."""
    position = client.position + further
    await client.wait(lambda: client.position >= position, f"output up to {position}", seconds=seconds)


def node_id_of(node: Service) -> str:
    """Return the name of a node."""
    return (node.state / "node").read_text().strip()
