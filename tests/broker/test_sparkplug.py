"""A Sparkplug node that sends an alias without its birth is asked for it, and then read. The real
daemon on a real broker."""

from pathlib import Path

from anomalyd.adapters.codec import sparkplug_wire as wire
from tests.adapters.codec.sparkplug_schema import payload
from tests.broker.daemon import Daemon, Subscriber, publish
from tests.programs import Mosquitto

STREAM = """
[[streams]]
topic = "spBv1.0/{group}/+/{node}/{device*}"
format = "sparkplug"
"""
SCORED = "anomalyd_readings_scored_total"
BIRTH = {"name": "flow", "alias": 7, "datatype": 10, "double_value": 1.5}


def test_a_node_is_asked_for_its_birth(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The daemon hears its own request, and takes it for nothing."""
    data = payload({"alias": 7, "double_value": 2.5, "timestamp": 1_700_000_001_000})
    with (
        Subscriber(mosquitto, "spBv1.0/G/NCMD/N") as node,
        Daemon(tmp_path, mosquitto.port, STREAM) as daemon,
    ):
        daemon.wait_ready()
        publish(mosquitto, [("spBv1.0/G/NDATA/N", data)])
        asked = node.wait_for(lambda heard: True)
        (metric,) = wire.read(asked.payload).metrics
        assert ("Node Control/Rebirth", True) == (metric.name, metric.value)
        publish(mosquitto, [("spBv1.0/G/NBIRTH/N", payload(BIRTH)), ("spBv1.0/G/NDATA/N", data)])
        daemon.wait_for(SCORED, 2)
        assert 1 == daemon.metric('anomalyd_rejected_total{reason="alias"}')
        assert 0 == daemon.metric('anomalyd_rejected_total{reason="topic"}')
