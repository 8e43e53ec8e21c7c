from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from terminal_service import settings as module
from terminal_service.settings import IGNORED, Settings, SettingsError, example, variables

ROOT = Path(__file__).parents[1]
KEY = "0123456789abcdef"
CANARY = "s3cr3t-canary-s3cr3t-canary"


def refusal(environment: dict[str, str], env_file: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment, env_file)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def env_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.env"
    path.write_bytes(text.encode())
    return path


def test_the_example_lists_every_variable_with_its_default_and_nothing_else() -> None:
    assert (ROOT / ".env.example").read_text() == example()


def test_a_copy_of_the_example_is_the_default() -> None:
    assert Settings.from_environment({}, ROOT / ".env.example") == Settings.from_environment({}) == Settings()


def test_every_variable_of_the_example_has_one_line_of_meaning() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = [number for number, line in enumerate(lines) if re.match(r"[A-Z_]+=", line)]
    assert {lines[number].partition("=")[0].lower() for number in named} == {each.name for each in variables()}
    for number in named:
        assert lines[number - 1].startswith("# ")
        assert lines[number - 2] == ""


def test_every_default_is_a_value_that_could_be_written() -> None:
    for variable in variables():
        written = module._shown(variable.default)
        if written:
            read = getattr(Settings.from_environment({variable.name: written}), variable.name)
            assert read == variable.default


def test_the_environment_wins_over_the_file_and_names_may_be_in_any_case(tmp_path: Path) -> None:
    path = env_file(tmp_path, "port=1001\nSession_TTL_Seconds=86400  # 24 hours for long-running sessions\n")
    read = Settings.from_environment({"Port": "1002"}, path)
    assert (read.port, read.session_ttl_seconds) == (1002, 86400)
    assert Settings.from_environment({"port": "1", "PORT": "2", "Port": "3"}).port == 2


def test_a_missing_file_is_no_error_and_an_empty_value_is_the_default(tmp_path: Path) -> None:
    assert Settings.from_environment({"PORT": " ", "UNIX_SOCKET": ""}, tmp_path / "none") == Settings()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("DEFAULT_SHELL=zsh", "zsh"),
        ("\ufeffDEFAULT_SHELL=zsh", "zsh"),
        ("export DEFAULT_SHELL = zsh\r", "zsh"),
        ("DEFAULT_SHELL=a b # c", "a b"),
        ("DEFAULT_SHELL=a#b", "a#b"),
        ("DEFAULT_SHELL= # nothing", None),
        ("DEFAULT_SHELL='a # $HOME \\n'  # c", "a # $HOME \\n"),
        (r'DEFAULT_SHELL="a \"b\" # \\"', 'a "b" # \\'),
        ("DEFAULT_SHELL=one\n#DEFAULT_SHELL=two\n\nDEFAULT_SHELL=${PATH}", "${PATH}"),
    ],
)
def test_the_file_is_read_as_written(tmp_path: Path, line: str, value: str | None) -> None:
    assert Settings.from_environment({}, env_file(tmp_path, line)).default_shell == value


@pytest.mark.parametrize("line", [CANARY, f"={CANARY}", f"1A={CANARY}", f'A="{CANARY}', f"A='{CANARY}' {CANARY}"])
def test_a_broken_line_is_named_by_number_and_not_quoted(tmp_path: Path, line: str) -> None:
    text = refusal({}, env_file(tmp_path, "PORT=1\n" + line))
    assert "line 2" in text
    assert CANARY not in text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal({}, tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert "UTF-8" in refusal({}, binary)
    binary.write_bytes(b"#" * (1 << 20) + b"#")
    assert "1 MiB" in refusal({}, binary)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "80.5"),
        ("PORT", "٨٠"),
        ("PORT", "9" * 5000),
        ("PORT", "eighty\nPORT=1"),
        ("HOST", "local host"),
        ("HOST", "127.0.0.1:80"),
        ("HOST", "fe80::1%eth0"),
        ("WORKERS", "2"),
        ("WORKERS", "0"),
        ("SESSION_TTL_SECONDS", "0"),
        ("SESSION_TTL_SECONDS", "inf"),
        ("SESSION_TTL_SECONDS", "nan"),
        ("SESSION_TTL_SECONDS", "1e3"),
        ("SESSION_TTL_SECONDS", "1 hour"),
        ("RETENTION_BYTES", "65535"),
        ("RETENTION_BYTES", str((1 << 30) + 1)),
        ("RETENTION_BYTES", str(1 << 30)),
        ("INPUT_BURST_BYTES", "1024"),
        ("WEBSOCKET_MAX_MESSAGE_SIZE", "100"),
        ("SIZE_POLICY", "largest"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("PROMETHEUS_PORT", "metrics"),
        ("UNIX_SOCKET", "/" + "x" * 200),
        ("STATE_DIR", "a\0b"),
        ("STATE_DIR", "~no-such-user-here/state"),
        ("DEFAULT_SHELL", "ba\x1bsh"),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", "a.example,*.example.com"),
        ("ALLOWED_HOSTS", "a.example:80"),
        ("ALLOWED_HOSTS", "b\u00fccher.example"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "null"),
        ("ALLOWED_ORIGINS", "https://*.example.com"),
        ("ALLOWED_ORIGINS", "https://a.example/path"),
        ("ALLOWED_ORIGINS", "a.example"),
        ("TRUSTED_PROXIES", "*"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ],
)
def test_a_wrong_value_gives_one_line_with_name_value_and_what_is_allowed(name: str, value: str) -> None:
    text = refusal({name: value})
    assert text.startswith(f"{name}=")
    assert value[:20].splitlines()[0] in text or repr(value)[1:20] in text
    assert "allowed: " in text


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        f":{CANARY}",
        f"a b:{CANARY}",
        "alice:" + CANARY[:15],
        f"alice:{CANARY} {CANARY}",
        f"alice:sha256:{CANARY}",
        f"alice:{CANARY},bob:{CANARY}",
        f"alice:{CANARY},bob:sha256:{hashlib.sha256(CANARY.encode()).hexdigest()}",
    ],
)
def test_a_wrong_key_is_refused_and_never_shown(value: str) -> None:
    text = refusal({"API_KEYS": value})
    assert text.startswith("API_KEYS is wrong; allowed: ")
    assert CANARY[:15] not in text


