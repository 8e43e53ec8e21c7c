"""What a container is made of: its limits proven from inside, and what orders and profiles are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from backends.base import Order
from backends.containers.profile import ContainerProfile, Mount
from backends.containers.spec import image_of, labels_of, lifetime_of, share_of
from backends.errors import InvalidProgram, UserRefused
from support.containers import placed

if TYPE_CHECKING:
    from pathlib import Path

    from support.container_daemon import ContainerDaemon

PROFILE = ContainerProfile(
    name="box", image="box:1", allowed_images=("tools/*", "exact:1"), cpus=0.5, max_cpus=2, max_memory_bytes=2 << 30
)


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Give a directory of the host."""
    (tmp_path / "seen").write_text("of the host")
    return tmp_path


async def test_programs_have_no_rights_no_network_and_nothing_to_write_to(daemon: ContainerDaemon, shown: Path) -> None:
    mount = Mount(source=str(shown), target="/mnt")
    async with placed(daemon, mounts=(mount,), memory_bytes=64 << 20, pids=40, cpus=0.5) as place:
        status = await place.output("cat /proc/self/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert {fields[f"Cap{each}"] for each in ("Eff", "Prm", "Bnd", "Inh", "Amb")} == {"0" * 16}
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"
        assert (await place.output("ls /sys/class/net")).split() in (["lo"], [])
        for path in ("/etc/new", "/new", "/mnt/new"):
            assert "ead-only file system" in await place.output(f"echo x > {path}")
        assert await place.output("echo x > /tmp/new && cat /tmp/new /mnt/seen") == "x\nof the host"
        assert "nosuid" in await place.output("grep ' /tmp ' /proc/mounts")
        limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
        assert (await place.output(limits)).strip() == str(64 << 20)
        limits = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
        assert (await place.output(limits)).strip() == "40"
        quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null"
        assert (await place.output(quota)).split()[0] == "50000"
        assert "init" in await place.output("cat /proc/1/comm")


async def test_a_user_of_the_profile_is_the_only_one(daemon: ContainerDaemon) -> None:
    async with placed(daemon, user="ann", env={"GREETING": "hello"}) as place:
        assert await place.output('id -un; echo "$HOME $GREETING"') == "ann\n/home/ann hello\n"
        with pytest.raises(UserRefused, match="root"):
            await place.run("true", user="root")


async def test_a_container_is_labelled_for_those_who_find_it(daemon: ContainerDaemon) -> None:
    async with placed(daemon, labels={"team": "ours"}):
        labels = daemon.containers()[0]["Labels"]
    assert labels["terminal-service.node"] == "node-1"
    assert labels["terminal-service.session"] == "session-1"
    assert labels["terminal-service.owner"] == "ann"
    assert labels["terminal-service.expires_at"].isdigit()
    assert labels["team"] == "ours"
    assert daemon.containers() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("cpus", 3), ("cpus", 0), ("memory_bytes", 3 << 30), ("memory_bytes", 1), ("gpus", 1), ("gpus", -1)],
)
def test_an_order_beyond_the_limits_is_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidProgram, match=field):
        share_of(PROFILE, Order("session", **{field: value}))  # type: ignore[arg-type]


def test_an_order_within_the_limits_is_met() -> None:
    share = share_of(PROFILE, Order("session", cpus=2, memory_bytes=2 << 30))
    assert (share.cpus, share.memory_bytes) == (2, 2 << 30)
    assert share_of(PROFILE, Order("session")).cpus == 0.5


def test_only_allowed_images_can_be_asked_for() -> None:
    for image in ("box:1", "tools/editor:2", "exact:1"):
        assert image_of(PROFILE, Order("session", image=image)) == image
    for image in ("other", "exact:2", "tool/editor", "--privileged", "tools/a b", "tools/" + "x" * 300):
        with pytest.raises(InvalidProgram, match="image"):
            image_of(PROFILE, Order("session", image=image))


def test_the_shorter_lifetime_counts() -> None:
    assert lifetime_of(PROFILE, Order("session", lifetime_seconds=60)) == 120
    assert lifetime_of(PROFILE, Order("session")) == 24 * 3600 + 60
    assert labels_of(PROFILE, Order("session", owner="a\0b"), "node")["terminal-service.owner"] == "ab"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("socket", {"socket": "tcp://example.org:2375"}),
        ("socket", {"socket": "/run/docker.sock"}),
        ("socket", {"socket": "ssh://host"}),
        ("tls_key_file", {"socket": "tcp://h:1", "tls_ca_file": "/ca.pem"}),
        ("image", {"image": "-v"}),
        ("memory_bytes", {"memory_bytes": 1}),
        ("max_cpus", {"cpus": 2, "max_cpus": 1}),
        ("network", {"network": "host"}),
        ("network", {"network": "container:other"}),
        ("capabilities", {"capabilities": ("ALL",)}),
        ("capabilities", {"capabilities": ("SYS_ADMIN",)}),
        ("mounts.source", {"mounts": (Mount(source="/", target="/host"),)}),
        ("mounts.source", {"mounts": (Mount(source="/run/", target="/host"),)}),
        ("mounts.source", {"mounts": (Mount(source="/srv/../etc", target="/host"),)}),
        ("mounts.source", {"mounts": (Mount(source="/run/docker.sock", target="/s"),)}),
        ("tmpfs", {"tmpfs": ("tmp",)}),
        ("user", {"user": "a b"}),
        ("registry_password_file", {"registry_user": "ann"}),
        ("snapshots", {"snapshots": "NOT lower"}),
    ],
)
def test_a_profile_that_cannot_be_meant_is_refused(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        ContainerProfile(**{"image": "box:1"} | fields)
