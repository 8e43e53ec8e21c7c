"""How the service logs: constant messages with fields, on standard error, as JSON or for people.

Never a payload, never a secret: bytes are shown as their number, fields that sound like secrets not at all, and
tracebacks without the values of variables. Other libraries are heard from WARNING on: below that uvicorn prints query
strings and WebSocket libraries print what is typed.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from structlog.processors import (
    ExceptionRenderer,
    JSONRenderer,
    StackInfoRenderer,
    TimeStamper,
    UnicodeDecoder,
)
from structlog.stdlib import (
    BoundLogger,
    ExtraAdder,
    LoggerFactory,
    ProcessorFormatter,
    add_log_level,
    add_logger_name,
    filter_by_level,
)
from structlog.tracebacks import ExceptionDictTransformer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

OUR_PACKAGES = ("terminal_service", "transports", "nodes", "replay", "backends")
REDACTED = "[redacted]"

_SECRET = re.compile(
    r"token|secret|passw|passphrase|credential|authori[sz]ation|cookie|ticket|api_?-?key|^keys?$|private_?-?key",
    re.IGNORECASE,
)
_PAYLOAD = frozenset({"data", "payload", "input", "output", "body", "query", "query_string", "headers", "env"})
_DEPTH = 4


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send all logs of the process to `stream` (standard error). Calling again replaces what was.

    `level` is a name of `logging`; `form` is `json`, `console` or `auto` (console on a terminal, else JSON).
    """
    stream = sys.stderr if stream is None else stream
    is_console = form == "console" or (form == "auto" and stream.isatty())
    structlog.configure(
        processors=[filter_by_level, *_shared(), ProcessorFormatter.wrap_for_formatter],
        logger_factory=LoggerFactory(),
        wrapper_class=BoundLogger,
        cache_logger_on_first_use=False,  # or a second call would not reach loggers that were used before
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[ExtraAdder(), *_shared()],
            processors=[ProcessorFormatter.remove_processors_meta, *_rendering(is_console, stream)],
        )
    )
    _install(handler, logging.getLevelNamesMapping()[level])


def _install(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    for package in OUR_PACKAGES:
        logging.getLogger(package).setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    # Its lines are requests with their query strings, whatever the level.
    logging.getLogger("uvicorn.access").propagate = False
    logging.captureWarnings(capture=True)


def _shared() -> list[Processor]:
    """Return what is done to every event, ours and others'."""
    return [
        structlog.contextvars.merge_contextvars,
        add_log_level,
        add_logger_name,
        TimeStamper(fmt="iso", utc=True),
        StackInfoRenderer(),
        redact,
        UnicodeDecoder(),
    ]


def _rendering(is_console: bool, stream: TextIO) -> list[Processor]:  # noqa: FBT001 - a parameter of nobody else
    if is_console:
        # plain_traceback: the default one prints the values of variables.
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        return [renderer]
    return [
        ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=20)),
        JSONRenderer(default=str),
    ]


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Take out what must not be logged; a processor of structlog."""
    return {name: value if name in _OWN else _redacted(name, value, _DEPTH) for name, value in event.items()}


# What structlog itself puts into an event.
_OWN = frozenset({"event", "exc_info", "_record", "_from_structlog", "timestamp", "level", "logger"})


def _redacted(name: str, value: Any, depth: int) -> Any:
    if _SECRET.search(name) and not isinstance(value, bool | int | float):
        return REDACTED
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if name in _PAYLOAD and isinstance(value, str | dict | list | tuple):
        return f"<{len(value)} {'characters' if isinstance(value, str) else 'items'}>"
    if depth and isinstance(value, dict):
        return _redacted_items(value, depth)
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_redacted(name, each, depth - 1) for each in value]
    return value


def _redacted_items(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    return {str(key): _redacted(str(key), each, depth - 1) for key, each in value.items()}
