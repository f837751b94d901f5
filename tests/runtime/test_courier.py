"""What the thread `outbox` promises without a broker: it never makes the pipeline wait, keeps what
it was handed, and closes what nobody knows of. (With a broker: tests/broker/test_outbox.py.)"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from anomalyd.adapters.mqtt import MqttClient
from anomalyd.adapters.outbox import FILE, Outbox, Transition
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.courier import Courier
from anomalyd.settings import Alerts, Mqtt
from tests.programs import free_port

ROOT = "anomalyd/main"


def transition(what: str, number: int = 0, channel: str = "l/m/x") -> Transition:
    alert = {"id": f"{channel}-0", "transition": what, "reason": "high", "updated_at": "now"}
    topic, document = f"{ROOT}/alert/{channel}", msgspec.json.encode(alert | {"n": number})
    return Transition(0, f"{channel}-0", channel, "residual", topic, what, 1.0, document)


@contextmanager
def couriers(directory: Path) -> Iterator[tuple[Courier, Conditions]]:
    mqtt = MqttClient(
        Mqtt(port=free_port()), "main", None, (), lambda: b"", b"", lambda *about: None
    )
    conditions = Conditions()
    courier = Courier(ROOT, directory, Alerts(), mqtt, conditions)
    courier.start()
    try:
        yield courier, conditions
    finally:
        courier.stop(2.0)
        assert not courier.alive


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.01)


def kept(directory: Path) -> list[str]:
    outbox = Outbox(directory / FILE, read_only=True)
    history = [each.what for each in outbox.history("l/m/x-0")]
    outbox.close()
    return history


def test_updates_that_wait_are_replaced(tmp_path: Path) -> None:
    """A long outage costs one document an alert, not one a minute."""
    with couriers(tmp_path) as (courier, _):
        courier.put([transition("raised"), *(transition("updated", at) for at in range(1000))])
        wait_until(lambda: courier.unsaved == 0)
        assert 2 == courier.unpublished
        courier.put([transition("cleared")])
    assert ["raised", "updated", "cleared"] == kept(tmp_path)


def test_what_nobody_knows_of_is_cleared(tmp_path: Path) -> None:
    with couriers(tmp_path) as (courier, _):
        courier.put([transition("raised"), transition("raised", channel="l/m/y")])
    with couriers(tmp_path) as (again, _):
        again.close_unknown(lambda: {"l/m/y-0"})
    outbox = Outbox(tmp_path / FILE, read_only=True)
    assert ["l/m/y"] == [each.channel for each in outbox.alerts(open_only=True)]
    document = msgspec.json.decode(outbox.history("l/m/x-0")[-1].document)
    outbox.close()
    assert "cleared" == document["transition"]
    assert document["reason"].endswith("it was: high")


def test_what_nobody_knows_of_waits_for_the_database(tmp_path: Path) -> None:
    with couriers(tmp_path) as (courier, _):
        courier.put([transition("raised")])
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with couriers(tmp_path) as (again, _):
        again.close_unknown(tuple)
        wait_until(lambda: not again._handed)
        other.close()
        wait_until(lambda: kept(tmp_path) == ["raised", "cleared"])


def test_a_full_queue_is_told(tmp_path: Path) -> None:
    """While the disk hangs, the pipeline goes on."""
    with couriers(tmp_path) as (courier, _):
        courier.do(lambda: time.sleep(0.5))
        wait_until(lambda: not courier._tasks)
        assert 1 == courier.put([transition("raised", at) for at in range(10_001)])


def test_a_locked_database_is_a_condition_until_it_is_free(tmp_path: Path) -> None:
    with couriers(tmp_path) as (courier, conditions):
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        courier.put([transition("raised")])
        wait_until(lambda: "outbox" in conditions.now())
        assert 1 == courier.unsaved
        other.close()
        wait_until(lambda: not conditions.now())
    assert ["raised"] == kept(tmp_path)
