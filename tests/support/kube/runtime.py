"""Run containers as real processes, each in namespaces of its own: a program by itself, which needs root and Linux.

    python runtime.py DESCRIPTOR

Requests come as JSON packets over the SEQPACKET socket DESCRIPTOR, descriptors beside them; each is answered once, in
order. The exit of every process is told as `{"exited": pid, "code": code}`, where 128 + n is for signal n. When the
socket is closed all containers are killed and the program ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import stat
import struct
import sys
import termios
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 1 << 17
NEW_MOUNTS, NEW_NAMES, NEW_IPC, NEW_PIDS, NEW_NET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 32, 4096, 16384, 1 << 18
DIE_WITH_PARENT, DROP_CAPABILITY, NO_NEW_PRIVILEGES = 1, 24, 38
ALL_CAPABILITIES = 64
SET_LOCK, GET_PEER = 0x40045431, 0x5441  # TIOCSPTLCK, TIOCGPTPEER
SET_INTERFACE_FLAGS = 0x8914
INTERFACE_UP = 0x41  # up and running
PREPARED = b"prepared"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    call("mount", source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None)


class Container:
    """A process with namespaces of its own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.pids = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
        self.others = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in ("net", "ipc", "uts", "mnt")]
        self.root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY)

    def enter(self) -> None:
        for namespace in self.others:
            call("setns", namespace, 0)
        os.fchdir(self.root)
        os.chroot(".")

    def close(self) -> None:
        for descriptor in (self.pids, self.root, *self.others):
            os.close(descriptor)


class Runtime:
    """All containers, by the names their requests give them."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self._own_net = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._networks: dict[str, int] = {}
        self._containers: dict[str, Container] = {}
        self._children: set[int] = set()

    def run(self) -> None:
        wakeup, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)
        while True:
            channel = self._channel.fileno()
            ready, _, _ = select.select([channel, wakeup], [], [])
            if wakeup in ready:
                os.read(wakeup, 4096)
                self._reap()
            if channel in ready and not self._answer():
                break
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)  # not reaped, so it is still this one
        while self._children:
            self._children.discard(os.wait()[0])

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._children.discard(pid)
            self._close(pid)
            code = os.waitstatus_to_exitcode(status)
            self._send({"exited": pid, "code": 128 - code if code < 0 else code}, [])

    def _answer(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._channel, MOST_BYTES, 3)
        if not data:
            return False
        request = json.loads(data)
        given: list[int] = []
        try:
            pid, given = getattr(self, f"do_{request['do']}")(request, descriptors)
            answer = {"pid": pid}
        except OSError as error:
            answer = {"error": error.errno, "message": str(error)}
        try:
            self._send(answer | {"id": request["id"]}, given)
        finally:
            for descriptor in (*given, *descriptors):
                os.close(descriptor)
        return True

    def _send(self, message: dict[str, Any], descriptors: list[int]) -> None:
        with suppress(BrokenPipeError):  # the end of the socket is noticed elsewhere
            socket.send_fds(self._channel, [json.dumps(message).encode()], descriptors)

    def do_open(self, request: dict[str, Any], _: list[int]) -> tuple[int, list[int]]:
        """Make a pod's network, which has nothing but its loopback."""
        call("unshare", NEW_NET)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                fcntl.ioctl(any_socket, SET_INTERFACE_FLAGS, struct.pack("16sh14x", b"lo", INTERFACE_UP))
            self._networks[request["pod"]] = os.open("/proc/self/ns/net", os.O_RDONLY)
        finally:
            call("setns", self._own_net, 0)
        return 0, []

    def do_close(self, request: dict[str, Any], _: list[int]) -> tuple[int, list[int]]:
        os.close(self._networks.pop(request["pod"]))
        return 0, []

    def do_start(self, request: dict[str, Any], descriptors: list[int]) -> tuple[int, list[int]]:
        def prepare() -> None:
            call("setns", self._networks[request["pod"]], 0)
            call("unshare", NEW_MOUNTS | NEW_NAMES | NEW_IPC)
            socket.sethostname(request["hostname"])
            build_root(request)

        call("unshare", NEW_PIDS)

        def keep(pid: int) -> None:
            self._containers[request["container"]] = Container(pid)

        return self._fork(request, descriptors, prepare, keep)

    def do_exec(self, request: dict[str, Any], descriptors: list[int]) -> tuple[int, list[int]]:
        container = self._containers.get(request["container"])
        if container is None:
            raise ProcessLookupError(3, "the container does not run")
        call("setns", container.pids, NEW_PIDS)
        return self._fork(request, descriptors, container.enter, lambda _: None)

    def do_kill(self, request: dict[str, Any], _: list[int]) -> tuple[int, list[int]]:
        if request["pid"] in self._children:
            os.kill(request["pid"], request["signal"])
        return 0, []

    def do_dial(self, request: dict[str, Any], _: list[int]) -> tuple[int, list[int]]:
        """Connect to a port of a pod."""
        call("setns", self._networks[request["pod"]], NEW_NET)
        try:
            return 0, [socket.create_connection(("127.0.0.1", request["port"]), timeout=2).detach()]
        finally:
            call("setns", self._own_net, NEW_NET)

    def _fork(
        self, request: dict[str, Any], descriptors: list[int], prepare: Callable[[], None], keep: Callable[[int], None]
    ) -> tuple[int, list[int]]:
        """Start a process where the next child is to be; return it, with its terminal's master if it has one.

        `prepare` is run in it, then `keep` here, before it becomes the program, which may end at once.
        """
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if not pid:
            become(request, descriptors, prepare, there)
        self._children.add(pid)
        there.close()
        call("setns", self._own_pids, NEW_PIDS)
        given: list[int] = []
        with here:
            while True:
                data, got, _, _ = socket.recv_fds(here, MOST_BYTES, 1)
                given += got
                if not data:  # closed by execve
                    return pid, given
                if data == PREPARED:
                    keep(pid)
                    here.send(b"go")
                elif not got:
                    self._forget(pid)
                    raise OSError(*json.loads(data))

    def _forget(self, pid: int) -> None:
        """Reap what did not become a program, before anybody knows its pid."""
        os.waitpid(pid, 0)
        self._children.discard(pid)
        self._close(pid)

    def _close(self, pid: int) -> None:
        """Close what was kept of a container whose first process has ended."""
        for name, container in list(self._containers.items()):
            if container.pid == pid:
                self._containers.pop(name).close()


