"""Everything that can be configured; the only reader of environment variables and of `.env`.

`python -m terminal_service.settings` prints `.env.example`. One error::

    SettingsError   a variable has a value that is not allowed, or two contradict each other
"""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_state_path

from terminal_service import values
from terminal_service.addresses import is_loopback
from terminal_service.env_file import EnvFileError, read_env_file
from terminal_service.os_users import OsUsers
from terminal_service.values import Reader, choice, seconds, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replay.redis_address import RedisAddress

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DAY = 86400.0
_YEARS_10 = 3650 * DAY
_SHOWN_CHARACTERS = 80
_LAST_PORT = 65535
_WILDCARDS = frozenset({"0.0.0.0", "::"})

# Variables of the service this one replaces that mean nothing here. Setting one is no error, but whoever did
# must learn that it does nothing.
IGNORED = frozenset(
    (
        "REDIS_CLUSTER_URLS",
        "REDIS_PASSWORD",
        "REDIS_DB",
        "OUTPUT_BUFFER_SIZE",
        "OAUTH2_ISSUER_URL",
        "OAUTH2_AUDIENCE",
        "JWT_ALGORITHM",
        "JWT_PUBLIC_KEY_PATH",
        "PTY_BUFFER_SIZE",
        "WEBSOCKET_PING_TIMEOUT",
        "FLOW_CONTROL_PAUSE_THRESHOLD",
        "OTEL_EXPORTER_ENDPOINT",
        "OTEL_SERVICE_NAME",
        "GRPC_PORT",
    )
)


class SettingsError(ValueError):
    """The configuration cannot be used; the message is one line fit for whoever wrote it, without secrets."""


def _state_dir() -> Path:
    return user_state_path("terminal-service", appauthor=False)


