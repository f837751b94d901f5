"""What the daemon's session with a broker promises: readings of QoS 1 wait for it while it is away
and come again where they were not acknowledged; over TLS, with a certificate of its own, over
websockets, with MQTT 5, and to another broker where one fails. Real daemon, real mosquitto."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from anomalyd.demo.publisher import Message
from tests.broker.daemon import PLANT, Daemon, publish, reading, scored_ever
from tests.conftest import OPEN_TO_ALL
from tests.programs import Mosquitto, certify, free_port, tls_listener

SCORED = "anomalyd_readings_scored_total"
START_S = 1_700_000_000
WIDE = OPEN_TO_ALL + "max_inflight_messages 0\n"
DURABLE = WIDE + "persistence true\nautosave_interval 1\nautosave_on_changes true\n"

Start = Callable[[str], Mosquitto]


def readings(first: int, count: int, channels: int = 10) -> list[Message]:
    return [
        reading(f"l/m/{at % channels}", START_S + at, at % 7) for at in range(first, first + count)
    ]


def scores_all(daemon: Daemon, broker: Mosquitto, count: int = 500) -> None:
    """From the moment on at which it is ready, everything published with QoS 1."""
    daemon.wait_ready()
    publish(broker, readings(0, count))
    daemon.wait_for(SCORED, count)
    assert {} == daemon.rejected()


# --- the session --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_what_comes_while_it_is_away_is_scored(
    tmp_path: Path, start_mosquitto: Start, version: str
) -> None:
    """Stopped or killed: the broker keeps readings of QoS 1 for it, and each is scored once."""
    broker = start_mosquitto(WIDE)
    more = f'{PLANT}[mqtt]\nversion = "{version}"\n'
    with daemon_of(tmp_path, broker, more) as daemon:
        scores_all(daemon, broker)
        assert 0 == daemon.stop()
    publish(broker, readings(500, 500))
    with daemon_of(tmp_path, broker, more) as again:
        again.wait_for(SCORED, 500)
        assert -signal.SIGKILL == again.kill()
    publish(broker, readings(1000, 500))
    with daemon_of(tmp_path, broker, more) as third:
        third.wait_until(lambda: scored_ever(tmp_path / "state") >= 1500, 20.0)
        # Killed between scoring and acknowledging: then they come again, and are left out.
        assert set(third.rejected()) <= {"repeated"}
    assert 1500 == scored_ever(tmp_path / "state")


def daemon_of(directory: Path, broker: Mosquitto, more: str) -> Daemon:
    """`more` may have a table [mqtt], which goes into the one there is."""
    streams, _, mqtt = more.partition("[mqtt]\n")
    daemon = Daemon(directory, broker.port, streams)
    config = directory / f"daemon-{daemon.http_port}.toml"
    config.write_text(config.read_text().replace("[mqtt]\n", f"[mqtt]\n{mqtt}", 1))
    return daemon


def test_a_session_that_has_expired_keeps_nothing(tmp_path: Path, start_mosquitto: Start) -> None:
    """With MQTT 5 whoever runs the broker is told how long it is to wait for the daemon."""
    broker = start_mosquitto(WIDE)
    more = f'{PLANT}[mqtt]\nversion = "5"\nsession_expiry_s = 1\n'
    with daemon_of(tmp_path, broker, more) as daemon:
        scores_all(daemon, broker)
        assert 0 == daemon.stop()
    time.sleep(3.0)  # mosquitto looks once a second
    publish(broker, readings(500, 500))
    with daemon_of(tmp_path, broker, more) as again:
        again.wait_ready()
        publish(broker, readings(1000, 10))
        again.wait_for(SCORED, 10)
        assert 10 == again.metric(SCORED)


def test_user_properties_tell_the_broker_who_connects(tmp_path: Path) -> None:
    """No broker at hand shows them, so they are read from the packet (MQTT 5, section 3.1.2.11)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20.0)
        broker = Mosquitto.__new__(Mosquitto)
        broker.host, broker.port = server.getsockname()
        more = f'{PLANT}[mqtt]\nversion = "5"\nuser_properties = ["site=Köln"]\n'
        with daemon_of(tmp_path, broker, more):
            connection, _ = server.accept()
            with connection:
                packet = connection.recv(4096)
    assert (0x10, b"\x00\x04MQTT\x05") == (packet[0], packet[2:9])
    assert b"\x26\x00\x04site\x00\x05K\xc3\xb6ln" in packet


def test_with_a_clean_session_nothing_waits(tmp_path: Path, start_mosquitto: Start) -> None:
    """Where that is asked for."""
    broker = start_mosquitto(WIDE)
    more = f"{PLANT}[mqtt]\nclean_session = true\n"
    with daemon_of(tmp_path, broker, more) as daemon:
        scores_all(daemon, broker)
    publish(broker, readings(500, 500))
    with daemon_of(tmp_path, broker, more) as again:
        again.wait_ready()
        publish(broker, readings(1000, 10))
        again.wait_for(SCORED, 10)
        assert 10 == again.metric(SCORED)


def test_a_broker_that_is_started_anew_loses_no_reading(
    tmp_path: Path, start_mosquitto: Start
) -> None:
    """With persistence it has the session, and what it had not heard the acknowledgement of."""
    broker = start_mosquitto(DURABLE + f"persistence_location {tmp_path}/\n")
    with Daemon(tmp_path, broker.port) as daemon:
        scores_all(daemon, broker)
        for life in range(1, 4):
            publish(broker, readings(500 * life, 500))
            broker.stop()
            broker.start()
        daemon.wait_for(SCORED, 2000)
        daemon.wait_ready()
        assert 2000 == daemon.metric(SCORED)
        assert set(daemon.rejected()) <= {"repeated"}


