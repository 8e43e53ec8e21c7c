from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from terminal_service import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "s3cr3t-canary"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    names = ["", *logs.OUR_PACKAGES, "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"]
    loggers = [logging.getLogger(name) for name in names]
    before = [(each, each.level, each.propagate, each.handlers[:]) for each in loggers]
    yield
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    for each, level, propagate, handlers in before:
        each.setLevel(level)
        each.propagate = propagate
        each.handlers[:] = handlers


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level, "json", stream)
    return stream


def ours() -> Any:
    return structlog.get_logger("terminal_service.sessions")


def test_an_event_is_one_line_of_json_with_its_fields() -> None:
    stream = configured()
    ours().info("session started", session_id="1", rows=24)
    [line] = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "session started",
        "session_id": "1",
        "rows": 24,
        "level": "info",
        "logger": "terminal_service.sessions",
    }


def test_auto_is_for_people_on_a_terminal_and_json_elsewhere() -> None:
    terminal = Terminal()
    logs.configure("INFO", "auto", terminal)
    ours().info("session started", session_id="1")
    assert "session started" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    file = io.StringIO()
    logs.configure("INFO", "auto", file)
    ours().info("session started")
    assert lines(file)[0]["event"] == "session started"
    assert terminal.getvalue().count("session started") == 1


@pytest.mark.parametrize("name", ["terminal_service.x", "transports.x", "replay.x", "backends.x"])
def test_our_own_level_is_the_one_asked_for(name: str) -> None:
    stream = configured("DEBUG")
    structlog.get_logger(name).debug("detail")
    assert lines(stream)[0]["level"] == "debug"
    stream = configured("ERROR")
    structlog.get_logger(name).warning("unheard")
    assert not stream.getvalue()


def test_others_are_heard_from_warning_on_and_what_they_say_looks_the_same() -> None:
    stream = configured("DEBUG")
    for name in ("uvicorn.error", "websockets.server", "asyncio", "root"):
        logging.getLogger(name).debug("< TEXT %s", CANARY)
        logging.getLogger(name).info('127.0.0.1:1 - "WebSocket %s" [accepted]', f"/ws?ticket={CANARY}")
    logging.getLogger("uvicorn.access").warning('"GET /?ticket=%s"', CANARY)
    assert not stream.getvalue()
    logging.getLogger("uvicorn.error").error("cannot bind %s", "port")
    [line] = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("cannot bind port", "error", "uvicorn.error")


@pytest.mark.parametrize(
    "name",
    ["token", "access_token", "API_KEY", "apiKey", "x-api-key", "password", "client_secret", "Authorization", "cookie"],
)
def test_what_sounds_like_a_secret_is_not_logged_at_any_depth(name: str) -> None:
    stream = configured()
    logger = ours()
    logger.warning("x", **{name: CANARY})
    logger.warning("x", request={"items": [{name: CANARY}]})
    logger.warning("x", **{name: [CANARY, {"a": CANARY}]})
    logging.getLogger("other").warning("x", extra={name: CANARY})
    assert CANARY not in stream.getvalue()
    assert stream.getvalue().count(logs.REDACTED) >= 4


def test_payloads_are_logged_as_their_size() -> None:
    stream = configured()
    ours().info("x", data=CANARY, chunk=CANARY.encode(), views=[memoryview(b"abc")], env={"A": CANARY})
    [line] = lines(stream)
    size = len(CANARY)
    assert (line["data"], line["chunk"], line["views"], line["env"]) == (
        f"<{size} characters>",
        f"<{size} bytes>",
        ["<3 bytes>"],
        "<1 items>",
    )


def test_numbers_and_harmless_names_stay() -> None:
    stream = configured()
    ours().info("x", tokens=5, monkey="a", keyboard="b", names=["c"], client=None)
    [line] = lines(stream)
    assert (line["tokens"], line["monkey"], line["keyboard"], line["names"], line["client"]) == (
        5,
        "a",
        "b",
        ["c"],
        None,
    )


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_has_no_values_of_variables(form: str) -> None:
    stream = io.StringIO()
    logs.configure("INFO", form, stream)
    password = CANARY
    try:
        int(f"{password[:0]}x")
    except ValueError:
        ours().exception("failed")
        logging.getLogger("uvicorn.error").exception("failed too")
    assert stream.getvalue().count("ValueError") >= 2
    assert CANARY not in stream.getvalue()


def test_warnings_of_the_interpreter_are_logged() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("look out", stacklevel=1)
    assert "look out" in lines(stream)[0]["event"]


def test_the_standard_error_of_a_process_is_where_logs_go() -> None:
    program = (
        "import structlog\n"
        "from terminal_service import logs\n"
        "logs.configure('INFO', 'auto')\n"
        "structlog.get_logger('terminal_service').info('hello')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "hello"
