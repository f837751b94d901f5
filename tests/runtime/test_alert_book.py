"""`anomalyd alerts` shows what the database has, as a table or as JSON, or says there is none."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from anomalyd.adapters.outbox import FILE, Outbox, Transition
from anomalyd.errors import ConfigError, DataError
from anomalyd.runtime import alert_book
from anomalyd.runtime.alerts import Alert
from tests.runtime.transitions import transition

NOW_S = 1_800_000_000.0


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    outbox = Outbox(tmp_path / FILE)
    alerts = [
        transition("raised", "l/a/x", 5, 2, 0),
        transition("cleared", "l/a/x", 0, 0, 9),
        transition("raised", "l/a/y", 5, 2, 10),
    ]
    outbox.add([kept(seq, each) for seq, each in enumerate(alerts, 1)])
    outbox.acknowledge(alerts[2].id, 20.0, "ada", "on it")
    outbox.judge(alerts[0].id, "false_alarm", 30.0, None, None)
    yield tmp_path
    outbox.close()


def kept(seq: int, alert: Alert) -> Transition:
    document = msgspec.json.encode(alert)
    topic = f"anomalyd/main/alert/{alert.channel}"
    return Transition(
        seq, alert.id, alert.channel, alert.kind, topic, alert.transition, float(seq), document
    )


def listed(directory: Path, open_only: bool = False, channel: str | None = None) -> list[str]:
    return alert_book.listing(directory, open_only, channel, 0.0, False)


def test_alerts_are_a_table(directory: Path) -> None:
    head, newest, oldest, closing = listed(directory)
    assert head.split() == [
        "raised",
        "id",
        "channel",
        "kind",
        "severity",
        "score",
        "state",
        "reason",
    ]
    assert "l/a/y" in newest
    assert "open, acknowledged" in newest
    assert "cleared, false_alarm" in oldest
    assert "2 alerts" == closing


def test_some_of_them(directory: Path) -> None:
    assert "1 alerts" == listed(directory, open_only=True)[-1]
    assert "0 alerts" == listed(directory, channel="k/*")[-1]


def test_as_json_with_what_people_said(directory: Path) -> None:
    newest, oldest = (
        msgspec.json.decode(line) for line in alert_book.listing(directory, False, None, 0.0, True)
    )
    assert "ada" == newest["acknowledged"]["by"]
    assert ("cleared", "false_alarm") == (oldest["transition"], oldest["feedback"]["verdict"])


def test_one_alert_has_its_history(directory: Path) -> None:
    identity = transition("raised", "l/a/x", 5, 2, 0).id
    lines = alert_book.show(directory, identity[:9], False)
    assert f"alert {identity} of l/a/x: cleared, false_alarm" == lines[0]
    assert ["raised", "cleared"] == [line.split()[1] for line in lines[-2:]]
    assert 3 == len(alert_book.show(directory, identity, True))


def test_no_such_alert(directory: Path) -> None:
    with pytest.raises(DataError, match="no alerts have an id that begins with 'zz'"):
        alert_book.show(directory, "zz", False)


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"alerts\.sqlite: no such file"):
        listed(tmp_path)


def test_times_to_look_back() -> None:
    assert NOW_S - 86_400.0 == alert_book.since("24h", NOW_S)
    assert (
        0.0
        == alert_book.since("1970-01-01", NOW_S)
        == alert_book.since("1970-01-01T01:00+01:00", 0)
    )
    with pytest.raises(ConfigError, match="neither 24h"):
        alert_book.since("yesterday", NOW_S)
