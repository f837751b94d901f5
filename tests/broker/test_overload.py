"""More comes than is scored: what the broker keeps for us stays there, the rest is shed, counted.

Real daemon, real mosquitto; the inbox is small, and the pipeline waits between two batches, so that
a burst is more than it takes.
"""

from collections.abc import Callable
from pathlib import Path

from anomalyd.demo.publisher import Message
from tests.broker.daemon import PLANT, Daemon, pour, publish, reading, scored_ever
from tests.programs import Mosquitto

SCORED = "anomalyd_readings_scored_total"
START_S = 1_700_000_000
WIDE = "allow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
SMALL = f"{PLANT}\n[ingest]\ninbox_messages = 400\nlinger_s = 0.05\n"

Start = Callable[[str], Mosquitto]


def readings(topic: str, count: int) -> list[Message]:
    return [reading(f"l/m/{topic}{at % 10}", START_S + at // 10, at % 7) for at in range(count)]


def test_readings_of_qos_1_are_never_shed(tmp_path: Path, start_mosquitto: Start) -> None:
    """However many the broker sends at once: it is left alone until they are scored."""
    broker = start_mosquitto(WIDE)
    with Daemon(tmp_path, broker.port, SMALL) as daemon:
        daemon.wait_ready()
        publish(broker, readings("s", 5_000))
        daemon.wait_for(SCORED, 5_000)
        assert {} == daemon.rejected()
        assert 1 == daemon.metric("anomalyd_mqtt_connects_total")
        daemon.wait_ready()


def test_who_stops_a_daemon_that_is_behind_loses_nothing(
    tmp_path: Path, start_mosquitto: Start
) -> None:
    """What it has not scored is the broker's, and comes again."""
    broker = start_mosquitto(WIDE)
    for life in range(3):
        with Daemon(tmp_path, broker.port, SMALL) as daemon:
            daemon.wait_until(lambda: daemon.metric("anomalyd_mqtt_connected") == 1, 20.0)
            if life < 2:
                publish(broker, readings(f"life{life}", 4_000))
                assert 0 == daemon.stop()
                continue
            daemon.wait_until(lambda: scored_ever(tmp_path / "state") >= 8_000, 20.0)
            assert set(daemon.rejected()) <= {"repeated"}
    assert 8_000 == scored_ever(tmp_path / "state")


def test_a_flood_of_qos_0_costs_only_itself(tmp_path: Path, start_mosquitto: Start) -> None:
    """What is shed is counted, and none of it was of QoS 1."""
    broker = start_mosquitto(WIDE)
    with Daemon(tmp_path, broker.port, SMALL) as daemon:
        daemon.wait_ready()
        pour(broker, readings("flood", 20_000))
        publish(broker, readings("s", 1_000))
        daemon.wait_until(
            lambda: daemon.metric(SCORED) + daemon.rejected().get("overload", 0) == 21_000, 20.0
        )
        assert {"overload"} == set(daemon.rejected())
        assert daemon.metric(SCORED) >= 1_000
