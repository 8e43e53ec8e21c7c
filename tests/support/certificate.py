"""A certificate for localhost and its key, for tests of TLS only: the key is public, by being here."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUOybSipPoyB3gtpjOvIZs120tDUIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTA0MjI0MloYDzIxMjYxMDI4
MDQyMjQyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATbToV7ovApZjG8h8sslX8pfWjRvtHpVfOwIVC0YUVrBsUFvNJqPDCh
cwO8xY9HkQ+hZej8APcfoBEhD2iKxMz9o28wbTAdBgNVHQ4EFgQUVPBo7e7Ae8Mw
D8LSdEd1U9xXMWAwHwYDVR0jBBgwFoAUVPBo7e7Ae8MwD8LSdEd1U9xXMWAwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAP9oFDKDpoagItUbC9yoTTcqDMBAjqrDnHyg9Mf2JGpgAiEA
unJyrByKMWaTFOUTphZDEPV9oBckuHE4hFIh6hc2HOQ=
-----END CERTIFICATE-----
"""

KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMjfuEafsbekdZgn1
W1L5GT4f2yqIvvM8Ok4sVkxrV56hRANCAATbToV7ovApZjG8h8sslX8pfWjRvtHp
VfOwIVC0YUVrBsUFvNJqPDChcwO8xY9HkQ+hZej8APcfoBEhD2iKxMz9
-----END PRIVATE KEY-----
"""

ANOTHER = """\
-----BEGIN CERTIFICATE-----
MIIBljCCAT2gAwIBAgIUYAnFG84ktliS99EFTmqd/nK9eEgwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHYW5vdGhlcjAgFw0yNjExMjExNjI2MTFaGA8yMTI2MTAyODE2
MjYxMVowEjEQMA4GA1UEAwwHYW5vdGhlcjBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABH8bOah/YI8PMVyI4bXrMtuaqPrOkslrnfrlrN7MHEMDDTSiCZSiczoWQCms
SOSLFuslQ80mL8BtxjEcriYCOvWjbzBtMB0GA1UdDgQWBBTkDpkNg3FrDmKcKCR8
46QpQssI1DAfBgNVHSMEGDAWgBTkDpkNg3FrDmKcKCR846QpQssI1DAPBgNVHRMB
Af8EBTADAQH/MBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAKBggqhkjOPQQD
AgNHADBEAiAi8PYJEcyOS67cV3eYETSX1ghe0CSvsZy4RSnhd5f9vwIgWXrNa0YG
uyz6nY2LXDGwoaA9L8cL9mh9qBtUHUGBwf8=
-----END CERTIFICATE-----
"""
"""Of another authority, which has signed nothing: its key was thrown away."""


def write_certificate(directory: Path) -> dict[str, str]:
    """Write both to files and return uvicorn's options that name them."""
    (directory / "certificate.pem").write_text(CERTIFICATE)
    (directory / "key.pem").write_text(KEY)
    return {"ssl_certfile": str(directory / "certificate.pem"), "ssl_keyfile": str(directory / "key.pem")}


def client_context() -> ssl.SSLContext:
    """Return a client's context that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
