"""What was accepted and goes again was no new normal: a fault that comes and goes is found each
time, though nobody ever called it one; a level that stays, and what a young channel does, is
learnt."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cache

import numpy as np
import pytest

from anomalyd.adapters.outbox import Window
from anomalyd.detection.probation import KNOWN_S
from anomalyd.detection.reading import Flags, Floats, Readings, Rows
from anomalyd.runtime import memory
from anomalyd.runtime.alerts import Alert
from anomalyd.settings import Alerts, Channels
from tests.runtime.pipelines import START_S, STREAM, Run, since

pytestmark = pytest.mark.usefixtures("one_thread")

EVERY_S, ACCEPT_S = 1200.0, 14400.0
RULES = Alerts(accept_after_s=ACCEPT_S, budget_per_week=0.1)
CHANNELS = Channels(max=8)
BEFORE = round(KNOWN_S / EVERY_S) + 1
FAULT, QUIET = 36, 108
"""readings"""
SIZE = 60.0
KNOWN, YOUNG = "known", "young"


class Plant:
    """Channels of noise; `young` joins two days before the first fault."""

    def __init__(self) -> None:
        self.run, self.at = Run(RULES, CHANNELS), 0
        self._rng = np.random.default_rng(5)
        self.rows = np.array(self.run.add(KNOWN))

    def live(self, readings: int, faulty: float = 0.0) -> Floats:
        """(readings, channels) what counted as normal."""
        learnt = []
        for _ in range(readings):
            times = np.full(self.rows.size, START_S + EVERY_S * self.at)
            values = faulty + self._rng.standard_normal(self.rows.size)
            learnt.append(self.run.step(Readings(self.rows, times, values)).learnt)
            self.at += 1
        return np.array(learnt, dtype=np.float64)

    def alerts(self, channel: str, since_at: int = 0) -> list[Alert]:
        started_s = EVERY_S * since_at
        told = (each for each in self.run.alerts if each.channel == channel)
        return [each for each in told if since(each.started_at) >= started_s]


@cache
def _known() -> Plant:
    plant = Plant()
    plant.live(BEFORE - 2 * 72)
    plant.rows = np.append(plant.rows, plant.run.add(YOUNG))
    plant.live(2 * 72)
    assert not plant.run.alerts
    return plant


@pytest.fixture
def plant() -> Plant:
    """Its first channel has been seen for a week."""
    return deepcopy(_known())


def said(alerts: Sequence[Alert]) -> list[str]:
    """Transitions, and "accepted" where one is so for the first time."""
    told, accepted = [], False
    for each in alerts:
        if each.accepted and not accepted:
            told.append("accepted")
        elif each.transition != "updated":
            told.append(each.transition)
        accepted = each.accepted
    return told


def test_a_fault_that_was_accepted_and_went_is_found_again(plant: Plant) -> None:
    """The second stands for as long as it lasts; a young channel takes it for its way."""
    plant.live(FAULT, SIZE)
    plant.live(QUIET)
    assert ["raised", "accepted", "cleared"] == said(plant.alerts(KNOWN))[:3]
    assert 1 == plant.run.pipeline.open_alerts.regimes_withdrawn
    for _ in range(2):
        again = plant.at
        plant.live(FAULT, SIZE)
        plant.live(QUIET)
        raised, *_, cleared = plant.alerts(KNOWN, again)
        assert ("raised", "cleared") == (raised.transition, cleared.transition)
        assert EVERY_S * again == since(raised.started_at)
        assert since(cleared.updated_at) >= EVERY_S * (again + FAULT)
        assert not any(each.accepted for each in plant.alerts(KNOWN, again))
    assert "accepted" in said(plant.alerts(YOUNG))
    assert 1 == plant.run.pipeline.open_alerts.regimes_withdrawn


def test_a_level_that_stays_is_the_new_normal(plant: Plant) -> None:
    """It is kept from training until it has stayed for a while, and then it is the channel's."""
    learnt = plant.live(301, SIZE)[:, 0]
    began = round(ACCEPT_S / EVERY_S)
    assert not learnt[: began + 24 * began].any()
    later = plant.live(100, SIZE)[:, 0]
    assert later.all()
    assert ["raised", "accepted", "cleared"] == said(plant.alerts(KNOWN))
    assert 0 == plant.run.pipeline.open_alerts.regimes_withdrawn
    back = plant.at
    plant.live(FAULT)
    assert ["raised", "accepted"] == said(plant.alerts(KNOWN, back))[:2]


