"""What is told of an alert from raise to clear: one id, a complete document, figures that agree."""

from __future__ import annotations

import logging
import re

import msgspec
import numpy as np
import pytest

from anomalyd.detection.reading import State
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.open_alerts import RECENT_READINGS
from tests.runtime.pipelines import QUICK, RULES, SLOW_TO_RAISE, START_S, Run, noise, quiet, since

pytestmark = pytest.mark.usefixtures("one_thread")

FIELDS = {
    *("schema", "id", "transition", "channel", "labels", "kind", "severity", "reason", "score"),
    *("value", "expected", "lower", "upper", "unit", "started_at", "updated_at", "cleared_at"),
    *(
        "contributors",
        "recent",
        "model",
        "instance",
        "runbook_url",
        "limit",
        "crosses_at",
        "accepted",
        "acknowledged",
    ),
}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_an_alert_has_every_field_of_the_contract() -> None:
    """The document is complete from raise to clear, its times are ISO 8601 in UTC, and it shows
    the reading that it is about as the last of the recent ones."""
    run, row = quiet()
    run.live(row, [500.0, *noise(100, seed=1)], start=1000.0)
    raised, *_, cleared = (msgspec.to_builtins(alert) for alert in run.alerts)
    for document in (raised, cleared):
        assert set(document) == FIELDS
        assert all(ISO.fullmatch(document[key]) for key in ("started_at", "updated_at"))
        assert ("quiet", {"sensor": "quiet"}) == (document["channel"], document["labels"])
        assert ("bar", "test") == (document["unit"], document["instance"])
        assert RULES.runbook_url == document["runbook_url"]
        assert document["model"].startswith("next_step-")
        assert [{"channel": "quiet", "share": 1.0}] == document["contributors"]
        assert RECENT_READINGS == len(document["recent"])
        newest = {"t": document["updated_at"], "value": document["value"]}
        assert newest.items() <= document["recent"][-1].items()
    assert "2025-06-01T10:16:40.000Z" == raised["started_at"] == raised["updated_at"]
    assert raised["cleared_at"] is None
    assert ISO.fullmatch(cleared["cleared_at"])
    assert raised["lower"] < raised["expected"] < raised["upper"] < raised["value"] == 500.0
    assert raised["score"] >= RULES.critical_score
    assert "critical" == raised["severity"] == cleared["severity"]
    assert raised["reason"].startswith("500 bar is ")


def test_an_id_is_one_alert() -> None:
    """From raise to clear an alert keeps its id; no two alerts share one, on one channel or on
    several that say the same."""
    run = Run(channels=QUICK)
    values = noise(560)
    values[160::80] += 90.0 * 1.5 ** np.arange(5)  # soon after one, only a greater one is another
    run.together(run.add("one", "two"), np.stack((values, values), axis=1))
    begun: dict[str, tuple[str, str]] = {}
    over: set[str] = set()
    for alert in run.alerts:
        assert (alert.id not in begun) == (alert.transition == "raised")
        assert alert.id not in over
        begun.setdefault(alert.id, (alert.channel, alert.started_at))
        assert begun[alert.id] == (alert.channel, alert.started_at)
        over |= {alert.id} if alert.transition == "cleared" else set()
    assert len(over) >= 6


def test_a_channel_that_retires_ends_its_alert() -> None:
    """An alert that a channel leaves behind is cleared, in a document whose figures are numbers or
    unknown, under the id with which it was raised."""
    run, row = quiet()
    run.live(row, [500.0], start=1000.0)
    (cleared,) = run.pipeline.retire(row, START_S + 5000.0)
    assert "cleared" == cleared.transition
    assert run.alerts[0].id == cleared.id
    assert 5000.0 == since(cleared.cleared_at or "")
    assert cleared == msgspec.json.decode(msgspec.json.encode(cleared), type=Alert)
    assert not re.search(r"\bnan\b", cleared.reason)
    assert {"warning": 0, "critical": 0} == run.pipeline.open_alerts.count_active()


