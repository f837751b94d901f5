"""From a sensor's fault to the webhook, through the real programs and the shipped files: a broker,
the daemon, Prometheus with the rules, Alertmanager with the routes."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from anomalyd.demo.publisher import Message
from tests.broker.daemon import Daemon, publish, reading
from tests.deploy.monitoring import Alertmanager, Prometheus, Webhook, listening
from tests.programs import Mosquitto

WITHIN_S = 30.0
NORMAL = 400


def test_a_fault_and_a_dead_daemon_reach_the_webhook(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with ExitStack() as stack:
        webhook = stack.enter_context(listening())
        alertmanager = stack.enter_context(Alertmanager(tmp_path, webhook.port))
        alertmanager.wait_ready()
        daemon = stack.enter_context(Daemon(tmp_path, mosquitto.port))
        daemon.wait_ready()
        prometheus = Prometheus(tmp_path, [daemon.http_port], alertmanager.port)
        stack.enter_context(prometheus).wait_ready()
        _a_fault_is_told(mosquitto, daemon, webhook)
        _a_dead_daemon_is_told(mosquitto, daemon, webhook, tmp_path)


def _a_fault_is_told(broker: Mosquitto, daemon: Daemon, webhook: Webhook) -> None:
    now_s = time.time()
    publish(broker, _readings(now_s - NORMAL - 40, range(NORMAL), 0.0))
    daemon.wait_for("anomalyd_readings_scored_total", NORMAL)
    began = time.monotonic()
    publish(broker, _readings(now_s - NORMAL - 40, range(NORMAL, NORMAL + 10), 80.0))
    webhook.wait_for("/plant-critical", "firing", "AnomalydAnomalyCritical", WITHIN_S)
    assert time.monotonic() - began <= WITHIN_S
    print(f"fault to webhook: {time.monotonic() - began:.1f} s")


def _a_dead_daemon_is_told(
    broker: Mosquitto, daemon: Daemon, webhook: Webhook, directory: Path
) -> None:
    began = time.monotonic()
    daemon.kill()
    webhook.wait_for("/daemon-critical", "firing", "AnomalydDown", WITHIN_S)
    told = time.monotonic()
    with Daemon(directory, broker.port, http_port=daemon.http_port):
        webhook.wait_for("/daemon-critical", "resolved", "AnomalydDown", WITHIN_S)
    print(f"killed to webhook: {told - began:.1f} s, back: {time.monotonic() - told:.1f} s")
    assert told - began <= WITHIN_S


def _readings(start_s: float, steps: range, offset: float) -> Iterator[Message]:
    for step in steps:
        wave = math.sin(step / 7.0) + 0.1 * math.sin(step * 12.9898) + offset
        yield reading("line1/pump1/flow", start_s + step, 20.0 + wave)
