"""The only place that asks the system which user is at the other end of a connection.

Linux answers exactly and at once: for a TCP connection over loopback through netlink (sock_diag(7), a lookup
in the kernel's hash table: some 15 µs), for a Unix socket through SO_PEERCRED. Where netlink is closed to us
or knows nothing, /proc/net/tcp* is read, and elsewhere psutil is asked, both in a thread: they read all
there is. The ways for macOS and Windows have not been run there.

A user that cannot be learned is None, and None is nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import struct
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

_ESTABLISHED = 1

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NO_COOKIE = 0xFFFFFFFF
_ERROR = struct.Struct("=i")
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_REQUEST = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
_SOCKET_ID = struct.Struct("!HH16s16s")  # source port, destination port, source, destination
_SOCKET_ID_REST = struct.Struct("=III")  # interface, cookie
_REPLY = struct.Struct("=BBBB")  # family, state, timer, retransmits
_REPLY_REST = struct.Struct("=IIIII")  # expires, receive queue, send queue, uid, inode
_REPLY_ID_OFFSET = _HEADER.size + _REPLY.size
_REPLY_REST_OFFSET = _REPLY_ID_OFFSET + _SOCKET_ID.size + _SOCKET_ID_REST.size
_REPLY_BYTES = _REPLY_REST_OFFSET + _REPLY_REST.size

_PROC_FIELDS = 10
_UCRED = struct.Struct("=iII")  # pid, uid, gid


@dataclass(frozen=True)
class Endpoint:
    """One end of a TCP connection; the address is never IPv4-mapped."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @classmethod
    def parse(cls, host: str, port: int) -> Endpoint | None:
        """Read what a socket calls its name."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        return cls(getattr(address, "ipv4_mapped", None) or address, port)


def own_uid() -> int:
    """Return the user this process acts as; where users have no numbers, 0 stands for "the same as us"."""
    if sys.platform == "win32":
        return 0
    return os.geteuid()


def own_name() -> str:
    """Return the name of the user this process acts as, or the number where there is no name."""
    if sys.platform == "win32":
        return psutil.Process().username().rpartition("\\")[2]
    import pwd  # noqa: PLC0415  (does not exist on Windows)

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container started with a number
        return str(os.geteuid())


def unix_uid(connection: socket.socket) -> int | None:
    """Return the uid of the process that connected to our Unix socket."""
    try:
        if hasattr(socket, "SO_PEERCRED"):
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            return int(_UCRED.unpack(credentials)[1])
        if sys.platform == "darwin":
            # sys/un.h: LOCAL_PEERCRED at level SOL_LOCAL (0) gives struct xucred {version, uid, ...}.
            return int(struct.unpack_from("=II", connection.getsockopt(0, 1, 76))[1])
    except (OSError, struct.error):
        return None
    return None


class SocketTable:
    """The kernel's table of TCP sockets, asked through a netlink socket that stays open.

    So asking needs no descriptor: whoever wants to end sessions when there is none left must still be recognised.
    """

    def __init__(self) -> None:
        """Open the socket if that is possible; if not, it is tried again when asked."""
        self._netlink: socket.socket | None = None
        with contextlib.suppress(OSError):
            self._open()

    def _open(self) -> socket.socket:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        # An exact lookup is answered within send(2), so a non-blocking socket has the reply ready.
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._netlink = netlink = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
        weakref.finalize(self, netlink.close)
        return netlink

    def uid(self, peer: Endpoint, local: Endpoint) -> int | None:
        """Ask for exactly the peer's socket. Raises OSError if the kernel does not know or cannot be asked."""
        netlink = self._netlink or self._open()
        try:
            netlink.send(_diag_request(peer, local))
            reply = netlink.recv(4096)
        except OSError:
            self._netlink = None  # an answer may still come: it must not be taken for that to another question
            netlink.close()
            raise
        return _diag_uid(reply, peer, local)


async def tcp_uid(peer: Endpoint, local: Endpoint, table: SocketTable | None = None) -> int | None:
    """Return the uid of the process at the other end of a TCP connection over loopback.

    `peer` and `local` are the ends as this process sees them. Anything but a connection within this machine
    that is established and still belongs to a process gives None. Raises OSError if there is no descriptor left
    to look with.
    """
    if not (peer.address.is_loopback and local.address.is_loopback):
        return None
    if sys.platform == "linux":
        try:
            return (table or SocketTable()).uid(peer, local)
        except (OSError, struct.error):  # unknown, or no netlink here: a sandbox, a seccomp filter
            return await asyncio.to_thread(proc_uid, peer, local)
    return await asyncio.to_thread(psutil_uid, peer, local)


