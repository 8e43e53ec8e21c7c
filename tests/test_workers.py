"""Several processes behind one port: they start, stop, die and are replaced as one service is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

from support.callers import Callers
from support.crew import Crew
from support.ended import END_SECONDS, Ended, end_of
from support.redis_server import RedisServer
from support.restarts import find_port
from support.service import Service
from support.wait import wait_until
from terminal_service.asked import INSISTING_SECONDS
from terminal_service.caller import Caller
from terminal_service.control import Refused
from terminal_service.worker import VARIABLE

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path


pytestmark = pytest.mark.platform("linux", "darwin")

STUBBORN = "trap '' HUP TERM; printf READY; while :; do sleep 600; done"


async def run(service: Service, *arguments: str, **settings: str) -> Ended:
    """Run the program with the service's settings until it ends by itself."""
    return await end_of(await service.start_command("run.py", *arguments, **settings))


async def try_to_replace(crew: Crew, **settings: str) -> tuple[int, str]:
    """Return the exit code and the words of a successor that does not succeed."""
    before = len(crew.log())
    process = await crew.start_successor(**settings)
    async with asyncio.timeout(END_SECONDS):
        code = await process.wait()
    return code, crew.log()[before:]


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def are_gone(pids: list[int]) -> bool:
    return all(map(is_gone, pids))


def assert_free(address: tuple[str, int]) -> None:
    """Fail if anybody listens there."""
    with socket.create_server(address):
        pass


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with RedisServer(tmp_path) as server:
        yield server.url


@contextlib.contextmanager
def busy_behind_a_free_one() -> Iterator[int]:
    """Give a port that can be had, while the next one cannot."""
    with contextlib.ExitStack() as stack:
        while True:
            with socket.create_server(("127.0.0.1", 0)) as free, contextlib.suppress(OSError):
                port: int = free.getsockname()[1]
                stack.enter_context(socket.create_server(("127.0.0.1", port + 1)))
                break
        yield port


async def test_without_redis_more_than_one_is_refused_with_one_line(tmp_path: Path) -> None:
    ended = await run(Crew(tmp_path, "", 2))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert "WORKERS=2" in ended.err
    assert "REDIS_URL" in ended.err
    assert not (tmp_path / "state").exists()


async def test_all_serve_sigterm_keeps_the_shells_of_all_and_stop_all_ends_them(tmp_path: Path, redis_url: str) -> None:
    async with Crew(tmp_path, redis_url, 3, STOP_SESSIONS_ON_EXIT="false", LOG_FORMAT="json") as crew:
        pids = [worker.pid for worker in crew.workers()]
        assert len(pids) == 3
        shares = await crew.spread(90)
        assert sorted(shares) == sorted(pids)
        assert shares.total() == 90
        sessions = await crew.create_everywhere(3)
        address = crew.address
        assert json.loads((crew.state / "service.json").read_text()) == {"url": crew.base_url, "pid": crew.pid}
        assert await crew.stop() == 0
        assert are_gone(pids)
        assert_free(address)
        assert not any(is_gone(session["pid"]) for session in sessions.values())
        events = [json.loads(line) for line in crew.log().splitlines() if line.startswith("{")]
        assert {event["worker"] for event in events if event["logger"] != "terminal_service.workers"} == {1, 2, 3}
        assert crew.log().count("Terminal Service is ready") == 1

        for workers, left in (("1", "workers/"), ("2", "workers/3")):
            refused = await run(crew, WORKERS=workers)
            assert (refused.code, f"WORKERS={workers}" in refused.err, left in refused.err) == (2, True, True), refused

        count = len(list(crew.state.glob("workers/*/sessions/*")))
        ended = await run(crew, "stop", "--all")
        assert (ended.code, ended.err) == (0, ""), ended
        assert f"Sessions ended: {count}.\n" in ended.out
        assert are_gone([session["pid"] for session in sessions.values()])
        assert not list(crew.state.glob("workers/*/holder/holder.sock"))


