"""What is shipped for an installation is accepted by real programs, and does what it says."""

import re
import shutil
import subprocess
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from anomalyd.settings import Settings, Stream, flatten, load
from tests.programs import Mosquitto, require
from tests.sample_config import EXAMPLES, REFERENCE, SAMPLE, STREAM, reference, sample

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "systemd" / "anomalyd.service"
TEMPLATE = ROOT / "systemd" / "anomalyd@.service"
SCRAPE = ROOT / "deploy" / "prometheus" / "prometheus.yml"
BROKER = ROOT / "deploy" / "mosquitto" / "mosquitto.conf"

# More than the 1 000 that mosquitto keeps by default.
QUEUED = 1_500
SOON_S = 20.0


def test_the_sample_configuration_is_what_the_settings_say() -> None:
    assert sample() == SAMPLE.read_text(), "run: python -m tests.sample_config"


def test_the_reference_is_what_the_settings_say() -> None:
    assert reference() == REFERENCE.read_text(), "run: python -m tests.sample_config"


def test_the_reference_has_every_key() -> None:
    text = REFERENCE.read_text()
    keys = [key.rpartition(".")[2] for key, _, _ in flatten(Settings())]
    assert [] == [key for key in [*keys, *Stream.model_fields] if f"| `{key}` |" not in text]


def test_the_sample_configuration_as_shipped_is_the_defaults() -> None:
    assert Settings() == Settings(**load(SAMPLE).model_dump())


def test_the_sample_configuration_has_every_key_with_its_default() -> None:
    keys = tomllib.loads(re.sub(r"^#(?=\S)", "", SAMPLE.read_text(), flags=re.M))
    assert [STREAM] == keys.pop("streams")
    assert set(Stream.model_fields) == set(STREAM)
    expected = dict(_flat(Settings().model_dump(mode="json")))
    expected.pop("streams")
    assert expected | EXAMPLES == dict(_flat(keys))


def test_the_sample_stream_is_valid() -> None:
    assert STREAM["topic"] == Stream.model_validate(STREAM).topic


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    assert "" == _verify(UNIT.read_text(), tmp_path)


def test_an_instance_is_the_unit_with_its_own_files() -> None:
    """What the template has otherwise is where its things are, and the header."""

    def directives(unit: Path) -> list[str]:
        return [line for line in unit.read_text().splitlines() if line and line[0] != "#"]

    own = {"Description=anomalyd, instance %i"}
    own |= {"Environment=ANOMALYD_INSTANCE=%i ANOMALYD_STATE__DIRECTORY=%S/anomalyd-%i"}
    shared = [line for line in directives(TEMPLATE) if line not in own]
    plain = [line for line in directives(UNIT) if not line.startswith("Description=")]
    again = [line.replace("-%i", "").replace("%i.toml", "anomalyd.toml") for line in shared]
    assert plain == again


def test_systemd_accepts_the_template(tmp_path: Path) -> None:
    assert "" == _verify(TEMPLATE.read_text(), tmp_path, "anomalyd@press.service")


def test_a_misspelt_directive_would_be_found(tmp_path: Path) -> None:
    unit = UNIT.read_text().replace("PrivateTmp=", "PrivatTmp=")
    assert "Unknown key 'PrivatTmp'" in _verify(unit, tmp_path)


def test_the_sandbox_is_tight() -> None:
    """`systemd-analyze security` says at most 1.1 of 10: the unit tells what stays off and why."""
    command = [_analyze(), "security", "--offline=true", "--threshold=11", str(UNIT)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert 0 == found.returncode, found.stdout


def _verify(unit: str, directory: Path, name: str = "anomalyd.service") -> str:
    """What `systemd-analyze verify` finds; the program is one that exists on this machine."""
    there = directory / name
    there.write_text(unit.replace("/opt/anomalyd/venv/bin/anomalyd", shutil.which("true") or ""))
    command = [_analyze(), "verify", "--recursive-errors=yes", str(there)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode == 0) == (found.stderr == ""), found.stderr
    return found.stderr


def _analyze() -> str:
    return require("systemd-analyze", "systemd")


def test_promtool_accepts_the_scrape_configuration() -> None:
    promtool = require("promtool", "prometheus")
    found = subprocess.run([promtool, "check", "config", str(SCRAPE)], capture_output=True)
    assert 0 == found.returncode, found.stderr


def test_the_scrape_configuration_finds_the_default_port() -> None:
    http = Settings().http
    assert f'targets: ["{http.host}:{http.port}"]' in SCRAPE.read_text()


def test_a_killed_broker_loses_the_last_second_at_most(
    start_mosquitto: Callable[[str], Mosquitto], tmp_path: Path
) -> None:
    """More QoS 1 messages than the default limit, queued for a session that is away."""
    config = BROKER.read_text().replace("/var/lib/mosquitto/", f"{tmp_path}/")
    broker = start_mosquitto(re.sub(r"^listener .*", "", config, flags=re.M))
    queued = {str(number) for number in range(QUEUED)}
    _subscribe_and_leave(broker)
    _publish(broker, queued)
    _written_since(tmp_path / "mosquitto.db", time.time())
    broker.kill()
    broker.start()
    assert set() == queued - _fetch(broker, queued)


def _written_since(file: Path, then_s: float) -> None:
    """It is put in place when it is whole."""
    deadline = time.monotonic() + SOON_S
    while not (file.exists() and file.stat().st_mtime > then_s):
        assert time.monotonic() < deadline, "the broker wrote nothing"
        time.sleep(0.05)


@contextmanager
def _client(broker: Mosquitto, name: str, prepare: Callable[[mqtt.Client], None]) -> Iterator[None]:
    """A client with a session that outlives its connection."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    client.max_inflight_messages_set(QUEUED)
    prepare(client)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


def _subscribe_and_leave(broker: Mosquitto) -> None:
    subscribed = threading.Event()

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        client.subscribe("plant/#", qos=1)

    def prepare(client: mqtt.Client) -> None:
        client.on_connect = on_connect
        client.on_subscribe = lambda *_: subscribed.set()

    with _client(broker, "daemon", prepare):
        assert subscribed.wait(SOON_S)


def _publish(broker: Mosquitto, payloads: set[str]) -> None:
    """Returns when all of them are acknowledged."""
    acknowledged: set[int] = set()
    done = threading.Event()

    def on_publish(client: mqtt.Client, userdata: Any, mid: int, *_: Any) -> None:
        acknowledged.add(mid)
        if len(acknowledged) == len(payloads):
            done.set()

    def prepare(client: mqtt.Client) -> None:
        client.on_publish = on_publish
        for payload in payloads:
            client.publish("plant/line1", payload, qos=1)

    with _client(broker, "sensor", prepare):
        assert done.wait(SOON_S), f"{len(acknowledged)} of {len(payloads)} acknowledged"


def _fetch(broker: Mosquitto, expected: set[str]) -> set[str]:
    """What the session that was away finds: returns with `expected`, or what came in time."""
    found: set[str] = set()
    done = threading.Event()

    def on_message(client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        found.add(message.payload.decode())
        if expected <= found:
            done.set()

    def prepare(client: mqtt.Client) -> None:
        client.on_message = on_message

    with _client(broker, "daemon", prepare):
        done.wait(SOON_S)
    return found