# --- the disk -----------------------------------------------------------------------------------


def test_a_journal_that_fails_is_a_condition(tmp_path: Path, start_mosquitto: Start) -> None:
    """Readings are scored and acknowledged all the same, and it ends when its cause ends."""
    broker = start_mosquitto(OPEN_TO_ALL)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal").write_text("in the way")
    with Daemon(tmp_path, broker.port) as daemon:
        daemon.wait_until(lambda: daemon.metric("anomalyd_mqtt_connected") == 1, 20.0)
        publish(broker, readings(0, 500))
        daemon.wait_for(SCORED, 500)
        assert 1 == daemon.metric('anomalyd_degraded{condition="journal"}')
        (tmp_path / "state" / "journal").unlink()
        time.sleep(1.1)  # it tries again once a second
        publish(broker, readings(500, 500))
        daemon.wait_until(lambda: not daemon.metric('anomalyd_degraded{condition="journal"}'), 20.0)
        daemon.wait_ready()


# --- ways to the broker -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, and what it has signed for the broker and for a daemon."""
    return certify(tmp_path_factory.mktemp("certificates"))


def listener(port: int, certificates: Path, *more: str) -> str:
    """A second one, with TLS."""
    return WIDE + tls_listener(port, certificates, *more)


def test_tls(tmp_path: Path, start_mosquitto: Start, certificates: Path) -> None:
    """Who vouches for the broker is named; a broker that nobody vouches for is refused."""
    port = free_port()
    broker = start_mosquitto(listener(port, certificates))
    trusts = f'{PLANT}[mqtt]\ntls = true\nca_file = "{certificates}/ca.crt"\n'
    with daemon_of(tmp_path, at(broker, port), trusts) as daemon:
        scores_all(daemon, broker)
    with daemon_of(tmp_path, at(broker, port), f"{PLANT}[mqtt]\ntls = true\n") as doubts:
        doubts.wait_until(lambda: "certificate verify failed" in doubts.text(), 20.0)
        assert 0 == doubts.metric("anomalyd_mqtt_connected")


def at(broker: Mosquitto, port: int) -> Mosquitto:
    """Another port of it."""
    other = Mosquitto.__new__(Mosquitto)
    other.host, other.port = broker.host, port
    return other


def test_mutual_tls(tmp_path: Path, start_mosquitto: Start, certificates: Path) -> None:
    """The broker asks who the daemon is, and lets only that one in."""
    port = free_port()
    broker = start_mosquitto(listener(port, certificates, "require_certificate true"))
    more = f'{PLANT}[mqtt]\ntls = true\nca_file = "{certificates}/ca.crt"\n'
    own = f'cert_file = "{certificates}/daemon.crt"\nkey_file = "{certificates}/daemon.key"\n'
    with daemon_of(tmp_path, at(broker, port), more + own) as daemon:
        scores_all(daemon, broker)
    with daemon_of(tmp_path, at(broker, port), more) as nobody:
        nobody.wait_until(lambda: "closed the connection before" in nobody.text(), 20.0)
        assert 0 == nobody.metric("anomalyd_mqtt_connected")


def test_over_tls_the_broker_is_kept_waiting_too(
    tmp_path: Path, start_mosquitto: Start, certificates: Path
) -> None:
    """What TLS has decrypted already waits with it: no reading is shed, and none is stuck."""
    port = free_port()
    broker = start_mosquitto(listener(port, certificates))
    more = f"{PLANT}[ingest]\ninbox_messages = 100\nlinger_s = 0.02\n"
    more += f'[mqtt]\ntls = true\nca_file = "{certificates}/ca.crt"\n'
    with daemon_of(tmp_path, at(broker, port), more) as daemon:
        scores_all(daemon, broker, 10_000)


@pytest.mark.parametrize("tls", [False, True])
def test_websockets(tmp_path: Path, start_mosquitto: Start, certificates: Path, tls: bool) -> None:
    port = free_port()
    plain = f"{WIDE}listener {port} 127.0.0.1\nprotocol websockets\n"
    secure = listener(port, certificates, "protocol websockets")
    broker = start_mosquitto(secure if tls else plain)
    more = f'{PLANT}[mqtt]\ntransport = "websockets"\n'
    more += f'tls = true\nca_file = "{certificates}/ca.crt"\n' if tls else ""
    with daemon_of(tmp_path, at(broker, port), more) as daemon:
        scores_all(daemon, broker)


def test_it_goes_to_another_broker_where_one_fails(tmp_path: Path, start_mosquitto: Start) -> None:
    """And back again: the next one is tried in turn."""
    first, second = start_mosquitto(WIDE), start_mosquitto(WIDE)
    more = f'{PLANT}[mqtt]\nhosts = ["127.0.0.1:{second.port}"]\n'
    with daemon_of(tmp_path, first, more) as daemon:
        scores_all(daemon, first)
        first.stop()
        daemon.wait_until(lambda: f":{second.port} connected" in daemon.text(), 20.0)
        publish(second, readings(500, 500))
        daemon.wait_for(SCORED, 1000)
        first.start()
        second.stop()
        daemon.wait_until(lambda: daemon.text().count(f":{first.port} connected") == 2, 20.0)
        os.kill(daemon.pid, signal.SIGTERM)
        assert 0 == daemon.stop()
