"""Write the configuration file of a client of a test API server."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from support.kube.authority import authority

if TYPE_CHECKING:
    from pathlib import Path


def kubeconfig(
    path: Path,
    url: str,
    *,
    token: str,
    namespace: str,
    certificate: tuple[bytes, bytes] | None = None,
    user: dict[str, Any] | None = None,
) -> Path:
    """Write it, for its owner alone; `user` instead of a token is for credential plugins and the like."""
    entry = user or {"token": token}
    if certificate is not None:
        entry = {"client-certificate-data": _text(certificate[0]), "client-key-data": _text(certificate[1])}
    context = {"cluster": "test", "user": "test", "namespace": namespace}
    written = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [
            {"name": "test", "cluster": {"server": url, "certificate-authority-data": _text(authority().pem)}}
        ],
        "contexts": [{"name": "test", "context": context}],
        "users": [{"name": "test", "user": entry}],
    }
    path.write_text(json.dumps(written, indent=2))  # JSON is YAML
    path.chmod(0o600)
    return path


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
