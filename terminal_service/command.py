"""The command line: reads the settings, runs the service, drains or stops it, says what to do next."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from terminal_service import __version__, app, logs, state
from terminal_service.backends_app import StartError, close_backends, make_backends
from terminal_service.backends_check import copied_state, report
from terminal_service.control import Refused
from terminal_service.listeners import ListenError
from terminal_service.settings import Settings, SettingsError
from terminal_service.stopping import drain, stop
from terminal_service.worker import Worker
from terminal_service.worker_places import check_nobody_is_left, places, wait_for_the_last

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXIT_BAD_END = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

NEXT_STEPS = """
  Terminal Service is ready:  {url}      open it in a browser, or:

  Open a session:   curl -s {url}/api/v1/sessions -H 'Content-Type: application/json' -d '{{"rows": 30, "cols": 120}}'
  Attach to it:     ws://{address}/ws/terminal/<session_id>      (come back with ?recover_from=<seq>)
  Explore the API:  {url}/docs
  Stop:             Ctrl-C
"""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code.

    0: stopped as told; 1: `stop` or `drain` could not, a worker has not ended well, or a backend does not work; 2: a
    configuration that cannot be used, or a place that is taken; 130: interrupted before there was anything to stop.
    """
    options = _parse(arguments)
    try:
        settings = Settings.from_environment(os.environ, options.env_file)  # noqa: TID251 - handed to settings, its one reader
        environment = dict(os.environ)  # noqa: TID251 - what shells may inherit is chosen from it by the backend
        if options.command == "drain":
            return drain(settings, seconds=options.seconds, say=_say)
        if options.command == "backends":
            return _check_backends(options, settings, environment)
        return _stop(options, settings, environment) if options.command else _serve(options, settings, environment)
    except (SettingsError, state.StateError, ListenError, Refused, StartError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot run: {error}")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _serve(options: argparse.Namespace, settings: Settings, environment: Mapping[str, str]) -> int:
    worker = Worker.from_environment(environment)
    if worker is None:
        check_nobody_is_left(settings)
    if settings.workers > 1:
        return _serve_by_workers(options, settings, environment)
    announce = _say_next_steps if worker is None else worker.announce
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(app.main(settings, environment, announce=announce, replaces=options.replace, worker=worker))
    return 0


def _serve_by_workers(options: argparse.Namespace, settings: Settings, environment: Mapping[str, str]) -> int:
    from terminal_service import workers  # noqa: PLC0415 - what one process has no use for

    started_by = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    program = [sys.executable, *started_by, "--env-file", str(options.env_file.absolute())]
    serving = workers.main(settings, environment, program=program, announce=_say_next_steps, replaces=options.replace)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(serving)
        except workers.WorkersError as error:
            return _fail(str(error))
        except workers.EndError as error:
            _fail(str(error))
            return EXIT_BAD_END
    return 0


def _check_backends(options: argparse.Namespace, settings: Settings, environment: Mapping[str, str]) -> int:
    """Look at the backends that the file has; nothing else is touched, and a service may be running."""
    file = settings.backends_file if options.file is None else options.file.absolute()
    logs.configure("CRITICAL", settings.log_format)  # what there is to say is in the table

    async def check(settings: Settings) -> bool:
        places = make_backends(settings, environment, "check")
        try:
            table, are_well = await report(places)
        finally:
            await close_backends(settings, places, ends_all=False)
        _say(table)
        return are_well

    with copied_state(settings.state_dir) as state_dir, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        looking = dataclasses.replace(settings, backends_file=file, state_dir=state_dir)
        return 0 if runner.run(check(looking)) else EXIT_BAD_END


def _stop(options: argparse.Namespace, settings: Settings, environment: Mapping[str, str]) -> int:
    def end_all() -> int:
        wait_for_the_last(settings)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            each = [settings, *(worker for _, worker in places(settings))]
            return sum(runner.run(app.end_all(one, environment)) for one in each)

    return stop(settings, end_all=end_all if options.all else None, seconds=options.timeout, say=_say)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="terminal-service",
        description="Shells over WebSocket that survive any disconnect. Without a command: run the service.",
        epilog="Settings come from the environment and from a .env file; .env.example explains each.",
    )
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="file of settings (default: .env)")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--replace",
        action="store_true",
        help="take the place of the service that runs, with its sockets and its shells; no connection is refused "
        "meanwhile, and if this one cannot start that one goes on",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    stopping = commands.add_parser(
        "stop",
        help="stop the service that runs; its shells go on in the holder",
        description="Stop the service that uses STATE_DIR. Its shells go on, and the next start has them again, "
        "unless STOP_SESSIONS_ON_EXIT or HOLDER=off says otherwise.",
        epilog="Exit codes: 0 stopped, or none was running; 1 not stopped in time, or refused; 2 wrong settings.",
    )
    stopping.add_argument(
        "--all", action="store_true", help="end every session and the holder too, also when no service is running"
    )
    stopping.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="how long to wait (default: twice STOP_GRACE_SECONDS, and 30)"
    )
    draining = commands.add_parser(
        "drain",
        help="take no new sessions, stop the service once those it has have ended",
        description="Have the service that uses STATE_DIR refuse new sessions, tell its clients, wait until its "
        "sessions have ended or the time is over, and stop as `stop` does. Again: another time, 0 is now.",
        epilog="Ending this command does not end the draining. Exit codes: as for `stop`.",
    )
    draining.add_argument(
        "--seconds", type=float, metavar="SECONDS", help="how long to wait at most (default: DRAIN_SECONDS)"
    )
    backends = commands.add_parser(
        "backends", help="what there is to say of the places where sessions can run"
    ).add_subparsers(dest="what", metavar="what", required=True)
    checking = backends.add_parser(
        "check",
        help="read BACKENDS_FILE and look whether sessions could be opened at each place",
        description="Read BACKENDS_FILE, print every backend with what it can do, and look whether it works. "
        "Nothing is started or changed, and a service may be running.",
        epilog="Exit codes: 0 all work; 1 some do not; 2 something in the file is wrong.",
    )
    checking.add_argument("--file", type=Path, metavar="FILE", help="another file than BACKENDS_FILE")
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
        _say(NEXT_STEPS.format(url=url, address=url.partition("://")[2]).removesuffix("\n"))
    else:
        _say(f"Terminal Service is ready: {url}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _fail(reason: str) -> int:
    sys.stderr.write(f"terminal-service: {reason}\n")
    return EXIT_USAGE
