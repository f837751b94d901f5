"""A confirmed alert becomes a case at once, whole once it is over, and teaches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from anomalyd.adapters.outbox import FILE, Outbox, Transition
from anomalyd.detection.channels import Channel, ChannelTable
from anomalyd.detection.reading import Readings, Verdicts
from anomalyd.model.segment import Cut
from anomalyd.runtime.casebook import Casebook
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.history import History
from anomalyd.runtime.incidents import Incident
from anomalyd.settings import History as Rules

START_S, INTERVAL_S = 1_748_772_000.0, 300.0


class Desk:
    """A history of three channels, and the alerts of the first."""

    def __init__(self, folder: Path) -> None:
        table = ChannelTable(4)
        for name in ("a", "mate", "other"):
            table.add(Channel(name, {}, -1))
        self.history = History(folder / "history", Rules(), table, Conditions())
        self.history.start()
        self.outbox = Outbox(folder / FILE)
        self.cases = Casebook(folder, self.history, lambda channel: [channel, "mate"])
        self._at = 0

    def live(self, readings: int) -> None:
        times = START_S + INTERVAL_S * (self._at + np.arange(float(readings)))
        self._at += readings
        rows = np.tile(np.arange(3), readings)
        verdicts = Verdicts.blank(Readings(rows, np.repeat(times, 3), np.sin(rows + 1.0)))
        verdicts.learnt[:] = True
        self.history.record(verdicts)

    def alert(self, what: str) -> None:
        at_s = START_S + INTERVAL_S * self._at
        self.outbox.add([Transition(self._at, "x", "a", "residual", "", what, at_s, b"{}")])

    def close(self) -> None:
        self.outbox.close()
        self.history.stop(5.0)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(Desk(tmp_path)) as made:
        yield made


def test_a_case_is_kept_when_it_is_confirmed_and_again_when_it_is_over(desk: Desk) -> None:
    """With enough readings before it for a slow channel, too, and those of the channels that it is
    compared with."""
    desk.live(1100)
    desk.alert("raised")
    desk.live(5)
    desk.cases.keep()
    assert [] == desk.cases.all()
    desk.outbox.judge("x", "confirmed", START_S, None, None)
    desk.cases.keep()
    (case,) = desk.cases.all()
    assert {"a": 1003, "mate": 1003} == _readings(case)
    desk.live(20)
    desk.alert("cleared")
    desk.live(5)
    desk.cases.keep()
    (case,) = desk.cases.all()
    assert (START_S + 1100 * INTERVAL_S, START_S + 1125 * INTERVAL_S) == (case.start_s, case.end_s)
    assert {"a": 1026, "mate": 1026} == _readings(case)


def _readings(case: Incident) -> dict[str, int]:
    return {each.channel: each.times.size for each in case.segments}


@pytest.mark.parametrize("over", [False, True])
def test_a_confirmed_alert_teaches_nothing(desk: Desk, over: bool) -> None:
    """However long it lasted, and while it stands; other channels learn."""
    desk.live(10)
    desk.alert("raised")
    desk.live(10)
    if over:
        desk.alert("cleared")
    desk.outbox.judge("x", "confirmed", START_S, None, None)
    times = START_S + INTERVAL_S * np.arange(30.0)
    learnt = np.ones(30, dtype=np.bool_)
    cuts = [Cut(name, times, times, learnt) for name in ("a", "b")]
    own, other = desk.cases.without_confirmed(cuts)
    assert (19 if over else 10) == own.learnt.sum()
    assert other.learnt.all()
    assert cuts[0].learnt.all()
