"""The watch over silence, in the pipeline: time passes and an alert is raised, a word clears it;
what can't be a reading is no word, and an asset goes on without its silent member."""

import numpy as np
import pytest

from anomalyd.adapters.outbox import Window
from anomalyd.detection.reading import Kind, Readings
from anomalyd.settings import Alerts
from tests.runtime.pipelines import START_S, STREAM, Run, noise

pytestmark = pytest.mark.usefixtures("one_thread")


def spoken(run: Run, readings: int = 60) -> int:
    """A channel with a reading a second."""
    (row,) = run.add("pump")
    run.live(row, noise(readings))
    return row


def test_silence_raises_and_a_word_clears() -> None:
    """Once, at its bound, without a reading; the id is that of its last one."""
    run = Run()
    row = spoken(run)
    for second in range(60, 200):
        run.alerts += run.pipeline.tick(START_S + second).alerts
    assert [("raised", "stale", 89.0)] == run.ends()
    assert run.alerts[0].id in run.pipeline.open_ids()
    assert 1 == run.pipeline.count_active()["warning"]
    assert "no usable reading for 30 s" in run.alerts[0].reason
    run.live(row, noise(1), start=300)
    assert [("raised", "stale", 89.0), ("cleared", "stale", 300.0)] == run.ends()
    assert 1 == len({each.id for each in run.alerts})
    assert not run.pipeline.open_ids()


@pytest.mark.parametrize("change", [{"report_by_exception": True}, {"quality": ()}])
def test_where_silence_is_no_alert(change: dict[str, object]) -> None:
    """A deadband, or a plant that doesn't want it."""
    if "quality" in change:
        run = Run(Alerts(quality=()))
    else:
        run = Run(stream=STREAM.model_copy(update=change))
    row = spoken(run)
    run.alerts += run.pipeline.tick(START_S + 1e6).alerts
    verdicts = run.live(row, noise(1), start=1e6)
    assert [] == run.alerts
    assert (Kind.GAP != verdicts.kind[0]) == ("report_by_exception" in change)


def test_impossible_readings_are_no_data() -> None:
    """Counted by their reason, with the kind `range`; a sensor that says nothing else is stale."""
    stream = STREAM.model_copy(update={"physical": (-40.0, 150.0), "max_rate": 20.0})
    run = Run(stream=stream)
    row = spoken(run)
    verdicts = run.live(row, [9999.0, -273.0, 149.0, np.nan, 20.0, *[9999.0] * 40], start=60)
    assert [Kind.RANGE] * 3 + [Kind.VALUE] == verdicts.kind[:4].tolist()
    assert not verdicts.learnt[:4].any()
    assert {"range": 42, "rate": 1, "value": 1} == run.pipeline.rejected
    run.alerts += run.pipeline.tick(START_S + 105.0).alerts
    assert [("raised", "stale", 94.0)] == run.ends()


def test_a_duplicate_is_not_a_late_reading() -> None:
    """The same time and value again is counted as that."""
    run = Run()
    row = spoken(run)
    run.live(row, [3.0], start=100)
    run.live(row, [3.0], start=100)
    run.live(row, [4.0], start=100)
    assert {"duplicate": 1, "late": 1} == run.pipeline.rejected


def test_an_asset_goes_on_without_its_silent_member() -> None:
    """Who is stale is not waited for; when it speaks again, it is compared again."""
    run = Run()
    rows = run.add("one", "two", "three", asset="m")
    common = np.random.default_rng(0).normal(0.0, 1.0, 1200)
    values = common[:, None] + 0.1 * np.random.default_rng(1).normal(size=(1200, 3))
    run.together(rows, values[:600])
    relations = run.pipeline.parts.relations
    for second in range(600, 1200):
        times = np.full(2, START_S + second)
        run.step(Readings(np.array(rows[:2]), times, values[second, :2]))
        run.alerts += run.pipeline.tick(START_S + second).alerts
    now = np.full(3, START_S + 1199.0)
    assert [("raised", "stale", 629.0)] == run.ends()
    assert [False, False, True] == np.isnan(relations.residual(np.array(rows), now)).tolist()
    for second in range(1200, 1210):
        run.step(Readings(np.array(rows), np.full(3, START_S + second), values[second - 1200]))
    residual = relations.residual(np.array(rows), np.full(3, START_S + 1209.0))
    assert not np.isnan(residual).any()
    assert ["raised", "cleared"] == run.transitions()


def test_a_seed_is_the_last_value_and_nothing_more() -> None:
    """It raises nothing and is not scored; who has spoken takes none."""
    run = Run()
    (row,) = run.add("pump")
    run.pipeline.seed(Readings(np.array([row]), np.array([START_S - 1e6]), np.array([20.0])))
    assert 0 == run.pipeline.readings_scored
    first = run.live(row, [20.5])
    assert 20.0 == pytest.approx(first.expected[0], abs=0.01)
    run.pipeline.seed(Readings(np.array([row]), np.array([START_S + 9.0]), np.array([99.0])))
    assert {} == run.pipeline.rejected
    assert Kind.NONE == run.live(row, [20.4], start=5).kind[0]


def test_a_death_is_told_at_once_and_ends_with_the_next_word() -> None:
    """Also one that says nothing new, as a birth does whose value has not changed since; two deaths
    are two alerts."""
    run = Run(stream=STREAM.model_copy(update={"report_by_exception": True}))
    row, other = run.add("pump", "valve")
    run.live(row, noise(5))
    run.live(other, noise(5))
    for died_s in (10.0, 20.0):
        run.alerts += run.pipeline.die(np.array([row]), START_S + died_s).alerts
        assert "its node or device announced its death" == run.alerts[-1].reason
        assert run.alerts[-1].id in run.pipeline.open_ids()
        again = Readings(np.array([row]), np.array([START_S + 4.0]), noise(5)[4:])
        run.alerts += run.pipeline.step(again, START_S + died_s + 5.0).alerts
    told = [("raised", 10.0), ("cleared", 15.0), ("raised", 20.0), ("cleared", 25.0)]
    assert [(transition, "stale", at) for transition, at in told] == run.ends()
    assert 2 == len({each.id for each in run.alerts})
    assert {"duplicate": 2} == run.pipeline.rejected


def test_a_death_in_maintenance_or_of_who_is_stale_is_no_news() -> None:
    run = Run()
    row = spoken(run)
    run.pipeline.maintain([Window("pump", START_S + 70.0, START_S, "ada", None)])
    run.alerts += run.pipeline.die(np.array([row]), START_S + 65.0).alerts
    assert [] == run.alerts
    run.alerts += run.pipeline.tick(START_S + 100.0).alerts
    run.alerts += run.pipeline.die(np.array([row]), START_S + 110.0).alerts
    assert [("raised", "stale", 89.0)] == run.ends()
