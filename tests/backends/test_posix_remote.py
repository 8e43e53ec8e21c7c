"""What a terminal on another machine offers: the same as one here."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from backends.base import ExitStatus, Lost
from backends.durable.patience import LinkPatience
from backends.errors import Unreachable
from backends.held_child import Tag
from backends.holder.fork import Plan
from backends.holder_link import HolderError
from support.far import QUICK, Far, reached, run
from support.sink import CollectingSink
from support.terminals import is_alive, plain_environment
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.durable.link import RemoteLink

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far(tmp_path)


@pytest.fixture
async def link(far: Far) -> AsyncIterator[RemoteLink]:
    async with reached(far) as link:
        yield link


async def test_the_last_output_comes_before_the_exit_status(link: RemoteLink) -> None:
    for code in (0, 1, 255):
        terminal = await run(link, f"stty -opost; seq 1 20000; exit {code}")
        assert await terminal.wait() == ExitStatus(code=code)
        assert terminal.output.endswith(b"\n20000\n")
    terminal = await run(link, "kill -KILL $$")
    assert await terminal.wait() == ExitStatus(signal=signal.SIGKILL)
    assert await link.survivors() == [], "what is over is forgotten there"


async def test_the_end_does_not_wait_for_what_was_left_running(link: RemoteLink) -> None:
    terminal = await run(link, "trap '' HUP; (sleep 1000; echo late) & echo left $!; exit 3")
    assert await terminal.wait(20) == ExitStatus(code=3)
    left = int(terminal.output.split()[1])
    assert not is_alive(left)


async def test_closing_ends_everything_wherever_it_went(link: RemoteLink) -> None:
    script = "trap '' HUP; setsid sh -c 'trap \"\" HUP TERM; echo $$ away; while :; do sleep 1; done' & wait"
    terminal = await run(link, script)
    await terminal.sink.until(b"away")
    away = int(terminal.output.split()[0])
    await terminal.pty.close(0.2)
    assert await terminal.wait() in (ExitStatus(signal=signal.SIGTERM), ExitStatus(signal=signal.SIGKILL))
    assert not is_alive(away)
    await terminal.pty.close(0.2)


async def test_the_interrupt_key_jumps_a_full_queue(link: RemoteLink) -> None:
    terminal = await run(link, "trap 'echo interrupted; exit 9' INT; echo ready; sleep 1000 & wait")
    await terminal.sink.until(b"ready")
    await wait_until(lambda: terminal.pty._has_interrupt_key, description="the mode is told")
    paste = b"a line that nobody reads\n" * 4000
    assert terminal.pty.write(paste) == len(paste)
    assert terminal.pty.interrupt()
    assert terminal.pty.written == terminal.pty.unconfirmed == len(paste)
    await terminal.sink.until(b"interrupted")
    assert await terminal.wait() == ExitStatus(code=9)
    assert terminal.pty.unconfirmed == 0


async def test_the_interrupt_key_is_a_byte_where_the_program_wants_it(link: RemoteLink) -> None:
    terminal = await run(link, "stty raw -echo; echo ready; head -c 3 | od -c")
    await terminal.sink.until(b"ready")
    await wait_until(lambda: not terminal.pty._has_interrupt_key, description="the mode is told")
    assert not terminal.pty.interrupt()
    await terminal.type(b"a\x03b")
    await terminal.sink.until(b"a 003   b")


async def test_the_interrupt_key_comes_in_its_turn_if_the_mode_has_just_changed(link: RemoteLink) -> None:
    terminal = await run(link, "stty raw -echo; echo ready; head -c 3 | od -c")
    await terminal.sink.until(b"ready")
    terminal.pty.write(b"a")
    terminal.pty._has_interrupt_key = True  # as if we had not heard of it yet
    assert terminal.pty.interrupt()
    terminal.pty.write(b"b")
    assert terminal.pty.unconfirmed == terminal.pty.written == 2
    await terminal.sink.until(b"a 003   b")
    await wait_until(lambda: terminal.pty.unconfirmed == 0, description="it is known to have arrived")


async def test_what_has_arrived_is_told_to_the_sink(link: RemoteLink) -> None:
    terminal = await run(link, "read line; sleep 100")
    terminal.sink.room.clear()
    terminal.pty.write(b"line\n")
    assert terminal.pty.unconfirmed == 5
    async with asyncio.timeout(30):
        await terminal.sink.room.wait()
    assert terminal.pty.unconfirmed == 0


async def test_signals_go_to_the_foreground(link: RemoteLink) -> None:
    terminal = await run(link, "trap 'echo usr' USR1; echo ready; while :; do read line; done")
    await terminal.sink.until(b"ready")
    terminal.pty.signal(signal.SIGUSR1)
    await terminal.sink.until(b"usr")
    with pytest.raises(ValueError, match="no such signal"):
        terminal.pty.signal(999)
    terminal.pty.signal(signal.SIGKILL)
    assert await terminal.wait() == ExitStatus(signal=signal.SIGKILL)
    terminal.pty.signal(signal.SIGUSR1)
    terminal.pty.resize(10, 10)
    assert terminal.pty.interrupt()


async def test_a_size_is_set_and_told(link: RemoteLink) -> None:
    terminal = await run(link, "trap 'stty size' WINCH; stty size; echo ready; while :; do read line; done")
    await terminal.sink.until(b"24 80")
    await terminal.sink.until(b"ready")
    terminal.pty.resize(50, 132)
    await terminal.sink.until(b"50 132")


async def test_a_pause_holds_the_program_and_not_its_end(link: RemoteLink, far: Far) -> None:
    terminal = await run(link, "stty -opost; seq 1 400000")
    await terminal.sink.until_size(1)
    terminal.pty.pause_reading()
    held = len(terminal.output)
    await far.until_full(terminal.pty, 1 << 20)
    assert len(terminal.output) == held
    terminal.pty.resume_reading()
    await terminal.sink.until(b"\n200000\n")
    terminal.pty.pause_reading()
    terminal.pty.resume_reading()
    assert await terminal.wait() == ExitStatus(code=0)
    assert terminal.output == b"".join(b"%d\n" % number for number in range(1, 400001))
    ended = await run(link, "sleep 0.3; echo last; exit 2")
    ended.pty.pause_reading()
    assert await ended.wait() == ExitStatus(code=2)
    assert ended.output == b"last\r\n"


async def test_a_full_terminal_takes_nothing_and_tells_of_room(link: RemoteLink) -> None:
    terminal = await run(link, "stty raw -echo; echo ready; read line; head -c 999999 > /dev/null; echo done")
    await terminal.sink.until(b"ready")
    data = b"x" * 999_999
    taken = terminal.pty.write(data)
    assert taken < len(data)
    assert terminal.pty.write(data) == 0
    terminal.pty.signal(signal.SIGCONT)
    await asyncio.gather(terminal.type(b"\n" + data), terminal.sink.until(b"done"))


async def test_what_cannot_be_executed_is_refused(link: RemoteLink) -> None:
    plan = Plan("/nonexistent", [], "/", plain_environment(), (24, 80))
    with pytest.raises(HolderError) as refused:
        await link.spawn(plan, CollectingSink(), tag=Tag("s", "m", ""))
    assert refused.value.error["kind"] in {"exec", "prepare"}
    assert await link.survivors() == []
    plan = Plan("/bin/sh", [], "/nonexistent", plain_environment(), (24, 80))
    with pytest.raises(HolderError, match="nonexistent"):
        await link.spawn(plan, CollectingSink(), tag=Tag("s", "m", ""))


async def test_a_start_that_nobody_waits_for_leaves_nothing(link: RemoteLink, far: Far) -> None:
    for turns in range(6):
        starting = asyncio.create_task(run(link, "exec sleep 1000"))
        await asyncio.sleep(0.002 * turns)
        starting.cancel()
        try:
            terminal = await starting
        except asyncio.CancelledError:
            continue
        await terminal.pty.close(0.1)
    await link.call("ping")

    async def nothing_runs() -> bool:
        return not (await far.ask("list"))["programs"]

    await wait_until(nothing_runs, description="nothing runs")


async def test_the_next_service_goes_on_where_the_last_one_was(far: Far) -> None:
    async with reached(far) as first:
        terminal = await run(first, "stty -opost -echo; seq 1 300000; read line; echo got $line; exit 6")
        await terminal.sink.until(b"\n1000\n")
        await first.close()  # the service dies; what it had on disk is what its sink had
        assert (await terminal.wait()).lost is Lost.LINK
        async with reached(far) as second:
            (remains,) = await second.survivors()
            assert remains.tag.note == "a note"
            assert remains.first <= len(terminal.output) <= remains.head
            sink = CollectingSink()
            pty = await second.adopt(remains, sink, len(terminal.output))
            assert pty.written == 0
            assert pty.write(b"hello\n") == pty.written == 6
            async with asyncio.timeout(30):
                assert await pty.wait() == ExitStatus(code=6)
            output = terminal.output + bytes(sink.output)
            expected = b"".join(b"%d\n" % number for number in range(1, 300001))
            assert output == expected + b"got hello\n"


async def test_a_program_that_is_let_go_runs_on_with_all_its_input(far: Far) -> None:
    async with reached(far) as first:
        terminal = await run(first, "read a; read b; echo got $a $b; read c; exit 8")
        terminal.pty.write(b"one\n")
        terminal.pty.write(b"two\n")
        await terminal.pty.detach()
        with pytest.raises(asyncio.CancelledError):
            await terminal.pty.wait()
        (remains,) = await first.survivors()
        sink = CollectingSink()
        pty = await first.adopt(remains, sink, len(terminal.output))
        assert pty.written == 8
        await sink.until(b"got one two")
        pty.write(b"\n")
        assert await pty.wait() == ExitStatus(code=8)


async def test_a_gap_is_told_with_its_numbers(far: Far) -> None:
    async with reached(far, ring_bytes=65536) as link:
        sink = CollectingSink()
        terminal = await run(link, "stty -opost; read go; seq 1 200000; read line", sink=sink, trim=True)
        gaps: list[tuple[int, int]] = []
        terminal.pty.on_gap = lambda first, last: gaps.append((first, last))
        far.is_blocked = True
        far.cut()
        await wait_until(lambda: not link.is_up, description="the cut is noticed")
        far.is_blocked = False
        await terminal.type(b"go\n")
        await sink.until(b"\n1000\n")
        far.is_blocked = True
        far.cut()
        expected = b"go\n" + b"".join(b"%d\n" % number for number in range(1, 200001))

        async def has_run_on() -> bool:
            return bool((await far.stream_of(terminal.pty))["head"] == len(expected))

        await wait_until(has_run_on, description="it has run on")
        far.is_blocked = False
        await sink.until(b"\n200000\n")
        ((first, last),) = gaps
        assert terminal.output == expected[:first] + expected[last:]
        assert last - first >= len(expected) - 65536 - len(terminal.output)


async def test_a_cut_link_that_nobody_noticed_is_displaced(far: Far) -> None:
    async with reached(far) as first:
        terminal = await run(first, "echo hello; read line")
        await terminal.sink.until(b"hello")
        async with reached(far) as second:
            status = await terminal.wait()
            assert status.lost is Lost.LINK
            assert "taken over" in status.message
            assert len(await second.survivors()) == 1


async def test_another_service_waits_until_the_first_has_let_go(far: Far) -> None:
    async with reached(far, owner="first") as first:
        terminal = await run(first, "echo hello; read line")
        second = far.link(owner="second", patience=LinkPatience(connect_seconds=0.5))
        with pytest.raises(Unreachable):
            await second.start()
        second = far.link(owner="second", patience=QUICK)
        starting = asyncio.create_task(second.start())
        await terminal.sink.until(b"hello")
        await first.close()
        await starting
        assert len(await second.survivors()) == 1
        await second.close()


async def test_what_login_scripts_say_is_skipped(far: Far) -> None:
    far.prefix = ("/bin/sh", "-c", 'echo "Welcome to this machine"; exec "$@"', "sh")
    async with reached(far) as link:
        terminal = await run(link, "echo hello")
        assert await terminal.wait() == ExitStatus(code=0)
        assert terminal.output == b"hello\r\n"


async def test_what_is_no_holder_is_told(far: Far) -> None:
    far.prefix = ("/bin/sh", "-c", "echo python3: command not found; exit 127")
    link = far.link(patience=LinkPatience(connect_seconds=1, retry_seconds=(0.01, 0.1)))
    with pytest.raises(Unreachable, match="command not found"):
        await link.start()


async def test_what_would_be_executed_is_found(link: RemoteLink) -> None:
    looked = (await link.call("look", words=["sh", "nothing-like-it", "/bin"], path="/usr/bin:/bin", cwd="/")).fields
    assert looked["files"]["sh"]["file"].endswith("/sh")
    assert looked["files"]["nothing-like-it"] == {"errno": 2}
    assert looked["files"]["/bin"] == {"errno": 21}
    assert looked["directory"] == 0
    assert (await link.call("look", words=[], path="/bin", cwd="/etc/passwd")).fields["directory"] == 20
