"""The bank's rules: scale-free, one reading at a time, and no outlier hides the next."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyd.detection.experts import (
    EXPERTS,
    FEATURES,
    HORIZONS,
    SIGNED_FEATURES,
    Beats,
    ExpertBank,
    Outlook,
)

ONE = np.array([0])
PERSISTENCE, FAST, SLOW, PROFILE, SHIFTED, DIFFERENCES, CYCLE = range(len(EXPERTS))
DAY_S, MONDAY_S = 86400.0, 4 * 86400.0

Values = NDArray[np.float64]


def beats(size: int = 1, at: int = 0, interval_s: float = 1.0, after_gap: bool = False) -> Beats:
    """A reading each, `at` readings after a Monday's midnight."""
    time = np.full(size, MONDAY_S + at * interval_s)
    return Beats(time, np.full(size, interval_s), np.full(size, after_gap))


def live(
    values: Values, after_gap: NDArray[np.bool_] | None = None, interval_s: float = 1.0
) -> list[Outlook]:
    """What the bank says after each reading of one channel."""
    bank = ExpertBank(1)
    gaps = np.zeros(len(values), np.bool_) if after_gap is None else after_gap
    return [
        bank.observe(ONE, values[[at]], beats(1, at, interval_s, bool(gaps[at])))
        for at in range(len(values))
    ]


def forecasts(outlook: Outlook) -> Values:
    """(horizons, experts) of the first channel, channel units."""
    return np.asarray(outlook.last[0] + outlook.scale[0] * outlook.forecasts[0])


def signal(readings: int = 300, seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    return np.sin(np.arange(readings) / 9.0) + 0.1 * rng.standard_normal(readings)


def test_after_one_reading_every_expert_says_the_same() -> None:
    """There is nothing to go by but the value itself."""
    (outlook,) = live(np.array([20.0]))
    assert [[20.0] * len(EXPERTS)] * len(HORIZONS) == forecasts(outlook).tolist()
    assert [20.0] == outlook.usual.tolist()
    assert outlook.features.shape == (1, FEATURES)


def test_persistence_says_the_last_value() -> None:
    """The first expert's forecast is the newest reading, and the offset of all others."""
    values = signal()
    outlooks = live(values)
    assert values.tolist() == [float(each.last[0]) for each in outlooks]
    assert {0.0} == {float(np.abs(each.forecasts[0, :, PERSISTENCE]).max()) for each in outlooks}


def test_means_start_as_plain_means() -> None:
    """A mean of few readings is their mean, and then leans on the newest."""
    values = signal(8)
    for said in forecasts(live(values)[-1]):
        assert said[[FAST, SLOW, PROFILE]] == pytest.approx(np.full(3, values.mean()))


def test_a_ramp_goes_on() -> None:
    """Where changes resemble the last one, an expert expects the next to, ever less sure the
    further it looks."""
    slope = 0.5
    values = slope * np.arange(500.0)
    for said, horizon in zip(forecasts(live(values)[-1]), HORIZONS, strict=True):
        further = slope * 0.95 * (1.0 - 0.95**horizon) / 0.05
        assert said[DIFFERENCES] - values[-1] == pytest.approx(further, rel=0.05)


def test_a_cycle_comes_again() -> None:
    """What a machine did one cycle ago, it is expected to do at every horizon."""
    shape = np.random.default_rng(4).standard_normal(25)
    values = np.resize(shape, 400)
    said = forecasts(live(values)[-1])[:, CYCLE]
    assert np.resize(shape, 424)[[399 + each for each in HORIZONS]] == pytest.approx(said, abs=1e-4)


def test_the_time_of_day_is_expected() -> None:
    """After some days a profile says what comes, as it is and shifted to the newest value; what is
    usual is the profile's next value."""
    interval_s, readings = 600.0, 144
    day = 10.0 * np.sin(2.0 * np.pi * np.arange(readings) / readings)
    values = 20.0 + np.resize(day, 4 * readings + 37)
    outlooks = live(values, interval_s=interval_s)
    said, comes = forecasts(outlooks[-1]), np.resize(day, 8 * readings) + 20.0
    coming = comes[[len(values) - 1 + horizon for horizon in HORIZONS]]
    assert said[:, PROFILE] == pytest.approx(coming, abs=1.0)
    assert said[:, SHIFTED] == pytest.approx(coming, abs=1.0)
    assert outlooks[-1].usual[0] == pytest.approx(said[0, PROFILE])
    raised = live(np.append(values[:-1], values[-1] + 3.0), interval_s=interval_s)[-1]
    near = slice(0, 2)  # the last would be further from the newest value than a forecast may be
    assert forecasts(raised)[near, SHIFTED] == pytest.approx(coming[near] + 3.0, abs=1.0)
    assert forecasts(raised)[near, PROFILE] == pytest.approx(coming[near], abs=1.0)


@settings(derandomize=True, database=None, deadline=None, max_examples=10)
@given(st.floats(1e-4, 1e4), st.floats(-100.0, 100.0), st.booleans(), st.integers(0, 2**32))
def test_what_the_network_sees_is_free_of_scale_and_offset(
    factor: float, offset: float, falls: bool, seed: int
) -> None:
    """Pascal or bar, kelvin or Celsius: same features, same forecasts in units of scale. Turned
    upside down, what has a sign turns."""
    values = signal(150, seed)
    plain = live(values)[-1]
    scaled = live(factor * values + factor * offset)[-1]
    assert scaled.features == pytest.approx(plain.features, abs=1e-3)
    assert scaled.forecasts == pytest.approx(plain.forecasts, abs=1e-3)
    assert scaled.scale == pytest.approx(factor * plain.scale, rel=1e-3)
    if falls:
        turned = live(-values)[-1]
        assert turned.forecasts == pytest.approx(-plain.forecasts, abs=1e-9)
        sign = np.where(np.arange(FEATURES) < SIGNED_FEATURES, -1.0, 1.0)
        assert turned.features == pytest.approx(sign * plain.features, abs=1e-6)


@settings(derandomize=True, database=None, deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=40), st.integers(0, 2**32))
def test_features_are_bounded_whatever_comes(values: list[float], seed: int) -> None:
    """No reading makes the network see anything but numbers of ordinary size."""
    gaps = np.random.default_rng(seed).random(len(values)) < 0.1
    for outlook in live(np.array(values), gaps):
        assert np.isfinite(outlook.features).all() and np.abs(outlook.features).max() <= 14.0
        assert np.abs(outlook.forecasts).max() <= 50.0
        assert np.isfinite(outlook.scale).all() and outlook.scale.min() > 0.0