def _setting(
    default: Any, reader: Reader, meaning: str, *, section: str = "", factory: Callable[[], Any] | None = None
) -> Any:
    """Declare a variable: its default, how it is read, one line of meaning, and where a section starts."""
    metadata = {"reader": reader, "meaning": meaning, "section": section}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The configuration, checked. The variable of a field is its name in capitals."""

    host: str = _setting(
        "127.0.0.1",
        values.NAME,
        "Address to listen on. Beyond loopback API_KEYS must be set.",
        section="Listening",
    )
    port: int = _setting(8081, whole(0, _LAST_PORT), "Port to listen on; 0 takes any free one and prints it.")
    unix_socket: Path | None = _setting(  # noqa: RUF009  (a dataclass field)
        None, values.SOCKET_PATH, "Listen on this Unix socket instead of HOST and PORT."
    )
    workers: int = _setting(1, whole(1, 128), "Processes that serve, behind one port; more than 1 need REDIS_URL.")
    default_shell: str | None = _setting(
        None, values.WORD, "Shell of a session that names none; empty: the first one found."
    )
    holder: str = _setting(
        "on",
        values.HOLDER,
        "Who owns the shells: on (a process of their own, they outlive this one), off, or a holder's directory.",
    )
    os_users: OsUsers = _setting(  # noqa: RUF009  (a dataclass field)
        OsUsers(),
        values.OS_USERS,
        "Users of this machine that sessions run as: owner=user,...,*=user; empty: all as the service's user.",
    )
    backends_file: Path | None = _setting(  # noqa: RUF009  (a dataclass field)
        None,
        values.PATH,
        "File of the other places where sessions can run (TOML, or YAML by its suffix); empty: none. docs/backends.md",
    )
    stop_sessions_on_exit: bool = _setting(
        default=False,
        reader=values.SWITCH,
        meaning="End the shells when this process is told to end (SIGTERM, SIGHUP, stop): true or false.",
    )
    stop_grace_seconds: float = _setting(
        5.0,
        seconds(0, 600),
        "Patience after HUP, and again after TERM, before a shell is killed, in seconds.",
    )

    drain_seconds: float = _setting(
        3600.0,
        seconds(0, 30 * DAY),
        "How long `terminal-service drain` waits for sessions to end before it stops the service, in seconds.",
    )

    state_dir: Path = _setting(  # noqa: RUF009  (a dataclass field)
        None,
        values.PATH,
        "Directory of the terminals' logs; empty: the platform's place for state of this user.",
        section="Logs of terminals",
        factory=_state_dir,
    )
    retention_bytes: int = _setting(
        16 * MIB, whole(64 * KIB, GIB), "How much of a terminal's output is kept, in bytes."
    )
    max_retention_bytes: int = _setting(
        64 * MIB, whole(64 * KIB, GIB), "The most a session may ask to have kept, in bytes."
    )
    tail_bytes: int = _setting(
        256 * KIB, whole(0, GIB), "How much recent output a viewer gets that names no position, in bytes."
    )

    redis_url: RedisAddress | None = _setting(  # noqa: RUF009  (a dataclass field)
        None,
        values.REDIS_URL,
        "Redis that output is copied to, where other nodes read it; empty: it is kept on this machine only.",
        section="Redis",
    )
    redis_durability: str = _setting(
        "redis",
        choice("memory", "redis", "replicated"),
        "When output counts as kept: memory (programs never wait for Redis), redis (it has it), replicated.",
    )
    redis_replicas: int = _setting(1, whole(1, 16), "How many replicas must have it with REDIS_DURABILITY=replicated.")
    redis_ttl_seconds: float = _setting(
        3600.0, seconds(60, _YEARS_10), "How long output stays in Redis once its node is gone."
    )

    node_placement: str = _setting(
        "asked",
        choice("asked", "least"),
        "Which node gets a new session: the one that was asked, or the one with the least sessions.",
    )
    node_away_seconds: float = _setting(
        60.0, seconds(0, _YEARS_10), "How long the other nodes wait for a node that was stopped with sessions going on."
    )

    session_ttl_seconds: float = _setting(
        3600.0, seconds(1, _YEARS_10), "A session ends after this long without activity.", section="Sessions"
    )
    session_max_lifetime_seconds: float = _setting(
        7 * DAY, seconds(1, _YEARS_10, zero="none"), "A session ends at this age whatever happens; 0: never."
    )
    ended_session_seconds: float = _setting(600.0, seconds(0, _YEARS_10), "How long an ended session stays readable.")
    size_policy: str = _setting(
        "smallest",
        choice("smallest", "latest", "owner", "fixed"),
        "Whose size a terminal has: smallest (fits every viewer), latest, owner or fixed.",
    )
    create_wait_seconds: float = _setting(
        10.0,
        seconds(0, 20),
        "How long a request for a session waits for it to run; then the answer is that it is being prepared.",
    )
    max_sessions: int = _setting(1000, whole(1, 1_000_000), "Sessions in all.")
    max_concurrent_sessions_per_user: int = _setting(100, whole(1, 1_000_000), "Sessions of one user.")
    max_viewers_per_session: int = _setting(100, whole(1, 100_000), "Viewers of one session.")

    websocket_ping_interval: float = _setting(
        30.0,
        seconds(0.05, 3600),
        "Seconds between pings; a peer silent for three of them is gone.",
        section="Clients",
    )
    heartbeat_interval: float = _setting(60.0, seconds(0.05, 3600), "Seconds between heartbeat messages.")
    flow_control_window_size: int = _setting(
        256 * KIB, whole(4 * KIB, 64 * MIB), "Output a client that acknowledges may be behind, in bytes."
    )
    # 1 MiB, not the original's 64 KiB: 64 KiB of a paste are 87,384 bytes in base64. A message is held whole,
    # so this also bounds the memory of a connection.
    websocket_max_message_size: int = _setting(
        MIB, whole(4 * KIB, 64 * MIB), "Largest message a client may send, in bytes."
    )
    input_bytes_per_second: int = _setting(
        8 * MIB, whole(1, GIB, zero="no limit"), "Input a client may send, in the long run; 0: no limit."
    )
    input_burst_bytes: int = _setting(
        4 * MIB, whole(1, GIB, zero="no limit"), "Input a client may send at once; 0: no limit."
    )

    api_keys: tuple[values.ApiKey, ...] = _setting(
        (),
        values.API_KEYS,
        "Who may come in: user:key,... or user:sha256:<hex>,...; empty: only you, from this machine.",
        section="Security",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        (),
        values.HOST_NAMES,
        "Names clients know this service by besides loopback and HOST, comma separated.",
    )
    allowed_origins: tuple[str, ...] = _setting(
        (), values.ORIGINS, "Origins of other web pages that may use this service, comma separated."
    )
    trusted_proxies: tuple[values.Network, ...] = _setting(
        (), values.NETWORKS, "Proxies whose X-Forwarded-* is believed; needs API_KEYS."
    )

    log_level: str = _setting(
        "INFO",
        choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", upper=True),
        "Least severity that is logged.",
        section="Observability",
    )
    log_format: str = _setting(
        "auto", choice("auto", "console", "json"), "How logs look; auto: console on a terminal, else json."
    )
    prometheus_port: int | None = _setting(
        None, whole(0, _LAST_PORT), "Serve /metrics on this port of loopback too; empty: only on PORT."
    )

    ignored: tuple[str, ...] = ()
    """Names that were set but do nothing, for one warning: old names, and unknown ones in the file."""

    def __post_init__(self) -> None:
        """Refuse what is wrong in combination, however the object was made."""
        _check_exposure(self)
        _check_os_users(self)
        _check_workers(self)
        _check_sizes(self)

    @property
    def host_names(self) -> tuple[str, ...]:
        """Names the service goes by beside those of loopback: ALLOWED_HOSTS, and HOST where it is an address."""
        return self.allowed_hosts if self.host in _WILDCARDS else (*self.allowed_hosts, self.host)

    @property
    def holder_dir(self) -> Path | None:
        """Where the holder is reached; None: there is none."""
        if self.holder == "off" or sys.platform == "win32":
            return None
        return self.state_dir / "holder" if self.holder == "on" else Path(self.holder)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], env_file: Path | None = None) -> Settings:
        """Read the variables, in any case, and a `.env` file if there is one; the environment wins.

        An empty value is the default. Raises SettingsError.
        """
        try:
            from_file = read_env_file(env_file) if env_file else {}
        except EnvFileError as error:
            raise SettingsError(str(error)) from error
        texts = {**_upper(from_file), **_upper(environment)}
        known = {variable.name.upper(): variable for variable in variables()}
        unknown_in_file = _upper(from_file).keys() - known.keys()
        ignored = tuple(sorted(unknown_in_file | (texts.keys() & IGNORED)))
        given = {
            known[name].name: _read(known[name], texts[name].strip()) for name in known if texts.get(name, "").strip()
        }
        return cls(**given, ignored=ignored)


def variables() -> list[dataclasses.Field[Any]]:
    """Return the fields that are variables, in order."""
    return [each for each in dataclasses.fields(Settings) if "reader" in each.metadata]


def example() -> str:
    """Return the text of `.env.example`: every variable with its meaning and default."""
    lines = ["# Copy to .env, or set in the environment, which wins. Empty means the default."]
    for each in variables():
        if each.metadata["section"]:
            lines += ["", f"## {each.metadata['section']}"]
        lines += ["", f"# {each.metadata['meaning']}", f"{each.name.upper()}={_shown(each.default)}"]
    return "\n".join(lines) + "\n"


def _shown(default: object) -> str:
    if default is dataclasses.MISSING or default is None or default in ((), OsUsers()):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:.12g}" if isinstance(default, float) else str(default)


def _upper(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by capital names; of two spellings of one name the one in capitals wins."""
    return {name.upper(): texts[name] for name in sorted(texts, key=str.isupper)}


