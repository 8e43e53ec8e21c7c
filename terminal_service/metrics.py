"""What Prometheus may know: the only place that names metrics.

The hot paths add to the plain integers of `Counters`; they and the sessions are read when somebody asks, so a
metric costs nothing between two scrapes, and a gauge cannot drift from what it measures. No metric is labelled with
a session: there is no end to them, and each label value is kept for ever by whoever scrapes.
"""

from __future__ import annotations

import platform
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from terminal_service import __version__, wire
from terminal_service.attachment import Attachment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nodes.base import MailFigures
    from terminal_service.audience import Audience
    from terminal_service.counters import Counters, Durations
    from terminal_service.places import Place
    from terminal_service.session import Session
    from terminal_service.terminal import Terminal


PREFIX = "terminal_"

# Found once, at the import: finding it reads files.
_INFO = {"version": __version__, "architecture": platform.machine()}

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The oldest version of the format: every name here is valid in it, and every scraper reads it."""

# What clients ask for by name in vain would be as many label values as they like.
_SHELLS = frozenset({"bash", "zsh", "fish", "sh", "dash", "ksh", "pwsh", "powershell", "cmd", "wsl", "echo", "command"})

_PLAIN = {
    "sessions_created": ("sessions_created", "Sessions that were started."),
    "websocket_connections": ("attaches", "Viewers that attached."),
    "websocket_reconnections": ("reconnections", "Viewers that attached again to a terminal they had left."),
    "pty_pauses": ("pty_pauses", "Times a program was made to wait for its viewers."),
    "output_appended_bytes": ("appended_bytes", "Output of programs, in bytes."),
    "output_delivered_bytes": ("delivered_bytes", "Output sent to viewers, in bytes."),
    "output_replayed_bytes": ("replayed_bytes", "Output sent to viewers that was there before they came, in bytes."),
    "input_bytes": ("input_bytes", "Input of clients, in bytes."),
    "input_discarded_bytes": ("input_discarded_bytes", "Waiting input that an interrupt discarded, in bytes."),
    "input_repeated": ("inputs_repeated", "Numbered inputs that had been written before and were not written again."),
}
"""Metric: (field of `Counters`, meaning)."""

_LABELLED = {
    "sessions_terminated": ("sessions_ended", ["reason"], "Sessions that ended."),
    "pty_spawns": ("pty_spawns", ["shell_type"], "Programs that were started at a terminal."),
    "pty_failures": ("pty_failures", ["shell_type", "error_type"], "Programs that could not be started."),
    "gaps": ("gaps", ["reason"], "Times a viewer was told that output is missing."),
    "gap_bytes": ("gap_bytes", ["reason"], "Output that viewers were told is missing, in bytes."),
    "requests_forwarded": ("requests_forwarded", ["outcome"], "Requests that other nodes were asked to answer."),
    "websocket_messages_received": ("messages_received", ["message_type"], "Messages of clients."),
}
"""Metric: (field of `Counters`, labels, meaning)."""

_MESSAGE_TYPES = {
    message.__name__: str(message.__struct_config__.tag)
    for message in vars(wire).values()
    if isinstance(message, type) and issubclass(message, Struct) and message.__struct_config__.tag
}


class Observed(Protocol):
    """What metrics are about; `terminal_service.sessions.Sessions` in the service."""

    @property
    def counters(self) -> Counters:
        """What was counted."""
        ...

    def all(self) -> Iterable[Session]:
        """Return all sessions there are now, living or ended."""
        ...


class Copied(Protocol):
    """What was counted where output is copied to Redis."""

    stored_bytes: int
    commits: int
    gap_bytes: int

    @property
    def failures(self) -> Mapping[str, int]:
        """Return how many commits failed, by the kind of error: a name of the client's, of which there are few."""
        ...

    @property
    def ended(self) -> Mapping[str, int]:
        """Return how many logs are copied no more, by what became of them."""
        ...


