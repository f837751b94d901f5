"""A broker that is absent, stops, or is started anew: the daemon stays, says so, connects again and
goes on, and the gap raises no alarm. The real daemon on a real broker."""

import time
from pathlib import Path

import pytest

from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Message
from tests.broker.daemon import PLANT, Daemon, Subscriber, pour, publish, reading
from tests.programs import Mosquitto

SCORED = "anomalyd_readings_scored_total"
START_S = 1_700_000_000
CHANNELS, STEPS = 20, 350
OUTAGE_S = 5.0


class Speaking:
    """A plant that goes on while nobody can hear it."""

    def __init__(self, seed: int, broker: Mosquitto) -> None:
        self.sent = 0
        self._plant = Plant(seed, CHANNELS)
        self._broker = broker
        self._step = 0

    def speak(self, steps: int) -> None:
        """One reading of each channel a step, as fast as the broker takes them."""
        messages: list[Message] = []
        for row in self._plant.run(steps).tolist():
            self._step += 1
            for name, value in zip(self._plant.names, row, strict=True):
                messages.append(reading(name, START_S + self._step, value))
        pour(self._broker, messages)
        self.sent += len(messages)

    def go_on_unheard(self, steps: int) -> None:
        self._plant.run(steps)
        self._step += steps


def degraded(daemon: Daemon) -> bool:
    """Alive, and it says that it is not ready."""
    return daemon.page("/-/healthy") is not None and daemon.page("/-/ready") is None


def test_a_broker_that_comes_later_is_waited_for(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Absent at start: a state to report, not a reason to exit."""
    mosquitto.stop()
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_healthy()
        for _ in range(20):
            assert degraded(daemon)
            assert 0 == daemon.metric("anomalyd_mqtt_connected")
        mosquitto.start()
        daemon.wait_ready()
        plant = Speaking(1, mosquitto)
        plant.speak(50)
        daemon.wait_for(SCORED, plant.sent)
        assert plant.sent == daemon.metric(SCORED)
    lines = daemon.text().splitlines()
    assert 1 == sum("can't be reached; trying again for ever" in line for line in lines)


@pytest.mark.parametrize("gap_steps", [60, 7200], ids=["a minute", "two hours"])
def test_an_outage_raises_no_alarm(tmp_path: Path, mosquitto: Mosquitto, gap_steps: int) -> None:
    """Readings before and after it are scored, what was said in between is lost, and the plant
    that has gone on meanwhile is no anomaly."""
    plant = Speaking(5, mosquitto)
    with Daemon(tmp_path, mosquitto.port, PLANT + 'group_by = ["line", "machine"]\n') as daemon:
        daemon.wait_ready()
        plant.speak(STEPS)
        daemon.wait_for(SCORED, plant.sent)
        mosquitto.stop()
        until = time.monotonic() + OUTAGE_S
        daemon.wait_until(lambda: degraded(daemon), 5)
        while time.monotonic() < until:
            assert degraded(daemon)
        plant.go_on_unheard(gap_steps)
        mosquitto.start()
        daemon.wait_ready()
        plant.speak(STEPS)
        daemon.wait_for(SCORED, plant.sent)
        metrics = daemon.metrics()
        assert (plant.sent, 2) == (metrics[SCORED], metrics["anomalyd_mqtt_connects_total"])
        assert metrics['anomalyd_channels{state="warming"}'] < CHANNELS / 2, "scored, not only read"
        assert 0 == daemon.raised()
        assert {} == daemon.rejected()
    assert "Traceback" not in daemon.text()


def test_a_broker_that_is_killed_again_and_again(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """SIGKILL: each time it subscribes again, and says again that it is online."""
    plant = Speaking(2, mosquitto)
    with Daemon(tmp_path, mosquitto.port) as daemon:
        daemon.wait_ready()
        for connects in (1, 2, 3):
            daemon.wait_until(
                lambda expected=connects: (  # type: ignore[misc]
                    daemon.metric("anomalyd_mqtt_connects_total") == expected
                ),
                20,
            )
            with Subscriber(mosquitto, "anomalyd/main/status") as status:
                assert "online" == next(status.heard()).document["state"]
            plant.speak(20)
            daemon.wait_for(SCORED, plant.sent)
            mosquitto.kill()
            daemon.wait_until(lambda: degraded(daemon), 5)
            mosquitto.start()


def test_an_alert_of_an_outage_is_told_afterwards(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """What is raised while the broker takes nothing is not lost: it is sent when it is back."""
    name = "l/m/spiked"
    with Daemon(tmp_path, mosquitto.port, "[ingest]\nlinger_s = 0.5\n" + PLANT) as daemon:
        daemon.wait_ready()
        noise = [value % 7 / 7 for value in range(3, 3000, 3)]
        pour(mosquitto, (reading(name, START_S + at, value) for at, value in enumerate(noise)))
        daemon.wait_for(SCORED, len(noise))
        assert 0 == daemon.raised()
        publish(mosquitto, [reading(name, START_S + len(noise), 1e3)])
        daemon.wait_for("anomalyd_messages_received_total", len(noise) + 1)
        mosquitto.kill()
        daemon.wait_until(lambda: daemon.raised() == 1, 20)
        mosquitto.start()
        with Subscriber(mosquitto, f"anomalyd/main/alert/{name}") as alerts:
            assert "raised" == next(alerts.heard()).document["transition"]
