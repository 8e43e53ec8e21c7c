"""What the real kubectl sees of the test API server: what it accepts, the Kubernetes backend is tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.kube.kubectl import Kubectl

pytestmark = pytest.mark.platform("linux")


@pytest.fixture
async def pod(kubectl: Kubectl) -> str:
    await kubectl("run", "box", "--image=busybox", "--", "sleep", "1000")
    await kubectl("wait", "--for=condition=Ready", "pod/box")
    return "box"


@pytest.mark.parametrize("code", [0, 7, 137])
async def test_the_exit_code_of_a_program_arrives(kubectl: Kubectl, pod: str, code: int) -> None:
    script = "kill -9 $$" if code == 137 else f"exit {code}"

    answer = await kubectl.run("exec", pod, "--", "sh", "-c", script)

    assert answer.code == code


async def test_stdin_reaches_a_program_and_its_outputs_stay_apart(kubectl: Kubectl, pod: str) -> None:
    answer = await kubectl.run("exec", "-i", pod, "--", "sh", "-c", "wc -c; echo no >&2", stdin=b"x" * 100_000)

    assert (answer.text, answer.problem, answer.code) == ("100000\n", "no\n", 0)
