"""compose.yaml and the Dockerfile: what they say fits the settings, each other, and nginx.conf."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from typing import Any

import pytest
import yaml

from support.deployment import DEPLOY, SETTINGS, compose
from support.service import ROOT
from terminal_service.settings import Settings

GIVEN = {"API_KEYS": "ann:0123456789abcdef", "REDIS_PASSWORD": "secret"}
NODES = ("node1", "node2")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture
def services() -> dict[str, Any]:
    services: dict[str, Any] = compose(GIVEN)["services"]
    return services


def image_settings() -> dict[str, str]:
    """Return the variables the image sets."""
    lines = DOCKERFILE.replace("\\\n", " ").splitlines()
    words = [word for line in lines if line.startswith("ENV ") for word in line.split()[1:]]
    return {name: value for name, value in (word.split("=", 1) for word in words) if name != "PATH"}


def instruction(name: str) -> str:
    """Return the last instruction of that name."""
    return [line for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")][-1]


def test_every_variable_is_a_setting_and_the_service_takes_them(services: dict[str, Any]) -> None:
    for name in NODES:
        environment = services[name]["environment"]
        assert set(environment) | set(image_settings()) <= SETTINGS
        settings = Settings.from_environment({**image_settings(), **environment})
        assert settings.redis_url is not None
        assert (settings.host, settings.holder_dir, settings.ignored) == ("0.0.0.0", None, ())
        [proxy] = settings.trusted_proxies
        assert str(proxy.network_address) == services["nginx"]["networks"]["inside"]["ipv4_address"]


def test_it_does_not_start_without_its_secrets() -> None:
    for name in GIVEN:
        with pytest.raises(KeyError, match=name):
            compose({**GIVEN, name: ""})


def test_both_nodes_are_the_same_but_for_their_names_and_directories(services: dict[str, Any]) -> None:
    one, two = ({**services[name]} for name in NODES)
    for service, name in ((one, "node1"), (two, "node2")):
        assert service.pop("hostname") == name
        assert service.pop("volumes") == [f"{name}:{image_settings()['STATE_DIR']}"]
        service.pop("networks")
    assert one == two


def test_only_nginx_can_be_reached_and_that_from_this_machine_only(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    assert all(port.startswith("127.0.0.1:") for port in services["nginx"]["ports"])


def test_every_address_is_in_the_network_and_is_one_service_s(services: dict[str, Any]) -> None:
    [subnet] = compose(GIVEN)["networks"]["inside"]["ipam"]["config"]
    addresses = [
        service["networks"]["inside"]["ipv4_address"] for service in services.values() if "networks" in service
    ]
    assert len(set(addresses)) == len(services)
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network(subnet["subnet"]) for address in addresses)


def test_redis_keeps_what_it_is_given(services: dict[str, Any]) -> None:
    [script] = services["redis"]["command"]
    for line in ("requirepass $REDIS_PASSWORD", "appendonly yes", "maxmemory-policy noeviction"):
        assert line in script.splitlines()
    assert GIVEN["REDIS_PASSWORD"] not in script, "a list of processes would show it"
    assert "redis:/data" in services["redis"]["volumes"]


def test_nobody_may_more_than_needed(services: dict[str, Any]) -> None:
    for name in (*NODES, "nginx"):
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["read_only"] is True
        assert "no-new-privileges:true" in services[name]["security_opt"]
    assert not any("cap_add" in services[name] for name in NODES)


def test_nginx_knows_each_node_and_ties_nobody_to_one(services: dict[str, Any]) -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    for upstream in re.findall(r"upstream \w+ \{(.*?)\}", text, re.DOTALL):
        servers = re.findall(r"server (\w+):(\d+)", upstream)
        assert servers == [(name, image_settings()["PORT"]) for name in NODES]
        assert not re.search(r"^\s*(ip_hash|hash|sticky)", upstream, re.MULTILINE)
    [port] = re.findall(r"^\s*listen (\d+);", text, re.MULTILINE)
    assert services["nginx"]["ports"][0].endswith(f":{port}")


def test_nginx_waits_longer_than_a_silent_terminal_is_asked_for_a_sign_of_life() -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    silence = 3 * Settings().websocket_ping_interval
    for directive in ("proxy_read_timeout", "proxy_send_timeout"):
        [(number, unit)] = re.findall(rf"^\s*{directive} (\d+)([smh]);", text, re.MULTILINE)
        assert int(number) * {"s": 1, "m": 60, "h": 3600}[unit] > 10 * silence


def test_the_image_has_every_package_and_is_nobody_s_root() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for package in packages:
        assert f"COPY {package} {package}\n" in DOCKERFILE
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == {*packages, "clients/web", "requirements/base.txt"}
    assert "--require-hashes" in DOCKERFILE
    assert re.fullmatch(r"USER [1-9]\d+:[1-9]\d+", instruction("USER"))
    assert instruction("ENTRYPOINT") == 'ENTRYPOINT ["/usr/bin/tini", "--", "terminal-service"]'


def test_every_yaml_file_here_can_be_read() -> None:
    files = [path for path in DEPLOY.rglob("*.yaml") if "templates" not in path.parts]
    assert len(files) >= 4
    for path in files:
        assert yaml.safe_load(path.read_text()), path
