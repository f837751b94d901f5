"""What a broker retains, under each policy, for a new channel and for one that is stale: a value of
unknown age at a new connection ends no alert. The real daemon on a real broker."""

import time
from pathlib import Path
from typing import Any

from paho.mqtt.publish import multiple

from tests.broker.daemon import Daemon, Subscriber
from tests.programs import Mosquitto

SCORED = "anomalyd_readings_scored_total"
_STREAM = """
[[streams]]
topic = "{name}/{{sensor}}"
channel = "{name}_{{sensor}}"
retained = "{policy}"
value = {value}
"""
STREAMS = "".join(
    _STREAM.format(name=policy, policy=policy, value='""') for policy in ("ignore", "seed", "use")
)
STREAMS += _STREAM.format(name="timed", policy="use", value='"value"\ntime = "ts"')
STALE_WITHIN_S = 60.0


def say(broker: Mosquitto, payloads: dict[str, bytes]) -> None:
    """Each retained, and confirmed."""
    messages: Any = [(topic, payload, 1, True) for topic, payload in payloads.items()]
    multiple(messages, hostname=broker.host, port=broker.port)


def words(name: str, value: float, at_s: float) -> dict[str, bytes]:
    """One of each stream."""
    bare = {f"{policy}/{name}": b"%g" % value for policy in ("ignore", "seed", "use")}
    timed = b'{"ts": %r, "value": %g}' % (at_s, value)
    return bare | {f"timed/{name}": timed}


def test_a_new_channel_and_its_retained_value(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """No reading, a value before the first one, or a reading; none is told twice."""
    say(mosquitto, words("x", 5.0, time.time() - 10.0))
    with Daemon(tmp_path, mosquitto.port, STREAMS) as daemon:
        daemon.wait_ready()
        daemon.wait_for(SCORED, 2)
        daemon.wait_for('anomalyd_rejected_total{reason="retained"}', 1)
        say(mosquitto, words("x", 5.0, time.time()))
        daemon.wait_for(SCORED, 6)
        assert {"retained": 1} == daemon.rejected()


def test_a_retained_value_ends_no_silence(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Four sensors fall silent, the daemon is started anew and hears their last values again: all
    stay stale, until they speak."""
    with Subscriber(mosquitto, "anomalyd/main/event") as heard:
        with Daemon(tmp_path, mosquitto.port, STREAMS) as daemon:
            daemon.wait_ready()
            began = time.time() - 40.0
            for step in range(40):
                say(mosquitto, words("x", 5.0 + step % 3, began + step))
            daemon.wait_for(SCORED, 160)
            stale = 'anomalyd_alerts_total{kind="stale",severity="warning",transition="raised"}'
            daemon.wait_until(lambda: daemon.metric(stale) == 4, STALE_WITHIN_S)
        events = heard.heard()
        raised = [next(events).document for _ in range(4)]
        assert {("raised", "stale")} == {(each["transition"], each["kind"]) for each in raised}
        with Daemon(tmp_path, mosquitto.port, STREAMS) as daemon:
            daemon.wait_ready()
            daemon.wait_for('anomalyd_rejected_total{reason="retained"}', 2)
            daemon.wait_for('anomalyd_rejected_total{reason="duplicate"}', 1)
            assert 4 == daemon.metric('anomalyd_alerts_active{severity="warning"}')
            say(mosquitto, words("x", 6.0, time.time()))
            cleared = [next(events).document for _ in range(4)]
        assert {"cleared"} == {each["transition"] for each in cleared}
        assert {each["id"] for each in raised} == {each["id"] for each in cleared}
