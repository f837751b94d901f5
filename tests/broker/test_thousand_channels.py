"""A plant of a thousand channels through a real broker: everything is scored, a spike is told at
once, and nothing else is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from anomalyd.demo.plant import Plant
from tests.broker.daemon import Daemon, Subscriber, pour, reading
from tests.programs import Mosquitto

_CHANNELS, _SECONDS, _PIECE = 1000, 600, 20
_SIGMAS = 8.0
_CONFIG = """
[[streams]]
topic = "plant/{line}/{machine}/{sensor}"
value = "value"
time = "ts"
interval_s = 1.0
group_by = ["line", "machine"]
"""


@pytest.mark.timeout(400)
def test_ten_minutes_of_a_thousand_channels_and_one_spike(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Every reading that was sent is scored; 8 sigma on one channel is an event within a second;
    no other channel fires in the ten minutes."""
    plant = Plant(1, _CHANNELS)
    values = plant.run(_SECONDS + 1)
    start = float(int(time.time()) - _SECONDS)
    spiked = plant.names.index("line1/pump1/flow")
    values[_SECONDS, spiked] += _SIGMAS * values[:_SECONDS, spiked].std()
    with (
        Daemon(tmp_path, mosquitto.port, _CONFIG) as daemon,
        Subscriber(mosquitto, "anomalyd/main/event") as events,
    ):
        daemon.wait_ready()
        for begin in range(0, _SECONDS, _PIECE):
            pour(
                mosquitto,
                [
                    reading(name, start + step, value)
                    for step in range(begin, begin + _PIECE)
                    for name, value in zip(plant.names, values[step].tolist(), strict=True)
                ],
            )
            daemon.wait_for("anomalyd_readings_scored_total", begin * _CHANNELS)
        daemon.wait_for("anomalyd_readings_scored_total", _SECONDS * _CHANNELS)
        assert 0 == daemon.raised()

        last = [
            reading(name, start + _SECONDS, value)
            for name, value in zip(plant.names, values[_SECONDS].tolist(), strict=True)
        ]
        sent_at = time.monotonic()
        pour(mosquitto, last)
        event = next(events.heard()).document
        delay_s = time.monotonic() - sent_at
        daemon.wait_for("anomalyd_readings_scored_total", (_SECONDS + 1) * _CHANNELS)
        assert (_SECONDS + 1) * _CHANNELS == daemon.metric("anomalyd_readings_scored_total")
        assert ("raised", "line1/pump1/flow") == (event["transition"], event["channel"])
        assert 1 == daemon.raised()
        assert delay_s < 1.0
        assert {} == daemon.rejected()
