"""Which keys a host may have: those on record, or on demand the first one it ever showed. Never just any."""

from __future__ import annotations

import os
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import asyncssh
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs

from backends.errors import AccessRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.ssh.profile import Hop, SshProfile

_SSH_PORT = 22
_LOCK = threading.Lock()
"""Held while a file of keys is replaced: backends may share one."""


@dataclass(frozen=True)
class Known:
    """What is on record of a host."""

    keys: Sequence[asyncssh.SSHKey] = ()
    authorities: Sequence[asyncssh.SSHKey] = ()
    revoked: Sequence[asyncssh.SSHKey] = ()
    record: str = ""
    """Where it is on record, for people."""
    believes_first: bool = False
    """Whether the first key that is seen is believed if there is none on record."""

    @property
    def algorithms(self) -> list[str]:
        """Return in which order the host may choose: first what is on record, so that it is shown if it is there.

        The others follow, so that a host with a new kind of key is seen to have changed. A certificate says nothing
        without an authority on record.
        """
        names = get_default_certificate_algs() if self.authorities else []
        names = [*names, *(name for key in self.keys for name in key.sig_algorithms), *get_default_public_key_algs()]
        return list(dict.fromkeys(name.decode() for name in names))

    @property
    def fingerprints(self) -> str:
        """Return those of the keys on record."""
        return ", ".join(key.get_fingerprint() for key in (*self.keys, *self.authorities))


class Trust(Protocol):
    """Knows the keys of hosts. Both methods may block."""

    def known(self, host: str, port: int) -> Known:
        """Return what is on record. Raises AccessRefused: the record cannot be read."""
        ...

    def keep(self, host: str, port: int, key: asyncssh.SSHKey) -> None:
        """Record a key that was believed. Raises AccessRefused: it cannot be, or another one was meanwhile."""
        ...


@dataclass(frozen=True)
class RecordedKeys:
    """A `Trust` in files as of known_hosts(5), or in a list of keys."""

    own_file: Path
    """Where first keys are kept."""
    file: str = ""
    """Another file, which is only read. Empty: the own one alone."""
    listed: Sequence[str] = field(default=())
    believes_first: bool = False

    @classmethod
    def of(cls, hop: Hop | SshProfile, directory: Path) -> RecordedKeys:
        """Return those of a host on the way."""
        return cls(directory / "known_hosts", hop.known_hosts, hop.host_keys, hop.trust == "first_use")

    def known(self, host: str, port: int) -> Known:
        """Look into the list, or else into the files."""
        if self.listed:
            return Known([_public_key(line) for line in self.listed], record="the profile's host_keys")
        files = [Path(self.file)] if self.file else []
        if not self.file or self.believes_first:
            files.append(self.own_file)
        keys: list[asyncssh.SSHKey] = []
        authorities: list[asyncssh.SSHKey] = []
        revoked: list[asyncssh.SSHKey] = []
        for file in files:
            found = _read(file, missing_ok=file == self.own_file).match(host, "", _tabled(port))
            keys += [key for key in found[0] if key not in keys]
            authorities += found[1]
            revoked += found[2]
        record = " and ".join(map(str, files))
        return Known(keys, authorities, revoked, record=record, believes_first=self.believes_first)

    def keep(self, host: str, port: int, key: asyncssh.SSHKey) -> None:
        """Add the key to the own file, unless it is there: a reader sees the old file or the new one, whole.

        Of several connections at once only the first decides: the others may have seen another key.
        """
        pattern = host if port == _SSH_PORT else f"[{host}]:{port}"
        line = f"{pattern} ".encode() + key.export_public_key().split(b"\n", 1)[0].strip() + b"\n"
        try:
            with _LOCK:
                self.own_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                recorded = self.known(host, port)
                if key in recorded.keys:
                    return
                if recorded.keys or recorded.authorities:
                    raise AccessRefused(
                        f"the host key of {host}:{port} is not the one on record: it shows another one than it did a "
                        f"moment ago, {recorded.record} has {recorded.fingerprints}; the operator must look"
                    )
                before = self.own_file.read_bytes() if self.own_file.exists() else b""
                if before and not before.endswith(b"\n"):
                    before += b"\n"
                _replace(self.own_file, before + line)
        except OSError as error:
            raise AccessRefused(f"{self.own_file} cannot be written: {error.strerror}") from None


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _read(path: Path, *, missing_ok: bool) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.import_known_hosts(path.read_text("utf-8"))
    except FileNotFoundError:
        if missing_ok:
            return asyncssh.import_known_hosts("")
        raise AccessRefused(f"{path}, where host keys should be on record, is not there") from None
    except OSError as error:
        raise AccessRefused(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise AccessRefused(f"{path} is no file of host keys: {error}") from None


def _public_key(line: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(line)
    except asyncssh.KeyImportError:
        raise AccessRefused(f"host_keys: {line[:40]!r} is no public key") from None


def _tabled(port: int) -> int | None:
    """Return a port as tables of keys have it."""
    return None if port == _SSH_PORT else port