def become(
    request: dict[str, Any], descriptors: list[int], prepare: Callable[[], None], report: socket.socket
) -> NoReturn:
    """Be the program that was asked for."""
    try:
        prepare()
        report.send(PREPARED)
        report.recv(len(PREPARED))
        if request["tty"]:
            descriptors = [open_terminal(report, request["size"])] * 3
        else:
            os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        with suppress(OSError):  # as a container starts where it can
            os.chdir(request["cwd"])
            if stat.S_ISFIFO(os.fstat(number).st_mode) or request["tty"]:
                os.fchown(number, request["uid"], -1)  # so that /dev/stderr can be opened
        become_user(request)
        call("prctl", DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(each, signal.SIG_DFL)  # the first two are ignored by Python
        os.umask(0o022)
        os.execvpe(request["argv"][0], request["argv"], request["env"])
    except OSError as error:
        report.send(json.dumps([error.errno, str(error)]).encode())
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(127)


def become_user(request: dict[str, Any]) -> None:
    """Give up what the program's user does not have."""
    if request["drops"]:
        for capability in range(ALL_CAPABILITIES):
            libc.prctl(DROP_CAPABILITY, capability, 0, 0, 0)  # those that this kernel does not know fail
    os.setgroups(request["groups"])
    os.setgid(request["gid"])
    os.setuid(request["uid"])
    if request["no_new_privileges"]:
        call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def open_terminal(report: socket.socket, size: list[int]) -> int:
    """Open a terminal of the container's own and make it the controlling one."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, SET_LOCK, struct.pack("i", 0))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
    slave: int = fcntl.ioctl(master, GET_PEER, os.O_RDWR | os.O_NOCTTY)
    socket.send_fds(report, [b"master"], [master])
    os.close(master)
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    return slave


def build_root(request: dict[str, Any]) -> None:
    """Make the container's file system and go there."""
    root = request["root"]
    mount("", "/", flags=RECURSIVE | PRIVATE)
    mount(root, root, flags=BIND | RECURSIVE)
    for source, target, read_only in request["mounts"]:
        bind(source, root + target, read_only=read_only)
    mount("proc", f"{root}/proc", "proc")
    mount("tmpfs", f"{root}/dev", "tmpfs", options="mode=755,size=64k")
    devices = Path(root, "dev")
    for name in ("pts", "shm"):
        (devices / name).mkdir()
    for name in DEVICES:
        bind(f"/dev/{name}", f"{root}/dev/{name}")
    mount("devpts", f"{root}/dev/pts", "devpts", options="newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", f"{root}/dev/shm", "tmpfs", options="mode=1777,size=16m")
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0")):
        (devices / name).symlink_to(target)
    for number, name in enumerate(("stdout", "stderr"), 1):
        (devices / name).symlink_to(f"/proc/self/fd/{number}")
    if request["read_only"]:
        mount("", root, flags=BIND | REMOUNT | READ_ONLY)
    os.chdir(root)  # the mount, not what is below it
    os.chroot(".")
    os.chdir("/")


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Show a file or directory at another place."""
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    mount(source, target, flags=BIND | RECURSIVE)
    if read_only:
        mount("", target, flags=BIND | REMOUNT | READ_ONLY)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        Runtime(connection).run()
