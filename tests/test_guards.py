"""The guards of conftest.py themselves: each catches what it is for, in a run of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.wait import poll_until, wait_until

if TYPE_CHECKING:
    import random

TESTS = Path(__file__).resolve().parent

BAD_TESTS = """
import asyncio, os, subprocess, sys, threading
import pytest
import transports.channel

kept = []

def test_leaks():
    kept.append(os.open(os.devnull, os.O_RDONLY))
    kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]))
    thread = threading.Thread(target=kept[1].wait, name="forgotten")
    thread.start()

async def test_leaves_a_task():
    kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(30), name="forgotten"))

async def test_blocks():
    code = compile("import time; time.sleep(0.001)", transports.channel.__file__, "exec")
    exec(code, {})

def test_skips():
    pytest.skip("there is no such tool")

@pytest.mark.platform("another")
def test_elsewhere():
    raise AssertionError

def test_unmarked_size(size):
    pass

@pytest.mark.full
def test_size(size):
    assert size(1, 2) == 1

def test_clean():
    pass

def test_end():  # for the sake of the outer run, which has the same guards
    kept[1].kill() if len(kept) > 1 else None
"""


@pytest.fixture(scope="module")
def bad_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bad")
    (directory / "test_bad.py").write_text(BAD_TESTS)
    return directory


@pytest.fixture(scope="module")
def told(bad_tests: Path) -> str:
    """Give what a plain run of the bad tests prints."""
    return run_bad(bad_tests)


def run_bad(directory: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-c", str(TESTS.parent / "pyproject.toml"), "-p", "conftest"]
    return subprocess.run(
        [*command, "-p", "no:randomly", "-p", "no:cacheprovider", *arguments, str(directory)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "COLUMNS": "200"},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_what_a_test_leaves_behind_fails_it(told: str) -> None:
    assert "ERROR at teardown of test_leaks" in told
    assert re.search(r"descriptor \d+ -> /dev/null", told)
    assert re.search(r"process \d+ started [\d.]+ '[^']+' (sleeping|running)", told)
    assert "thread 'forgotten'" in told
    assert "ERROR at teardown of test_leaves_a_task" in told
    assert re.search(r"the test left tasks behind:\n\s+<Task pending name='forgotten'", told)


def test_a_blocking_call_in_our_code_fails_the_test(told: str) -> None:
    assert "Blocking call to time.sleep" in told


def test_a_test_for_another_platform_is_not_collected(told: str) -> None:
    # Failed: blocks. Errors: leaks, leaves_a_task, unmarked_size. Passed besides: size, clean, end.
    assert "1 failed, 5 passed, 1 skipped, 1 deselected, 3 errors" in told


def test_a_skip_is_named_and_can_be_made_a_failure(told: str, bad_tests: Path) -> None:
    assert re.search(r"SKIPPED \[1\] .*: there is no such tool", told)
    strict = run_bad(bad_tests, "-k", "skips or elsewhere", "--no-skips")
    assert "there is no such tool (--no-skips makes this a failure)" in strict
    assert "1 failed, 8 deselected" in strict


def test_the_full_size_belongs_to_marked_tests_of_a_full_run(told: str, bad_tests: Path) -> None:
    assert "test_unmarked_size asks for a size: mark it full" in told
    assert "assert 2 == 1" in run_bad(bad_tests, "-m", "full")


def test_chance_can_be_repeated(rng: random.Random, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("randomly_seed", default=0)
    assert rng.random() == type(rng)(f"{seed} {request.node.nodeid}").random()


@pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
async def test_waiting_ends_with_the_condition_or_with_its_name() -> None:
    answers = iter([0, "", "yes"])
    assert await wait_until(lambda: next(answers), description="an answer") == "yes"
    with pytest.raises(AssertionError, match=r"waited 0\.02 s in vain for: an answer \(last value: False\)"):
        await wait_until(lambda: False, description="an answer", timeout=0.02)


def test_waiting_without_a_loop_does_the_same() -> None:
    answers = iter([0, 1])
    assert poll_until(lambda: next(answers), description="an answer") == 1
    with pytest.raises(AssertionError, match="in vain for: an answer"):
        poll_until(lambda: 0, description="an answer", timeout=0.02)
