"""The real daemon stops and starts: what it had learnt and told is still so; a second daemon on its
directory refuses; a directory that it can't have is a condition, and it scores on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from anomalyd.errors import ServiceFailed
from tests.broker.daemon import PLANT, Daemon, Subscriber, publish, reading, scored_ever
from tests.programs import Mosquitto

START_S = 1_700_000_000
NAME = "line1/pump1/flow"
SCORED = "anomalyd_readings_scored_total"
RESTORED = "anomalyd_state_channels_restored"
RECEIVED = "anomalyd_messages_received_total"
SAVED = "anomalyd_state_saved_timestamp_seconds"
DEGRADED = 'anomalyd_degraded{condition="state"}'


def speak(broker: Mosquitto, first: int, values: list[float]) -> int:
    return publish(
        broker, (reading(NAME, START_S + first + at, value) for at, value in enumerate(values))
    )


def quiet(readings: int) -> list[float]:
    values: list[float] = np.random.default_rng(3).normal(20.0, 1.0, readings).tolist()
    return values


def test_sigterm_saves_and_the_next_start_goes_on(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Within 5 s; no warm-up, and the alert clears under the id that it was raised with."""
    more = PLANT + "[alerts]\nclear_readings = 5\n"
    with Subscriber(mosquitto, "anomalyd/main/event") as events:
        with Daemon(tmp_path, mosquitto.port, more) as daemon:
            daemon.wait_ready()
            sent = speak(mosquitto, 0, quiet(300))
            sent += speak(mosquitto, 300, [1e4])
            daemon.wait_for(SCORED, sent)
            raised = events.wait_for(lambda heard: heard.document["transition"] == "raised")
            began = time.monotonic()
            assert 0 == daemon.stop()
            assert time.monotonic() - began < 5.0
        with Daemon(tmp_path, mosquitto.port, more) as daemon:
            daemon.wait_ready()
            assert 1 == daemon.metric(RESTORED)
            assert 1 == sum(
                daemon.metric(f'anomalyd_alerts_active{{severity="{severity}"}}')
                for severity in ("warning", "critical")
            )
            sent = speak(mosquitto, 303, quiet(20))
            daemon.wait_for(SCORED, sent)
            assert 0 == daemon.metric('anomalyd_channels{state="warming"}')
            cleared = events.wait_for(lambda heard: heard.document["transition"] == "cleared")
    for field in ("id", "started_at"):
        assert raised.document[field] == cleared.document[field]
    assert raised.document["reason"] in cleared.document["reason"]


@pytest.mark.parametrize("kill", [False, True])
def test_what_is_held_back_survives(tmp_path: Path, mosquitto: Mosquitto, kill: bool) -> None:
    """It was acknowledged, and is in no column yet: stopped or killed, readings wait on for those
    before them."""
    more = PLANT + "reorder_s = 3600\n"
    with Daemon(tmp_path, mosquitto.port, more) as daemon:
        daemon.wait_ready()
        publish(mosquitto, [reading(NAME, START_S + at, float(at)) for at in (0, 5000, 4000)])
        daemon.wait_for(SCORED, 1)
        daemon.wait_until(lambda: daemon.metric(SAVED) > 0, 20.0)
        publish(mosquitto, [reading(NAME, START_S + 4500, 4500.0)])
        daemon.wait_until(lambda: daemon.metric(RECEIVED) >= 4, 20.0)
        assert -signal.SIGKILL == daemon.kill() if kill else 0 == daemon.stop()
    with Daemon(tmp_path, mosquitto.port, more) as daemon:
        daemon.wait_ready()
        publish(mosquitto, [reading(NAME, START_S + at, float(at)) for at in (4200, 9000)])
        daemon.wait_until(lambda: scored_ever(tmp_path / "state") >= 5, 20.0)
        assert set(daemon.rejected()) <= {"repeated"}
    assert 5 == scored_ever(tmp_path / "state")


def test_a_second_daemon_on_the_directory_refuses(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """One clear line, exit status 1; the first goes on."""
    with Daemon(tmp_path, mosquitto.port) as first:
        first.wait_ready()
        with Daemon(tmp_path, mosquitto.port) as second:
            with pytest.raises(ServiceFailed, match="uses this state directory"):
                second.wait_ready()
            assert 1 == second.stop()
            assert "Traceback" not in second.text()
        assert first.page("/-/ready") is not None


def test_without_a_directory_it_scores_and_says_so(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A condition that ends when its cause ends, without a restart."""
    blocker = tmp_path / "file"
    blocker.write_text("")
    with Daemon(tmp_path, mosquitto.port, state=blocker / "state") as daemon:
        daemon.wait_for("anomalyd_mqtt_connected", 1)
        sent = speak(mosquitto, 0, quiet(20))
        daemon.wait_for(SCORED, sent)
        assert 1 == daemon.metric(DEGRADED)
        assert daemon.page("/-/ready") is None
        blocker.unlink()
        daemon.wait_until(lambda: DEGRADED not in daemon.metrics(), 20)
        daemon.stop()
        assert 1 == daemon.text().count("degraded condition=state")
        assert 1 == daemon.text().count("recovered condition=state")