@pytest.mark.parametrize("value", [0.0, 20.0, -1e30])
def test_a_constant_channel_has_a_scale(value: float) -> None:
    """However long nothing changes, the unit of the residuals isn't 0."""
    outlook = live(np.full(2000, value))[-1]
    assert outlook.scale[0] > 0.0
    assert value == outlook.usual[0]
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
    short = [PERSISTENCE, FAST, PROFILE, SHIFTED, DIFFERENCES, CYCLE]
    assert [[50.0 + values[200]] * len(short)] * 3 == forecasts(back)[:, short].tolist()
    assert back.scale[0] < 1.5 * before.scale[0]


def test_the_quantum_is_the_smallest_change() -> None:
    """It is a sensor's resolution; a channel that never changed has none."""
    bank = ExpertBank(1)
    quanta = []
    for value in (5.0, 5.0, 6.0, 6.25, 8.0):
        bank.observe(ONE, np.array([value]), beats())
        quanta.append(float(bank.quantum(ONE)[0]))
    assert [0.0, 0.0, 1.0, 0.25, 0.25] == quanta


def test_channels_are_forecast_each_for_itself() -> None:
    """A batch says of each channel what it would say of it alone."""
    many = np.stack([signal(100, seed) for seed in range(5)], axis=1)
    bank = ExpertBank(7)
    for values in many:
        for rows in (np.array([6, 0, 3]), np.array([1, 2])):
            together = bank.observe(rows, values[rows % 5], beats(rows.size))
    alone = [live(many[:, row])[-1] for row in (1, 2)]
    for column, expected in enumerate(alone):
        assert together.forecasts[column] == pytest.approx(expected.forecasts[0], rel=1e-9)
        assert together.features[column] == pytest.approx(expected.features[0], rel=1e-5)


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A row that is used again says what a new one would."""
    bank = ExpertBank(1)
    for value in signal():
        bank.observe(ONE, np.array([value]), beats())
    bank.reset(ONE)
    again = bank.observe(ONE, np.array([20.0]), beats())
    (expected,) = live(np.array([20.0]))
    assert expected.features.tolist() == again.features.tolist()
    assert expected.scale.tolist() == again.scale.tolist()
