from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from supervisor.agents.shipper.settings import _TLS, _TOP, BadSettings, Settings, Tls, load
from tests.stack import ROOT

LOKI = 'to = "loki"\nurl = "http://localhost:3100"\n'
SECURE = 'to = "otlp"\nurl = "https://otel.example"\n'
SYSLOG = 'to = "syslog"\nurl = "tcp://127.0.0.1:514"\n'


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "shipper.toml"
    path.write_text(text)
    return load(str(path), "here")


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "credentials"
    directory.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    return directory


@pytest.mark.parametrize("text, scheme, port, path", [
    (LOKI, "http", 3100, "/loki/api/v1/push"),
    ('to = "loki"\nurl = "http://[::1]/"\n', "http", 80, "/loki/api/v1/push"),
    ('to = "loki"\nurl = "https://x/other/push"\n', "https", 443, "/other/push"),
    (SECURE, "https", 443, "/v1/logs"),
    ('to = "syslog"\nurl = "tcp://x"\n', "tcp", 601, ""),
    ('to = "syslog"\nurl = "tls://x"\n', "tls", 6514, ""),
])
def test_a_target_is_complete_with_two_keys(
    tmp_path: Path, text: str, scheme: str, port: int, path: str
) -> None:
    found = read(tmp_path, text)
    assert (found.scheme, found.port, found.path) == (scheme, port, path)
    assert (found.host_name, found.tls) == ("here", Tls())
    assert (found.gzip, found.metadata, found.facility, found.batch_lines) == (True, True, 3, 5000)


def test_all_keys_are_read(tmp_path: Path, secrets: Path) -> None:
    for name in ("ca.pem", "me.pem", "me.key", "token"):
        (secrets / name).write_text("s3cret\n")
    found = read(tmp_path, """
        to = "loki"
        url = "https://loki.example/x"
        host_name = "other"
        metadata = false
        gzip = false
        batch_bytes = 2000
        batch_lines = 3
        batch_seconds = 2
        timeout_seconds = 1.5
        end_seconds = 0
        labels = {cluster = "a b"}
        [headers]
        X-Scope-OrgID = "tenant"
        [auth]
        bearer = "token"
        [tls]
        ca = "ca.pem"
        cert = "me.pem"
        key = "me.key"
        server_name = "loki"
        verify = false
    """)
    assert found == Settings(
        "loki", "https", "loki.example", 443, "/x",
        Tls(f"{secrets}/ca.pem", f"{secrets}/me.pem", f"{secrets}/me.key", "loki", verify=False),
        {"X-Scope-OrgID": "tenant", "Authorization": "Bearer s3cret"}, {"cluster": "a b"}, "other",
        3, metadata=False, gzip=False, batch_bytes=2000, batch_lines=3, batch_seconds=2,
        timeout_seconds=1.5, end_seconds=0)


def test_a_password_goes_with_its_user(tmp_path: Path, secrets: Path) -> None:
    (secrets / "password").write_text("open sesame\n")
    found = read(tmp_path, LOKI + 'auth = {user = "Aladdin", password = "password"}')
    assert found.headers == {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}


def test_the_facility_is_a_word(tmp_path: Path) -> None:
    assert read(tmp_path, SYSLOG + 'facility = "local7"').facility == 23


def test_what_is_shown_of_a_target_is_its_url(tmp_path: Path) -> None:
    assert read(tmp_path, LOKI).url == "http://localhost:3100/loki/api/v1/push"
    assert read(tmp_path, 'to = "syslog"\nurl = "tls://[fe80::1]"').url == "tls://[fe80::1]:6514"


