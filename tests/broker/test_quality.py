"""Data quality as verdicts of their own: what a sensor says that is no data, through a real broker.
What falls silent is in `test_retained.py`, what dies in `test_sparkplug.py`."""

import json
from pathlib import Path

import numpy as np

from anomalyd.demo.publisher import Message
from tests.broker.daemon import Daemon, Subscriber, publish
from tests.programs import Mosquitto

START_S = 1_700_000_000
SCORED = "anomalyd_readings_scored_total"
STREAMS = """
[[streams]]
topic = "plant/{sensor}"
value = "value"
time = "ts"
quality = "q"
physical = [-40.0, 150.0]
max_rate = 20.0
[alerts]
publish_scores = true
"""
QUIET = np.random.default_rng(1).normal(20.0, 1.0, 400).tolist()


def said(at: int, value: float, quality: int = 192) -> Message:
    return "plant/x", json.dumps({"ts": START_S + at, "value": value, "q": quality}).encode()


def test_what_is_no_data_is_told_by_its_kind(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Counted by its reason, and no verdict of it is published; a gap is settled over, and a sensor
    that stands still is an alert of its own."""
    wrong = [
        said(399, QUIET[-1]),  # again
        said(390, 21.0),  # late
        said(400, 9999.0),  # out of what can be
        said(400, 60.0),  # and faster than it can be
        said(400, 20.0, quality=0),
    ]
    with (
        Subscriber(mosquitto, "anomalyd/main/score/#", "anomalyd/main/event") as heard,
        Daemon(tmp_path, mosquitto.port, STREAMS) as daemon,
    ):
        daemon.wait_ready()
        publish(mosquitto, [said(at, value) for at, value in enumerate(QUIET)])
        publish(mosquitto, wrong)
        publish(mosquitto, [said(1000 + at, value) for at, value in enumerate(QUIET)])
        daemon.wait_for(SCORED, 800)
        reasons = ("duplicate", "late", "range", "rate", "quality")
        assert dict.fromkeys(reasons, 1) == daemon.rejected()
        publish(mosquitto, [said(1400 + at, QUIET[-1]) for at in range(200)])
        kinds = set()
        for message in heard.heard():
            document = message.document
            if document.get("transition") == "raised":
                break
            kinds.add(document["kind"])
    assert "stuck" == document["kind"]
    assert {"gap"} == kinds - {"", "stuck"}
