"""Terminado as its own documentation runs it; run as `python -m bench.terminado_app PORT COMMAND...`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import Any

import tornado.web
from terminado.management import NamedTermManager
from terminado.websocket import TermSocket


class Close(tornado.web.RequestHandler):
    """DELETE /close/NAME ends a terminal, as Jupyter's REST interface does."""

    async def delete(self, name: str) -> None:
        """End it, by force if it must be."""
        await self.application.settings["terminals"].terminate(name, force=True)
        self.set_status(204)


async def serve(port: int, command: list[str]) -> None:
    """Serve until SIGTERM, then end all terminals."""
    logging.basicConfig(level=logging.ERROR)
    terminals = NamedTermManager(shell_command=command, max_terminals=5000)
    routes: list[Any] = [
        (r"/terminals/(\w+)", TermSocket, {"term_manager": terminals}),
        (r"/close/(\w+)", Close),
    ]
    application = tornado.web.Application(routes, terminals=terminals)
    server = application.listen(port, "127.0.0.1")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    server.stop()
    await terminals.shutdown()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