def _read(variable: dataclasses.Field[Any], text: str) -> Any:
    reader: Reader = variable.metadata["reader"]
    try:
        return reader.read(text)
    except (ValueError, OverflowError, RuntimeError):  # RuntimeError: Path.expanduser for an unknown ~user
        shown = "" if reader.secret else f"={_quoted(text)}"
        raise SettingsError(f"{variable.name.upper()}{shown} is wrong; allowed: {reader.allowed}") from None


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")


def _check_exposure(settings: Settings) -> None:
    if settings.api_keys:
        return
    if not is_loopback(settings.host):
        raise SettingsError(
            f"HOST={_quoted(settings.host)} listens beyond this machine, which needs API_KEYS; "
            "allowed without: 127.0.0.1, ::1, localhost"
        )
    if settings.trusted_proxies:
        raise SettingsError("TRUSTED_PROXIES needs API_KEYS: who comes through a proxy cannot be told apart otherwise")


def _check_os_users(settings: Settings) -> None:
    if not settings.os_users:
        return
    if sys.platform != "linux":
        raise SettingsError("OS_USERS works on Linux only")
    if settings.holder == "off":
        raise SettingsError("OS_USERS needs a holder: set HOLDER to the directory of one that root runs, not to off")
    if settings.holder == "on" and os.geteuid() != 0:
        raise SettingsError(
            "OS_USERS needs a holder that root runs: set HOLDER to its directory; the one of HOLDER=on has no more "
            "rights than this service"
        )


def _check_workers(settings: Settings) -> None:
    workers, metrics = settings.workers, settings.prometheus_port
    if workers == 1:
        return
    if sys.platform == "win32":
        raise SettingsError(f"WORKERS={workers} is wrong; allowed: 1 on Windows")
    if settings.redis_url is None:
        raise SettingsError(
            f"WORKERS={workers} is wrong; allowed: 1, or more with REDIS_URL, through which processes share sessions"
        )
    if settings.holder not in ("on", "off"):
        raise SettingsError(
            f"HOLDER={_quoted(settings.holder)} is wrong; allowed: on or off with WORKERS={workers}, for a holder "
            "obeys one process only"
        )
    if metrics and metrics + workers - 1 > _LAST_PORT:
        raise SettingsError(
            f"PROMETHEUS_PORT={metrics} is wrong; allowed: at most {_LAST_PORT - workers + 1} with WORKERS={workers}, "
            "each of which has the next port"
        )


def _check_sizes(settings: Settings) -> None:
    if settings.max_retention_bytes < settings.retention_bytes:
        raise SettingsError(
            f"RETENTION_BYTES={settings.retention_bytes} is wrong; "
            f"allowed: at most MAX_RETENTION_BYTES ({settings.max_retention_bytes})"
        )
    burst, message = settings.input_burst_bytes, settings.websocket_max_message_size
    if settings.input_bytes_per_second and 0 < burst < message:
        raise SettingsError(
            f"INPUT_BURST_BYTES={burst} is wrong; allowed: 0, or at least WEBSOCKET_MAX_MESSAGE_SIZE "
            f"({message}), or a full message could never pass"
        )


if __name__ == "__main__":
    sys.stdout.write(example())