class Joined(Protocol):
    """This node among others; `terminal_service.node.Node`."""

    @property
    def count(self) -> int:
        """How many nodes there are, this one too."""
        ...

    @property
    def shown(self) -> Sequence[Audience]:
        """The terminals of other nodes that are followed here."""
        ...

    @property
    def guests_count(self) -> int:
        """How many viewers at other nodes watch sessions of this one."""
        ...

    @property
    def mail_figures(self) -> MailFigures:
        """What was counted of what nodes said to each other."""
        ...


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(
        self,
        sessions: Observed,
        *,
        copied: Copied | None = None,
        node: Joined | None = None,
        places: Iterable[Place] = (),
    ) -> None:
        """Begin to look at sessions and their counters; at copies to Redis, other nodes and backends, if any are."""
        self._refusals: Counter[str] = Counter()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_ServiceCollector(sessions, self._refusals, node))
        self._registry.register(_PlacesCollector(sessions, places))
        if copied is not None:
            self._registry.register(_RedisCollector(copied))
        if node is not None:
            self._registry.register(_NodesCollector(node))

    def count_refusal(self, code: str) -> None:
        """Count a request that the guard refused with the problem `code`."""
        self._refusals[code] += 1

    def render(self) -> tuple[bytes, str]:
        """Return the text of all metrics, and its content type. To be called on the event loop's thread."""
        return generate_latest(self._registry), CONTENT_TYPE


class _ServiceCollector(Collector):
    def __init__(self, sessions: Observed, refusals: Mapping[str, int], node: Joined | None) -> None:
        self._sessions = sessions
        self._refusals = refusals
        self._node = node

    def collect(self) -> Iterator[Metric]:
        counters = self._sessions.counters
        yield InfoMetricFamily("terminal_service", "What is running.", value=_INFO)
        for name, (attribute, meaning) in _PLAIN.items():
            yield CounterMetricFamily(PREFIX + name, meaning, value=getattr(counters, attribute))
        for name, (attribute, labels, meaning) in _LABELLED.items():
            yield _labelled(name, meaning, labels, _bounded(getattr(counters, attribute)))
        yield from _sent(counters)
        yield _labelled("requests_refused", "Requests the guard refused.", ["code"], self._refusals)
        yield _durations(counters.session_seconds)
        sessions = list(self._sessions.all())
        watched: list[Audience] = [session.terminal for session in sessions if session.terminal is not None]
        yield from _gauges(sessions)
        yield from _viewers([*watched, *(self._node.shown if self._node is not None else ())])


class _RedisCollector(Collector):
    def __init__(self, copied: Copied) -> None:
        self._copied = copied

    def collect(self) -> Iterator[Metric]:
        copied = self._copied
        for name, meaning, value in (
            ("redis_stored_bytes", "Output that Redis has acknowledged, in bytes.", copied.stored_bytes),
            ("redis_commits", "Batches that were sent to Redis.", copied.commits),
            ("redis_gap_bytes", "Output lost before it reached Redis, in bytes.", copied.gap_bytes),
        ):
            yield CounterMetricFamily(PREFIX + name, meaning, value=value)
        meaning = "Batches Redis did not take; they are sent again."
        yield _labelled("redis_failures", meaning, ["error_type"], copied.failures)
        yield _labelled("redis_copies_ended", "Logs that are copied to Redis no more.", ["reason"], copied.ended)


class _PlacesCollector(Collector):
    def __init__(self, sessions: Observed, places: Iterable[Place]) -> None:
        self._sessions = sessions
        self._places = places

    def collect(self) -> Iterator[Metric]:
        counters = self._sessions.counters
        up = GaugeMetricFamily(
            PREFIX + "backend_up", "Whether sessions can be opened there, as seen last.", labels=["backend", "kind"]
        )
        living = Counter(session.backend for session in self._sessions.all() if session.is_living)
        sessions = GaugeMetricFamily(
            PREFIX + "backend_sessions", "Sessions there that have not ended.", labels=["backend"]
        )
        for place in self._places:
            up.add_metric([place.name, place.kind], 0.0 if place.health.is_failing else 1.0)
            sessions.add_metric([place.name], living[place.name])
        yield up
        yield sessions
        meaning = "Looks at backends, by what was found."
        yield _labelled("backend_checks", meaning, ["backend", "outcome"], counters.backend_checks)
        meaning = "Sessions that a backend could not open."
        yield _labelled("backend_failures", meaning, ["backend", "error_type"], counters.backend_failures)


class _NodesCollector(Collector):
    def __init__(self, node: Joined) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        node, mail = self._node, self._node.mail_figures
        for name, meaning, count in (
            ("nodes", "Nodes that live or are awaited, as this one sees it.", node.count),
            ("sessions_followed", "Sessions of other nodes that are shown here.", len(node.shown)),
            ("viewers_elsewhere", "Viewers at other nodes of sessions of this one.", node.guests_count),
        ):
            yield GaugeMetricFamily(PREFIX + name, meaning, value=count)
        ways = [("out", mail.written_messages, mail.written_bytes), ("in", mail.read_messages, mail.read_bytes)]
        messages = {way: count for way, count, _ in ways}
        yield _labelled("node_mail_messages", "What nodes say to each other, in messages.", ["direction"], messages)
        sizes = {way: size for way, _, size in ways}
        yield _labelled("node_mail_bytes", "What nodes say to each other, in bytes.", ["direction"], sizes)
        meaning = "Times that what two nodes said to each other began anew."
        yield CounterMetricFamily(PREFIX + "node_mail_resets", meaning, value=mail.resets)


