"""Podman's service for tests: runc and cgroupfs, so that it runs where there is no systemd."""

from __future__ import annotations

import shutil

from support.container_daemon import ContainerDaemon

# Locks in files: those in shared memory are the same for every Podman of a machine, and stay locked when it is killed.
# Without an init of its own (catatonit) it takes Docker's, which is as static.
_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
netns = "host"
[engine]
exit_command_delay = 1
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
init_path = "{init}"
"""

_REGISTRIES = """
[[registry]]
location = "127.0.0.1"
insecure = true
"""


class Podman(ContainerDaemon):
    """A `podman system service`."""

    kind = "podman"
    programs = ("podman", "conmon", "runc", "docker-init")

    def command(self) -> tuple[list[str], dict[str, str]]:
        place = self.directory
        conf, registries = place / "containers.conf", place / "registries.conf"
        conf.write_text(_CONF.format(init=shutil.which("docker-init")))
        registries.write_text(_REGISTRIES)
        self.socket.unlink(missing_ok=True)  # of one that was killed
        words = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--tmpdir", f"{place}/tmp"]
        environment = {"CONTAINERS_CONF": str(conf), "CONTAINERS_REGISTRIES_CONF": str(registries)}
        return [*words, "system", "service", "--time=0", self.url], environment
