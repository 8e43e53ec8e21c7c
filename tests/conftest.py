"""What holds for every test: nothing left behind, nothing blocked, no silent skip, repeatable chance."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings
from pytest_asyncio import is_async_test

from support import redis_server
from support.leaks import nothing_left_behind, processes_of
from support.size import is_full, size, use_full_size
from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

PACKAGES = ["terminal_service", "transports", "nodes", "replay", "backends"]
FULL_TIMEOUT_SECONDS = 4 * 3600
LONG_BYTES = 10_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failed test")


def pytest_configure(config: pytest.Config) -> None:
    use_full_size(full=config.option.markexpr.strip() == "full")
    # A failing example is printed with the line that repeats it; time limits are pytest-timeout's business.
    settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
    settings.load_profile("project")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    elsewhere = [item for item in items if not _runs_here(item)]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]
    for item in items:
        if is_full() and item.get_closest_marker("full"):
            item.add_marker(pytest.mark.timeout(FULL_TIMEOUT_SECONDS), append=False)
        if is_async_test(item):
            # Behind `_nothing_left_behind`, so that the loop's own descriptors are closed when that looks.
            item.fixturenames.insert(item.fixturenames.index("_nothing_left_behind") + 1, "_async_guards")


def _runs_here(item: pytest.Item) -> bool:
    """Tell whether the test is for this platform, and this size; one that never can run here is not a skip."""
    full = item.get_closest_marker("full")
    if full is not None and full.kwargs.get("only") and not is_full():
        return False
    if item.get_closest_marker("one_loop") and _loop_factory(item) not in (None, _uvloop):
        return False
    marker = item.get_closest_marker("platform")
    return marker is None or sys.platform in marker.args


def _loop_factory(item: pytest.Item) -> object:
    """Return what makes the event loop of a test that runs on several; None: it runs on one."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return parameters.get("_asyncio_loop_factory")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - pytest passes by name
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.getoption("--no-skips") and not hasattr(report, "wasxfail"):
        _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if collector.config.getoption("--no-skips"):
        _forbid_skip(report)
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Leave word for `.ci/run`: 1 is a run that came to its end, with tests that failed."""
    cache = getattr(session.config, "cache", None)
    if cache is not None and not hasattr(session.config, "workerinput"):
        cache.set("terminal-service/status", int(exitstatus))


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say where long bytes differ: the full diff of two megabytes, which pytest makes on CI, takes minutes."""
    if op != "==" or not (isinstance(left, bytes | bytearray) and isinstance(right, bytes | bytearray)):
        return None
    if max(len(left), len(right)) < LONG_BYTES:
        return None
    at = next((i for i, (one, other) in enumerate(zip(left, right, strict=False)) if one != other), None)
    at = min(len(left), len(right)) if at is None else at
    near = slice(max(0, at - 40), at + 40)
    return [
        f"{len(left)} bytes == {len(right)} bytes",
        f"first difference at {at}:",
        f"left:  {bytes(left[near])!r}",
        f"right: {bytes(right[near])!r}",
    ]


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome == "skipped":
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"{reason} (--no-skips makes this a failure)"


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on uvloop, as the product does; `@pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])`: on both."""
    factories = {"uvloop": _uvloop, "asyncio": asyncio.new_event_loop}
    if sys.platform == "win32":
        del factories["uvloop"]
    marker = item.get_closest_marker("asyncio")
    if marker is not None and "loop_factories" in marker.kwargs:
        return factories
    return dict([next(iter(factories.items()))])


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    return uvloop.new_event_loop()


@pytest.fixture(scope="session", autouse=True)
def _opened_once() -> None:
    """Make libuv open the descriptors it keeps for the life of the process, before anybody counts."""
    if sys.platform != "win32":
        _uvloop().close()


@pytest.fixture(scope="session", autouse=True)
def _no_process_stays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail if a service or a holder of these tests outlives them; a holder without programs ends by itself."""
    yield
    poll_until(lambda: not processes_of(tmp_path_factory.getbasetemp()), description="no process of the tests is left")


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    with nothing_left_behind():
        yield


@pytest.fixture(autouse=True)
def _no_key_for_ever() -> Iterator[None]:
    """Fail if a Redis that outlives the test has keys without a time to live, or any that are not the service's."""
    yield
    if strangers := redis_server.find_strangers():
        pytest.fail("the test left behind in Redis:\n  " + "\n  ".join(strangers), pytrace=False)


@pytest.fixture(scope="session")
def _blockbuster() -> BlockBuster:
    guard = BlockBuster(scanned_modules=PACKAGES)
    # As for os.write, whose target the guard can ask: a PTY's master that does not block.
    guard.functions["os.sendfile"].can_block_in("backends/holder/hopper.py", {"_move"})
    # Credentials are loaded on a loop of their own, in a thread, where nothing else waits.
    for function in guard.functions.values():
        function.can_block_in("backends/kubernetes/credentials.py", {"_load"})
    return guard


@pytest.fixture
async def _async_guards(_blockbuster: BlockBuster) -> AsyncIterator[None]:
    """Fail if our code blocks the event loop, or a task outlives the test and its fixtures."""
    _blockbuster.activate()
    try:
        yield
    finally:
        _blockbuster.deactivate()
    loop_turns = 3  # a task that was just cancelled, or is just returning, needs a turn to be done
    for _ in range(loop_turns):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        pytest.fail("the test left tasks behind:\n  " + "\n  ".join(sorted(map(repr, left))), pytrace=False)


@pytest.fixture(name="size")
def size_fixture(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """Choose between the CI count and the full count: `size(1_000, 10_000)`."""
    if request.node.get_closest_marker("full") is None:
        raise pytest.UsageError(f"{request.node.nodeid} asks for a size: mark it full, or `-m full` misses it")
    return size


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Give chance that repeats: seeded from pytest-randomly's seed, which is shown when the test fails."""
    seed = request.config.getoption("randomly_seed", default=0)
    print(f"repeat with: pytest --randomly-seed={seed} '{request.node.nodeid}'")  # noqa: T201
    return random.Random(f"{seed} {request.node.nodeid}")
