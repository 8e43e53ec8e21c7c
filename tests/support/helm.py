"""Renders the chart with Helm's own library, in a process of its own: it brings Go's threads and signal handlers.

As a program: `helm.py CHART NAME NAMESPACE`, values as JSON on standard input, template names and texts as JSON on
standard output. The version of Helm is that of the package.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

RENDER_SECONDS = 60


class Refused(Exception):
    """Helm does not render that; the message is its own."""


def render(chart: Path, values: dict[str, Any], *, name: str = "ts", namespace: str = "shells") -> list[dict[str, Any]]:
    """Return the objects of a release. Raises Refused."""
    done = subprocess.run(
        [sys.executable, __file__, str(chart), name, namespace],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
        timeout=RENDER_SECONDS,
    )
    if done.returncode:
        raise Refused(done.stderr)
    texts: dict[str, str] = json.loads(done.stdout)
    documents = [yaml.safe_load_all(text) for path, text in sorted(texts.items()) if path.endswith(".yaml")]
    return [document for each in documents for document in each if document]


def _main(chart: str, name: str, namespace: str) -> None:
    import helm_python  # noqa: PLC0415 - of this process alone

    with helm_python.Chart.load(chart) as loaded:
        json.dump(loaded.render(json.load(sys.stdin), name=name, namespace=namespace), sys.stdout)


if __name__ == "__main__":
    try:
        _main(*sys.argv[1:])
    except Exception as error:  # noqa: BLE001 - whatever it is, who asked is told
        sys.exit(str(error))
