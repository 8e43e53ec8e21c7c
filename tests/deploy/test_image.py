"""The image, built and run by a real Docker, as restricted as compose.yaml and the chart run it.

Too heavy for each run: `make test FULL=1` only. Where there is no Docker, or none of the base images, it is skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest

from support.service import ROOT
from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.platform("linux"), pytest.mark.full(only=True)]

BUILD_SECONDS = 1800
COMMAND_SECONDS = 120
MIB = 1 << 20
OWN_BYTES = 90 * MIB
"""What the image may have beyond its base: the packages, and the environment they run in."""
TAG = "terminal-service:test"
KEY = "0123456789abcdef"
HEALTH = f"""
import json, urllib.request
request = urllib.request.Request("http://127.0.0.1:8081%s", data=%r, headers={{
    "Authorization": "Bearer {KEY}", "Accept": "text/html,application/json", "Content-Type": "application/json"}})
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


def docker(*words: str, seconds: float = COMMAND_SECONDS, check: bool = True) -> str:
    """Run the Docker client; return what it prints."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=seconds)
    assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def base_images() -> dict[str, str]:
    lines = [line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("ARG ")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def image() -> str:
    """Build it, with the network of this machine."""
    if shutil.which("docker") is None or not docker("version", "--format", "{{.Server.Version}}", check=False).strip():
        pytest.skip("needs a running Docker")
    for name in base_images().values():
        if not docker("image", "inspect", name, check=False).strip("[]\n"):
            docker("pull", name, seconds=BUILD_SECONDS, check=False)
        if not docker("image", "inspect", name, check=False).strip("[]\n"):
            pytest.skip(f"needs the image {name}, which cannot be had here")
    docker("build", "--network", "host", "--tag", TAG, str(ROOT), seconds=BUILD_SECONDS)
    return TAG


@pytest.fixture
def container(image: str) -> Iterator[str]:
    """Run it as compose does."""
    name = f"terminal-service-{uuid.uuid4().hex[:8]}"
    scratch = ["--tmpfs", "/tmp", "--tmpfs", "/home/terminal:uid=10001,gid=10001", "--tmpfs", "/run"]
    scratch += ["--tmpfs", "/var/lib/terminal-service:uid=10001,gid=10001,mode=0700"]
    locks = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"]
    docker("run", "--detach", "--name", name, *locks, *scratch, "--env", f"API_KEYS=ann:{KEY}", image)
    try:
        poll_until(lambda: "is ready" in docker("logs", name), description="the service", timeout=COMMAND_SECONDS)
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def ask(container: str, path: str, data: bytes | None = None) -> str:
    return docker("exec", container, "python", "-c", HEALTH % (path, data))


def state_of(container: str, what: str) -> str:
    return docker("inspect", "--format", f"{{{{.State.{what}}}}}", container).strip()


def test_it_is_small(image: str) -> None:
    sizes = [
        int(docker("image", "inspect", "--format", "{{.Size}}", name))
        for name in (image, base_images()["PYTHON_IMAGE"])
    ]
    assert sizes[0] - sizes[1] < OWN_BYTES


def test_it_has_what_it_serves_and_nothing_to_build_with(container: str) -> None:
    assert "<title>" in ask(container, "/")
    assert json.loads(ask(container, "/health/ready"))["status"] == "healthy"
    for tool in ("pip", "node", "npm"):
        assert not docker(
            "exec", container, "sh", "-c", f"command -v /opt/terminal-service/.venv/bin/{tool}", check=False
        )
    poll_until(lambda: state_of(container, "Health.Status") == "healthy", description="health", timeout=COMMAND_SECONDS)


def test_nobody_in_it_is_root_and_nothing_becomes_a_zombie(container: str) -> None:
    made = json.loads(ask(container, "/api/v1/sessions", b'{"shell": "bash"}'))
    docker("exec", container, "sh", "-c", "sh -c 'sleep 0.1 & exit'; sh -c 'kill -9 $$' & exit 0")
    fields = "grep -hE '^(Name|State|PPid|Uid|CapEff):' $each | tr '\\n\\t' '  '"
    listing = f"for each in /proc/[0-9]*/status; do {fields}; echo; done"

    def processes() -> list[str]:
        lines = docker("exec", container, "sh", "-c", listing).splitlines()
        return [line for line in lines if line and "Name: sh " not in line and "Name: grep" not in line]

    poll_until(
        lambda: not any("Name: sleep " in line or "State: Z" in line for line in processes()),
        description="orphans to be waited for",
        timeout=COMMAND_SECONDS,
    )
    names = [line.split()[1] for line in processes()]
    assert sorted(names) == ["bash", "python", "tini"], (names, made)
    assert all("Uid: 10001 10001 10001 10001" in line for line in processes())
    assert all("CapEff: 0000000000000000" in line for line in processes())


def test_it_is_drained_and_stopped(container: str) -> None:
    ask(container, "/api/v1/sessions", b'{"shell": "bash"}')
    docker("exec", container, "terminal-service", "drain", "--seconds", "0.5", check=False)  # it may end before this
    assert docker("wait", container).strip() == "0"
    docker("start", container)
    poll_until(lambda: docker("logs", container).count("is ready") == 2, description="a start", timeout=COMMAND_SECONDS)
    docker("stop", "--time", "60", container)
    assert state_of(container, "ExitCode") == "0"


def test_without_keys_it_does_not_start(image: str) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", image],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    assert (done.returncode, "needs API_KEYS" in done.stderr) == (2, True), done.stderr