def test_a_new_normal_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    """The update at `accept_after_s` says that the level is accepted, and so does every document
    after it, the clear too; it is logged and counted once."""
    caplog.set_level(logging.INFO)
    run, row = quiet(SLOW_TO_RAISE)
    verdicts = run.live(row, 8.0 + noise(1100, seed=1), start=1000.0)
    accepted = [alert for alert in run.alerts if alert.accepted]
    assert run.alerts[-len(accepted) :] == accepted
    first, *_, cleared = accepted
    assert ("updated", "cleared") == (first.transition, cleared.transition)
    assert first.reason.startswith("accepted as the new normal after 3.33 min: ")
    told = "over, accepted as the new normal after 3.33 min; it was: "
    assert cleared.reason.startswith(told)
    began_s = since(run.alerts[0].started_at)
    assert 200.0 - SLOW_TO_RAISE.pending_readings < since(first.updated_at) - began_s <= 200.0
    assert 1 == run.pipeline.open_alerts.regime_changes
    lines = [line for line in caplog.messages if "accepted as the new normal" in line]
    assert [f"channel=quiet alert accepted as the new normal id={first.id}"] == lines
    at = round(since(first.updated_at) - 1000.0)
    assert verdicts.learnt[at:].all()
    under = verdicts.state[:at] >= State.PENDING
    assert not verdicts.learnt[:at][under].any()


def test_what_is_called_a_fault_stands_again() -> None:
    """Accepted or not; it teaches nothing any more, and is told."""
    run, row = quiet(SLOW_TO_RAISE)
    run.live(row, 8.0 + noise(220, seed=1), start=1000.0)
    (identity,) = run.pipeline.open_ids()
    assert run.alerts[-1].accepted
    assert [] == run.pipeline.judge("quiet", identity, fault=False)
    (told,) = run.pipeline.judge("quiet", identity, fault=True)
    assert ("updated", identity, False) == (told.transition, told.id, told.accepted)
    assert not told.reason.startswith("accepted")
    assert [] == run.pipeline.judge("quiet", identity, fault=True)
    assert [] == run.pipeline.judge("nobody", identity, fault=True)
    verdicts = run.live(row, 8.0 + noise(600, seed=2), start=1220.0)
    standing = verdicts.state == State.FIRING
    assert standing.any()
    assert not verdicts.learnt[standing].any()


def test_a_fault_that_was_confirmed_alarms_again() -> None:
    """As often as it comes, where one that nobody confirmed is soon held for a habit."""
    raised = {}
    for confirms in (False, True):
        run, row = quiet(RULES)
        for begin in range(1000, 4000, 300):
            run.live(row, noise(290, seed=begin), start=float(begin))
            before = len(run.alerts)
            run.live(row, 40.0 + noise(10, seed=begin + 1), start=begin + 290.0)
            for alert in run.alerts[before:] if confirms else ():
                if alert.transition == "raised":
                    run.pipeline.judge("quiet", alert.id, fault=True)
        raised[confirms] = run.transitions().count("raised")
    assert 10 == raised[True] > raised[False]


def test_nothing_is_accepted_after_a_fault_that_is_remembered() -> None:
    """On a channel that is known, or to come; a verdict on another alert takes nothing back."""
    for before in (False, True):
        faults = {"quiet": START_S}
        run = Run(SLOW_TO_RAISE)
        if before:
            run.pipeline.remember(faults)
        (row,) = run.add("quiet")
        if not before:
            run.pipeline.remember(faults)
        run.live(row, noise(1000))
        run.pipeline.judge("quiet", "another", fault=False)
        run.live(row, 8.0 + noise(400, seed=1), start=1000.0)
        assert 0 == run.pipeline.open_alerts.regime_changes
        run.pipeline.remember({"another": START_S})
        run.live(row, 8.0 + noise(2, seed=2), start=1400.0)
        assert 0 == run.pipeline.open_alerts.regime_changes
        run.pipeline.remember({"quiet": -np.inf})
        run.live(row, 8.0 + noise(2, seed=2), start=1402.0)
        assert 1 == run.pipeline.open_alerts.regime_changes


# --- figures --------------------------------------------------------------------------------------


def test_figures_follow_the_alerts() -> None:
    """Open alerts, transitions and the rate are those of what was said."""
    run, row = quiet()
    run.live(row, [500.0], start=1000.0)
    assert {"warning": 0, "critical": 1} == run.pipeline.open_alerts.count_active()
    assert 7.0 == run.pipeline.open_alerts.alarm_rate_per_week
    run.live(row, noise(100, seed=1), start=1001.0)
    assert {"warning": 0, "critical": 0} == run.pipeline.open_alerts.count_active()
    counted = run.pipeline.open_alerts.transitions
    assert 1 == counted["residual", "critical", "raised"]
    assert 1 == counted["residual", "critical", "cleared"]
