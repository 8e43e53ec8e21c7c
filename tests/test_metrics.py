from __future__ import annotations

import asyncio
import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from nodes.redis_mail import MailFigures
from replay.memory import MemoryStore
from replay.redis_lane import Figures
from terminal_service.clock import Clock
from terminal_service.counters import Counters, Durations
from terminal_service.metrics import Metrics
from terminal_service.session import Session, SessionSpec, State
from terminal_service.sizes import Size, SizePolicy
from terminal_service.terminal import Terminal
from terminal_service.wish import Wish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from terminal_service import wire
    from terminal_service.attachment import Attachment
    from terminal_service.audience import Audience

RETENTION = 65536


class Outlet:
    """A connection that takes a few bytes of output and then nothing more."""

    def __init__(self, takes: int) -> None:
        self.takes = takes

    @property
    def writable(self) -> bool:
        return self.takes > 0

    def send(self, message: wire.ServerMessage) -> None:
        pass

    def send_output(self, data: memoryview, seq: int, *, replay: bool) -> None:  # noqa: ARG002 - its shape
        self.takes -= len(data)

    def pause_input(self) -> None:
        pass

    def resume_input(self) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        pass


@dataclass
class House:
    """Sessions as metrics see them."""

    counters: Counters = field(default_factory=Counters)
    sessions: list[Session] = field(default_factory=list)
    store: MemoryStore = field(default_factory=MemoryStore)

    def all(self) -> list[Session]:
        return self.sessions

    def open(self) -> Terminal:
        session = Session(
            f"s{len(self.sessions)}", "ann", SessionSpec(), ttl_seconds=60, max_lifetime_seconds=0, clock=Clock()
        )
        session.terminal = Terminal(
            "t",
            self.store.create(session.session_id, RETENTION),
            size=Size(24, 80),
            size_policy=SizePolicy("smallest"),
            viewers_limit=10,
            loop=asyncio.get_running_loop(),
            clock=Clock(),
            counters=self.counters,
            on_activity=session.bump,
        )
        self.sessions.append(session)
        return session.terminal


def attach(terminal: Terminal, takes: int) -> Attachment:
    viewer = terminal.attach(
        Outlet(takes),
        Wish(
            session_id="s",
            client_id=f"c{takes}",
            user="ann",
            role="viewer",
            is_owner=True,
            mode="exact",
            recover_from=0,
            epoch=None,
            tail_bytes=RETENTION,
            window=RETENTION,
            heartbeat_interval=60,
        ),
    )
    viewer.pump()
    return viewer


def scraped(metrics: Metrics) -> dict[str, float]:
    """Return every sample by name and labels, as a scraper reads them."""
    text, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=0.0.4")
    samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return samples


async def test_a_service_at_rest_tells_who_it_is_and_zeros() -> None:
    samples = scraped(Metrics(House()))
    [info] = [name for name in samples if name.startswith("terminal_service_info")]
    assert f"architecture={platform.machine()}" in info
    assert "version=" in info
    assert all(value == 0 for name, value in samples.items() if name != info)
    assert all(name.startswith("terminal_") for name in samples)


async def test_the_names_of_the_original_mean_something() -> None:
    house = House()
    counters = house.counters
    counters.sessions_ended["ttl"] += 1
    counters.pty_spawns["bash"] += 1
    counters.pty_failures[("bash", "resources")] += 1
    counters.messages_sent["Attached"] += 1
    counters.messages_received["input"] += 1
    names = {name.partition("{")[0] for name in scraped(Metrics(house))}
    assert names >= {
        "terminal_sessions_created_total",
        "terminal_sessions_active",
        "terminal_sessions_terminated_total",
        "terminal_session_duration_seconds_bucket",
        "terminal_websocket_connections_total",
        "terminal_websocket_active_connections",
        "terminal_websocket_messages_sent_total",
        "terminal_websocket_messages_received_total",
        "terminal_websocket_reconnections_total",
        "terminal_pty_spawns_total",
        "terminal_pty_failures_total",
        "terminal_pty_active_processes",
        "terminal_flow_control_pauses_total",
        "terminal_output_buffer_replays_total",
        "terminal_output_buffer_size_bytes",
        "terminal_service_info",
    }


async def test_gauges_are_what_is_there_now() -> None:
    house = House()
    metrics = Metrics(house)
    first, second = house.open(), house.open()
    first.data_received(bytes(1000))
    second.data_received(bytes(100))
    fast, slow = attach(first, 10_000), attach(first, 1)
    first.data_received(bytes(500))
    fast.pump()
    samples = scraped(metrics)
    assert samples["terminal_sessions_active"] == 2
    assert samples["terminal_websocket_active_connections"] == 2
    assert samples["terminal_websocket_connections_total"] == 2
    assert samples["terminal_output_appended_bytes_total"] == 1600
    assert samples["terminal_output_buffer_size_bytes"] == 1600
    assert samples["terminal_viewer_lag_bytes_max"] == samples["terminal_viewer_lag_bytes_sum"] == slow.lag == 500
    first.detach(slow)
    second.keyboard.type("c", None, b"waits for a program")
    house.sessions[0].enter(State.ENDED, "ttl")
    samples = scraped(metrics)
    assert samples["terminal_sessions_active"] == 1
    assert samples["terminal_websocket_active_connections"] == 1
    assert samples["terminal_viewer_lag_bytes_max"] == 0
    assert samples["terminal_input_pending_bytes_max"] == samples["terminal_input_bytes_total"] == 19
    first.detach(fast)


