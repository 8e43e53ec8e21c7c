"""The command `terminal-service` (and `python run.py`): reads the settings, runs the service, says what to do next."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from terminal_service import __version__, app
from terminal_service.listeners import ListenError
from terminal_service.settings import Settings, SettingsError
from terminal_service.state import StateError

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_USAGE = 2

NEXT_STEPS = """
  Terminal Service is ready:  {url}

  Open a session:   curl -s {url}/api/v1/sessions -H 'Content-Type: application/json' -d '{{"rows": 30, "cols": 120}}'
  Attach to it:     ws://{address}/ws/terminal/<session_id>      (come back with ?recover_from=<seq>)
  Explore the API:  {url}/docs
  Stop:             Ctrl-C
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the service; return the exit code: 0 after a stop by signal, 2 for a configuration that cannot be used."""
    options = _parse(arguments)
    try:
        settings = Settings.from_environment(os.environ, options.env_file)  # noqa: TID251 - handed to settings, its one reader
        environment = dict(os.environ)  # noqa: TID251 - what shells may inherit is chosen from it by the backend
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(app.main(settings, environment, announce=_say_next_steps))
    except (SettingsError, StateError, ListenError, app.StartError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot run: {error}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="terminal-service",
        description="Shells over WebSocket that survive any disconnect.",
        epilog="Settings come from the environment and from a .env file; .env.example explains each.",
    )
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="file of settings (default: .env)")
    parser.add_argument("--version", action="version", version=__version__)
    return parser.parse_args(arguments)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, where it exists; None is asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _say_next_steps(url: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(NEXT_STEPS.format(url=url, address=url.partition("://")[2]))
    else:
        sys.stdout.write(f"Terminal Service is ready: {url}\n")
    sys.stdout.flush()


def _fail(reason: str) -> int:
    sys.stderr.write(f"terminal-service: {reason}\n")
    return EXIT_USAGE


if __name__ == "__main__":
    raise SystemExit(main())
