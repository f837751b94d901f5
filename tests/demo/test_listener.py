"""The listener's rules: events always, scores of the watched channel only, metrics when asked."""

import json
import time
from collections.abc import Iterator

import pytest

from anomalyd.demo.broker import HOST, EmbeddedBroker, free_port
from anomalyd.demo.listener import Heard, Listener, fetch, scrape
from anomalyd.demo.publisher import Publisher
from anomalyd.errors import ProgramMissing

WITHIN_S = 10.0
EVENT = {"channel": "l/a/x", "transition": "raised", "kind": "stuck"}
EVENT |= {"updated_at": "2023-11-14T22:13:20.000Z", "reason": "why"}
SCORE = {"time": 1.0, "value": 2.0, "lower": None, "upper": 3.0, "score": 0.5, "state": "firing"}


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    try:
        with EmbeddedBroker() as broker:
            yield broker
    except ProgramMissing as missing:
        pytest.skip(str(missing))


def test_it_hears_events_and_the_watched_channels_scores(broker: EmbeddedBroker) -> None:
    clock = iter(range(100))
    with (
        Listener(HOST, broker.port, "anomalyd/demo", lambda: float(next(clock))) as listener,
        Publisher(HOST, broker.port, qos=1) as publisher,
    ):
        listener.watch("l/a/y")
        listener.watch("l/a/x")
        heard = until_heard(listener, publisher, 2)
    score = next(each.point for each in heard if each.point)
    assert (score.value, score.upper, score.firing) == (2.0, 3.0, True)
    assert score.lower != score.lower, "null is NaN"
    alert = next(each.alert for each in heard if each.alert)
    assert (alert.channel, alert.kind, alert.reason) == ("l/a/x", "stuck", "why")
    assert all(each.scored for each in heard if each.point)


def until_heard(listener: Listener, publisher: Publisher, kinds: int) -> list[Heard]:
    """Publish until an event and a score have come: a subscription may take a moment."""
    heard: list[Heard] = []
    deadline = time.monotonic() + WITHIN_S
    while len({each.point is None for each in heard}) < kinds and time.monotonic() < deadline:
        publisher.send(
            [
                ("anomalyd/demo/event", json.dumps(EVENT).encode()),
                ("anomalyd/demo/score/l/a/x", json.dumps(SCORE).encode()),
                ("anomalyd/demo/score/l/a/y", json.dumps(SCORE | {"value": -1.0}).encode()),
            ]
        )
        heard += listener.take()
    assert all(each.point.value == 2.0 for each in heard if each.point), "only the watched one"
    return heard


def test_a_daemon_that_does_not_answer_has_no_page_and_no_metrics() -> None:
    port = free_port()
    assert fetch(HOST, port, "/-/ready") is None
    assert scrape(HOST, port) == {}
