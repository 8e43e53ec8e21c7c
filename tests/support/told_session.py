"""One session of a backend with one terminal, and what its people are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from backends.base import Order, Program
from support.sink import CollectingSink
from support.terminals import Terminal

if TYPE_CHECKING:
    from backends.base import Backend, Environment


class ToldSession:
    """See the module."""

    def __init__(self, environment: Environment, terminal: Terminal, told: list[str]) -> None:
        self.environment = environment
        self.terminal = terminal
        self.told = told

    @classmethod
    async def start(cls, backend: Backend, script: str, name: str = "session-1") -> Self:
        told: list[str] = []
        sink = CollectingSink()
        environment = await backend.open(Order(name, tell=lambda notice: told.append(notice.kind)))
        pty = await environment.spawn(Program(name, command=["sh", "-c", script]), sink)
        return cls(environment, Terminal(pty, sink), told)