async def test_what_is_lost_is_counted_with_its_size() -> None:
    house = House()
    terminal = house.open()
    terminal.data_received(bytes(RETENTION))
    terminal.data_received(bytes(1000))
    terminal.detach(attach(terminal, 1))
    samples = scraped(Metrics(house))
    assert samples["terminal_gaps_total{reason=trimmed}"] == 1
    assert samples["terminal_gap_bytes_total{reason=trimmed}"] == 1000


async def test_messages_are_counted_by_the_type_on_the_wire() -> None:
    house = House()
    counters = house.counters
    counters.output_messages = 5
    counters.messages_sent.update({"ServerPing": 2, "FlowPause": 3, "ReplayEnd": 4})
    samples = scraped(Metrics(house))
    assert samples["terminal_websocket_messages_sent_total{message_type=output}"] == 5
    assert samples["terminal_websocket_messages_sent_total{message_type=ping}"] == 2
    assert samples["terminal_flow_control_pauses_total"] == 3
    assert samples["terminal_output_buffer_replays_total"] == 4


async def test_shells_asked_for_in_vain_do_not_become_labels() -> None:
    house = House()
    for number in range(1000):
        house.counters.pty_failures[(f"shell{number}", "ShellNotFound")] += 1
    house.counters.pty_failures[("bash", "resources")] += 2
    samples = scraped(Metrics(house))
    assert samples["terminal_pty_failures_total{error_type=ShellNotFound,shell_type=other}"] == 1000
    assert samples["terminal_pty_failures_total{error_type=resources,shell_type=bash}"] == 2
    assert len([name for name in samples if "pty_failures" in name]) == 2


async def test_refusals_are_counted_by_code() -> None:
    metrics = Metrics(House())
    metrics.count_refusal("cross_site")
    metrics.count_refusal("cross_site")
    assert scraped(metrics)["terminal_requests_refused_total{code=cross_site}"] == 2


async def test_durations_fall_into_their_bucket_and_all_above() -> None:
    house = House()
    for seconds in (1, 60, 61, 10**9):
        house.counters.session_seconds.add(seconds)
    samples = scraped(Metrics(house))
    name = "terminal_session_duration_seconds"
    assert [samples[f"{name}_bucket{{le={bound}}}"] for bound in (60, 300, 604800)] == [2, 3, 3]
    assert samples[f"{name}_bucket{{le=+Inf}}"] == samples[f"{name}_count"] == 4
    assert samples[f"{name}_sum"] == 10**9 + 122
    assert sorted(Durations.BOUNDS) == list(Durations.BOUNDS)


async def test_two_services_in_one_process_do_not_share_metrics() -> None:
    one, other = House(), House()
    one.counters.sessions_created = 7
    assert scraped(Metrics(one))["terminal_sessions_created_total"] == 7
    assert scraped(Metrics(other))["terminal_sessions_created_total"] == 0


async def test_what_is_copied_to_redis_is_counted_where_it_is() -> None:
    figures = Figures(stored_bytes=5, commits=4, gap_bytes=3)
    figures.failures["ReadOnlyError"] += 2
    figures.ended["fenced"] += 1
    samples = scraped(Metrics(House(), copied=figures))
    assert samples["terminal_redis_stored_bytes_total"] == 5
    assert samples["terminal_redis_commits_total"] == 4
    assert samples["terminal_redis_gap_bytes_total"] == 3
    assert samples["terminal_redis_failures_total{error_type=ReadOnlyError}"] == 2
    assert samples["terminal_redis_copies_ended_total{reason=fenced}"] == 1
    assert not any("redis" in name for name in scraped(Metrics(House())))


@dataclass
class Neighbour:
    count: int = 3
    shown: Sequence[Audience] = ()
    guests_count: int = 5
    mail_figures: MailFigures = field(default_factory=lambda: MailFigures(7, 700, 8, 800, resets=1))


async def test_what_nodes_say_to_each_other_is_counted_where_there_are_several() -> None:
    samples = scraped(Metrics(House(), node=Neighbour()))
    assert samples["terminal_nodes"] == 3
    assert samples["terminal_sessions_followed"] == 0
    assert samples["terminal_viewers_elsewhere"] == 5
    assert samples["terminal_node_mail_messages_total{direction=out}"] == 7
    assert samples["terminal_node_mail_bytes_total{direction=in}"] == 800
    assert samples["terminal_node_mail_resets_total"] == 1
    assert "terminal_nodes" not in scraped(Metrics(House()))
