"""The bank's rules: scale-free, one reading at a time, and no outlier hides the next."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyd.detection.experts import EXPERTS, FEATURES, HORIZONS, Beats, ExpertBank, Outlook
from anomalyd.detection.experts import SIGNED_FEATURES as SIGNED

ONE = np.array([0])
PERSISTENCE, FAST, SLOW, PROFILE, SHIFTED, DIFFERENCES, CYCLE = range(len(EXPERTS))
NEXT, LATER, FURTHEST = range(len(HORIZONS))
DAY_S = 86400.0

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


def beats(at: float, after_gap: Flags, interval_s: float = 10.0) -> Beats:
    """Channels that are read every `interval_s`, for the `at`th time, beginning on a Monday."""
    size = after_gap.size
    time = 4.0 * DAY_S + at * interval_s
    return Beats(np.full(size, time), np.full(size, interval_s), after_gap)


def live(values: Values, after_gap: Flags | None = None, interval_s: float = 10.0) -> list[Outlook]:
    """What the bank says after each reading of one channel."""
    bank = ExpertBank(1)
    gaps = np.zeros(len(values), np.bool_) if after_gap is None else after_gap
    return [
        bank.observe(ONE, values[[at]], beats(at, gaps[[at]], interval_s))
        for at in range(len(values))
    ]


def forecasts(outlook: Outlook) -> Values:
    """(B, horizons, experts), channel units."""
    return outlook.last[:, None, None] + outlook.scale[:, None, None] * outlook.forecasts


def signal(readings: int = 300, seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    return np.sin(np.arange(readings) / 9.0) + 0.1 * rng.standard_normal(readings)


def test_after_one_reading_every_expert_says_the_same() -> None:
    """There is nothing to go by but the value itself."""
    (outlook,) = live(np.array([20.0]))
    assert [[[20.0] * len(EXPERTS)] * len(HORIZONS)] == forecasts(outlook).tolist()
    assert [20.0] == outlook.usual.tolist()
    assert outlook.features.shape == (1, FEATURES)


def test_persistence_says_the_last_value() -> None:
    """The first expert's forecast is the newest reading, and the offset of all others."""
    values = signal()
    outlooks = live(values)
    assert values.tolist() == [float(each.last[0]) for each in outlooks]
    assert {0.0} == {float(said) for each in outlooks for said in each.forecasts[0, :, PERSISTENCE]}


def test_means_start_as_plain_means() -> None:
    """A mean of few readings is their mean, and then leans on the newest."""
    values = signal(8)
    said = forecasts(live(values)[-1])[0, NEXT]
    assert said[FAST] == pytest.approx(values.mean())
    assert said[SLOW] == pytest.approx(values.mean())


def test_a_ramp_goes_on() -> None:
    """Where changes resemble the last one, an expert expects the next to, and less and less of
    those that follow."""
    slope = 0.5
    values = slope * np.arange(500.0)
    said = forecasts(live(values)[-1])[0, :, DIFFERENCES]
    assert values[-1] + 0.9 * slope <= said[NEXT] <= values[-1] + slope
    for at, horizon in enumerate(HORIZONS):
        assert values[-1] + 0.5 * horizon * slope <= said[at] <= values[-1] + horizon * slope


def test_a_cycle_comes_again() -> None:
    """Once its period is known, what is ahead is what was one cycle ago; before, the newest."""
    shape = np.random.default_rng(0).standard_normal(25)
    values = 1000.0 + np.resize(shape, 300 + HORIZONS[-1])
    outlooks = live(values[:300])
    said = forecasts(outlooks[-1])[0, :, CYCLE]
    assert said == pytest.approx([values[299 + each] for each in HORIZONS], abs=1e-3)
    assert forecasts(outlooks[50])[0, :, CYCLE] == pytest.approx(values[50])


def test_a_day_comes_again() -> None:
    """Once a day has been seen, the time of the day is a forecast; before, a mean is."""
    interval_s = 600.0
    day = 10.0 * np.sin(2.0 * np.pi * np.arange(144) / 144.0)
    values = 500.0 + np.resize(day, 250 + HORIZONS[-1])
    outlook = live(values[:250], interval_s=interval_s)[-1]
    said = forecasts(outlook)[0]
    for expert in (PROFILE, SHIFTED):
        coming = [values[249 + each] for each in HORIZONS]
        assert said[:, expert] == pytest.approx(coming, abs=2.0)
    assert outlook.usual == pytest.approx(said[NEXT, [PROFILE]])


@settings(derandomize=True, database=None, deadline=None, max_examples=10)
@given(st.floats(1e-4, 1e4), st.floats(-100.0, 100.0), st.booleans(), st.integers(0, 2**32))
def test_what_the_network_sees_is_free_of_scale_and_offset(
    factor: float, offset: float, falls: bool, seed: int
) -> None:
    """Pascal or bar, kelvin or Celsius: same features, same forecasts in units of scale. Turned
    upside down, what has a sign turns."""
    values = signal(80, seed)
    plain = live(values)[-1]
    scaled = live(factor * values + factor * offset)[-1]
    assert scaled.features == pytest.approx(plain.features, abs=1e-3)
    assert scaled.forecasts == pytest.approx(plain.forecasts, abs=1e-3)
    assert scaled.scale == pytest.approx(factor * plain.scale, rel=1e-3)
    if falls:
        turned = live(-values)[-1]
        assert turned.forecasts == pytest.approx(-plain.forecasts, abs=1e-9)
        signs = np.where(np.arange(FEATURES) < SIGNED, -1.0, 1.0)
        assert turned.features == pytest.approx(signs * plain.features, abs=1e-6)


