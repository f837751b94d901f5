"""The simple rules that anomalyd has to beat: what each looks at, reading by reading.

A *view* is a figure >= 0 for each reading, high = anomalous, from what came before; NaN while there
is nothing to compare with. `baselines.py` calibrates them. All are loops over readings, vectorised
over the channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from anomalyd.detection.reading import Floats
from tests.benchmarks.detection.series import Series

View = Callable[[Series], Floats]
"""series -> (N, K)"""

_DAY_S = 86400.0
_PROFILE_RATE = 0.3
_TREE_WINDOW = 250
_KNOWN_AFTER = 30


def ewma(values: Floats, readings: float) -> Floats:
    """(N, K) exponentially weighted mean up to each row; at first the plain mean."""
    out = np.empty_like(values)
    mean = np.zeros(values.shape[1])
    for index, row in enumerate(values):
        mean = mean + max(1.0 / readings, 1.0 / (index + 1)) * (row - mean)
        out[index] = mean
    return out


def before(figures: Floats) -> Floats:
    """(N, K) each row's predecessor; NaN in the first."""
    return np.vstack([np.full((1, figures.shape[1]), np.nan), figures[:-1]])


def persistence(series: Series) -> Floats:
    """Running mean over 30 readings of the change from one reading to the next."""
    changed = np.abs(series.values - before(series.values))
    return ewma(np.nan_to_num(changed), 30.0)


def profile(series: Series) -> Floats:
    """Distance from the time-of-day profile."""
    return np.abs(series.values - day_profile(series, 0))


def deviation(series: Series) -> Floats:
    """Distance from a running mean over 50 readings, in running standard deviations (1 000)."""
    distance = np.abs(series.values - before(ewma(series.values, 50.0)))
    spread = np.sqrt(before(ewma(np.nan_to_num(distance) ** 2, 1000.0)))
    spread[:_KNOWN_AFTER] = np.nan
    return distance / (spread + 1e-9)


def half_space_trees(series: Series) -> Floats:
    """River's HalfSpaceTrees, 25 trees of height 8, on the value and its change, a model a channel.

    Tan, Ting and Liu, "Fast anomaly detection for streaming data", 2011.
    """
    columns = [_trees(column[:, None]) for column in series.values.T]
    return np.stack(columns, axis=1)


def half_space_trees_joint(series: Series) -> Floats:
    """The same, one model for all channels of the asset."""
    return np.repeat(_trees(series.values)[:, None], len(series.channels), axis=1)


VIEWS: Mapping[str, View] = {
    "persistence EW30": persistence,
    "time-of-day profile": profile,
    "EWMA z": deviation,
    "HalfSpaceTrees": half_space_trees,
}


def day_profile(series: Series, ahead: int) -> Floats:
    """(N, K) what the profile, as it stood one reading before, says of the reading `ahead` + 1
    later; NaN at the start.

    Slots of one sampling interval over a day, each updated by 0.3 of its error and read as a mean
    over +- 1/48 of a day; a running mean over 60 readings stands in for slots not seen yet.
    """
    size = max(round(_DAY_S / series.interval_s), 1)
    reach = max(size // 48, 0)
    slots = (series.times % _DAY_S / _DAY_S * size).astype(np.intp) % size
    steps = np.arange(-reach, reach + 1)
    profile = np.full((size, series.values.shape[1]), np.nan)
    level = before(ewma(series.values, 60.0))
    out = np.empty_like(series.values)
    for index, (slot, row) in enumerate(zip(slots.tolist(), series.values, strict=True)):
        around = profile[(slot + ahead + steps) % size]
        known = ~np.isnan(around[:, 0])
        out[index] = around[known].mean(axis=0) if known.any() else level[index]
        fresh = np.isnan(profile[slot, 0])
        profile[slot] = row if fresh else profile[slot] + _PROFILE_RATE * (row - profile[slot])
    return out


def river_is_there() -> bool:
    """HalfSpaceTrees needs it: pip install 'anomalyd[bench]'."""
    try:
        import river  # noqa: F401
    except ImportError:
        return False
    return True


def _trees(values: Floats) -> Floats:
    """(N,) score of the rows of `values` (N, F) and their changes."""
    from river.anomaly import HalfSpaceTrees
    from river.preprocessing import MinMaxScaler

    model = MinMaxScaler() | HalfSpaceTrees(n_trees=25, height=8, window_size=_TREE_WINDOW, seed=1)
    changes = np.vstack([np.zeros((1, values.shape[1])), np.diff(values, axis=0)])
    out = np.empty(len(values))
    for index, row in enumerate(np.hstack([values, changes]).tolist()):
        seen = dict(enumerate(row))
        out[index] = model.score_one(seen) if index >= _TREE_WINDOW else np.nan
        model.learn_one(seen)
    return out