async def test_a_killed_worker_comes_back_with_its_shells_and_nobody_is_refused(tmp_path: Path, redis_url: str) -> None:
    async with Crew(tmp_path, redis_url) as crew:
        sessions = await crew.create_everywhere(2)
        victims = crew.workers()
        for victim in victims:  # both: whoever calls now waits
            victim.kill()
        await wait_until(lambda: are_gone([victim.pid for victim in victims]), description="the workers to be dead")
        assert (await crew.spread(20)).total() == 20
        for session in sessions.values():
            assert await crew.pid_of(session) == session["pid"]
        assert {worker.pid for worker in crew.workers()}.isdisjoint(victim.pid for victim in victims)
        assert crew.log().count("is started again") == 2


async def test_a_replacement_refuses_nobody_and_may_add_workers(tmp_path: Path, redis_url: str) -> None:
    async with Crew(tmp_path, redis_url) as crew:
        sessions = await crew.create_everywhere(2)
        before = [crew.pid, *(worker.pid for worker in crew.workers())]
        callers = Callers(crew.address)
        async with callers.calling():
            await crew.replace(WORKERS="3")
        assert callers.failures == []
        assert callers.answered > 20
        assert are_gone(before)
        assert len(crew.workers()) == 3
        assert len(await crew.spread(60)) == 3
        for session in sessions.values():
            assert await crew.pid_of(session) == session["pid"]


async def test_a_replacement_that_fails_leaves_all_as_it_was(tmp_path: Path, redis_url: str) -> None:
    with busy_behind_a_free_one() as port:
        async with Crew(tmp_path, redis_url) as crew:
            sessions = await crew.create_everywhere(2)
            for settings, words in (
                ({"WORKERS": "1", "REDIS_URL": ""}, "WORKERS"),
                ({"DEFAULT_SHELL": "no-such-shell"}, "DEFAULT_SHELL"),
                ({"PROMETHEUS_PORT": str(port)}, "worker 2 cannot start"),
            ):
                code, said = await try_to_replace(crew, **settings)
                assert (code, words in said) == (2, True), said
                assert json.loads((crew.state / "service.json").read_text())["pid"] == crew.pid
            await wait_until(lambda: len(crew.workers()) == 2, description="both workers")
            for session in sessions.values():
                assert await crew.pid_of(session) == session["pid"]


async def test_workers_end_with_a_parent_that_is_killed_and_their_shells_go_on(tmp_path: Path, redis_url: str) -> None:
    async with Crew(tmp_path, redis_url) as crew:
        sessions = await crew.create_everywhere(2)
        shells = [session["pid"] for session in sessions.values()]
        port = crew.address[1]
        await crew.kill()
        crew._settings["PORT"] = str(port)
        await crew.start()  # it waits for the last of them, and has the same port
        for session in sessions.values():
            assert await crew.pid_of(session) == session["pid"]
        workers = [worker.pid for worker in crew.workers()]
        crew.send_signal(signal.SIGINT)
        assert await crew.wait() == 0
        assert are_gone(workers + shells)
        assert not list(crew.state.glob("workers/*/holder/holder.sock"))
        assert_free(("127.0.0.1", port))


async def test_stop_all_counts_and_ends_the_sessions_of_all(tmp_path: Path, redis_url: str) -> None:
    async with Crew(tmp_path, redis_url, STOP_SESSIONS_ON_EXIT="false") as crew:
        sessions = await crew.create_everywhere(2)
        count = len(list(crew.state.glob("workers/*/sessions/*")))
        workers = [worker.pid for worker in crew.workers()]
        ended = await run(crew, "stop", "--all")
        assert (ended.code, ended.err) == (0, ""), ended
        assert f"process {crew.pid}; its sessions ({count}) end" in ended.out
        assert await crew.wait() == 0
        assert are_gone(workers + [session["pid"] for session in sessions.values()])
        assert not list(crew.state.glob("workers/*/holder/holder.sock"))


async def test_a_worker_that_has_drained_serves_until_the_last_one_has(tmp_path: Path, redis_url: str) -> None:
    async with Crew(tmp_path, redis_url) as crew:
        await crew.create_everywhere(2)
        first, second = ([path.name for path in crew.state.glob(f"workers/{k}/sessions/*")] for k in (1, 2))
        draining = await crew.start_command("run.py", "drain", "--seconds", "600")
        for session in first:
            await crew.delete(session)
        await wait_until(lambda: '"drained", "worker": 1' in by_worker(crew), description="the first to have drained")
        assert len(await crew.spread(20)) == 2
        for session in second:
            await crew.delete(session)
        assert await crew.wait() == 0
        out, err = await draining.communicate()
        assert (draining.returncode, err) == (0, b""), out