@settings(derandomize=True, database=None, deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=40), st.integers(0, 2**32))
def test_features_are_bounded_whatever_comes(values: list[float], seed: int) -> None:
    """No reading makes the network see anything but numbers of ordinary size."""
    gaps = np.random.default_rng(seed).random(len(values)) < 0.1
    for outlook in live(np.array(values), gaps):
        assert np.isfinite(outlook.features).all() and np.abs(outlook.features).max() <= 14.0
        assert np.abs(outlook.forecasts).max() <= 500.0
        assert np.isfinite(outlook.scale).all() and outlook.scale.min() > 0.0


def test_a_constant_channel_has_a_scale() -> None:
    """However long nothing changes, the unit of the residuals isn't 0."""
    outlook = live(np.full(2000, 20.0))[-1]
    assert outlook.scale[0] > 0.0
    assert np.isfinite(outlook.features).all()


def test_an_outlier_does_not_hide_the_next() -> None:
    """One wild reading hardly changes how hard the channel is to forecast."""
    values = signal()
    wild = values.copy()
    wild[-20] += 1000.0
    usual, after = live(values)[-1], live(wild)[-1]
    assert after.scale[0] < 3.0 * usual.scale[0]


def test_a_change_across_a_gap_is_no_error() -> None:
    """What happened in a silence says nothing of how hard the channel is to forecast; the short
    memories begin again where it came back."""
    values = signal()
    jumped = values.copy()
    jumped[200:] += 50.0
    gaps = np.arange(len(values)) == 200
    before, back = live(jumped, gaps)[199:201]
    for said in forecasts(back)[0]:
        assert [50.0 + values[200]] * 4 == said[[PERSISTENCE, FAST, DIFFERENCES, CYCLE]].tolist()
    assert back.scale[0] < 1.5 * before.scale[0]


def test_the_quantum_is_the_smallest_change() -> None:
    """It is a sensor's resolution; a channel that never changed has none."""
    bank = ExpertBank(1)
    quanta = []
    for at, value in enumerate((5.0, 5.0, 6.0, 6.25, 8.0)):
        bank.observe(ONE, np.array([value]), beats(at, np.array([False])))
        quanta.append(float(bank.quantum(ONE)[0]))
    assert [0.0, 0.0, 1.0, 0.25, 0.25] == quanta


def test_channels_are_forecast_each_for_itself() -> None:
    """A batch says of each channel what it would say of it alone."""
    many = np.stack([signal(200, seed) for seed in range(5)], axis=1)
    bank = ExpertBank(7)
    for at, values in enumerate(many):
        for rows in (np.array([6, 0, 3]), np.array([1, 2])):
            together = bank.observe(rows, values[rows % 5], beats(at, rows < 0))
    alone = [live(many[:, row])[-1] for row in (1, 2)]
    for column, expected in enumerate(alone):
        assert together.forecasts[column] == pytest.approx(expected.forecasts[0], rel=1e-9)
        assert together.features[column] == pytest.approx(expected.features[0], rel=1e-5)


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A row that is used again says what a new one would."""
    bank, no_gap = ExpertBank(1), np.array([False])
    for at, value in enumerate(signal()):
        bank.observe(ONE, np.array([value]), beats(at, no_gap))
    bank.reset(ONE)
    fresh = signal(seed=1)
    for at, (value, expected) in enumerate(zip(fresh, live(fresh), strict=True)):
        again = bank.observe(ONE, np.array([value]), beats(at, no_gap))
        assert expected.features.tolist() == again.features.tolist()
        assert expected.forecasts.tolist() == again.forecasts.tolist()
        assert expected.scale.tolist() == again.scale.tolist()


def test_where_the_network_is_worse_the_best_expert_serves() -> None:
    """Until the network is as good again; on the other channels the network says it all."""
    bank, rows = ExpertBank(2), np.arange(2)
    rng = np.random.default_rng(2)
    level = np.cumsum(rng.normal(0.0, 1.0, 3000))
    served = []
    for at, value in enumerate(level):
        values = np.full(2, value)
        beats = Beats(values * 0.0 + at, np.ones(2), np.zeros(2, dtype=np.bool_))
        outlook = bank.observe(rows, values, beats)
        served.append(~np.isnan(outlook.simple))
        if served[-1][1] and at < 1500:
            assert abs(outlook.simple[1] - value) < 3.0
        bad = 5.0 if at < 1500 else 0.0
        bank.tell(rows, np.array([value, value + bad]))
    worse = np.array(served)
    assert not worse[:, 0].any()
    assert not worse[:190, 1].any()
    assert worse[210:1500, 1].all()
    assert not worse[-100:, 1].any()