@pytest.mark.parametrize("text, line, words", [
    ("", 0, "to: cannot be left out: write one of loki, otlp, syslog"),
    ('to = "loki"', 0, "url: cannot be left out"),
    ('to = "elastic"\n', 1, "to: cannot use 'elastic'"),
    ("to = 3\n", 1, "to: cannot use 3: write text in quotes"),
    ("to = \n", 1, "cannot read it as TOML"),
    (LOKI + "urk = 1\n", 3, "urk: cannot use it: the keys are to, url"),
    (LOKI.replace("http:", "tcp:"), 2, "url: cannot use"),
    (LOKI.replace("3100", "99999"), 2, "url: cannot use"),
    (LOKI.replace("3100", "3100?x=1"), 2, "url: cannot use"),
    (LOKI.replace("localhost", "me:s3cret@localhost"), 2, "url: cannot hold a password"),
    ('to = "loki"\nurl = "http://me:s3cret@x:99999"', 2, "url: cannot hold a password"),
    (SYSLOG.replace("514", "514/path"), 2, "url: cannot use"),
    (LOKI + "\nbatch_lines = 0\n", 4, "batch_lines: cannot use 0: write 1 to 100000"),
    (LOKI + "batch_seconds = nan\n", 3, "batch_seconds: cannot use nan"),
    (LOKI + "batch_lines = 1.5\n", 3, "batch_lines: cannot use 1.5: write a whole number"),
    (LOKI + 'gzip = "yes"\n', 3, "gzip: cannot use 'yes': write true or false"),
    (LOKI + 'facility = "user"\n', 3, "facility: cannot be set: it is for syslog only"),
    (SYSLOG + 'facility = "users"\n', 3, "facility: cannot use 'users'"),
    (SYSLOG + "metadata = true\n", 3, "metadata: cannot be set: it is for loki only"),
    (SYSLOG + 'headers = {a = "b"}\n', 3, "headers: cannot be set"),
    (LOKI + '[labels]\nx = "1"\n"a-b" = "2"\n', 5, "labels.a-b: cannot use it"),
    (LOKI + '[labels]\nunit = "1"\n', 4, "labels.unit: cannot be set: it is the shipper's own"),
    (LOKI + "labels = {x = 1}\n", 3, "labels.x: cannot use 1"),
    (LOKI + '[headers]\n"a b" = "2"\n', 4, "headers.a b: cannot use it"),
    (LOKI + '[headers]\na = "2\\n"\n', 4, "headers.a: cannot use"),
    (LOKI + "[tls]\nverify = false\n", 3, "tls: cannot be set: http:// has no TLS; write https"),
    (SYSLOG + "[tls]\nverify = false\n", 3, "tls: cannot be set: tcp:// has no TLS; write tls"),
    (SECURE + '[tls]\nverif = "x"\n', 4, "tls.verif: cannot use it"),
    (SECURE + '[tls]\nca = "none"\n', 4, "tls.ca: cannot use 'none': it is neither an absolute"),
    (SECURE + 'tls.ca = "/none"\n', 3, "tls.ca: cannot read /none: No such file"),
    (SECURE + '[tls]\ncert = "/dev/null"\n', 3, "tls: cannot be one of cert and key"),
    (SECURE + '[auth]\nuser = "x"\n', 3, "auth: cannot be one of user and password"),
    (SECURE + '[auth]\nuser = "x"\nbearer = "/y"\n', 3, "auth: cannot be both"),
    (SECURE + '[auth]\nbearer = "/dev/null"\n', 4, "auth.bearer: cannot use what is in /dev/null"),
])
def test_what_is_wrong_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    with pytest.raises(BadSettings) as refused:
        read(tmp_path, text)
    said = str(refused.value)
    at = f"{tmp_path}/shipper.toml:{line}: " if line else f"{tmp_path}/shipper.toml: "
    assert said.startswith(at), said
    assert words in said
    assert "s3cret" not in said


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"cannot read .*/none.toml: No such file"):
        load(f"{tmp_path}/none.toml", "here")


# --- its page ---

PAGE = (ROOT / "docs/how-to/ship-logs.md").read_text()


def test_the_examples_of_its_page_can_be_used(tmp_path: Path, secrets: Path) -> None:
    (secrets / "loki-token").write_text("s3cret")
    (secrets / "ca.pem").write_text("")
    examples = re.findall(r"^```toml\n(to = .*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    found = [
        read(tmp_path, text.replace("/etc/unboxed/logs-ca.pem", "ca.pem")).to for text in examples]
    assert found == ["loki", "syslog", "otlp"]


def test_its_page_has_each_key_with_its_default(tmp_path: Path) -> None:
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \| .*\|$", PAGE.partition("## All settings")[2],
                      re.MULTILINE)
    told = {key for keys, _ in rows for key in re.findall("`(.*?)`", keys)}
    tables = {f"tls.{key}" for key in _TLS}
    assert told == (set(_TOP) - {"tls"}) | tables
    for keys, defaults in rows:
        for key, default in zip(re.findall("`(.*?)`", keys), re.findall("`(.*?)`", defaults),
                                strict=False):
            if key in {"headers", "labels", "batch_seconds", "timeout_seconds", "end_seconds",
                       "batch_lines", "batch_bytes", "gzip", "metadata"}:
                assert getattr(read(tmp_path, LOKI), key) == json.loads(default)
