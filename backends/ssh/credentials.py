"""By which keys, certificates and passwords a user is let in; nothing of the service's own is among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from backends.errors import AccessRefused
from backends.secret_file import read_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.ssh.profile import Hop, SshProfile

_PUBLIC_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class Secrets:
    """What is shown to a host; made for one attempt."""

    keys: Sequence[asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]] = ()
    password: str | None = field(default=None, repr=False)
    agent: str | None = None


@dataclass(frozen=True)
class Credentials:
    """Where the secrets are; they are read for each connection, so that they can be replaced meanwhile."""

    keys: Sequence[str] = ()
    certificates: Sequence[str] = ()
    passphrase_file: str = ""
    password_file: str = ""
    agent: str = ""

    @classmethod
    def of(cls, hop: Hop | SshProfile) -> Credentials:
        """Return those of a host on the way."""
        return cls(hop.keys, hop.certificates, hop.passphrase_file, hop.password_file, hop.agent)

    def read(self) -> Secrets:
        """Read them. May block. Raises AccessRefused."""
        passphrase = _line(self.passphrase_file) if self.passphrase_file else None
        certificates = [_certificate(path) for path in self.certificates]
        keys: list[asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]] = []
        for path in self.keys:
            key = _key(path, passphrase)
            beside = Path(f"{path}-cert.pub")
            own = [_certificate(str(beside))] if beside.exists() else []
            keys += [(key, each) for each in (*own, *certificates) if each.key == key.convert_to_public()]
            keys.append(key)
        return Secrets(keys, _line(self.password_file) if self.password_file else None, self.agent or None)


def _line(path: str) -> str:
    line = read_secret(path).split(b"\n", 1)[0].rstrip(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise AccessRefused(f"{path} is not UTF-8") from None
    if not text:
        raise AccessRefused(f"{path} is empty")
    return text


def _key(path: str, passphrase: str | None) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(read_secret(path), passphrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        raise AccessRefused(f"{path} is no private key, or its passphrase is another one") from None


def _certificate(path: str) -> asyncssh.SSHCertificate:
    try:
        with Path(path).open("rb") as file:
            return asyncssh.import_certificate(file.read(_PUBLIC_LIMIT_BYTES))
    except OSError as error:
        raise AccessRefused(f"{path} cannot be read: {error.strerror}") from None
    except asyncssh.KeyImportError:
        raise AccessRefused(f"{path} is no certificate") from None
