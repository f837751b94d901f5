"""A simulated plant with faults that are known to the row, and the detection curve by size.

Channels in assets of 8: each is a mixture of its own daily cycle, the asset's machine cycle and the
asset's slow wander, both behind a lag of its own, plus noise of one of four kinds (Gaussian,
heavy-tailed, coloured, of changing loudness), in part quantised. Everything is in units of the
channel's *spread*: the standard deviation of its noise, the part that nobody can foresee. A reading
every 5 minutes; two weeks without faults; then one fault in each asset every other day.

Faults are of 6 kinds and 5 sizes, in units of the spread: a spike of one reading; a shift of the
level; a drift up to the size; additional noise of that standard deviation; decoupled, where the
asset's part is taken from another time, its root mean square difference the size; and stuck, which
has no height: its sizes are how long it stands still, in units of an hour. Found is a fault if an
alert is raised on its own channel from its beginning to an hour after its end. An alert that stands
already finds nothing. *By lot* says what share alarms as frequent as its false alarms would have
found at random moments. False alarms are those raised on an asset with no fault in the last 24
hours, the first 1 000 rows left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anomalyd.detection.reading import Floats
from anomalyd.settings import Stream
from tests.benchmarks.detection.baselines import weekly_risk
from tests.benchmarks.detection.judged import Detector, Judged, Promise
from tests.benchmarks.detection.series import Series
from tests.benchmarks.detection.table import Cell, Table

KINDS = ("spike", "shift", "drift", "noise", "decoupled", "stuck")
SIZES = (1, 2, 4, 8, 16)
MEMBERS = 8
INTERVAL_S = 300.0
DAY = 288
STREAMS = (Stream(topic="plant/{machine}/{sensor}", group_by=("machine",)),)

_START_S = 1_699_833_600.0  # a Monday
_FREE_DAYS, _EVERY_DAYS, _IGNORED, _AFTER = 14, 2, 1000, 12
_ROWS = {"spike": 1, "shift": 72, "drift": 144, "noise": 72, "decoupled": 72}


@dataclass(frozen=True, slots=True)
class Fault:
    series: int
    channel: int
    kind: str
    size: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plant:
    series: Sequence[Series]
    """one for each asset"""
    faults: Sequence[Fault]


def make(seed: int, channels: int, weeks: int) -> Plant:
    """The same seed gives the same plant and faults."""
    rows, assets = weeks * 7 * DAY, channels // MEMBERS
    rng = np.random.default_rng(seed)
    faults = _script(rng, assets, rows)
    times = _START_S + INTERVAL_S * np.arange(rows, dtype=np.float64)
    series = []
    for asset in range(assets):
        values = _asset(rng, rows, [fault for fault in faults if fault.series == asset])
        names = tuple(f"m{asset}/s{sensor}" for sensor in range(MEMBERS))
        series.append(Series(f"m{asset}", names, times, values))
    return Plant(series, faults)


def run(plant: Plant, detectors: Mapping[str, Detector]) -> list[Table]:
    """The curve by size, the same by kind, and the false alarms."""
    series = plant.series
    channels = sum(len(each.channels) for each in series)
    title = f"Synthetic plant, {channels} channels, {len(series[0]) / 7 / DAY:.0f} weeks"
    curve = Table(f"{title}: share of {len(plant.faults)} faults found, by size in spreads")
    by_kind = Table(f"{title}: share found, by kind and size")
    for name, detector in detectors.items():
        judged = detector(series, Promise.WEEK, STREAMS)
        delays = [_delay(fault, judged) for fault in plant.faults]
        curve.add({"detector": name, **_shares(plant.faults, delays), **_alarms(plant, judged)})
        for kind in KINDS:
            chosen = [index for index, fault in enumerate(plant.faults) if fault.kind == kind]
            faults = [plant.faults[index] for index in chosen]
            of_kind = [delays[index] for index in chosen]
            by_kind.add({"kind": kind, "detector": name, **_shares(faults, of_kind)})
    by_kind.notes.append("delay: median of those found, readings of 5 minutes")
    return [curve, by_kind]


def _delay(fault: Fault, judged: Sequence[Judged]) -> int | None:
    """Readings until an alert was raised."""
    span = slice(fault.first, fault.last + _AFTER + 1)
    raised = np.flatnonzero(judged[fault.series].raised[span, fault.channel])
    return int(raised[0]) if raised.size else None


def _shares(faults: Sequence[Fault], delays: Sequence[int | None]) -> dict[str, Cell]:
    row: dict[str, Cell] = {}
    for size in SIZES:
        of_size = [delay for fault, delay in zip(faults, delays, strict=True) if fault.size == size]
        row[f"{size}"] = sum(delay is not None for delay in of_size) / max(len(of_size), 1)
    found = [delay for delay in delays if delay is not None]
    return row | {"delay": float(np.median(found)) if found else None}


def _alarms(plant: Plant, judged: Sequence[Judged]) -> dict[str, Cell]:
    quiet = np.ones((len(plant.series), len(plant.series[0])), dtype=np.bool_)
    quiet[:, :_IGNORED] = False
    for fault in plant.faults:
        quiet[fault.series, fault.first : fault.last + DAY] = False
    channels = MEMBERS * len(plant.series)
    false = sum(int(each.raised[rows].sum()) for each, rows in zip(judged, quiet, strict=True))
    promised = float(quiet.sum()) * MEMBERS * weekly_risk(plant.series[0], channels)
    rate = false / (float(quiet.sum()) * MEMBERS)
    spans = np.array([fault.last + 1 + _AFTER - fault.first for fault in plant.faults])
    by_lot = float(np.mean(1.0 - np.exp(-rate * spans)))
    return {
        "by lot": by_lot,
        "false alarms": false,
        "promised": promised,
        "ratio": false / promised,
    }


# --- the signals ----------------------------------------------------------------------------------


def _script(rng: np.random.Generator, assets: int, rows: int) -> list[Fault]:
    """Kinds and sizes in equal numbers, dealt out over the assets and days."""
    first_rows = range(_FREE_DAYS * DAY, rows - _EVERY_DAYS * DAY + 1, _EVERY_DAYS * DAY)
    places = [(asset, first) for asset in range(assets) for first in first_rows]
    deck = [(kind, size) for kind in KINDS for size in SIZES]
    dealt = [deck[index % len(deck)] for index in range(len(places))]
    faults = []
    for index, (asset, first) in zip(rng.permutation(len(dealt)).tolist(), places, strict=True):
        kind, size = dealt[index]
        begins = first + int(rng.integers(DAY))
        length = _ROWS.get(kind, _AFTER * size)
        channel = int(rng.integers(MEMBERS))
        faults.append(Fault(asset, channel, kind, size, begins, begins + length - 1))
    return faults


def _asset(rng: np.random.Generator, rows: int, faults: Sequence[Fault]) -> Floats:
    """(rows, MEMBERS) values with their faults, in the units of the instruments."""
    shared = _shared(rng, rows)
    values = _daily(rng, rows) + shared + _noise(rng, rows)
    for fault in faults:
        _disturb(rng, values, shared, fault)
    step = rng.choice([0.0, 0.0, 0.5], MEMBERS)
    values = np.where(step > 0.0, np.round(values / np.maximum(step, 1e-9)) * step, values)
    for fault in faults:
        if fault.kind == "stuck":
            values[fault.first : fault.last + 1, fault.channel] = values[fault.first, fault.channel]
    return 10.0 ** rng.uniform(-2.0, 3.0, MEMBERS) * (values + rng.normal(0.0, 30.0, MEMBERS))


def _shared(rng: np.random.Generator, rows: int) -> Floats:
    """(rows, MEMBERS) the machine's cycle and the asset's wander, as each channel shows them."""
    lengths = rng.uniform(0.8, 1.2, rows) * rng.uniform(36.0, 240.0)
    phase = np.cumsum(1.0 / lengths)
    load = np.where(phase % 1.0 < rng.uniform(0.3, 0.7), 1.0, 0.0)
    wander = _lagged(rng.standard_normal((rows, 1)), np.array([200.0]))
    wander /= wander.std()
    lags = np.exp(rng.uniform(np.log(1.0), np.log(24.0), MEMBERS))
    machine = _lagged(np.repeat(load[:, None], MEMBERS, axis=1), lags)
    return machine * rng.uniform(-8.0, 8.0, MEMBERS) + wander * rng.uniform(-4.0, 4.0, MEMBERS)


def _daily(rng: np.random.Generator, rows: int) -> Floats:
    """(rows, MEMBERS) a daily cycle, weaker at the weekend on some."""
    day = np.arange(rows)[:, None] / DAY
    weekend = 1.0 - rng.choice([0.0, 0.5], MEMBERS) * (day % 7.0 >= 5.0)
    height, turn = rng.uniform(0.0, 6.0, (2, MEMBERS)), rng.uniform(0.0, 1.0, (2, MEMBERS))
    first, second = (np.sin(2.0 * np.pi * (k * day + turn[k - 1])) for k in (1, 2))
    return np.asarray(weekend * (height[0] * first + 0.5 * height[1] * second))


def _noise(rng: np.random.Generator, rows: int) -> Floats:
    """(rows, MEMBERS) of unit standard deviation."""
    shape = rows, MEMBERS
    gauss = rng.standard_normal(shape)
    loudness = np.exp(0.5 * _unit(_lagged(rng.standard_normal(shape), np.full(MEMBERS, 100.0))))
    kinds = [
        gauss,
        rng.standard_t(4.0, shape),
        _lagged(gauss, np.full(MEMBERS, 3.0)),
        gauss * loudness,
    ]
    chosen = rng.integers(len(kinds), size=MEMBERS)
    return _unit(np.stack([kinds[kind][:, at] for at, kind in enumerate(chosen.tolist())], axis=1))


def _disturb(rng: np.random.Generator, values: Floats, shared: Floats, fault: Fault) -> None:
    span = slice(fault.first, fault.last + 1)
    rows, sign = fault.last + 1 - fault.first, float(rng.choice([-1.0, 1.0]))
    column = values[:, fault.channel]
    if fault.kind in ("spike", "shift"):
        column[span] += sign * fault.size
    elif fault.kind == "drift":
        column[span] += sign * fault.size * np.linspace(0.0, 1.0, rows)
    elif fault.kind == "noise":
        column[span] += fault.size * rng.standard_normal(rows)
    elif fault.kind == "decoupled":
        other = int(rng.integers(rows, _FREE_DAYS * DAY))
        mine = shared[:, fault.channel]
        apart = mine[fault.first - other : fault.last + 1 - other] - mine[span]
        column[span] += fault.size * apart / (np.sqrt(np.mean(apart**2)) + 1e-9)


def _lagged(drive: Floats, readings: Floats) -> Floats:
    """(rows, K) first-order lag of each column."""
    out, state = np.empty_like(drive), drive[0].copy()
    for index, row in enumerate(drive):
        state = state + (row - state) / readings
        out[index] = state
    return out


def _unit(values: Floats) -> Floats:
    return np.asarray(values / values.std(axis=0))
