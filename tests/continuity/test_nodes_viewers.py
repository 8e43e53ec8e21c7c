"""A viewer at another node is a viewer: what it may, what it is told, and what it costs the others are the same."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from support.bursts import cases
from support.fleet import entrance, past, processes, stream_command
from support.keystrokes import ECHO
from support.raw import Raw
from support.restarts import queue_seconds
from support.same import assert_same
from support.shared import visit
from support.stream import stream, verify
from support.wait import wait_until
from support.weather import Fate, Lane, Plan

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Iterator

    from support.client import Client
    from support.shared import SharedService

KIB = 1024
MOST_VIEWERS = 6
RECONNECTS = 50
SLOW_BYTES = 24 << 20
WAITED_BYTES = 9 << 20
GROWTH_BYTES = 16 << 20
HURRY_SECONDS = 1.0
AT_ONCE = 4


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SharedService]]:
    directory = tmp_path_factory.mktemp("nodes")
    with processes(
        directory,
        MAX_VIEWERS_PER_SESSION=str(MOST_VIEWERS),
        MAX_CONCURRENT_SESSIONS_PER_USER="1000",
        HEARTBEAT_INTERVAL="0.5",
    ) as services:
        yield services


@pytest.fixture
async def nodes(pair: list[SharedService]) -> AsyncIterator[list[SharedService]]:
    one, other = pair
    async with visit(one), visit(other):
        yield [one, other]


def last(client: Client, kind: str) -> dict[str, object]:
    """Return the newest message of a kind; empty: there was none."""
    return next((message for message in reversed(client.messages) if message["type"] == kind), {})


def size_told(client: Client) -> tuple[object, object]:
    """Return rows and columns as a client was told last."""
    message = last(client, "resize") or client.attached
    return message["rows"], message["cols"]


def seen_by(client: Client) -> set[str]:
    """Return who is attached, as a client was told last."""
    viewers: list[dict[str, str]] = last(client, "viewers").get("viewers", [])  # type: ignore[assignment]
    return {viewer["client_id"] for viewer in viewers}


async def test_no_client_needs_to_come_to_the_same_node_again(nodes: list[SharedService]) -> None:
    """Fifty connections, each to the other node: numbered input, output and the bookmark go on as if it were one."""
    session = (await nodes[0].create_session(command=ECHO))["session_id"]
    expected = b"READY"
    async with (
        entrance(nodes) as proxy,
        nodes[0].client(session, client_id="me", via=(proxy.host, proxy.port), acks=True) as client,
    ):
        await client.wait_for_output(b"READY")
        for number in range(RECONNECTS):
            word = b"<%d>" % number
            expected += word
            client.send_input(word)
            if number % 2:  # else it leaves without having seen what came of it
                await client.wait(lambda: client.position >= len(expected), "the echo")  # noqa: B023 - as below
            client.abort()
            await client.wait(lambda: client.attaches > number + 1, "the other node")  # noqa: B023 - called in its turn
        await client.wait(lambda: client.position >= len(expected), "the last echo")
        await client.wait_acked()
        await client.detach()
        assert proxy.statistics.connections == RECONNECTS + 1
    assert_same(client.data, expected)
    async with nodes[1].client(session, client_id="me", recover_from="last_sequence") as again:
        assert again.position > len(expected) // 2, "the host knows how far it was"


@pytest.mark.parametrize("owner", [0, 1])
async def test_everybody_is_told_of_viewers_at_all_nodes_and_one_of_them_answers(
    owner: int, nodes: list[SharedService]
) -> None:
    session = (await nodes[owner].create_session(command=ECHO))["session_id"]
    async with (
        nodes[1].client(session, client_id="near", role="viewer") as near,
        nodes[0].client(session, client_id="a") as a,
    ):
        async with nodes[1].client(session, client_id="b") as b:
            for client in (near, a, b):
                await client.wait(lambda client=client: seen_by(client) == {"near", "a", "b"}, "all three")  # type: ignore[misc]
            assert {str(last(client, "viewers")["responder"]) for client in (near, a, b)} == {"a"}
            for node in nodes:
                info = await node.info(session)
                assert (len(info["viewers"]), info["responder"]) == (3, "a")
            a.abort()  # it comes back, behind the others
            await b.wait(lambda: last(b, "viewers")["responder"] == "b" and len(seen_by(b)) == 3, "another one answers")
            for client in (near, a):
                await client.wait(lambda client=client: last(client, "viewers").get("responder") == "b", "told")  # type: ignore[misc]
            await b.detach()
        await a.wait(lambda: seen_by(a) == {"near", "a"} and last(a, "viewers")["responder"] == "a", "b has left")
        await near.wait(lambda: last(near, "heartbeat").get("viewers") == 2, "a heartbeat that counts both")


async def test_the_smallest_of_viewers_at_all_nodes_is_the_size(nodes: list[SharedService]) -> None:
    one, other = nodes
    session = (await one.create_session(command=ECHO, rows=24, cols=80))["session_id"]

    async def has_size(rows: int, cols: int) -> bool:
        found = [await node.info(session) for node in nodes]
        return {(info["rows"], info["cols"]) for info in found} == {(rows, cols)}

    async with one.client(session) as near:
        near.resize(50, 100)
        await wait_until(lambda: has_size(50, 100), description="the size of the first")
        async with other.client(session) as far:
            await far.wait(lambda: size_told(far) == (50, 100), "the size there is")
            far.resize(40, 120)
            for client in (near, far):
                await client.wait(
                    lambda client=client: (
                        (last(client, "resize").get("rows"), last(client, "resize")["cols"])  # type: ignore[misc]
                        == (40, 100)
                    ),
                    "the size that fits both",
                )
            await wait_until(lambda: has_size(40, 100), description="the size that fits both")
        await wait_until(lambda: has_size(50, 100), description="the size of who is left")


async def test_who_only_watches_types_nothing_at_any_node(nodes: list[SharedService]) -> None:
    one, other = nodes
    session = (await one.create_session(command=ECHO))["session_id"]
    async with other.client(session, role="viewer", strict=False) as watcher, other.client(session) as writer:
        await writer.wait_for_output(b"READY")
        watcher.send_unnumbered(b"never")
        watcher.send_input(b"never")
        watcher.resize(10, 10)
        watcher.signal("KILL")
        await watcher.wait(lambda: len(watcher.errors) >= 4, "refusals")
        assert {error["code"] for error in watcher.errors} == {"forbidden"}
        writer.send_input(b"only this")
        await writer.wait_for_output(b"only this")
        assert writer.data == b"READYonly this"
        assert (await one.info(session))["state"] == "running"


@pytest.mark.parametrize("owner", [0, 1])
async def test_a_second_connection_of_a_client_closes_the_first_at_whichever_node(
    owner: int, nodes: list[SharedService]
) -> None:
    session = (await nodes[owner].create_session(command=ECHO))["session_id"]
    for old, new in ((0, 1), (1, 0), (1, 1)):
        async with nodes[old].client(session, client_id="me") as first, nodes[new].client(session, client_id="me"):
            await first.wait_over()
            assert first.close_codes[-1][0] == 4409
    for node in nodes:
        await wait_until(lambda node=node: _has_viewers(node, session, 0), description="nobody is left")  # type: ignore[misc]


async def _has_viewers(node: SharedService, session: str, count: int) -> bool:
    return len((await node.info(session))["viewers"]) == count


async def test_viewers_at_all_nodes_count(nodes: list[SharedService]) -> None:
    session = (await nodes[0].create_session(command=ECHO))["session_id"]
    clients = [nodes[number % 2].client(session) for number in range(MOST_VIEWERS)]
    try:
        for client in clients:
            await client.__aenter__()
        for node in nodes:
            one_more = node.client(session, strict=False)
            with pytest.raises(AssertionError, match="4429"):
                await one_more.__aenter__()
            assert [code for code, _ in one_more.close_codes] == [4429]
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)
    async with nodes[1].client(session):
        pass


async def test_signals_and_ctrl_c_from_another_node_stop_a_flood_at_once(nodes: list[SharedService]) -> None:
    one, other = nodes
    flood = (
        "trap 'stty raw -echo; echo STOPPED' INT; yes flood; trap 'echo USR; exit 5' USR1; while :; do sleep 0.01; done"
    )
    session = (await one.create_session(command=["sh", "-c", f"echo READY; {flood}"]))["session_id"]
    async with other.client(session, keep=False, recover_from=None) as client:
        await past(client, further=4 << 20)
        began, waited = time.monotonic(), sum(queue_seconds(node.pid) for node in nodes)
        client.send_input(b"\x03")
        await client.wait_acked()
        took = time.monotonic() - began - (sum(queue_seconds(node.pid) for node in nodes) - waited)
        assert took < HURRY_SECONDS, f"Ctrl-C took {took:.2f} s"
        await wait_until(lambda: _is_still(one, session), description="the flood ended")
        client.keep = True
        client.signal("USR1")
        assert (await client.wait_ended())["exit_code"] == 5


async def _is_still(node: SharedService, session: str) -> bool:
    before = (await node.info(session))["seq"]
    await asyncio.sleep(0.1)
    return bool((await node.info(session))["seq"] == before)


async def test_a_viewer_at_another_node_that_never_reads_holds_up_nobody(nodes: list[SharedService]) -> None:
    """It does not read: the program and the others go on, and neither node's memory grows with what it misses."""
    one, other = nodes
    size = f"head -c {SLOW_BYTES} /dev/zero | tr '\\0' x"
    command = ["sh", "-c", f"stty raw -echo; printf READY; read go; {size}; printf DONE; exec cat"]
    session = (await one.create_session(command=command, retention_bytes=1 << 20))["session_id"]
    async with (
        await Raw.open(other.address[1], limit=4096) as slow,
        one.client(session, keep=False) as near,
        other.client(session, keep=False) as far,
    ):
        slow.request(f"/ws/terminal/{session}?recover_from=0&role=viewer", Sec_WebSocket_Protocol="terminal.v1.msgpack")
        assert b" 101 " in await slow.head()
        await wait_until(lambda: _has_viewers(one, session, 3), description="the slow one is there")
        before = {node: node.psutil.memory_info().rss for node in nodes}
        await near.wait(lambda: near.position == len(b"READY"), "READY")
        near.send_input(b"go\n")
        for client in (near, far):
            await client.wait(lambda client=client: client.position >= SLOW_BYTES + len(b"READYDONE"), "all of it")  # type: ignore[misc]
        for node in nodes:
            grown = node.psutil.memory_info().rss - before[node]
            assert grown < GROWTH_BYTES, f"{grown} bytes more"