def by_worker(crew: Crew) -> str:
    """Return the log, each event followed by whose it is."""
    events = [json.loads(line) for line in crew.log().splitlines() if line.startswith("{")]
    return "\n".join(json.dumps({name: event.get(name) for name in ("event", "worker")}) for event in events)


async def test_a_second_ctrl_c_ends_stubborn_programs_at_once(tmp_path: Path, redis_url: str) -> None:
    async with Crew(tmp_path, redis_url, STOP_GRACE_SECONDS="300") as crew:
        session = await crew.create_session(command=["sh", "-c", STUBBORN])
        crew.send_signal(signal.SIGINT)
        await wait_until(lambda: crew.log().count('"SIGINT"') == 3, description="all to have begun to stop")
        await asyncio.sleep(INSISTING_SECONDS)  # the time between the two is what counts
        crew.send_signal(signal.SIGINT)
        assert await crew.wait() == 0
        assert is_gone(session["pid"])


async def test_ctrl_c_in_a_window_while_they_start_leaves_no_trace(
    tmp_path: Path, redis_url: str, rng: random.Random
) -> None:
    crew = Crew(tmp_path, redis_url, prefix=("setsid",))
    lock = crew.state / "lock"
    for moment in (rng.uniform(0, 0.4), rng.uniform(0.4, 1.2)):
        lock.unlink(missing_ok=True)
        process = await crew.start_command("run.py")
        await wait_until(lock.exists, description="it to begin")  # before that it is Python that starts
        await asyncio.sleep(moment)  # what this is about
        os.killpg(process.pid, signal.SIGINT)  # a window tells all of its programs
        async with asyncio.timeout(END_SECONDS):
            _, err = await process.communicate()
        assert process.returncode in (0, 130), err
        assert b"Traceback" not in err
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    assert not list(crew.state.glob("workers/*/holder/holder.sock"))


async def test_a_worker_whose_parent_dies_before_it_has_begun_ends_too(tmp_path: Path) -> None:
    service, (ours, theirs), listener = Service(tmp_path), socket.socketpair(), socket.socket()
    with ours, theirs, listener:
        names = {"listener": listener.fileno(), "channel": theirs.fileno(), "crew": listener.fileno()}
        told = {"parent": 1 << 22, "number": 1, "place": "somewhere", **names}  # no process has such a number
        service._pass = tuple(names.values())
        process = await service.start_command("run.py", **{VARIABLE: json.dumps(told)})
        async with asyncio.timeout(END_SECONDS):
            _, err = await process.communicate()
    assert process.returncode == 2
    assert err == b"terminal-service: the parent process has ended, and a worker serves nobody without it\n"


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_whoever_is_killed_during_a_replacement_the_shells_go_on(
    tmp_path: Path, redis_url: str, size: Callable[[int, int], int], rng: random.Random
) -> None:
    async with Crew(tmp_path, redis_url, PORT=str(find_port())) as crew:
        sessions = await crew.create_everywhere(2)
        for _ in range(size(1, 40)):
            old, new = crew.process, await crew.start_successor()
            victim = rng.choice([old, new])
            await asyncio.sleep(rng.uniform(0, 4))  # the moment is what this is about
            with contextlib.suppress(ProcessLookupError):
                victim.kill()
            await victim.wait()
            if victim is old:
                await crew.become(new)
            else:
                await wait_until(partial(has_decided, crew), description="the old one to end or to go on")
                if old.returncode is not None:
                    assert await crew.wait() == 0
                    await crew.start()
            for session in sessions.values():
                assert await crew.pid_of(session) == session["pid"]
            await wait_until(lambda: len(crew.workers()) == 2, description="both workers")


async def has_decided(crew: Crew) -> bool:
    """Tell whether a parent without its successor has ended, or can be replaced again."""
    return crew.process.returncode is not None or await asyncio.to_thread(can_be_replaced, crew)


def can_be_replaced(crew: Crew) -> bool:
    with contextlib.suppress(Refused, OSError):
        caller = Caller.call(crew.state)
        if caller is None:
            return False
        with caller:
            for each in caller.ask("replace", pid=os.getpid(), workers=2).sockets:
                each.close()
            return True
    return False
