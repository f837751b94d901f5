"""A Sparkplug node that sends an alias without its birth is asked for it, and then read; one that
dies is told at once. The real daemon on a real broker."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


_NODE = """
import sys
import paho.mqtt.client as mqtt
port, will, *births = sys.argv[1:]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.will_set("spBv1.0/G/NDEATH/N", bytes.fromhex(will), qos=1)
client.connect("127.0.0.1", int(port))
client.loop_start()
for topic, birth in zip(births[::2], births[1::2]):
    client.publish(topic, bytes.fromhex(birth), qos=1).wait_for_publish(10)
print("born", flush=True)
sys.stdin.read()
"""


@contextmanager
def edge_node(broker: Mosquitto, life: int) -> Iterator[int]:
    """A node with a device, in a process of its own, until it is killed: its death is its will."""
    life_of = {"name": "bdSeq", "datatype": 8, "long_value": life}
    births = {"spBv1.0/G/NBIRTH/N": payload(life_of, BIRTH)}
    births["spBv1.0/G/DBIRTH/N/D"] = payload(BIRTH)
    said = [each for topic, birth in births.items() for each in (topic, birth.hex())]
    command = [sys.executable, "-c", _NODE, str(broker.port), payload(life_of).hex(), *said]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"born\n" == process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_node_that_is_killed_is_stale_at_once(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The broker publishes its will: every channel of it and of its devices has an alert that says
    so, from channels that nobody knows a silence of; its next birth ends them."""
    with (
        Subscriber(mosquitto, "anomalyd/main/event") as heard,
        Daemon(tmp_path, mosquitto.port, STREAM) as daemon,
    ):
        daemon.wait_ready()
        with edge_node(mosquitto, 1) as pid:
            daemon.wait_for(SCORED, 2)
            os.kill(pid, signal.SIGKILL)
        events = heard.heard()
        raised = [next(events).document for _ in range(2)]
        assert {("raised", "stale", "its node or device announced its death")} == {
            (each["transition"], each["kind"], each["reason"]) for each in raised
        }
        with edge_node(mosquitto, 2):
            cleared = [next(events).document for _ in range(2)]
        assert {"cleared"} == {each["transition"] for each in cleared}
        for told in (raised, cleared):
            assert ["G/N/D/flow", "G/N/flow"] == sorted(each["channel"] for each in told)
        assert {each["id"] for each in raised} == {each["id"] for each in cleared}


def test_a_death_is_known_after_a_restart(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The alert stays open, and a birth that says nothing new ends it."""
    with Subscriber(mosquitto, "anomalyd/main/event") as heard:
        with Daemon(tmp_path, mosquitto.port, STREAM) as daemon:
            daemon.wait_ready()
            publish(mosquitto, [("spBv1.0/G/NBIRTH/N", payload(BIRTH))])
            daemon.wait_for(SCORED, 1)
            publish(mosquitto, [("spBv1.0/G/NDEATH/N", payload())])
            raised = heard.wait_for(lambda said: True).document
        with Daemon(tmp_path, mosquitto.port, STREAM) as daemon:
            daemon.wait_ready()
            assert 1 == daemon.metric('anomalyd_alerts_active{severity="warning"}')
            publish(mosquitto, [("spBv1.0/G/NBIRTH/N", payload(BIRTH))])
            cleared = heard.wait_for(lambda said: True).document
    assert ("cleared", raised["id"]) == (cleared["transition"], cleared["id"])
