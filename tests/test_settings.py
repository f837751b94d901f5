"""Settings' rules: file < environment < flag, secrets from files and never shown, and every mistake
is one line that names the key and the nearest one that exists."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from anomalyd.errors import ConfigError
from anomalyd.settings import Http, Mqtt, Settings, Stream, flatten, load, unknown_environment

CONTRACT = """
[mqtt]
host = "127.0.0.1"
port = 1883
username = "anomalyd"
[[streams]]
topic = "plant/{line}/{machine}/{sensor}"
value = "value"
time  = "ts"
interval_s = 1.0
group_by = ["line", "machine"]
model = "pump.safetensors"
[alerts]
budget_per_week = 1.0
plant_budget_per_day = 24.0
[http]
host = "127.0.0.1"
port = 9464
[state]
directory = "/var/lib/anomalyd"
"""


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ANOMALYD_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def written(directory: Path, text: str) -> Path:
    path = directory / "anomalyd.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistake(directory: Path, text: str = "") -> str:
    """What `load` says is wrong; one line."""
    with pytest.raises(ConfigError) as error:
        load(written(directory, text))
    assert "\n" not in str(error.value)
    return str(error.value)


# --- what holds -------------------------------------------------------------------------------


def test_everything_has_a_default() -> None:
    """No file, no environment."""
    assert Settings() == load(None)


def test_the_contracts_file_is_understood(tmp_path: Path) -> None:
    """Its keys are relied on by name; all but the stream's are the defaults."""
    settings = load(written(tmp_path, CONTRACT))
    stream = Stream(
        topic="plant/{line}/{machine}/{sensor}",
        time="ts",
        interval_s=1.0,
        group_by=("line", "machine"),
        model=Path("pump.safetensors"),
    )
    expected = Settings(streams=(stream,), mqtt=Mqtt(username="anomalyd"))
    assert expected.model_dump() == settings.model_dump()


def test_the_environment_wins_over_the_file_and_a_flag_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key by key: what the environment doesn't name stays as the file has it."""
    path = written(tmp_path, 'instance = "file"\n[mqtt]\nhost = "file"\nport = 1\n')
    monkeypatch.setenv("ANOMALYD_MQTT__HOST", "environment")
    monkeypatch.setenv("ANOMALYD_INSTANCE", "environment")
    settings = load(path)
    assert ("environment", 1) == (settings.mqtt.host, settings.mqtt.port)
    assert "environment" == settings.instance
    assert "flag" == load(path, instance="flag").instance


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit's `Environment=ANOMALYD_MQTT__PORT=` sets nothing."""
    monkeypatch.setenv("ANOMALYD_MQTT__PORT", "")
    assert 1883 == load(None).mqtt.port


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("PORT", "many", "_MQTT__PORT = 'many': must be"), ("PROT", "1", "_MQTT__PROT is not a set")],
)
def test_a_mistake_in_the_environment_is_not_said_to_be_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"ANOMALYD_MQTT__{name}", value)
    assert f": ANOMALYD{said}" in mistake(tmp_path, "[mqtt]\nhost = 'b'\n")


