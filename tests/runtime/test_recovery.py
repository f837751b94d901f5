"""What is done again at a start: whatever the pipeline was asked, it stands as it stood."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from anomalyd.detection.reading import NOTHING, Readings, Rows
from anomalyd.detection.reorder import Reorder
from anomalyd.runtime import memory, registry
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.intake import Intake
from anomalyd.runtime.journal_entry import Asked, Entry, of_rows
from anomalyd.runtime.pipeline import Outcome, Pipeline
from anomalyd.runtime.receipts import NOTHING_SIFTED
from anomalyd.runtime.recovery import Recovery
from anomalyd.runtime.streams import reorder_for
from anomalyd.settings import Alerts, Channels, Stream
from tests.runtime.pipelines import START_S

STREAMS = [
    Stream(topic="line/{sensor}", value="value", time="ts", reorder_s=3.0),
    Stream(topic="bare/{sensor}", value=""),
]
NAMES = ["a", "b", "c", "bare"]
TOPICS = ["line/a", "line/b", "line/c", "bare/bare"]

pytestmark = pytest.mark.usefixtures("one_thread")


class Life:
    """A pipeline from its start on, and what it told."""

    def __init__(self) -> None:
        served = registry.load(STREAMS, Path(), 64)
        self.pipeline = Pipeline("main", Channels(max=64), Alerts(), STREAMS, served.predictors)
        self.intake = Intake(STREAMS, self.pipeline, 60.0)
        self.reorder = reorder_for(STREAMS, self.pipeline.table)
        self.alerts: list[Alert] = []
        for name, topic in zip(NAMES, TOPICS, strict=True):
            self.intake.reopen(topic, name)

    def told(self, outcome: Outcome) -> None:
        self.alerts += outcome.alerts

    def recovery(self, saved_s: float = 0.0) -> Recovery:
        return Recovery(self.pipeline, self.intake, self.reorder, self.told, saved_s)

    def ask(self, entry: Entry) -> None:
        """As the pipeline's thread does, one by one."""
        one = self.recovery()
        one.again(entry)
        one.finish(np.inf)

    def told_ids(self) -> list[tuple[str, str]]:
        return [(alert.id, alert.transition) for alert in self.alerts]


def entry(asked: Asked, now_s: float, readings: Readings = NOTHING) -> Entry:
    return Entry(asked, now_s, (), readings, NOTHING_SIFTED.ids, NOTHING_SIFTED.digests)


def of(asked: Asked, now_s: float, *rows: int) -> Entry:
    at: Rows = np.array(rows, dtype=np.intp)
    return entry(asked, now_s, of_rows(at, now_s))


def asked_of_a_plant() -> list[Entry]:
    """A plant that swings; readings out of order, a spike, somebody silent, a death, a new life, a
    clock that is set, somebody forgotten, and a pause in which what is held back becomes due."""
    rng, asked = np.random.default_rng(1), list[Entry]()
    for second in range(400):
        now_s = START_S + second
        rows = np.array([0, 1, 2, 3])
        behind = np.append(rng.uniform(0.0, 2.0, 3), 0.0)
        values = np.sin(second / 9.0) + rng.normal(0.0, 0.05, 4)
        values[0] += 40.0 * (330 < second < 340)
        spoke = (rows != 1) | (second < 360)
        readings = Readings(rows, now_s - behind, values).take(np.flatnonzero(spoke))
        asked.append(entry(Asked.SCORE, now_s, readings))
    end_s = START_S + 400.0
    back_s = end_s - 984.0
    asked += [
        entry(Asked.SCORE, end_s, Readings(np.array([0]), np.array([end_s]), np.array([90.0]))),
        entry(Asked.SCORE, end_s + 10.0),
        of(Asked.SILENT, end_s + 11.0, 1),
        of(Asked.RESUME, end_s + 12.0),
        of(Asked.DEAD, end_s + 13.0, 2),
        entry(Asked.SCORE, end_s + 14.0, Readings(np.array([2]), np.array([end_s]), np.ones(1))),
        of(Asked.DEAD, end_s + 15.0, 2),
        of(Asked.SHIFT, -1000.0),
        entry(Asked.SCORE, back_s, Readings(np.array([3]), np.array([back_s]), np.ones(1))),
        of(Asked.RETIRE, back_s + 1.0, 0),
    ]  # fmt: skip
    return asked