def test_only_digests_of_keys_are_kept_and_none_is_shown() -> None:
    digest = hashlib.sha256(CANARY.encode())
    text = f"alice:{CANARY}, bob:sha256:{hashlib.sha256(b'x').hexdigest()},alice:a:{KEY}"
    read = Settings.from_environment({"API_KEYS": text})
    assert [key.user for key in read.api_keys] == ["alice", "bob", "alice"]
    assert read.api_keys[0].digest == digest.digest()
    for shown in (repr(read), str(read)):
        assert CANARY not in shown
        assert digest.hexdigest() not in shown
        assert repr(digest.digest()) not in shown


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "localhost.example.com", "[::]"])
def test_listening_beyond_loopback_needs_keys(host: str) -> None:
    text = refusal({"HOST": host})
    assert "API_KEYS" in text
    assert "HOST=" in text
    assert Settings.from_environment({"HOST": host, "API_KEYS": f"alice:{KEY}"}).api_keys


def test_the_need_for_keys_cannot_be_avoided_by_constructing_directly() -> None:
    with pytest.raises(SettingsError, match="API_KEYS"):
        Settings(host="0.0.0.0")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_keys(host: str) -> None:
    assert Settings.from_environment({"HOST": host}).host in {host.strip("[]"), "localhost"}


def test_the_service_goes_by_the_address_it_listens_on() -> None:
    keys = f"alice:{KEY}"
    read = Settings.from_environment({"HOST": "192.0.2.1", "ALLOWED_HOSTS": "t.example", "API_KEYS": keys})
    assert read.host_names == ("t.example", "192.0.2.1")
    for everywhere in ("0.0.0.0", "::", "[::]"):
        assert Settings.from_environment({"HOST": everywhere, "API_KEYS": keys}).host_names == ()


def test_proxies_are_trusted_with_keys_only() -> None:
    assert "API_KEYS" in refusal({"TRUSTED_PROXIES": "10.0.0.0/8"})
    read = Settings.from_environment({"TRUSTED_PROXIES": "10.0.0.0/8,::1", "API_KEYS": f"alice:{KEY}"})
    assert [str(each) for each in read.trusted_proxies] == ["10.0.0.0/8", "::1/128"]


def test_hosts_and_origins_are_made_canonical() -> None:
    read = Settings.from_environment(
        {
            "ALLOWED_HOSTS": "Term.Example.com, [0:0::1],192.0.2.1",
            "ALLOWED_ORIGINS": "HTTPS://App.Example.com:443,http://a.example:8080,tauri://localhost",
        }
    )
    assert read.allowed_hosts == ("term.example.com", "::1", "192.0.2.1")
    assert read.allowed_origins == ("https://app.example.com", "http://a.example:8080", "tauri://localhost")


@pytest.mark.platform("linux", "darwin")
def test_more_than_one_worker_needs_redis_a_holder_for_each_and_ports() -> None:
    redis = {"WORKERS": "4", "REDIS_URL": "redis://localhost"}
    assert Settings.from_environment(redis).workers == 4
    assert "REDIS_URL" in refusal({"WORKERS": "4"})
    assert refusal({**redis, "HOLDER": "/run/holder"}).startswith("HOLDER='/run/holder' ")
    assert Settings.from_environment({**redis, "PROMETHEUS_PORT": "65532"}).prometheus_port == 65532
    assert refusal({**redis, "PROMETHEUS_PORT": "65533"}).startswith("PROMETHEUS_PORT=65533 ")


def test_names_that_do_nothing_are_told(tmp_path: Path) -> None:
    path = env_file(tmp_path, "SESION_TTL_SECONDS=5\nPORT=1\n")
    read = Settings.from_environment({"redis_db": "3", "GRPC_PORT": "1", "PATH": "/bin"}, path)
    assert read.ignored == ("GRPC_PORT", "REDIS_DB", "SESION_TTL_SECONDS")
    assert not IGNORED & {each.name.upper() for each in variables()}


def test_zero_means_no_limit_where_it_is_said() -> None:
    read = Settings.from_environment(
        {"SESSION_MAX_LIFETIME_SECONDS": "0", "INPUT_BYTES_PER_SECOND": "0", "INPUT_BURST_BYTES": "0"}
    )
    assert read.session_max_lifetime_seconds == read.input_bytes_per_second == read.input_burst_bytes == 0


def test_paths_are_absolute() -> None:
    read = Settings.from_environment({"STATE_DIR": "~/state", "UNIX_SOCKET": "run/x.sock"})
    assert read.state_dir == Path.home() / "state"
    assert read.unix_socket == Path.cwd() / "run/x.sock"


def test_a_message_may_carry_64_kib_in_base64() -> None:
    assert Settings().websocket_max_message_size > 65536 * 4 // 3 + 200
