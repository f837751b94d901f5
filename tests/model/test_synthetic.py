"""The corpus is what its seed says, and is like what sensors say."""

from __future__ import annotations

import numpy as np

from anomalyd.model.synthetic import DAY_S, corpus


def test_the_same_seed_gives_the_same_signals() -> None:
    """Two draws with one seed are equal to the last bit, with two seeds they are not."""
    first, again, other = corpus(7, 20, 300), corpus(7, 20, 300), corpus(8, 20, 300)
    assert np.array_equal(first.values, again.values)
    for figures, same in zip(first, again, strict=True):
        assert np.array_equal(figures, same)
    assert not np.array_equal(first.values, other.values)


def test_a_longer_corpus_begins_with_the_shorter_one() -> None:
    """More series are added, none is changed."""
    assert np.array_equal(corpus(7, 5, 300).values, corpus(7, 20, 300).values[:5])


def test_it_holds_every_kind_of_sensor() -> None:
    """Cycles, steady noise, quantised and saturated instruments, machines that stand still."""
    drawn = corpus(3, 400, 1024)
    values = drawn.values
    assert bool(np.isfinite(values).all())
    still = (np.diff(values) == 0.0).mean(axis=1)
    at_limit = (values == values.max(axis=1, keepdims=True)).mean(axis=1)
    levels = np.array([np.unique(series).size for series in values])
    assert bool((drawn.period > 0).any() and (drawn.period == 0).any())
    assert bool((still > 0.5).any() and (still == 0.0).any())
    assert bool((at_limit > 0.1).any())
    assert bool((levels < 50).any() and (levels == 1024).any())


def test_some_series_follow_the_time_of_day() -> None:
    """About three in ten, at intervals that a day is a whole number of; they begin at any time of a
    week, and are more like themselves a day before than half a day before."""
    drawn = corpus(3, 400, 1024)
    daily = drawn.period * drawn.interval_s == DAY_S
    assert 0.2 < daily.mean() < 0.4
    assert (drawn.interval_s > 0.0).all()
    assert 0.0 <= drawn.start_s.min() and 6.0 * DAY_S < drawn.start_s.max() < 7.0 * DAY_S
    closer = []
    for values, period in zip(drawn.values[daily], drawn.period[daily].astype(int), strict=True):
        if period <= 288:
            day, half = (
                np.abs(values[lag:] - values[:-lag]).mean() for lag in (period, period // 2)
            )
            closer.append(day < half)
    assert np.mean(closer) > 0.75


def test_weekends_are_quieter_in_some() -> None:
    """Of series that follow the time of day, some are another day on Saturdays and Sundays, and
    all the others aren't."""
    drawn = corpus(3, 400, 2048)
    calmer = []
    for at in np.flatnonzero((drawn.period == 288) | (drawn.period == 144)):
        times = drawn.start_s[at] + drawn.interval_s[at] * np.arange(2048)
        weekend = (times // DAY_S + 3) % 7 >= 5
        if 288 < weekend.sum() < 2048 - 288:
            values = drawn.values[at]
            calmer.append(values[weekend].std() < 0.6 * values[~weekend].std())
    assert 0.05 < np.mean(calmer) < 0.6