def netlink_uid(peer: Endpoint, local: Endpoint) -> int | None:
    """Ask the kernel for exactly the peer's socket. Raises OSError if it does not know or cannot be asked."""
    return SocketTable().uid(peer, local)


def _diag_request(peer: Endpoint, local: Endpoint) -> bytes:
    family = socket.AF_INET if peer.address.version == 4 else socket.AF_INET6  # noqa: PLR2004
    body = (
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _ESTABLISHED)
        + _SOCKET_ID.pack(peer.port, local.port, peer.address.packed, local.address.packed)
        + _SOCKET_ID_REST.pack(0, _NO_COOKIE, _NO_COOKIE)
    )
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body


def _diag_uid(reply: bytes, peer: Endpoint, local: Endpoint) -> int | None:
    kind = _HEADER.unpack_from(reply)[1]
    if kind != _SOCK_DIAG_BY_FAMILY or len(reply) < _REPLY_BYTES:
        # NLMSG_ERROR; ENOENT is "no such socket", but also "this kernel has no tcp_diag".
        raise OSError(-_ERROR.unpack_from(reply, _HEADER.size)[0], "no answer from sock_diag")
    _, state, _, _ = _REPLY.unpack_from(reply, _HEADER.size)
    source_port, destination_port, _, _ = _SOCKET_ID.unpack_from(reply, _REPLY_ID_OFFSET)
    # Without an established socket the kernel falls back to one that listens there: check what came back.
    if (source_port, destination_port) != (peer.port, local.port):
        return None
    *_, uid, inode = _REPLY_REST.unpack_from(reply, _REPLY_REST_OFFSET)
    return _owner(state, uid, inode)


def _owner(state: int, uid: int, inode: int) -> int | None:
    """Return the uid of a socket that a process has open; closed ones (no inode) all look like root's."""
    return uid if state == _ESTABLISHED and inode else None


def proc_uid(peer: Endpoint, local: Endpoint) -> int | None:
    """Look for the peer's socket in /proc/net/tcp and tcp6 (proc_net_tcp(5)); reads every socket there is.

    Raises OSError if there is no descriptor left.
    """
    for path, mapped in (("/proc/net/tcp", False), ("/proc/net/tcp6", True)):
        if not mapped and peer.address.version == 6:  # noqa: PLR2004
            continue
        wanted = [_proc_endpoint(end, mapped=mapped) for end in (peer, local)]
        try:
            with open(path, encoding="ascii") as table:  # noqa: PTH123  (kernel files have no size)
                uid = _proc_row(table, wanted)
        except FileNotFoundError:
            continue
        if uid is not None:
            return uid
    return None


def _proc_row(table: Iterator[str], wanted: list[str]) -> int | None:
    for row in table:
        fields = row.split()
        if len(fields) >= _PROC_FIELDS and fields[1:3] == wanted:
            uid = _owner(int(fields[3], 16), int(fields[7]), int(fields[9]))
            if uid is not None:
                return uid
    return None


def _proc_endpoint(end: Endpoint, *, mapped: bool) -> str:
    """Render as the kernel does: the address as 32-bit words in its own byte order, in hex."""
    packed = end.address.packed
    if mapped and len(packed) == 4:  # noqa: PLR2004
        packed = bytes(10) + b"\xff\xff" + packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{end.port:04X}"


def psutil_uid(peer: Endpoint, local: Endpoint) -> int | None:
    """Look for the peer among our own user's processes (those of others often cannot be seen).

    Returns `own_uid()` or None.
    """
    me = psutil.Process().username()
    for process in psutil.process_iter():
        try:
            if process.username() == me and _has_connection(process, peer, local):
                return own_uid()
        except psutil.Error:
            continue
    return None


def _has_connection(process: psutil.Process, peer: Endpoint, local: Endpoint) -> bool:
    return any(
        each.status == psutil.CONN_ESTABLISHED
        and Endpoint.parse(*each.laddr[:2]) == peer
        and Endpoint.parse(*each.raddr[:2]) == local
        for each in process.net_connections(kind="tcp")
    )
