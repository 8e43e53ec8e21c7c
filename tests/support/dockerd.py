"""Docker's daemon for tests: no bridge, no iptables, nothing outside its directory."""

from __future__ import annotations

from support.container_daemon import ContainerDaemon


class Dockerd(ContainerDaemon):
    """A dockerd with a containerd of its own."""

    kind = "docker"
    programs = ("dockerd", "containerd", "runc")
    options: tuple[str, ...] = ()

    def command(self) -> tuple[list[str], dict[str, str]]:
        place = self.directory
        for note in ("pid", "exec/containerd/containerd.pid"):
            (place / note).unlink(missing_ok=True)  # of one that was killed, and may still be there as a zombie
        words = ["dockerd", "--data-root", f"{place}/data", "--exec-root", f"{place}/exec", "--pidfile", f"{place}/pid"]
        words += ["-H", self.url, "--iptables=false", "--ip6tables=false", "--bridge=none"]
        return [*words, "--insecure-registry", "127.0.0.0/8", *self.options], {}
