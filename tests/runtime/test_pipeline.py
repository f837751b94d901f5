"""The pipeline's rules, with the shipped model: what a batch says, what raises and what ends an
alert, and what neither late, broken nor missing readings may change."""

from __future__ import annotations

import cProfile
from collections.abc import Sequence
from dataclasses import astuple
from functools import cache
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.demo.plant import Fault, Plant
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Floats, Kind, Readings, State, Verdicts
from anomalyd.detection.reorder import Reorder
from anomalyd.runtime.alerts import Alert
from anomalyd.runtime.open_alerts import RECENT_READINGS
from anomalyd.settings import Alerts, Channels, Stream
from tests.runtime.pipelines import (
    CHANNELS,
    QUICK,
    QUIET_S,
    RULES,
    SLOW_TO_RAISE,
    START_S,
    STREAM,
    Run,
    noise,
    quiet,
    since,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def states(verdicts: Verdicts) -> list[State]:
    return [State(code) for code in verdicts.state.tolist()]


def kinds(verdicts: Verdicts) -> list[Kind]:
    return [Kind(code) for code in verdicts.kind.tolist()]


def chosen(verdicts: Verdicts, places: NDArray[np.bool_]) -> Verdicts:
    return Verdicts(*(column[places] for column in astuple(verdicts)))


def same(one: Verdicts, other: Verdicts) -> bool:
    """Codes equal, scores to 1e-5."""
    codes = np.array_equal(one.state, other.state) and np.array_equal(one.kind, other.kind)
    return codes and np.allclose(one.score, other.score, rtol=1e-5, atol=1e-6, equal_nan=True)


def told(alerts: Sequence[Alert]) -> list[tuple[str, str, str]]:
    """What was said of which alert, in an order that doesn't hang on the batches."""
    return sorted((alert.id, alert.transition, alert.kind) for alert in alerts)


# --- batches --------------------------------------------------------------------------------------

ASSET, ALONE = ("a/m/one", "a/m/two", "a/m/three"), ("a/n/four", "a/o/five")
FAULT_FROM, TICKS = 420, 460


def plant_of_five() -> Readings:
    """Three channels that move together until one of them leaves, and two alone, in the order in
    which a network might deliver them: jittered, with repeats, late ones and broken ones."""
    rng = np.random.default_rng(0)
    common = np.sin(np.arange(TICKS) / 7.0) + 0.3 * rng.standard_normal(TICKS)
    values = common[:, None] * [1.0, 3.0, -2.0, 0.0, 0.0] + 0.1 * rng.standard_normal((TICKS, 5))
    values[FAULT_FROM:, 1] = 4.0 - values[FAULT_FROM:, 1]
    values[FAULT_FROM + 10, 3] += 50.0
    values[rng.random(values.shape) < 0.005] = np.nan
    times = np.arange(TICKS)[:, None] + rng.uniform(0.0, 0.3, values.shape)
    sent = rng.random(values.shape) > 0.02
    rows, times, values = np.broadcast_to(np.arange(5), sent.shape)[sent], times[sent], values[sent]
    delay = rng.uniform(0.0, 0.3, rows.size) * (rng.random(rows.size) < 0.1)
    again = rng.random(rows.size) < 0.1
    newer = times[again] + np.where(rng.random(again.sum()) < 0.7, 0.35, 0.0)
    order = np.argsort(np.append(times + delay, times[again] + 0.35), kind="stable")
    return Readings(
        np.append(rows, rows[again])[order],
        START_S + np.append(times, newer)[order],
        np.append(values, values[again])[order],
    )


def run_in(
    cuts: Sequence[int], readings: Readings, stream: Stream = STREAM
) -> tuple[Run, Verdicts]:
    """The five channels' readings, cut into batches at these places."""
    run = Run(channels=QUICK, stream=stream)
    run.add(*ASSET, asset="m")
    run.add(*ALONE)
    parts = [
        run.step(readings.take(np.arange(first, end)))
        for first, end in pairwise([0, *cuts, len(readings)])
    ]
    columns = (np.concatenate(column) for column in zip(*map(astuple, parts), strict=True))
    return run, Verdicts(*columns)


@cache
def at_once() -> tuple[Run, Verdicts]:
    """The five channels' readings in one batch."""
    return run_in([], plant_of_five())


@pytest.mark.parametrize(("interval_s", "begin"), [(None, 1400), (2.0, 2000)])
def test_a_batch_says_what_its_readings_say_one_by_one(
    interval_s: float | None, begin: int
) -> None:
    """However readings are cut into batches, the verdicts and the alerts are the same; what the
    channels of an asset say together included."""
    stream = Stream(topic="{line}/{machine}/{sensor}", interval_s=interval_s)
    readings = plant_of_five()
    size = len(readings)
    run, verdicts = run_in([*range(40, begin, 40), *range(begin, size)], readings, stream)
    assert {Kind.NONE, Kind.RESIDUAL, Kind.RELATION, Kind.LATE, Kind.VALUE} <= set(kinds(verdicts))
    some = np.flatnonzero(np.random.default_rng(0).random(size) < 0.1).tolist()
    for cuts in ([], some):
        again, other = run_in(cuts, readings, stream)
        assert same(verdicts, other)
        assert told(run.alerts) == told(again.alerts)


@pytest.mark.parametrize("seed", range(2))
def test_readings_within_their_tolerance_say_what_sorted_ones_do(seed: int) -> None:
    """Whatever the order of arrival and the batches; what the channels of an asset say together
    included."""
    readings = plant_of_five()
    sound = readings.take(np.isfinite(readings.values))
    ordered = sound.take(np.lexsort((sound.rows, sound.times)))
    once = np.append(True, (np.diff(ordered.times) > 0.0) | (np.diff(ordered.rows) != 0))
    ordered = ordered.take(once)
    run, expected = run_in([], ordered)
    delay_s = np.random.default_rng(seed).uniform(0.0, 10.0, len(ordered))
    other = Run(channels=QUICK)
    other.add(*ASSET, asset="m")
    other.add(*ALONE)
    reorder = Reorder(other.pipeline.table, [10.0])
    parts = [
        other.step(reorder.order(ordered.take(arrived), 0.0)[0])
        for arrived in np.array_split(np.argsort(ordered.times + delay_s), 97)
    ]
    parts.append(other.step(reorder.flush()[0]))
    columns = (np.concatenate(column) for column in zip(*map(astuple, parts), strict=True))
    found = Verdicts(*columns)
    assert ordered.times.tolist() == found.times.tolist()
    assert same(expected, found)
    assert run.alerts
    assert told(run.alerts) == told(other.alerts)


def test_what_comes_later_changes_nothing() -> None:
    """No verdict looks ahead: whatever follows a reading, in its batch or after it, the readings
    up to it are judged alike."""
    readings, (_, verdicts) = plant_of_five(), at_once()
    size, rng = 2300, np.random.default_rng(1)
    rows, values = readings.rows.copy(), readings.values.copy()
    values[size:] = rng.normal(0.0, 100.0, values[size:].size)
    rows[size:] = rng.permutation(rows[size:])
    _, other = run_in([], Readings(rows, readings.times, values))
    past = np.arange(len(readings)) < size
    assert same(chosen(verdicts, past), chosen(other, past))
    assert not same(verdicts, other)


@pytest.mark.parametrize(
    ("factor", "offset", "within"), [(1e5, 0.0, 1e-3), (1e-3, -2e-3, 1e-3), (1.8, 32.0, 0.1)]
)
def test_the_unit_of_a_channel_changes_no_verdict(
    factor: float, offset: float, within: float
) -> None:
    """Pascal or bar, Celsius or Fahrenheit: same states, same kinds, same scores, and what was
    expected is in the channel's own unit. Until a channel's resolution is known it is a share of
    its level: far from zero, that leaves a trace in the scores."""
    readings, (run, plain) = plant_of_five(), at_once()
    other = Readings(readings.rows, readings.times, factor * readings.values + offset)
    _, scaled = run_in([], other)
    assert run.alerts
    assert states(plain) == states(scaled)
    assert kinds(plain) == kinds(scaled)
    assert scaled.score == pytest.approx(plain.score, rel=1e-3, abs=within, nan_ok=True)
    for ours, theirs in ((plain.expected, scaled.expected), (plain.upper, scaled.upper)):
        assert (theirs - offset) / factor == pytest.approx(ours, rel=1e-3, abs=1e-3, nan_ok=True)


def test_the_same_readings_write_the_same_documents() -> None:
    """Two runs over the same readings say the same, to the last byte."""
    (one, verdicts), (other, again) = at_once(), run_in([], plant_of_five())
    assert one.alerts
    assert msgspec.json.encode(one.alerts) == msgspec.json.encode(other.alerts)
    for ours, theirs in zip(astuple(verdicts), astuple(again), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_channels_found_on_the_way_change_nothing() -> None:
    """Whether an asset's channels are known before their first readings or found with them, what
    they say together is the same."""
    readings, (_, verdicts) = plant_of_five(), at_once()
    run, names = Run(channels=QUICK), (*ASSET, *ALONE)
    rows: dict[int, int] = {}
    parts = []
    for at, row in enumerate(readings.rows[:12].tolist()):
        if row not in rows:
            (rows[row],) = run.add(names[row], asset="m" if row < len(ASSET) else None)
        one = readings.take(np.array([at]))
        parts.append(run.step(Readings(np.array([rows[row]]), one.times, one.values)))
    past = np.arange(len(readings)) < 1800
    rest = readings.take(np.flatnonzero(past)[12:])
    moved = np.array([rows[row] for row in rest.rows.tolist()])
    parts.append(run.step(Readings(moved, rest.times, rest.values)))
    columns = (np.concatenate(column) for column in zip(*map(astuple, parts), strict=True))
    assert same(chosen(verdicts, past), Verdicts(*columns))


@pytest.mark.parametrize("asset", [None, "m"])
def test_a_step_asks_for_nothing_that_no_reading_needs(asset: str | None) -> None:
    """What a step costs, however small it is, is what it calls; most of it were questions about
    alerts, gaps, assets, profiles and cycles that the channels at hand don't have."""
    run = Run()
    rows = run.add("a", "b", asset=asset)
    run.together(rows, noise(800).reshape(400, len(rows)))
    later = Readings(np.array(rows), np.full(2, START_S + 400.0), np.full(2, 20.0))
    profile = cProfile.Profile()
    profile.runcall(run.step, later)
    calls = sum(entry.callcount for entry in profile.getstats())
    assert calls < (750 if asset is None else 950)


# --- warming --------------------------------------------------------------------------------------


def wild(readings: int, channels: int) -> Floats:
    """Channels of every bad sort: heavy tails, walks, steps, ramps, and broken readings."""
    rng = np.random.default_rng(0)
    heavy = rng.standard_t(1.2, (readings, channels))
    values = np.where(rng.random(channels) < 0.5, heavy.cumsum(axis=0), heavy)
    values *= 10.0 ** rng.integers(-3, 6, channels)
    values += 100.0 * np.floor(np.arange(readings)[:, None] / rng.integers(5, 300, channels))
    values[rng.random(values.shape) < 0.02] = np.inf
    return values


def test_a_warming_channel_never_alerts() -> None:
    """Until it has been seen for `warmup_readings` a channel is warming, has no score and no
    alert, whatever it says; and wherever a verdict says warming, there is no score."""
    warmup, channels = CHANNELS.warmup_readings, CHANNELS.max
    run = Run()
    rows = np.array(run.add(*map(str, range(channels))))
    for at, values in enumerate(wild(3 * warmup, channels)):
        verdicts = run.step(Readings(rows, np.full(channels, START_S + at), values))
        assert at >= warmup or not run.alerts
        assert at >= warmup or {State.WARMING} == set(states(verdicts))
        assert np.isnan(verdicts.score[verdicts.state == State.WARMING]).all()
    assert run.alerts


# --- one alert, from raise to clear ---------------------------------------------------------------


def test_a_spike_raises_one_alert_and_clears_it() -> None:
    """A reading far outside raises at once; the alert ends with the same id, after enough ordinary
    readings in a row."""
    run, row = quiet()
    run.live(row, [80.0, *noise(200, seed=1)], start=1000.0)
    (raised, kind, at_s), (cleared, *_, cleared_s) = run.ends()
    assert ("raised", "residual", 1000.0, "cleared") == (raised, kind, at_s, cleared)
    assert 1000.0 + RULES.clear_readings <= cleared_s <= 1100.0
    assert 1 == len({alert.id for alert in run.alerts})


def test_enough_readings_in_a_row_raise() -> None:
    """With `pending_readings` = 3 one wild reading is pending and passes; the third in a row
    raises."""
    run, row = quiet(SLOW_TO_RAISE)
    passed = states(run.live(row, [80.0, *noise(200, seed=1)], start=1000.0))
    assert State.PENDING == passed[0]
    assert {State.NORMAL} == set(passed[3:])
    assert not run.alerts
    lasted = states(run.live(row, [80.0, -40.0, 80.0], start=1201.0))
    assert [State.PENDING, State.PENDING, State.FIRING] == lasted
    assert [("raised", "residual", 1203.0)] == run.ends()


def test_a_firing_alert_ends_only_when_the_score_stays_low() -> None:
    """A wild reading before the score has stayed low for long enough keeps the alert open: one
    incident, one alert."""
    run, row = quiet()
    restless = noise(100, seed=1)
    restless[::10] = 80.0
    run.live(row, restless, start=1000.0)
    assert ["raised"] == run.transitions()
    run.live(row, noise(100, seed=2), start=1100.0)
    assert ["raised", "cleared"] == run.transitions()


def test_readings_under_alert_move_no_threshold() -> None:
    """From raise to clear the band stays as wide as it was before; the next incident of the same
    size is found as well."""
    run, row = quiet()
    before = run.live(row, noise(10, seed=1), start=1000.0)
    burst = noise(60, seed=2)
    burst[::6] += 40.0
    under = run.live(row, burst, start=1010.0)
    assert {State.FIRING} == set(states(under))
    widths = (under.upper - under.lower)[under.score < 1.0]
    assert widths == pytest.approx(before.upper[-1] - before.lower[-1], rel=0.05)
    # For a while, only a greater surprise than the last is an event of its own.
    run.live(row, noise(400, seed=3), start=1070.0)
    run.live(row, [60.0], start=1470.0)
    assert ["raised", "cleared", "raised"] == run.transitions()


def test_a_fault_that_repeats_itself_stays_a_fault() -> None:
    """Some expert foresees it soon, and may not serve because of that."""
    plant, wrong = Plant(1, 24), 5
    run = Run(RULES.model_copy(update={"accept_after_s": 1e9}))
    rows = np.array(run.add(*plant.names))
    for at, values in enumerate(plant.run(1000)):
        values[wrong] += 500.0 * (-1.0) ** at * (at >= 400)
        run.step(Readings(rows, np.full(24, START_S + at), values))
    assert {plant.names[wrong]} == {alert.channel for alert in run.alerts}
    assert ["raised"] == run.transitions()


def test_a_new_level_is_accepted_in_the_end() -> None:
    """A level that stays is under alert for `accept_after_s`, then it is learnt and the alert
    clears; it is not raised again, and it is what is expected. Until then the alert is told again
    every `update_every_s`, under its own id."""
    run, row = quiet(SLOW_TO_RAISE)
    run.live(row, 8.0 + noise(1100, seed=1), start=1000.0)
    (raised, *_, at_s), (cleared, *_, cleared_s) = run.ends()
    assert ("raised", "cleared") == (raised, cleared)
    assert 1000.0 < at_s < 1020.0
    assert 1200.0 < cleared_s < 2100.0
    moments = [since(alert.updated_at) for alert in run.alerts]
    assert all(0.0 < later - earlier <= 100.0 for earlier, later in pairwise(moments))
    assert len(moments) <= (cleared_s - at_s) / 100.0 + 5
    assert 1 == len({(alert.id, alert.started_at) for alert in run.alerts})
    after = run.live(row, 8.0 + noise(50, seed=2), start=2100.0)
    assert {State.NORMAL} == set(states(after))
    assert after.expected == pytest.approx(28.0, abs=3.0)


def test_a_small_shift_is_held_against_the_reference_until_it_ends() -> None:
    """Too small for any single reading, and soon what is forecast; the band is that of the level,
    around where it has been while nothing was wrong."""
    patient = RULES.model_copy(update={"accept_after_s": 7200.0})
    run, row = quiet(patient)
    run.live(row, 2.5 + noise(1500, seed=1), start=1000.0)
    under = run.live(row, 2.5 + noise(100, seed=2), start=2500.0)
    assert {State.FIRING} == set(states(under))
    (raised,) = (alert for alert in run.alerts if alert.transition == "raised")
    assert 20.0 == pytest.approx(raised.expected, abs=0.3)
    run.live(row, noise(100, seed=3), start=2600.0)
    assert ["raised", "cleared"] == run.transitions()


@pytest.mark.parametrize("glitch", [-9999.0, 2.0**31 - 1.0, 3.4e38])
def test_a_glitch_is_a_short_alert(glitch: float) -> None:
    """However far off one reading is, the channel is itself again soon after: what is expected,
    the band, and the alert's end don't hang on its size."""
    run, row = quiet()
    run.live(row, [glitch, *noise(300, seed=1)], start=1000.0)
    after = run.live(row, noise(50, seed=2), start=1301.0)
    assert {State.NORMAL} == set(states(after))
    assert after.expected == pytest.approx(20.0, abs=3.0)
    assert (after.upper < 40.0).all()


def test_a_glitch_while_warming_blinds_nobody() -> None:
    """One wild reading among a channel's first is no part of what is normal: the band is that of a
    channel without it, and the next wild reading is found."""
    run = Run()
    rows = run.add("clean", "early", "midway", "late")
    values = np.tile(noise(800)[:, None], 4)
    values[[20, 60, 110], [1, 2, 3]] = 65535.0
    verdicts = run.together(rows, values)
    assert not run.alerts
    clean, *glitched = (verdicts.upper - verdicts.lower)[-4:]
    assert glitched == pytest.approx([clean] * 3, rel=0.5)
    for row in rows:
        run.live(row, [80.0], start=800.0)
    assert [("raised", "residual", 800.0)] * 4 == run.ends()


# --- kinds ----------------------------------------------------------------------------------------


def test_a_lively_channel_that_stands_still_is_stuck() -> None:
    """The same value for far longer than ever raises `stuck`; changes end it."""
    run, row = quiet()
    run.live(row, [20.0] * 60, start=1000.0)
    run.live(row, noise(60, seed=1), start=1060.0)
    (raised, kind, at_s), (cleared, *_, cleared_s) = run.ends()
    assert ("raised", "stuck", 1029.0, "cleared") == (raised, kind, at_s, cleared)
    assert 1060.0 < cleared_s <= 1100.0


PRESSURE = "line1/pump1/pressure"


def _decoupled(channel: str, silent: str = "") -> Run:
    """A machine of eight sensors, one of which leaves it from second 700 to 800; `silent` is heard
    no more from second 725 on."""
    plant, steps = Plant(1, 8, [Fault("decoupled", channel, start=700, duration=100)]), 900
    run = Run(channels=Channels(max=64, warmup_readings=60))
    rows = np.array(run.add(*plant.names, asset="line1/pump1"))
    values, at = plant.run(steps), np.arange(steps)[:, None]
    speaks = (at < 725) | (np.array(plant.names) != silent)
    times = np.broadcast_to(START_S + at, values.shape)
    where = np.broadcast_to(rows, values.shape)
    run.step(Readings(where[speaks], times[speaks], values[speaks]))
    return run


def test_a_sensor_that_leaves_its_machine_is_told_by_the_others() -> None:
    """A signal that would be normal by itself, but not beside the other channels of its asset,
    raises `relation` on that channel and on no other; the shares name it first."""
    run = _decoupled(PRESSURE)
    assert {(PRESSURE, "relation")} == {(alert.channel, alert.kind) for alert in run.alerts}
    assert ["raised", "cleared"] == run.transitions()
    raised = run.alerts[0]
    assert 700.0 <= since(raised.started_at) <= 730.0
    shares = [each.share for each in raised.contributors]
    assert PRESSURE == raised.contributors[0].channel
    assert sorted(shares, reverse=True) == shares
    assert 0.0 < sum(shares) <= 1.001


def test_a_silent_neighbour_freezes_no_alert() -> None:
    """What the channels of an asset said together counts no more once one of them has been silent
    for long: an alert that rests on it ends."""
    run = _decoupled(PRESSURE, silent="line1/pump1/current")
    first, last = run.alerts[0], run.alerts[-1]
    assert (PRESSURE, "raised", "relation") == (first.channel, first.transition, first.kind)
    assert (PRESSURE, "cleared") == (last.channel, last.transition)


def test_a_constant_channel_that_jumps_alerts() -> None:
    """A channel that never moved is known well: a change far beyond its level's last digits is an
    event."""
    run = Run()
    (row,) = run.add("constant")
    run.live(row, [50.0] * 500)
    run.live(row, [60.0] * 3, start=500.0)
    assert [("raised", "residual", 500.0)] == run.ends()


def test_a_constant_channel_that_wakes_is_known_in_the_end() -> None:
    """A channel that never moved and now does is under alert until that is accepted; then its life
    is normal, and what is expected of it is what it does."""
    run = Run(Alerts(accept_after_s=100.0))
    (row,) = run.add("sleeper")
    run.live(row, [17.0] * 300)
    run.live(row, noise(500), start=300.0)
    after = run.live(row, noise(50, seed=1), start=800.0)
    assert ["raised", "cleared"] == run.transitions()
    assert {State.NORMAL} == set(states(after))
    assert after.expected == pytest.approx(20.0, abs=3.0)


def test_a_constant_channel_never_alerts() -> None:
    """Whatever its level is, a channel that doesn't move is neither stuck nor off."""
    levels = [0.0, *(sign * 10.0**power for sign in (-1, 1) for power in range(-12, 13, 2))]
    run = Run(channels=QUICK)
    rows = run.add(*map(str, levels))
    verdicts = run.together(rows, np.tile(levels, (400, 1)))
    assert not run.alerts
    assert {State.WARMING, State.NORMAL} == set(states(verdicts))


# --- readings that don't count --------------------------------------------------------------------


def test_what_is_no_number_is_rejected() -> None:
    """NaN and infinities are counted, told as `value`, scored by nobody, and change nothing."""
    (run, row), (plain, _) = quiet(), quiet()
    verdicts = run.live(row, [np.nan, np.inf, -np.inf], start=1000.0)
    assert [Kind.VALUE] * 3 == kinds(verdicts)
    assert [State.NORMAL] * 3 == states(verdicts)
    assert np.isnan(verdicts.score).all() and np.isnan(verdicts.expected).all()
    assert {"value": 3} == dict(run.pipeline.rejected)
    assert QUIET_S == run.pipeline.readings_scored
    ours, theirs = (each.live(row, noise(50, 1), start=1003.0) for each in (run, plain))
    assert same(ours, theirs)


def test_late_and_double_readings_are_rejected() -> None:
    """A reading that isn't newer than its channel's last is counted, told as `late`, and changes
    nothing, however far off its value is."""
    (run, row), (plain, _) = quiet(), quiet()
    late = Readings(np.full(3, row), START_S + np.array([999.0, 998.5, -1e6]), np.full(3, 1e6))
    verdicts = run.step(late)
    assert [Kind.LATE] * 3 == kinds(verdicts)
    assert [State.NORMAL] * 3 == states(verdicts)
    assert np.isnan(verdicts.score).all()
    assert {"late": 3} == dict(run.pipeline.rejected)
    assert QUIET_S == run.pipeline.readings_scored
    ours, theirs = (each.live(row, noise(50, 1), start=1000.0) for each in (run, plain))
    assert same(ours, theirs)


def test_junk_changes_no_other_verdict() -> None:
    """With all that is rejected left out, the rest is judged alike."""
    readings, (run, verdicts) = plant_of_five(), at_once()
    rejected = np.isin(verdicts.kind, [Kind.LATE, Kind.VALUE])
    assert rejected.sum() == sum(run.pipeline.rejected.values()) > 50
    clean, others = run_in([], readings.take(~rejected))
    assert same(chosen(verdicts, ~rejected), others)
    assert told(run.alerts) == told(clean.alerts)
    assert not clean.pipeline.rejected


@pytest.mark.parametrize(("size", "after"), [(1e39, 50), (1e39, 250), (1e155, 50), (1e308, 250)])
def test_a_number_that_no_sensor_measures_harms_nobody(size: float, after: int) -> None:
    """However large a finite value is, no arithmetic fails on it, and the other channels of its
    asset go on."""
    run = Run(channels=QUICK)
    rows = run.add(*ASSET, asset="m")
    values = noise(300)[:, None] + noise(900, seed=1).reshape(300, 3) / 10.0
    values[after, 0], values[after + 2, 0] = size, -size
    verdicts = run.together(rows, values)
    others = chosen(verdicts, verdicts.rows != rows[0])
    assert {State.NORMAL} == set(states(others)[50:])
    assert not {alert.channel for alert in run.alerts} & set(ASSET[1:])


# --- gaps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [0.0, 1.0])
def test_a_gap_is_no_alert(moved: float) -> None:
    """After a silence of more than `gap_intervals` the first readings are not scored, and a world
    that has moved on a little is no event."""
    run, row = quiet()
    back = run.live(row, moved + noise(100, seed=1), start=1000.0 + CHANNELS.gap_intervals + 1.0)
    assert [State.WARMING] * 3 + [State.NORMAL] * 97 == states(back)
    assert [Kind.GAP] * 3 + [Kind.NONE] * 97 == kinds(back)
    assert [True] * 3 + [False] * 97 == np.isnan(back.score).tolist()
    assert not run.alerts


def test_a_short_silence_is_no_gap() -> None:
    """A few lost readings cost nothing: the next one is scored."""
    run, row = quiet()
    back = run.live(row, noise(10, seed=1), start=1000.0 + CHANNELS.gap_intervals - 2.0)
    assert [State.NORMAL] * 10 == states(back)


def test_an_alert_outlives_a_gap() -> None:
    """What can't be scored ends no alert and raises none."""
    run, row = quiet()
    run.live(row, [80.0], start=1000.0)
    back = run.live(row, noise(3, seed=1), start=1200.0)
    assert [State.FIRING] * 3 == states(back)
    assert ["raised"] == run.transitions()


def test_a_burst_after_an_outage_makes_no_channel_deaf() -> None:
    """What was queued comes at once, stamped on arrival; after it the channel is scored as
    before."""
    run, row = quiet()
    times = START_S + 2000.0 + np.append(0.001 * np.arange(300), np.arange(1, 301))
    verdicts = run.step(Readings(np.full(600, row), times, noise(600, seed=1)))
    assert {State.NORMAL} == set(states(verdicts)[-200:])
    assert not run.alerts


# --- channels -------------------------------------------------------------------------------------


def test_one_channel_too_many_is_refused() -> None:
    """The table holds `channels.max`; when one retires there is room for another."""
    run = Run(channels=Channels(max=2))
    first, _ = run.add("a", "b")
    assert run.pipeline.add(Channel("c", {}, 0)) is None
    assert [] == run.pipeline.retire(first, START_S)
    assert first == run.pipeline.add(Channel("c", {}, 0))


def test_a_row_that_is_used_again_begins_afresh() -> None:
    """Nothing of the channel that was in the row before is left: not its model, not its
    thresholds, not its alert, not its asset."""
    readings, (fresh, verdicts) = plant_of_five(), at_once()
    used = Run(channels=QUICK)
    rows = used.add("x", "y", "z", asset="old") + used.add("u", "v")
    before = readings.take(np.arange(800))
    used.step(Readings(before.rows, before.times + 1e6, 500.0 * before.values))
    for row in reversed(rows):
        used.pipeline.retire(row, START_S)
    used.alerts.clear()
    assert rows == used.add(*ASSET, asset="m") + used.add(*ALONE)
    assert same(verdicts, used.step(readings))
    assert msgspec.json.encode(fresh.alerts) == msgspec.json.encode(used.alerts)


def test_assets_come_and_go() -> None:
    """More assets than there are channels, one after the other, are no problem."""
    run = Run(channels=Channels(max=2))
    for asset in range(5):
        (row,) = run.add(f"{asset}/flow", asset=str(asset))
        run.live(row, [1.0, 2.0])
        run.pipeline.retire(row, START_S)
    assert 0 == len(run.pipeline.table)


# --- a fixed grid ---------------------------------------------------------------------------------


def test_on_a_grid_the_model_steps_once_a_bin() -> None:
    """Every reading in a bin is scored, and against the same expectation: the one that the last
    values of the bins before lead to."""
    stream = Stream(topic="{line}/{machine}/{sensor}", interval_s=10.0)
    values = noise(600).reshape(200, 3)
    often, once = Run(stream=stream), Run(stream=stream)
    times = START_S + 10.0 * np.arange(200)[:, None] + [0.5, 4.0, 9.5]
    (row,), _ = often.add("a"), once.add("a")
    several = often.step(Readings(np.full(600, row), times.ravel(), values.ravel()))
    last = once.step(Readings(np.full(200, row), times[:, 2], values[:, 2]))
    assert 600 == often.pipeline.readings_scored
    assert not np.isnan(several.score[CHANNELS.warmup_readings :]).any()
    for expected in several.expected.reshape(200, 3).T:
        assert expected == pytest.approx(last.expected, rel=1e-6, nan_ok=True)


def test_on_a_grid_a_bin_is_one_recent_reading() -> None:
    """The last value in a bin is the one that is held: of the others the alert shows nothing."""
    run = Run(stream=Stream(topic="{line}/{machine}/{sensor}", interval_s=10.0))
    (row,) = run.add("a")
    values = noise(600)
    values[-1] = 80.0
    run.step(Readings(np.full(600, row), START_S + np.arange(0.0, 3000.0, 5.0), values))
    (raised,) = run.alerts
    shown = [sample.value for sample in raised.recent]
    assert values[1::2][-RECENT_READINGS:].tolist() == shown


# --- figures --------------------------------------------------------------------------------------


def test_the_stricter_promise_holds() -> None:
    """The budget of a channel is its own, or its part of the plant's where that is less."""
    run = Run(Alerts(budget_per_week=2.0, plant_budget_per_day=1.0))
    run.add(*map(str, range(3)))
    assert 2.0 == run.pipeline.budget_per_week
    assert 6.0 == run.pipeline.plant_budget_per_week
    run.add(*map(str, range(3, 14)))
    assert 0.5 == run.pipeline.budget_per_week
    assert 7.0 == run.pipeline.plant_budget_per_week


def test_figures_follow_the_verdicts() -> None:
    """States and scores are those of what was said."""
    run, row = quiet()
    (young,) = run.add("young")
    run.live(row, [80.0], start=1000.0)
    firing = {"warming": 1, "normal": 0, "pending": 0, "firing": 1, "maintenance": 0}
    assert firing == run.pipeline.count_states([row, young])
    score, unknown = run.pipeline.scores([row, young]).tolist()
    assert run.alerts[0].score == score
    assert np.isnan(unknown)


def test_no_readings_say_nothing() -> None:
    """An empty batch has no verdicts and no alerts."""
    run, _ = quiet()
    assert 0 == run.step(Readings(np.empty(0, np.intp), np.empty(0), np.empty(0))).score.size
    assert not run.alerts


def test_what_is_not_normal_is_marked_as_not_learnt() -> None:
    """Under alert, late, no number, and right behind a gap: such a reading must train nothing."""
    run, row = quiet()
    ordinary = run.live(row, noise(5, seed=4), start=1000.0)
    assert ordinary.learnt.all()
    alarmed = run.live(row, [500.0, 500.0, float("nan")], start=1005.0)
    late = run.live(row, [20.0], start=900.0)
    assert not alarmed.learnt.any()
    assert not late.learnt.any()
    run, row = quiet()
    behind_a_gap = run.live(row, noise(10, seed=5), start=5000.0)
    assert [False, True] == [bool(behind_a_gap.learnt[0]), bool(behind_a_gap.learnt[-1])]
    assert np.array_equal(behind_a_gap.kind != Kind.GAP, behind_a_gap.learnt)


def test_changed_rules_hold_from_the_next_reading_on() -> None:
    """What is learnt stays; the budget, and the readings that an alert needs, are new."""
    run, row = quiet()
    run.pipeline.change_rules(SLOW_TO_RAISE)
    run.live(row, [60.0], QUIET_S)
    assert [] == run.transitions()
    run.pipeline.change_rules(Alerts(runbook_url="https://example.org/new", budget_per_week=0.5))
    run.live(row, [60.0], QUIET_S + 1)
    assert ["raised"] == run.transitions()
    assert "https://example.org/new" == run.alerts[-1].runbook_url
    assert 0.5 == run.pipeline.budget_per_week
