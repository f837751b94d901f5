"""What the daemon says live is what `replay` says of the same readings."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from anomalyd.demo.faults import Fault
from anomalyd.demo.plant import Plant
from anomalyd.runtime.replay import replay
from anomalyd.settings import load
from tests.broker.daemon import Daemon, Subscriber, publish, reading
from tests.programs import Mosquitto

_START, _STEPS = 1_700_000_000.0, 900
_STREAMS = """
[[streams]]
topic = "plant/{{line}}/{{machine}}/{{sensor}}"
value = "value"
time = "ts"
group_by = ["line", "machine"]
reorder_s = {reorder_s}
[alerts]
publish_scores = true
"""

_Verdict = tuple[str, str, str]


@pytest.mark.parametrize("reorder_s", [0.0, 5.0])
def test_live_verdicts_are_those_of_replay(
    tmp_path: Path, mosquitto: Mosquitto, reorder_s: float
) -> None:
    """A recorded case, published through the broker and replayed from the file: the same states
    and kinds, scores to 1e-5, and the same alerts with the same ids. Also where it comes out of
    order, within what its stream tolerates."""
    faults = (
        Fault("spike", "line1/pump1/flow", start=700, size=25.0),
        Fault("shift", "line1/pump2/bearing_temperature", start=750, duration=60, size=5.0),
    )
    plant = Plant(3, 16, faults)
    values = plant.run(_STEPS).tolist()
    said = [
        (_START + step, name, value)
        for step, row in enumerate(values)
        for name, value in zip(plant.names, row, strict=True)
    ]
    delay_s = np.random.default_rng(0).uniform(0.0, reorder_s, len(said))
    arrival_s = np.array([at for at, *_ in said]) + delay_s
    said = [said[place] for place in np.argsort(arrival_s, kind="stable").tolist()]
    recorded = tmp_path / "recorded.csv"
    with recorded.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["timestamp", "channel", "value"])
        table.writerows(said)

    live: dict[tuple[str, float], _Verdict] = {}
    live_alerts: list[tuple[str, str]] = []
    with (
        Daemon(tmp_path, mosquitto.port, _STREAMS.format(reorder_s=reorder_s)) as daemon,
        Subscriber(mosquitto, "anomalyd/main/score/#", "anomalyd/main/event") as heard,
    ):
        daemon.wait_ready()
        replayed: dict[tuple[str, float], _Verdict] = {}
        replayed_alerts: list[tuple[str, str]] = []
        config = next(tmp_path.glob("daemon-*.toml"))
        out = tmp_path / "verdicts.csv"
        replay(
            load(config),
            tmp_path,
            recorded,
            out,
            lambda block: replayed_alerts.extend(
                (each.id, each.transition) for each in block.alerts
            ),
        )
        sent = publish(
            mosquitto,
            (reading(name, at, value) for at, name, value in said),
        )
        daemon.wait_for("anomalyd_readings_scored_total", sent)
        # Scores and alerts come on ways of their own.
        wanted = sent - len(plant.names)
        for message in heard.heard():
            said = message.document
            if "transition" in said:
                live_alerts.append((said["id"], said["transition"]))
                if len(live) == wanted and len(live_alerts) == len(replayed_alerts):
                    break
                continue
            channel = message.topic.removeprefix("anomalyd/main/score/")
            score = "" if said["score"] is None else f"{said['score']:.10g}"
            live[channel, said["time"]] = (score, said["state"], said["kind"])
            # The first reading of a channel has nothing to be compared with.
            if len(live) == wanted and len(live_alerts) == len(replayed_alerts):
                break

    with out.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["channel"], float(row["timestamp"])
            replayed[key] = (row["score"], row["state"], row["kind"])

    order = [key for key in replayed if key[1] > _START]
    if reorder_s:
        assert sorted(live, key=lambda key: key[1]) == list(live)
    assert sorted(order) == sorted(live)
    assert reorder_s or order == list(live)
    for key, (score, *rest) in live.items():
        expected_score, *expected = replayed[key]
        assert expected == rest
        assert (expected_score == "") == (score == "")
        if score:
            assert pytest.approx(float(expected_score), rel=1e-5, abs=1e-8) == float(score)
    assert {"raised", "cleared"} <= {transition for _, transition in replayed_alerts}
    assert replayed_alerts == live_alerts
