"""Forecast error on series nobody has seen before: anomalyd against each simple expert alone.

NAB's files; horizons of 1, 6 and 24 readings; the mean absolute error over the rows behind the
probation, in standard deviations of the file there, then the mean over the files. The experts get
their best constants and, per file, hindsight: "best expert" takes the one that was best on that
file.

Experts, with EW(k) the exponentially weighted mean over k readings: the last value; EW(8); EW(400);
the time-of-day profile; the last value plus the profile's change; an AR(1) on differences, its
correlation over EW(300), differences clipped at 6 standard deviations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anomalyd.detection.reading import Floats
from tests.benchmarks.detection.judged import Promise, anomalyd
from tests.benchmarks.detection.rules import before, day_profile, ewma
from tests.benchmarks.detection.series import Series
from tests.benchmarks.detection.table import Cell, Table
from tests.benchmarks.detection.windows import probation

HORIZONS = (1, 6, 24)
_MEMORY, _CLIP, _LOWEST, _HIGHEST = 300.0, 6.0, -0.9, 0.95


def run(series: Sequence[Series]) -> list[Table]:
    """A row for each forecaster, a column for each horizon."""
    ours = {horizon: ahead(series, horizon) for horizon in HORIZONS}
    errors: dict[str, dict[int, Floats]] = {}
    for horizon in HORIZONS:
        for name, figures in _errors(series, ours[horizon], horizon).items():
            errors.setdefault(name, {})[horizon] = figures
    table = Table(f"Forecast error on NAB, {len(series)} files: MAE / standard deviation")
    for name, by_horizon in errors.items():
        row: dict[str, Cell] = {"forecaster": name}
        for horizon in HORIZONS:
            mine = by_horizon.get(horizon)
            row[f"h = {horizon}"] = None if mine is None else float(np.nanmean(mine))
        table.add(row)
    table.add(_gain(errors))
    table.notes.append("to reach: -18 % at h = 1, -20 % at h = 24 against the best per file")
    return [table]


def ahead(series: Sequence[Series], horizon: int) -> Sequence[Floats] | None:
    """anomalyd's forecasts of each reading of each series (N,), made `horizon` readings before;
    None where it makes none."""
    if horizon != 1:
        return None
    return [each.expected[:, 0] for each in anomalyd(series, Promise.WEEK)]


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
        errors["best expert per file"] = min(errors[name] for name in names)
        for name, error in errors.items():
            found.setdefault(name, []).append(error)
    return {name: np.array(figures) for name, figures in found.items()}


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


def _gain(errors: Mapping[str, Mapping[int, Floats]]) -> dict[str, Cell]:
    row: dict[str, Cell] = {"forecaster": "anomalyd against the best per file, %"}
    for horizon, mine in errors.get("anomalyd", {}).items():
        best = float(np.nanmean(errors["best expert per file"][horizon]))
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
