"""What `train` shows on a terminal: progress while it works, and closing lines.

Called by `cli.py` on the main thread. The work itself is in `runtime/` and `model/`; it needs
torch, so that no other command imports this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from anomalyd.detection.experts import HORIZONS
from anomalyd.model import checkpoint
from anomalyd.model.asset_training import AssetPlan
from anomalyd.model.forecast_training import ForecastPlan
from anomalyd.model.training import TrainingPlan
from anomalyd.runtime import train as training
from anomalyd.runtime import train_asset as asset_training
from anomalyd.runtime import train_forecast as forecasting
from anomalyd.settings import Settings
from anomalyd.terminal_bar import bar, tell


def train(data: list[Path], out: Path, seed: int, steps: int | None, series: int | None) -> int:
    """Train on `data`, or on synthetic signals where there is none; the closing lines say how the
    model did on what was held out."""
    console = Console(stderr=True)
    default = TrainingPlan() if not data else TrainingPlan(steps=1000, learning_rate=1e-3)
    plan = TrainingPlan(steps=steps or default.steps, learning_rate=default.learning_rate)
    with _training(console, plan.steps) as step:
        if data:
            start = checkpoint.shipped_network()
            trained = training.on_recordings(data, start, seed, plan, step)
        else:
            drawn = series or training.SYNTHETIC_SERIES
            trained = training.on_synthetic(seed, plan, drawn, step)
    training.write(trained.network, trained.card, out)
    report = trained.report
    tell(
        console,
        f"held out: {report.readings} readings, {_list(HORIZONS)} ahead; mean absolute error "
        f"{_list(report.mae)} of persistence's (best single expert "
        f"{_list(report.mae_best_expert)}, seasonal-naive {_list(report.mae_seasonal_naive)}); "
        f"log-loss {_list(report.nll)} (persistence {_list(report.nll_persistence)})",
    )
    tell(console, f"model in {out}")
    return 0


def train_asset(
    settings: Settings, data: list[Path], out: Path, seed: int, steps: int | None
) -> int:
    """Train a network for the assets that the streams make of `data`."""
    console = Console(stderr=True)
    plan = AssetPlan(steps=steps or AssetPlan().steps)
    with _training(console, plan.steps) as step:
        trained = asset_training.on_recordings(data, settings.streams, seed, plan, step)
    training.write(trained.network, trained.card, out)
    config, report = trained.network.config, trained.report
    if trained.left_out:
        tell(console, f"left out, short or not of this class: {', '.join(trained.left_out)}")
    tell(
        console,
        f"{report.assets} assets of {len(config.members)} members ({', '.join(config.members)}) "
        f"and {len(config.inputs)} inputs; last fifths, {report.rows} rows: mean absolute error "
        f"{report.mae:.3f} standard deviations (linear {report.mae_linear:.3f}, mean "
        f"{report.mae_mean:.3f})",
    )
    tell(console, f"model in {out}")
    return 0


def train_forecaster(
    data: list[Path], out: Path, seed: int, steps: int | None, series: int | None
) -> int:
    """The same for the forecaster of channels with limits."""
    console = Console(stderr=True)
    default = ForecastPlan() if not data else ForecastPlan(steps=1000, learning_rate=1e-3)
    plan = replace(default, steps=steps or default.steps)
    with _training(console, plan.steps) as step:
        if data:
            start = checkpoint.shipped_forecaster()
            trained = forecasting.on_recordings(data, start, seed, plan, step)
        else:
            drawn = series or forecasting.SYNTHETIC_COURSES
            trained = forecasting.on_synthetic(seed, plan, drawn, step)
    training.write(trained.network, trained.card, out)
    report = trained.report
    tell(
        console,
        f"held out: {report.courses} windows; mean absolute error {report.mae:.3f} of "
        f"persistence's (line {report.mae_line:.3f}); within the 80 % interval: "
        f"{report.within_80_value:.1%} of values, {report.within_80_peak:.1%} of maxima",
    )
    tell(console, f"model in {out}")
    return 0


def _list(figures: Iterable[float]) -> str:
    return " / ".join(f"{figure:.3g}" for figure in figures)


@contextmanager
def _training(console: Console, steps: int) -> Iterator[training.Progress]:
    with bar(console, "training", steps) as (progress, task):

        def step(done: int, loss: float) -> None:
            progress.update(task, completed=done, description=f"training, loss {loss:.3f}")

        yield step
