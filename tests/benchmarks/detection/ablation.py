"""What each part is worth: the same benchmarks with one part at a time taken out.

Each variant alters the shipped code for the time of a run, from here; the product has no switch for
it. A variant whose part no longer exists says so by name. The budget stays as it is: what is taken
out only falls silent, and is not made up for elsewhere.

- *no LSTM*: of the experts, the one whose running error is smallest forecasts.
- *no correction*: the network weighs the experts, and adds nothing of its own.
- *without an expert*: the last value stands in for it, whatever weight it gets; for the last value
  itself, the next expert does.
- *without a view*: it never reaches its warm-up, so it can't speak.
- *without the reference*: it neither raises nor holds.
- *no caution*, *no refractory*: an alarm just past asks for no more of the next.
- *tail*: beyond what was seen, all tails go on as the heaviest; a tenth of the values is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anomalyd.detection import experts, quality, reference, score, threshold
from anomalyd.detection.reading import Floats, Rows
from anomalyd.detection.views import View
from anomalyd.model import next_step
from tests.benchmarks.detection import forecast, msl, nab, normal, skab, windows
from tests.benchmarks.detection.altered import altered
from tests.benchmarks.detection.events import tally, total
from tests.benchmarks.detection.judged import Promise, anomalyd
from tests.benchmarks.detection.outliers import outliers
from tests.benchmarks.detection.table import Cell, Table

Variant = Callable[[], AbstractContextManager[None]]
SETS = ("nab", "skab", "msl", "budget", "forecast")


def variants() -> dict[str, Variant]:
    """By name, the whole first."""
    return {
        "whole": _untouched,
        "no LSTM: the best expert": _best_expert,
        "no correction": lambda: altered(next_step, "CORRECTION_LIMIT", 0.0),
        **{f"without expert {name}": _without_expert(name) for name in experts.EXPERTS},
        **{f"without view {view.name.lower()}": _without_view(view) for view in View},
        "without stuck": lambda: altered(quality.Stillness, "score", _nothing),
        "without the reference": lambda: altered(reference.Reference, "look", _no_reference),
        "no caution after alarms": lambda: altered(score, "_CAUTION", 0.0),
        "no refractory": lambda: altered(score, "_ALMOST", np.inf),
        "tail: one slope for all": lambda: altered(score, "_STEEPEST", (3.0,) * len(View)),
        "tail: a short memory": lambda: altered(threshold, "MEMORY", 500.0),
    }


def run(folder: Path, seed: int, sets: Sequence[str], only: str) -> Iterator[Table]:
    """A table that grows by a row a variant; `only`: those with this text in their name."""
    figures = {name: _FIGURES[name](folder, seed) for name in sets if name in SETS}
    for name, variant in variants().items():
        if only not in name:
            continue
        row: dict[str, Cell] = {"variant": name}
        with variant():
            for measure in figures.values():
                row |= measure()
        yield Table("Ablation", [row])


# --- what is measured -----------------------------------------------------------------------------


def _nab(folder: Path, seed: int) -> Callable[[], Mapping[str, Cell]]:
    series = nab.load(folder)

    def measure() -> Mapping[str, Cell]:
        judged = anomalyd(series, Promise.WEEK)
        squashed = [each.onset[:, 0] / (1.0 + each.onset[:, 0]) for each in judged]
        rows = windows.gather(series, squashed)
        return {
            f"NAB {name}": windows.fixed(rows, profile, 0.5)
            for name, profile in windows.PROFILES.items()
        }

    return measure


def _skab(folder: Path, seed: int) -> Callable[[], Mapping[str, Cell]]:
    rig = skab.load(folder)
    labels = [each.label[skab.FREE_ROWS :] for each in rig.experiments]

    def measure() -> Mapping[str, Cell]:
        judged = anomalyd(rig.experiments, Promise.WEEK, skab.streams())
        alarms = [np.asarray(each.firing[skab.FREE_ROWS :].any(axis=1)) for each in judged]
        found = outliers(labels, alarms)
        return {"SKAB F1": found.f1, "FAR %": found.far}

    return measure


def _msl(folder: Path, seed: int) -> Callable[[], Mapping[str, Cell]]:
    mission = msl.load(folder)
    cuts = [slice(at, None) for at in mission.test_at]
    labels = [each.label[cut] for each, cut in zip(mission.series, cuts, strict=True)]

    def measure() -> Mapping[str, Cell]:
        judged = anomalyd(mission.series, Promise.READINGS)
        alarms = [each.score[cut, 0] >= 1.0 for each, cut in zip(judged, cuts, strict=True)]
        found = total(tally(*pair, msl.GAP) for pair in zip(labels, alarms, strict=True))
        return {"MSL recall": found.recall, "precision": found.precision}

    return measure


def _budget(folder: Path, seed: int) -> Callable[[], Mapping[str, Cell]]:
    sets = normal.load(folder, seed)

    def measure() -> Mapping[str, Cell]:
        (table,) = normal.run(sets, {"anomalyd": anomalyd})
        return {f"FA {row['set']}": row["events / promised"] for row in table.rows}

    return measure


def _forecast(folder: Path, seed: int) -> Callable[[], Mapping[str, Cell]]:
    series = nab.load(folder)

    def measure() -> Mapping[str, Cell]:
        (table,) = forecast.run(series)
        (row,) = (row for row in table.rows if row["forecaster"] == "anomalyd")
        return {f"MAE {name}": cell for name, cell in row.items() if name != "forecaster"}

    return measure


_FIGURES: Mapping[str, Callable[[Path, int], Callable[[], Mapping[str, Cell]]]] = {
    "nab": _nab,
    "skab": _skab,
    "msl": _msl,
    "budget": _budget,
    "forecast": _forecast,
}

# --- what is altered ------------------------------------------------------------------------------


@contextmanager
def _untouched() -> Iterator[None]:
    yield


@contextmanager
def _best_expert() -> Iterator[None]:
    def best(bank: Any, rows: Rows, forecasts: Floats) -> Floats:
        errors = bank._state[rows][:, experts._ERRORS]
        chosen = errors.argmin(axis=1).reshape(-1, *[1] * (forecasts.ndim - 1))
        taken = np.take_along_axis(forecasts, chosen, axis=-1)
        return np.broadcast_to(taken, forecasts.shape)

    with _forecasting(best), altered(next_step, "CORRECTION_LIMIT", 0.0):
        yield


def _without_expert(name: str) -> Variant:
    at = experts.EXPERTS.index(name)
    stand_in = 1 if at == 0 else 0

    def without(bank: Any, rows: Rows, forecasts: Floats) -> Floats:
        replaced = forecasts.copy()
        replaced[..., at] = replaced[..., stand_in]
        return replaced

    return lambda: _forecasting(without)


@contextmanager
def _forecasting(change: Callable[[Any, Rows, Floats], Floats]) -> Iterator[None]:
    """The network is shown changed forecasts (B, ..., experts) of the bank's experts."""
    observe = experts.ExpertBank.observe

    def changed(bank: Any, rows: Rows, *others: Any) -> experts.Outlook:
        outlook = observe(bank, rows, *others)
        return outlook._replace(forecasts=change(bank, rows, outlook.forecasts))

    with altered(experts.ExpertBank, "observe", changed):
        yield


def _without_view(view: View) -> Variant:
    warmups = score._WARMUPS.copy()
    warmups[view] = np.inf
    return lambda: altered(score, "_WARMUPS", warmups)


def _nothing(stillness: object, rows: Rows, values: Floats) -> Floats:
    return np.zeros(rows.size)


_LOOK = reference.Reference.look


def _no_reference(held: reference.Reference, *about: Any) -> reference.Held:
    found = _LOOK(held, *about)
    return found._replace(score=np.zeros_like(found.score))