def test_all_that_was_asked_at_once_gives_what_it_gave_one_by_one() -> None:
    one, again = Life(), Life()
    asked = asked_of_a_plant()
    for each in asked:
        one.ask(each)
    recovery = again.recovery()
    for each in asked:
        recovery.again(each)
    recovery.finish(np.inf)
    assert one.told_ids() == again.told_ids()
    assert one.pipeline.open_ids() == again.pipeline.open_ids()
    stands, stood = (memory.remember(each.pipeline, STREAMS).arrays for each in (again, one))
    assert stood.keys() == stands.keys()
    for name, column in stood.items():
        # The network's steps of several channels at once differ in the last bits.
        np.testing.assert_allclose(stands[name], column, rtol=1e-5, atol=1e-5, err_msg=name)
    kinds = [(alert.kind, alert.transition, alert.channel) for alert in one.alerts]
    for kind, channel in (("stale", "b"), ("stale", "c"), ("residual", "a")):
        assert (kind, "raised", channel) in kinds
    assert 2 == len([1 for kind in kinds if kind == ("stale", "raised", "c")])
    assert "late" not in one.pipeline.rejected


def test_a_restart_anywhere_tells_every_alert_once_more_and_no_other() -> None:
    """What was held back at a save is in the journal, with the time at which it was heard."""
    asked = asked_of_a_plant()
    whole = Life()
    for each in asked:
        whole.ask(each)
    for cut in (330, 335, 362, 399, 401):
        before = Life()
        for each in asked[:cut]:
            before.ask(each)
        kept = memory.remember(before.pipeline, STREAMS)
        assert before.reorder is not None
        held = [entry(Asked.SCORE, at_s, each) for at_s, each in before.reorder.held()]
        after = Life()
        memory.recall(_fresh(after), STREAMS, kept, START_S)
        recovery = after.recovery()
        for each in itertools.chain(held, asked[cut:]):
            recovery.again(each)
        recovery.finish(np.inf)
        assert whole.told_ids() == before.told_ids() + after.told_ids()
        assert whole.pipeline.open_ids() == after.pipeline.open_ids()


def _fresh(life: Life) -> Pipeline:
    """One that knows no channels: they come out of the memory."""
    served = registry.load(STREAMS, Path(), 64)
    life.pipeline = Pipeline("main", Channels(max=64), Alerts(), STREAMS, served.predictors)
    life.intake = Intake(STREAMS, life.pipeline, 60.0)
    life.reorder = reorder_for(STREAMS, life.pipeline.table)
    return life.pipeline


@pytest.mark.parametrize("until", [np.inf, -np.inf])
def test_maintenance_holds_from_when_it_began(until: float) -> None:
    """Not from the restart on: what was raised before it stands, and what it kept back is not."""
    one, again = Life(), Life()
    asked = asked_of_a_plant()
    end_s = START_S + 420.0
    asked[335:335] = [
        entry(Asked.MAINTAIN, 0.0, Readings(np.arange(4), np.full(4, until), np.zeros(4)))
    ]
    asked.append(entry(Asked.MAINTAIN, 0.0, Readings(np.arange(4), np.full(4, end_s), np.zeros(4))))
    for each in asked:
        one.ask(each)
    recovery = again.recovery()
    for each in asked:
        recovery.again(each)
    recovery.finish(np.inf)
    assert one.told_ids() == again.told_ids()
    assert one.pipeline.open_ids() == again.pipeline.open_ids()
    dead = {alert.channel for alert in again.alerts if alert.kind == "stale"} - {"b"}
    assert dead == ({"c"} if until < 0.0 else set())


def test_a_clock_that_was_set_back_while_nobody_looked_makes_nothing_late() -> None:
    """As on a machine whose clock has no battery."""
    life, year_s = Life(), 3.2e7
    row, at_s = np.array([3]), START_S + np.arange(100.0)
    life.ask(entry(Asked.SCORE, at_s[-1], Readings(np.full(100, 3), at_s, np.sin(at_s))))
    life.recovery(at_s[-1]).finish(at_s[-1] - year_s)
    assert 0.0 == life.intake.skew.behind_s
    now_s = at_s[-1:] - year_s + 1.0
    life.told(life.pipeline.step(Readings(row, now_s, np.zeros(1)), now_s))
    assert {} == life.pipeline.rejected


def test_sensors_whose_clocks_were_not_set_are_not_from_the_future() -> None:
    life, year_s = Life(), 3.2e7
    life.intake.skew.recall(np.arange(3), np.zeros(3), 0.0)
    life.recovery(START_S).finish(START_S - year_s)
    assert life.intake.skew.behind_s == pytest.approx(year_s)


def test_readings_of_streams_that_hold_nothing_back_are_not_held() -> None:
    reorder = reorder_for(STREAMS, Life().pipeline.table)
    assert isinstance(reorder, Reorder)
    assert [] == reorder.held()
