"""The ledger's rules: which alert finds a fault, which only echoes it, and which is false."""

from datetime import UTC, datetime

import msgspec
import pytest

from anomalyd.demo.faults import Fault
from anomalyd.demo.ledger import Alert, Contributor, Judged, Ledger

FAULTY = "line1/pump1/flow"
NEIGHBOUR = "line1/pump1/current"
STRANGER = "line1/pump2/current"
FAULT = Fault("stuck", FAULTY, start=100, duration=50)
GRACE = 20
START = 1_700_000_000.0


def raised(
    step: int, channel: str = FAULTY, kind: str = "residual", contributors: tuple[str, ...] = ()
) -> Alert:
    at = datetime.fromtimestamp(START + step, UTC)
    shares = tuple(Contributor(name, 0.5) for name in contributors)
    return Alert(channel, "raised", kind, at, contributors=shares)


def judge(*alerts: Alert) -> list[Judged]:
    ledger = Ledger([FAULT], START, GRACE)
    for alert in alerts:
        ledger.judge(alert, latency_s=0.004)
    return ledger.judged


@pytest.mark.parametrize("step", [100, 149, 169])
def test_an_alert_during_a_fault_or_its_grace_finds_it(step: int) -> None:
    (judged,) = judge(raised(step))
    assert (judged.judgement, judged.fault) == ("found", FAULT)
    assert (judged.delay_s, judged.latency_s) == (step - 100, 0.004)


@pytest.mark.parametrize("step", [99, 170])
def test_an_alert_at_another_time_is_false(step: int) -> None:
    assert [judged.judgement for judged in judge(raised(step))] == ["false alarm"]


def test_a_further_alert_of_the_same_fault_is_neither_found_nor_false() -> None:
    judged = judge(raised(110), raised(120))
    assert [each.judgement for each in judged] == ["found", "again"]


def test_a_relation_alert_of_the_machine_that_names_the_faulty_sensor_first_is_an_echo() -> None:
    alert = raised(110, NEIGHBOUR, "relation", (FAULTY, NEIGHBOUR))
    assert [each.judgement for each in judge(alert)] == ["echo"]


@pytest.mark.parametrize(
    "alert",
    [
        raised(110, NEIGHBOUR, "relation", (NEIGHBOUR, FAULTY)),
        raised(110, NEIGHBOUR, "residual", (FAULTY,)),
        raised(110, STRANGER, "relation", (FAULTY,)),
        raised(200, NEIGHBOUR, "relation", (FAULTY,)),
        raised(110, NEIGHBOUR, "relation"),
    ],
    ids=["names itself", "other kind", "other machine", "other time", "names nobody"],
)
def test_any_other_alert_on_a_healthy_channel_is_false(alert: Alert) -> None:
    assert [each.judgement for each in judge(alert)] == ["false alarm"]


def test_an_alert_is_read_from_the_contracts_json() -> None:
    payload = (
        b'{"schema":1,"id":"x","transition":"raised","channel":"line1/pump1/flow",'
        b'"kind":"relation","score":2.5,"updated_at":"2023-11-14T22:13:30.250Z",'
        b'"cleared_at":null,"reason":"why","contributors":[{"channel":"a/b/c","share":0.9}]}'
    )
    alert = msgspec.json.decode(payload, type=Alert)
    assert Ledger([], START, GRACE).step_of(alert) == 10
    assert (alert.reason, alert.contributors) == ("why", (Contributor("a/b/c", 0.9),))
