"""Forecast error on series nobody has seen before: anomalyd against each simple expert alone.

NAB's files; horizons of 1, 6 and 24 readings; the mean absolute error over the rows behind the
probation, in standard deviations of the file there, then the mean over the files. The experts get
their best constants and, per file, hindsight: "best expert" takes the one that was best on that
file. "Experts, fitted afterwards" is what no forecaster could know: their linear combination with
the least absolute error on the very rows that are scored, file by file (by iteratively reweighted
least squares: Schlossmacher, "An iterative technique for absolute deviations curve fitting", 1973).
It bounds what weighing these experts alone can gain.

Experts, with EW(k) the exponentially weighted mean over k readings: the last value; EW(8); EW(400);
the time-of-day profile; the last value plus the profile's change; an AR(1) on differences, its
correlation over EW(300), differences clipped at 6 standard deviations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anomalyd.detection.reading import Floats, Rows
from anomalyd.model.predictor import NextStepPredictor
from tests.benchmarks.detection.altered import altered
from tests.benchmarks.detection.judged import Promise, anomalyd
from tests.benchmarks.detection.rules import before, day_profile, ewma
from tests.benchmarks.detection.series import Series
from tests.benchmarks.detection.table import Cell, Table
from tests.benchmarks.detection.windows import probation

HORIZONS = (1, 6, 24)
_BEST = "best expert per file"
_FITTED = "experts, fitted afterwards"
_ROUNDS = 30
_MEMORY, _CLIP, _LOWEST, _HIGHEST = 300.0, 6.0, -0.9, 0.95


def run(series: Sequence[Series]) -> list[Table]:
    """A row for each forecaster, a column for each horizon."""
    ours = ahead(series)
    errors: dict[str, dict[int, Floats]] = {}
    for horizon in HORIZONS:
        for name, figures in _errors(series, ours.get(horizon), horizon).items():
            errors.setdefault(name, {})[horizon] = figures
    table = Table(f"Forecast error on NAB, {len(series)} files: MAE / standard deviation")
    for name, by_horizon in errors.items():
        row: dict[str, Cell] = {"forecaster": name}
        for horizon in HORIZONS:
            mine = by_horizon.get(horizon)
            row[f"h = {horizon}"] = None if mine is None else float(np.nanmean(mine))
        table.add(row)
    table.add(_gain(errors, per_file=True))
    table.add(_gain(errors, per_file=False))
    table.notes.append("to reach: -18 % at h = 1, -20 % at h = 24 against the best per file")
    return [table]


def ahead(series: Sequence[Series]) -> dict[int, list[Floats]]:
    """anomalyd's forecasts by horizon: of each reading of each series (N,), made so many readings
    before; NaN where there was none.

    They are taken down where the pipeline gets them, during a replay: a verdict's `expected` is
    that of the view that raised an alert.
    """
    told: list[tuple[Rows, Floats]] = []
    observe = NextStepPredictor.observe

    def noted(self: NextStepPredictor, rows: Rows, *others: Any) -> Any:
        prediction = observe(self, rows, *others)
        told.append((rows, prediction.ahead))
        return prediction

    with altered(NextStepPredictor, "observe", noted):
        anomalyd(series, Promise.WEEK)
    del told[0]  # the rehearsal, before any reading
    rows = np.concatenate([each for each, _ in told])
    figures = np.concatenate([each for _, each in told], axis=1)
    found: dict[int, list[Floats]] = {}
    # A channel's row in the pipeline is its place in the recording: none is ever retired.
    for index, each in enumerate(series):
        of = figures[:, rows == index]
        for horizon, mine in zip(HORIZONS, of, strict=True):
            found.setdefault(horizon, []).append(_placed(each, mine, horizon))
    return found


def _placed(series: Series, forecasts: Floats, horizon: int) -> Floats:
    """(N,) each forecast at the reading that it is of: there is one from every reading but the last
    and those that come late."""
    newest = np.maximum.accumulate(series.times)
    taken = np.concatenate(([True], series.times[1:] > newest[:-1]))
    at = np.flatnonzero(taken)[horizon:]
    out = np.full(len(series), np.nan)
    out[at] = forecasts[: at.size]
    return out


def experts(series: Series, horizon: int) -> dict[str, Floats]:
    """(N,) what each expert says of each row, `horizon` rows before it."""
    values = series.values
    coming = np.vstack([day_profile(series, horizon - 1)[1:], values[-1:]])
    now = np.vstack([day_profile(series, -1)[1:], values[-1:]])
    forecasts = {
        "persistence": values,
        "EW8": ewma(values, 8.0),
        "EW400": ewma(values, 400.0),
        "time-of-day profile": coming,
        "profile + offset": values + coming - now,
        "AR on differences": values + _autoregressive(values, horizon),
    }
    return {name: _shifted(figures[:, 0], horizon) for name, figures in forecasts.items()}


def _errors(
    series: Sequence[Series], ours: Sequence[Floats] | None, horizon: int
) -> dict[str, Floats]:
    """(files,) of each forecaster, and of the best expert of each file."""
    found: dict[str, list[float]] = {}
    for index, each in enumerate(series):
        forecasts = experts(each, horizon)
        names = list(forecasts)
        if ours is not None:
            forecasts["anomalyd"] = ours[index]
        errors = _scaled(each, forecasts)
        errors[_BEST] = min(errors[name] for name in names)
        errors[_FITTED] = _fitted(each, [forecasts[name] for name in names])
        for name, error in errors.items():
            found.setdefault(name, []).append(error)
    return {name: np.array(figures) for name, figures in found.items()}


def _fitted(series: Series, forecasts: Sequence[Floats]) -> float:
    """Error of the best combination of `forecasts` and a constant, known afterwards."""
    seen = np.column_stack([*forecasts, np.full(len(series), series.values.std())])
    rows = (np.arange(len(series)) >= probation(len(series))) & ~np.isnan(seen).any(axis=1)
    truth, seen = series.values[rows, 0], seen[rows]
    spread = float(truth.std())
    if spread == 0.0:
        return np.nan
    # What is alike (a channel without a profile yet) makes no difference: the smallest weights.
    weight, least = np.ones(truth.size), 1e-3 * spread
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)
        share = np.linalg.lstsq(seen * root[:, None], truth * root, rcond=1e-9)[0]
        missed = np.abs(truth - seen @ share)
        weight = 1.0 / np.maximum(missed, least)
    return float(missed.mean()) / spread


def _scaled(series: Series, forecasts: Mapping[str, Floats]) -> dict[str, float]:
    """On the rows for which all of them have a forecast."""
    rows = np.arange(len(series)) >= probation(len(series))
    for forecast in forecasts.values():
        rows &= ~np.isnan(forecast)
    truth = series.values[rows, 0]
    spread = float(truth.std())
    if spread == 0.0:
        return dict.fromkeys(forecasts, np.nan)
    return {
        name: float(np.abs(truth - forecast[rows]).mean()) / spread
        for name, forecast in forecasts.items()
    }


def _gain(errors: Mapping[str, Mapping[int, Floats]], per_file: bool) -> dict[str, Cell]:
    """Against the best expert of each file, or the one that is best over all files."""
    row: dict[str, Cell] = {
        "forecaster": f"anomalyd - best expert {'per file' if per_file else 'for all files'}, %"
    }
    aside = (_BEST, _FITTED, "anomalyd")
    rivals = [_BEST] if per_file else [name for name in errors if name not in aside]
    for horizon, mine in errors.get("anomalyd", {}).items():
        best = min(float(np.nanmean(errors[name][horizon])) for name in rivals)
        row[f"h = {horizon}"] = 100.0 * (float(np.nanmean(mine)) / best - 1.0)
    return row


def _autoregressive(values: Floats, horizon: int) -> Floats:
    """(N, K) change over the coming `horizon` readings."""
    changes = np.nan_to_num(values - before(values))
    spread = np.sqrt(ewma(changes**2, _MEMORY))
    clipped = np.clip(changes, -_CLIP * spread, _CLIP * spread)
    products = np.nan_to_num(clipped * before(clipped))
    correlation = ewma(products, _MEMORY) / (ewma(clipped**2, _MEMORY) + 1e-300)
    phi = np.clip(correlation, _LOWEST, _HIGHEST)
    return clipped * phi * (1.0 - phi**horizon) / (1.0 - phi)


def _shifted(forecast: Floats, rows: int) -> Floats:
    return np.concatenate([np.full(rows, np.nan), forecast[:-rows]])