def test_somebody_may_know_before_it_shows(plant: Plant) -> None:
    """Called a fault after it was accepted, the old normal is back at once; called a false alarm,
    the new one stays, though it goes again."""
    plant.live(20, SIZE)
    other = deepcopy(plant)
    (identity,) = {each.id for each in plant.alerts(KNOWN)}
    plant.run.pipeline.judge(KNOWN, identity, fault=True)
    assert 1 == plant.run.pipeline.open_alerts.regimes_withdrawn
    assert not plant.live(FAULT, SIZE)[:, 0].any()
    other.run.pipeline.judge(KNOWN, identity, fault=False)
    other.live(FAULT, SIZE)
    other.live(QUIET)
    assert 0 == other.run.pipeline.open_alerts.regimes_withdrawn


def test_a_verdict_on_another_alert_says_nothing_of_it(plant: Plant) -> None:
    plant.live(20, SIZE)
    plant.run.pipeline.judge(KNOWN, "of-last-month", fault=True)
    plant.run.pipeline.judge(KNOWN, "of-last-month", fault=False)
    assert 0 == plant.run.pipeline.open_alerts.regimes_withdrawn
    plant.live(QUIET)
    assert 1 == plant.run.pipeline.open_alerts.regimes_withdrawn


def test_what_stands_when_the_old_normal_is_back_is_accepted_no_more(plant: Plant) -> None:
    """The fault is back before its alert was cleared."""
    plant.live(FAULT, SIZE)
    while not plant.run.pipeline.open_alerts.regimes_withdrawn:
        plant.live(1)
    assert not any(each.accepted for each in plant.run.pipeline.open_alerts.open.values())
    assert not plant.live(FAULT, SIZE)[:, 0].any()


@pytest.mark.parametrize("size", [15.0, SIZE])
def test_a_channel_of_an_asset_is_put_back_too(size: float) -> None:
    """What its mates said of it when the fault was accepted is not held against it for ever."""
    run, rng = Run(RULES, CHANNELS), np.random.default_rng(3)
    rows = np.array(run.add("m/a", "m/b", asset="0:m"))
    at = 0
    for readings, faulty in ((BEFORE + 100, 0.0), *(((FAULT, size), (QUIET, 0.0)) * 2)):
        begun = len(run.alerts)
        for _ in range(readings):
            values = rng.standard_normal() + 0.3 * rng.standard_normal(2) + (faulty, 0.0)
            run.step(Readings(rows, np.full(2, START_S + EVERY_S * at), values))
            at += 1
        if faulty:
            raised = {e.channel for e in run.alerts[begun:] if e.transition == "raised"}
            assert "m/a" in raised
    assert 1 == run.pipeline.open_alerts.regimes_withdrawn


def test_maintenance_says_nothing_of_what_is_normal(plant: Plant) -> None:
    """Nor what a sensor shows while somebody works there."""
    plant.live(20, SIZE)
    plant.run.pipeline.maintain([Window(KNOWN, 1e12, START_S, None, None)])
    plant.live(QUIET)
    assert 0 == plant.run.pipeline.open_alerts.regimes_withdrawn
    plant.run.pipeline.maintain([])
    plant.live(QUIET)
    assert 1 == plant.run.pipeline.open_alerts.regimes_withdrawn


def test_a_restart_forgets_no_probation(plant: Plant) -> None:
    """Nobody can tell that there was one: neither while it lasts nor after it."""
    plant.live(20, SIZE)
    for quiet in (0, QUIET):
        plant.live(quiet)
        after = Run(RULES, CHANNELS)
        memory.recall(
            after.pipeline, (STREAM,), memory.remember(plant.run.pipeline, (STREAM,)), START_S
        )
        one, other = deepcopy(plant), deepcopy(plant)
        other.run, other.run.alerts = after, list(plant.run.alerts)
        for each in (one, other):
            each.live(QUIET)
            each.live(FAULT, SIZE)
        assert one.run.alerts == other.run.alerts
        assert 2 <= sum(each.transition == "raised" for each in one.alerts(KNOWN))


def test_what_is_odd_among_others_is_not_put_on_probation(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a channel is to its asset is kept elsewhere, and would not be put back."""

    def none(rows: Rows) -> Flags:
        return np.zeros(rows.size, dtype=np.bool_)

    monkeypatch.setattr(plant.run.pipeline._states, "own", none)
    plant.live(20, SIZE)
    assert "accepted" in said(plant.alerts(KNOWN))
    assert not plant.run.pipeline._probation.on(plant.rows).any()


def test_the_kept_aside_takes_memory_only_where_it_is_needed() -> None:
    """A save holds nothing of channels that are not on probation."""
    run = Run(RULES, CHANNELS)
    run.add(KNOWN)
    arrays = memory.remember(run.pipeline, (STREAM,)).arrays
    kept = {name: each for name, each in arrays.items() if name.startswith("probation/")}
    assert kept
    assert all(len(each) == 0 for each in kept.values())