@pytest.mark.parametrize("acks", [False, True])
async def test_a_program_waits_for_its_only_viewer_at_another_node(acks: bool, nodes: list[SharedService]) -> None:  # noqa: FBT001 - a parameter of pytest
    """It prints more than is retained, faster than the viewer reads: nothing is skipped, for the program waits."""
    one, other = nodes
    size = f"head -c {WAITED_BYTES} /dev/zero | tr '\\0' x"
    command = ["sh", "-c", f"stty raw -echo; printf READY; read go; {size}; printf DONE; exec cat"]
    session = (await one.create_session(command=command, retention_bytes=4 << 20))["session_id"]
    slow = Fate(down=Lane(bytes_per_second=WAITED_BYTES // 2))
    async with (
        entrance([other], Plan(0, every=slow)) as proxy,
        one.client(session, via=(proxy.host, proxy.port), acks=acks, silence_seconds=30) as client,
    ):
        await client.wait_for_output(b"READY")
        client.send_input(b"go\n")
        await client.wait_for_output(b"DONE")
        assert client.transcript.gaps == []
        assert client.position == WAITED_BYTES + len(b"READYDONE")
        assert client.attaches == 1


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_last_output_and_exact_exit_status_are_told_at_another_node(
    nodes: list[SharedService], size: Callable[[int, int], int], rng: random.Random
) -> None:
    """C3, seen from the node that does not have the program."""
    programs = cases(rng)
    left = size(40, 10_000)

    async def work(number: int) -> None:
        nonlocal left
        host, guest = nodes[number % 2], nodes[1 - number % 2]
        while left > 0:
            left -= 1
            case = next(programs)
            command = ["sh", "-c", case.script, "sh", *case.arguments]
            session = (await host.create_session(command=command, env={"LC_ALL": "C.UTF-8"}))["session_id"]
            async with guest.client(session) as client:
                ended = await client.wait_ended()
            assert_same(client.data, case.output, case.script)
            assert (ended["exit_code"], ended["signal"]) == (case.exit_code, case.signal), case
            assert_same(await guest.output(session), case.output, case.script)
            info = await guest.info(session)
            assert (info["state"], info["exit_code"], info["signal"]) == ("ended", case.exit_code, case.signal), case
            await guest.delete(session)

    async with asyncio.TaskGroup() as tasks:
        for number in range(AT_ONCE):
            tasks.create_task(work(number))


async def test_a_client_that_comes_late_to_another_node_is_told_how_much_it_missed(nodes: list[SharedService]) -> None:
    """C5: away for longer than is retained."""
    one, other = nodes
    session = (await one.create_session(command=stream_command(3, 800_000), retention_bytes=64 * KIB))["session_id"]
    async with one.client(session, client_id="me", reconnect=False) as client:
        await past(client, further=10_000)
    left_at = client.position

    async def is_past_it() -> bool:
        return int((await one.info(session))["first"]) > left_at

    await wait_until(is_past_it, description="the trim")
    async with other.client(session, client_id="me", recover_from=left_at) as later:
        assert later.attached["recover"] == "gap"
        later.send_input(b"q")
        await later.wait_ended()
    gap = later.transcript.gaps[0]
    assert (gap.first, gap.last) == (left_at, left_at + later.attached["lost_bytes"])
    start = later.transcript.start
    trailer = later.data.rfind(b"\r\nEND ")
    assert_same(later.data[:trailer], stream(3, start + trailer)[start:])


async def test_a_session_watched_from_both_nodes_ends_the_same_on_both(nodes: list[SharedService]) -> None:
    one, other = nodes
    session = (await one.create_session(command=stream_command(8, 300_000)))["session_id"]
    async with one.client(session) as near, other.client(session) as far, other.client(session, mode="live") as live:
        await past(far, further=50_000)
        far.send_input(b"q")
        ends = [await client.wait_ended() for client in (near, far, live)]
    assert ends[0] == ends[1] == ends[2]
    verify(near.data, 8)
    assert_same(far.data, near.data)