def test_settings_do_not_change() -> None:
    """Threads share them."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().mqtt.port = 1  # type: ignore[misc]


def test_flatten_lists_every_key_once_with_its_meaning(tmp_path: Path) -> None:
    """In the order of the file; streams by number; never the password."""
    settings = load(written(tmp_path, 'password = "s3cret"\n' + CONTRACT))
    listed = list(flatten(settings))
    keys = [key for key, _, _ in listed]
    assert len(set(keys)) == len(keys)
    assert {"instance", "mqtt.host", "streams.0.topic", "channels.max", "log.format"} <= set(keys)
    assert all(meaning for _, _, meaning in listed)
    assert "s3cret" not in str(listed)


# --- secrets ----------------------------------------------------------------------------------

USER = '[mqtt]\nusername = "anomalyd"\n'


def test_the_password_comes_from_a_file(tmp_path: Path) -> None:
    """Without the line's end; the settings don't show it."""
    (tmp_path / "secret").write_text("s3cret\n")
    settings = load(written(tmp_path, f'{USER}password_file = "{tmp_path}/secret"\n'))
    assert settings.password is not None
    assert "s3cret" == settings.password.get_secret_value()
    assert "s3cret" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_credential_of_systemd_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be read by this unit alone."""
    (tmp_path / "secret").write_text("from file\n")
    (tmp_path / "mqtt_password").write_text("from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load(written(tmp_path, f'{USER}password_file = "{tmp_path}/secret"\n'))
    assert settings.password is not None
    assert "from systemd" == settings.password.get_secret_value()


@pytest.mark.parametrize("source", ["file", "credential"])
def test_a_password_without_a_user_name_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """MQTT has no room for it: the daemon would log in as nobody, and nobody would know why."""
    (tmp_path / "mqtt_password").write_text("s3cret\n")
    text = f'[mqtt]\npassword_file = "{tmp_path}/mqtt_password"\n'
    if source == "credential":
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        text = ""
    said = mistake(tmp_path, text)
    assert said.endswith("mqtt.username is missing: MQTT sends no password without a user name")
    assert "s3cret" not in said


def test_a_credential_directory_without_ours_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit may have other credentials."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load(None).password is None


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_password_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    """Missing, or no text; what is in it is not told."""
    if content:
        (tmp_path / "secret").write_bytes(content)
    said = mistake(tmp_path, f'{USER}password_file = "{tmp_path}/secret"\n')
    assert said.startswith(f"mqtt.password_file = {tmp_path}/secret: ")


def test_a_credential_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a mistake in the configuration, not as a traceback."""
    (tmp_path / "mqtt_password").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert "mqtt_password" in mistake(tmp_path)


@pytest.mark.parametrize(
    "text",
    ['password = "s3cret"\n[mqtt]\nreconnect_max_s = 0.5\n', 'password = ["s3cret"]\n'],
    ids=["beside another mistake", "of a wrong type"],
)
def test_a_mistake_does_not_show_the_password(tmp_path: Path, text: str) -> None:
    """Neither where it is wrong itself, nor where something else is."""
    assert "s3cret" not in mistake(tmp_path, text)


def test_the_token_comes_from_a_file_or_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the password does; it is not shown either."""
    (tmp_path / "token").write_text("t0ken\n")
    settings = load(written(tmp_path, f'[http]\ntoken_file = "{tmp_path}/token"\n'))
    assert settings.http_token is not None
    assert "t0ken" == settings.http_token.get_secret_value()
    assert "t0ken" not in repr(settings) + settings.model_dump_json()
    (tmp_path / "http_token").write_text("other\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    token = load(None).http_token
    assert token is not None
    assert "other" == token.get_secret_value()


def test_an_empty_secret_is_a_mistake(tmp_path: Path) -> None:
    """It would let everybody in."""
    (tmp_path / "token").write_text("\n")
    assert "is empty" in mistake(tmp_path, f'[http]\ntoken_file = "{tmp_path}/token"\n')


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert Settings(http=Http(host=host)).http.local


def test_beyond_this_machine_needs_token_and_tls_or_a_word(tmp_path: Path) -> None:
    """One of the two is not enough: a token in the clear is everybody's."""
    (tmp_path / "token").write_text("t0ken\n")
    token = f'[http]\nhost = "0.0.0.0"\ntoken_file = "{tmp_path}/token"\n'
    assert "http.certificate_file" in mistake(tmp_path, token)
    load(written(tmp_path, token + 'certificate_file = "c"\nkey_file = "k"\n'))
    load(written(tmp_path, '[http]\nhost = "0.0.0.0"\ninsecure = true\n'))


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mqtt]\nhst = 'x'\n", "mqtt.hst is not a setting; did you mean host?"),
        ("[mqttt]\nhost = 'x'\n", "mqttt is not a setting; did you mean mqtt?"),
        ("[state]\ndir = 'x'\n", "state.dir is not a setting; did you mean directory?"),
        (
            "[metrics]\nport = 1\n",
            "metrics.port is not a setting; did you mean http.port or mqtt.port?",
        ),
        (
            "[[streams]]\ntopic = 'a'\ninterval = 1.0\n",
            "streams.0.interval is not a setting; did you mean interval_s?",
        ),
        ("[alerts]\nzzzzzz = 1\n", "alerts.zzzzzz is not a setting"),
        ("[[streams]]\nvalue = 'x'\n", "streams.0.topic is missing"),
        ("[mqtt]\nport = 0\n", "mqtt.port = 0: must be a whole number, at least 1, at most 65535"),
        ("[mqtt]\nport = 'high'\n", "mqtt.port = 'high': "),
        ("[mqtt]\nqos = 3\n", "mqtt.qos = 3: "),
        (
            "[log]\nlevel = 'loud'\n",
            "log.level = 'loud': must be one of debug, info, ",
        ),
        ("[mqtt]\ntopic_prefix = 'a/+'\n", "mqtt.topic_prefix = 'a/+': must be a text, as "),
        ("[[streams]]\ntopic = ''\n", "streams.0.topic = '': must be a text, not empty"),
        ("instance = 'a/b'\n", "instance = 'a/b': "),
        ("[alerts]\nbudget_per_week = nan\n", "alerts.budget_per_week = nan: "),
        ("[mqtt]\nreconnect_max_s = inf\n", "mqtt.reconnect_max_s = inf: "),
        ("[[streams]]\ntopic = 'a'\ninterval_s = inf\n", "streams.0.interval_s = inf: "),
        (
            "[mqtt]\nreconnect_min_s = 5\nreconnect_max_s = 3\n",
            "mqtt.reconnect_max_s must not be less than",
        ),
        (
            "[[streams]]\ntopic = 'a'\nlow = 5\nhigh = 5\n",
            "streams.0: low = 5 must be less than high = 5",
        ),
        ("[http]\nhost = '0.0.0.0'\n", "http.host = '0.0.0.0' can be reached from other machines"),
        ("[http]\nhost = 'plant.local'\n", "or http.insecure = true"),
        ("[http]\nkey_file = 'k'\n", "http: certificate_file and key_file go together"),
        ("[mqtt\n", "anomalyd.toml: "),
        ("mqtt = 1\n", "mqtt = 1: "),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tmp_path: Path, text: str, said: str) -> None:
    """And the nearest key that exists, where it is misspelt."""
    told = mistake(tmp_path, text)
    assert said in told
    assert told.startswith(str(tmp_path / "anomalyd.toml"))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Not one a try."""
    said = mistake(tmp_path, "[mqtt]\nport = 0\nhst = 'x'\n")
    assert "mqtt.port" in said
    assert "mqtt.hst" in said


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Also where a folder is in its place."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match=f"^{path}: no such file$"):
            load(path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """TOML is UTF-8."""
    path = written(tmp_path, "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=f"^{path}: "):
        load(path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ANOMALYD_MQTT__PORT", "high", "ANOMALYD_MQTT__PORT = 'high': "),
        ("ANOMALYD_MQTT__HST", "x", "ANOMALYD_MQTT__HST is not a setting; did you mean host?"),
        ("ANOMALYD_MQTT", "not json", "mqtt"),
        ("ANOMALYD_STREAMS", "not json", "streams"),
    ],
)
def test_a_mistake_in_the_environment_is_told_too(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """One line, whatever it is."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        load(None)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_streams_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON, for containers."""
    monkeypatch.setenv("ANOMALYD_STREAMS", '[{"topic": "plant/{sensor}", "value": ""}]')
    assert (Stream(topic="plant/{sensor}", value=""),) == load(None).streams


def test_unknown_names_in_the_environment_are_listed_with_the_nearest() -> None:
    """A misspelt section is silently ignored otherwise. That all names begin alike makes none of
    them near."""
    environ = {
        "ANOMALYD_MQT__HOST": "x",
        "ANOMALYD_REQUIRE_PROGRAMS": "x",
        "ANOMALYD_MQTT__HOST": "x",
        "ANOMALYD_STREAMS": "[]",
        "ANOMALYD_MQTT": "{}",
        "PATH": "x",
    }
    assert [
        "ANOMALYD_MQT__HOST is not a setting; did you mean ANOMALYD_MQTT__HOST?",
        "ANOMALYD_REQUIRE_PROGRAMS is not a setting",
    ] == list(unknown_environment(environ))


def test_unknown_names_are_listed_whatever_the_known_ones_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value that is good only beside the file's others must not keep the list from being made."""
    monkeypatch.setenv("ANOMALYD_MQTT__RECONNECT_MIN_S", "100")
    assert [] == list(unknown_environment(os.environ))