def _sent(counters: Counters) -> Iterator[Metric]:
    sent = Counter({_MESSAGE_TYPES.get(name, name): count for name, count in counters.messages_sent.items()})
    sent["output"] += counters.output_messages
    meaning = "Messages to clients; output counts its pieces."
    yield _labelled("websocket_messages_sent", meaning, ["message_type"], sent)
    pauses, replays = sent["flow_pause"], sent["replay_end"]
    yield CounterMetricFamily(PREFIX + "flow_control_pauses", "Times a viewer's window was full.", value=pauses)
    yield CounterMetricFamily(PREFIX + "output_buffer_replays", "Replays that were completed.", value=replays)


def _bounded(counts: Mapping[Any, int]) -> Mapping[Any, int]:
    """Return the counts of failures with every shell nobody knows as `other`."""
    bounded: Counter[Any] = Counter()
    for key, count in counts.items():
        if isinstance(key, tuple):
            shell, *rest = key
            bounded[(shell if shell in _SHELLS else "other", *rest)] += count
        else:
            bounded[key] += count
    return bounded


def _labelled(name: str, meaning: str, labels: list[str], counts: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, meaning, labels=labels)
    for key, count in counts.items():
        family.add_metric(list(key) if isinstance(key, tuple) else [str(key)], count)
    return family


def _durations(durations: Durations) -> Metric:
    bounds = [*(str(bound) for bound in durations.BOUNDS), "+Inf"]
    cumulated = list(zip(bounds, accumulate(durations.counts), strict=True))
    meaning = "How long sessions lived, in seconds."
    return HistogramMetricFamily(PREFIX + "session_duration_seconds", meaning, cumulated, durations.total_seconds)


def _gauges(sessions: list[Session]) -> Iterable[Metric]:
    living = [session for session in sessions if session.is_living]
    terminals: list[Terminal] = [session.terminal for session in sessions if session.terminal is not None]
    running = [session.terminal for session in living if session.terminal is not None]
    pending = [terminal.keyboard.pending_bytes for terminal in terminals]
    kept = sum(terminal.log.head - terminal.log.first for terminal in terminals)
    degraded = sum(terminal.log.degraded is not None for terminal in running)
    behind = sum(terminal.log.trouble is not None for terminal in running)
    backlog = sum(terminal.log.backlog_bytes for terminal in terminals)
    for name, meaning, value in (
        ("sessions_active", "Sessions that have not ended.", len(living)),
        ("pty_active_processes", "Programs at a terminal.", sum(each.pty is not None for each in running)),
        ("output_buffer_size_bytes", "Output that can be replayed, of all terminals, in bytes.", kept),
        ("input_pending_bytes_max", "Input waiting for the slowest program, in bytes.", max(pending, default=0)),
        ("input_pending_bytes_sum", "Input waiting for programs, in bytes.", sum(pending)),
        ("logs_degraded", "Terminals whose output is kept in memory only: the disk is full.", degraded),
        ("logs_not_shared", "Terminals whose output does not reach Redis.", behind),
        ("log_backlog_bytes", "Output that Redis does not have yet, of all terminals, in bytes.", backlog),
    ):
        yield GaugeMetricFamily(PREFIX + name, meaning, value=value)


def _viewers(watched: Iterable[Audience]) -> Iterable[Metric]:
    """Count the viewers of this node, whosever the sessions are."""
    viewers = [viewer for audience in watched for viewer in audience.attachments if isinstance(viewer, Attachment)]
    lags = [viewer.lag for viewer in viewers]
    for name, meaning, value in (
        ("websocket_active_connections", "Viewers that are attached.", len(lags)),
        ("viewer_lag_bytes_max", "Output the slowest viewer has not been sent, in bytes.", max(lags, default=0)),
        ("viewer_lag_bytes_sum", "Output not sent, of all viewers, in bytes.", sum(lags)),
    ):
        yield GaugeMetricFamily(PREFIX + name, meaning, value=value)
