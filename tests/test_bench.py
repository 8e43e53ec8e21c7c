"""The bench measures what is installed here and writes numbers of the documented shape."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
BULK = {"bulk_mb_per_second", "cpu_seconds_per_mb", "frames"}
REDIS = {"stored_mb_per_second", "redis_cpu_seconds_per_mb"}
ECHO = {"echo_p50_us", "echo_p99_us"}
MEMORY = {"rss_bytes", "rss_bytes_per_session", "anonymous_bytes_per_session"}
SERVICE = {"resume_first_byte_ms", "resume_mb_per_second", "create_ms", "ready_seconds"}
SHAPE = {
    "bare tight": BULK - {"frames"},
    "bare uvloop": BULK - {"frames"},
    "terminado": BULK | ECHO | MEMORY | {"fan_out_mb_per_cpu_second"},
    "ttyd": BULK | ECHO | MEMORY,
    "service msgpack": BULK | ECHO | MEMORY | SERVICE | {"fan_out_mb_per_cpu_second"},
    "service msgpack ack": BULK,
    "service raw": BULK | ECHO,
    "service json": BULK | ECHO,
    "service with Redis": BULK | REDIS | ECHO | MEMORY | {"fan_out_mb_per_cpu_second"},
    "two nodes": BULK | REDIS | ECHO | MEMORY | {"fan_out_mb_per_cpu_second"},
}
SERVERS = {"service with Redis": "redis", "two nodes": "nodes"}


def bench(*args: str, program: str = "bench") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", program, *args]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("bench") / "run.json"
    ended = bench("--quick", "--json", str(path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    numbers: dict[str, Any] = json.loads(path.read_text())
    return numbers | {"path": path, "printed": ended.stdout}


@pytest.mark.timeout(120)
def test_every_server_here_is_measured_in_every_workload(run: dict[str, Any]) -> None:
    assert run["failed"] == {}
    measured = {
        name: metrics for name, metrics in SHAPE.items() if SERVERS.get(name, name.split()[0]) not in run["skipped"]
    }
    assert {name: set(metrics) for name, metrics in run["numbers"].items()} == measured
    for metrics in run["numbers"].values():
        assert all(isinstance(value, int | float) for values in metrics.values() for value in values)
        assert all(values for values in metrics.values())


@pytest.mark.timeout(120)
def test_a_run_says_on_what_it_was_made(run: dict[str, Any]) -> None:
    assert run["machine"]["cores"] > 0
    assert {"processor", "kernel", "python", "memory_bytes", "load_before"} <= set(run["machine"])
    assert {"ttyd", "terminado", "uvicorn", "redis-server"} <= set(run["versions"])
    assert run["sizes"]["rounds"] == 1


@pytest.mark.timeout(120)
def test_a_target_is_judged_only_if_it_was_measured(run: dict[str, Any]) -> None:
    assert {target["id"] for target in run["targets"]} >= {"S1", "S2", "S3", "S6"}
    for target in run["targets"]:
        assert (target["kept"] is None) == (target["value"] is None)


@pytest.mark.timeout(120)
def test_the_report_can_be_printed_again_from_the_numbers(run: dict[str, Any]) -> None:
    again = bench("--markdown", str(run["path"]))
    assert again.stdout.strip() == run["printed"].strip()


@pytest.mark.timeout(120)
def test_the_cost_in_redis_is_measured_and_can_be_printed_again(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    ended = bench("--quick", "--json", str(path), program="bench.redis_cost")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    if "redis-server is not on PATH" in ended.stdout:
        pytest.skip(ended.stdout.strip())
    run = json.loads(path.read_text())
    assert all(weighed["memory_bytes"] > weighed["output_bytes"] >= 64 * 1024 for weighed in run["retention"])
    for level in (*run["alone"], *run["followed"]):
        assert level["printing"]["redis_in"] > level["printed_bytes"]
    for alone, followed in zip(run["alone"], run["followed"], strict=True):
        assert alone["printing"]["redis_out"] < alone["printed_bytes"] < followed["printing"]["redis_out"]
        assert followed["connections"] < run["followed"][0]["connections"] + 3
    document = tmp_path / "scale.md"
    document.write_text((ROOT / "docs" / "scale.md").read_text())
    again = bench("--markdown", str(path), "--into", str(document), program="bench.redis_cost")
    assert again.stdout == ended.stdout, again.stderr
    assert again.stdout in document.read_text()


@pytest.mark.timeout(120)
def test_backends_are_measured_beside_the_plain_tools(tmp_path: Path) -> None:
    path = tmp_path / "backends.json"
    ended = bench("--quick", "--only", "ssh", "--json", str(path), program="bench.backends")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = json.loads(path.read_text())
    if "ssh" in run["skipped"]:
        pytest.skip(run["skipped"]["ssh"])
    ways = {f"ssh {way}" for way in ("tool", "backend", "service")} | {"ssh 4 tool", "ssh 4 backend"}
    assert set(run["numbers"]) == ways
    for metrics in run["numbers"].values():
        assert {"bulk_mb_per_second"} | ECHO <= set(metrics)
    again = bench("--markdown", str(path), program="bench.backends")
    assert again.stdout == ended.stdout
