"""What every executor promises (backends/abilities.py), held against each of them."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from backends.abilities import Channel, Command
from backends.base import ExitStatus, Lost
from backends.errors import Unreachable
from support.local_executor import LocalExecutor
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.abilities import Execution, Executor
    from support.elsewhere import FarPlace

pytestmark = pytest.mark.platform("linux")

FLOOD_BYTES = 40 << 20


@pytest.fixture
async def executor() -> AsyncIterator[Executor]:
    executor = LocalExecutor()
    yield executor
    await executor.close()


def sh(script: str, *words: str) -> Command:
    return Command(("/bin/sh", "-c", script, "sh", *words))


@asynccontextmanager
async def running(executor: Executor, command: Command) -> AsyncIterator[Execution]:
    async with asyncio.timeout(60):
        execution = await executor.execute(command)
        try:
            yield execution
        finally:
            await execution.close()


async def read_all(execution: Execution) -> dict[Channel, bytes]:
    printed = dict.fromkeys(Channel, b"")
    async for channel, data in execution:
        printed[channel] += data
    return printed


async def run(executor: Executor, command: Command, given: bytes = b"") -> tuple[ExitStatus, bytes, bytes]:
    """Run a command that reads no more than what it is given."""
    async with running(executor, command) as execution:
        if given:
            await execution.write(given)
        printed = await read_all(execution)
        return await execution.wait(), printed[Channel.STDOUT], printed[Channel.STDERR]


async def test_an_exit_code_is_told_exactly(executor: Executor) -> None:
    for code in (0, 1, 7, 126, 127, 255):
        assert (await run(executor, sh(f"exit {code}")))[0] == ExitStatus(code=code)


async def test_a_signal_is_no_success(executor: Executor) -> None:
    status = (await run(executor, sh("kill -KILL $$")))[0]
    assert status in (ExitStatus(signal=9), ExitStatus(code=137))


async def test_both_channels_are_told_apart_and_are_complete(executor: Executor) -> None:
    script = "i=0; while [ $i -lt 500 ]; do echo out-$i; echo err-$i >&2; i=$((i+1)); done; printf end; exit 3"
    status, out, err = await run(executor, sh(script))
    assert status == ExitStatus(code=3)
    assert out == b"".join(b"out-%d\n" % number for number in range(500)) + b"end"
    assert err == b"".join(b"err-%d\n" % number for number in range(500))


async def test_a_command_that_is_missing_ends_with_127_and_says_so(executor: Executor) -> None:
    status, _, err = await run(executor, Command(("/no/such/program",)))
    assert status.code == 127
    assert err


async def test_a_command_that_is_no_program_ends_with_126(executor: Executor) -> None:
    status, _, err = await run(executor, Command(("/etc/passwd",)))
    assert status.code == 126
    assert err


async def test_arguments_directory_and_environment_arrive_as_they_are(executor: Executor) -> None:
    odd = ["", " ", "a b", "$HOME", "`id`", "'", '"', "\\", "-n", "*", "new\nline", "ü", ";&|<>"]
    command = Command(
        ("/bin/sh", "-c", 'pwd; printf "%s\\0" "$VALUE" "$@"', "sh", *odd), cwd="/tmp", env={"VALUE": "a 'b' $c\nd"}
    )
    status, out, _ = await run(executor, command)
    assert status.code == 0
    assert out.split(b"\n", 1)[0] == b"/tmp"
    assert out.split(b"\n", 1)[1].decode().split("\0")[:-1] == ["a 'b' $c\nd", *odd]


async def test_input_reaches_it_and_its_end_too(executor: Executor) -> None:
    async with running(executor, sh("cat; echo end")) as execution:
        sent = bytes(range(256)) * 4000
        reading = asyncio.create_task(read_all(execution))
        await execution.write(sent)
        await execution.close_input()
        assert (await reading)[Channel.STDOUT] == sent + b"end\n"
        assert await execution.wait() == ExitStatus(code=0)


async def test_input_is_taken_when_the_command_is_gone(executor: Executor) -> None:
    async with running(executor, sh("exit 5")) as execution:
        await read_all(execution)
        for _ in range(20):
            await execution.write(bytes(100_000))
        assert await execution.wait() == ExitStatus(code=5)


async def test_what_is_not_read_holds_the_command_up(executor: Executor) -> None:
    """More than all buffers on the way hold: the command goes on only as somebody reads."""
    script = f"head -c {FLOOD_BYTES} /dev/zero; echo done >&2; exit 4"
    async with running(executor, sh(script)) as execution:
        output = aiter(execution)
        channel, first = await anext(output)
        assert channel is Channel.STDOUT
        before = psutil.Process().memory_info().rss
        await asyncio.sleep(0.5)  # time to run away in
        assert psutil.Process().memory_info().rss - before < FLOOD_BYTES / 2
        got = len(first)
        async for channel, data in output:
            if channel is Channel.STDERR:
                assert data == b"done\n"
                continue
            got += len(data)
        assert got == FLOOD_BYTES
        assert await execution.wait() == ExitStatus(code=4)


async def test_closing_ends_the_command_and_what_it_started(executor: Executor) -> None:
    async with running(executor, sh("sleep 1000 & echo $$ $!; wait")) as execution:
        _, line = await anext(aiter(execution))
        pids = line.split()
        assert len(pids) == 2
        await execution.close()
        await execution.close()

    async def gone() -> bool:
        script = 'for p; do case $(cat "/proc/$p/stat" 2>&-) in "" | *") Z "*) ;; *) exit 1 ;; esac; done'
        return (await run(executor, sh(script, *map(bytes.decode, pids))))[0] == ExitStatus(code=0)

    await wait_until(gone, description="both have ended")


async def test_a_command_may_be_cancelled_while_it_is_read(executor: Executor) -> None:
    async with running(executor, sh("sleep 1000")) as execution:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await read_all(execution)


async def test_elsewhere_all_of_it_is_kept(far: FarPlace, tmp_path: Path) -> None:
    """All of the above, one after the other in one environment, which costs more to open than the tests."""
    async with far(tmp_path) as environment:
        for name, rule in globals().items():
            if name.startswith("test_") and list(inspect.signature(rule).parameters) == ["executor"]:
                try:
                    await rule(environment)
                except Exception as error:
                    error.add_note(f"in {name}")
                    raise


async def test_a_lost_link_is_never_an_exit() -> None:
    executor = LocalExecutor()
    try:
        async with running(executor, sh("echo begun; exec sleep 1000")) as execution:
            output = aiter(execution)
            assert await anext(output) == (Channel.STDOUT, b"begun\n")
            executor.executions[-1].cut()
            with pytest.raises(Unreachable):
                await anext(output)
            assert (await execution.wait()).lost is Lost.LINK
    finally:
        await executor.close()
