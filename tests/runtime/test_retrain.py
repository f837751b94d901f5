"""The whole of learning on site: trained, judged, tried in shadow, promoted, and taken back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyd.adapters.models.manifest import NEXT_STEP, SHIPPED, Manifest
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Readings
from anomalyd.model import checkpoint
from anomalyd.model.checkpoint import shipped_network
from anomalyd.model.next_step_module import NextStepModule
from anomalyd.model.predictor import NextStepPredictor
from anomalyd.runtime import registry
from anomalyd.runtime.agenda import AgendaFile
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.history import History
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.retrain import Retrainer
from anomalyd.runtime.trial import Step
from anomalyd.settings import Channels, Retrain, Settings, State
from anomalyd.settings import History as HistoryRules

START_S, CHANNELS = 1_748_772_000.0, 8
WITHIN_S = 120.0


class Site:
    """A plant's daemon without its threads but `retrain` and `history`."""

    def __init__(self, folder: Path, rules: Retrain, at_s: int = 0, threads: bool = True) -> None:
        """`threads`: False = what is asked of the pipeline is done at once, and the test calls
        `turn`."""
        self.settings = Settings(
            channels=Channels(max=64),
            state=State(directory=folder),
            history=HistoryRules(readings_per_channel_per_day=10**9),
            retrain=rules,
        )
        self.conditions = Conditions()
        self.store = registry.open_store(folder, 8)
        served = registry.load((), folder, 64, self.store)
        self.pipeline = Pipeline(
            "test", self.settings.channels, self.settings.alerts, (), served.predictors
        )
        self.history = History(
            folder / "history", self.settings.history, self.pipeline.table, self.conditions
        )
        added = [self.pipeline.add(Channel(f"c{at}", {}, -1)) for at in range(CHANNELS)]
        self.rows = [row for row in added if row is not None]
        self.steps: list[tuple[Step, str, str]] = []
        self.busy: str | None = None
        self.alerts: list[str] = []
        self._asked: list[Callable[[], None]] = []
        self._at = at_s
        ask = self._asked.append if threads else _at_once
        self.retrainer = Retrainer(
            self.settings, self.store, self.history, self.pipeline, ask,
            self.conditions, lambda *step: self.steps.append(step), lambda: self.busy,
            lambda: START_S + self._at,
        )  # fmt: skip

    def add(self, error: float) -> str:
        """A version in the registry whose weights are that far off."""
        torch.manual_seed(5)
        module = NextStepModule.of(shipped_network())
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(error * torch.randn_like(parameter))
        about = Manifest(role=NEXT_STEP, created_s=START_S + 1e6, seed=0, code_version="")
        return self.store.add(checkpoint.dump(module.network(), {}), about)

    @contextmanager
    def turning(self) -> Iterator[Site]:
        """As `running`, without the thread `retrain`."""
        self.history.start()
        self.retrainer.open()
        try:
            yield self
        finally:
            self.history.stop(5.0)

    def turn(self, readings: int) -> None:
        """So many readings, then whatever is due."""
        self.live(readings)
        self.retrainer.turn()

    @contextmanager
    def running(self) -> Iterator[Site]:
        self.history.start()
        self.retrainer.start()
        try:
            yield self
        finally:
            assert self.retrainer.stop(5.0)
            self.history.stop(5.0)

    def live(self, readings: int, jump: float = 0.0, kick: float = 0.0) -> None:
        """What no synthetic series does: every other reading stands high, by random turns; every
        twelfth higher still, by up to `kick`."""
        rng = np.random.default_rng(self._at)
        high = rng.choice([1.0, 3.0], (readings, CHANNELS))
        high *= ((self._at + np.arange(readings)) % 2)[:, None]
        values = 50.0 + high + rng.normal(0.0, 0.1, (readings, CHANNELS))
        kicked = (self._at + np.arange(readings)) % 12 == 0
        values[kicked] += kick * rng.random((int(kicked.sum()), CHANNELS))
        values[-1] += jump
        times = np.repeat(START_S + self._at + np.arange(readings), CHANNELS).astype(float)
        self._at += readings
        outcome = self.pipeline.step(Readings(np.tile(self.rows, readings), times, values.ravel()))
        self.alerts += [each.id for each in outcome.alerts if each.transition == "raised"]
        self.history.record(outcome.verdicts)
        self.between()

    def between(self) -> None:
        while self._asked:
            self._asked.pop(0)()

    def until(self, step: Step, readings: int = 0) -> tuple[Step, str, str]:
        """Let time pass, with so many readings at a time, until it is told."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            found = [each for each in self.steps if each[0] == step]
            if found:
                return found[-1]
            assert time.monotonic() < deadline, f"{self.steps}, {self.conditions.now()}"
            if readings:
                self.live(readings)
            self.between()
            time.sleep(0.02)


def _at_once(change: Callable[[], None]) -> None:
    change()


def test_a_model_is_trained_tried_promoted_and_taken_back(tmp_path: Path) -> None:
    """From the command to service; the second, which floods, is back out within minutes of the
    plant's time, and the alerts of neither step are the swap's."""
    rules = Retrain(every_h=0.0, shadow_h=0.01, least_readings=1000, steps=160, keep_models=8)
    site = Site(tmp_path, rules)
    site.live(3000)
    site.alerts.clear()
    with site.running():
        site.retrainer.request()
        version = site.until("shadow")[1]
        assert "shadow" == site.store.show(version).status
        site.until("promoted", readings=1)
        assert version == site.store.current(NEXT_STEP)
        assert version == site.pipeline.predictors.serving.name
        assert [] == site.alerts
        assert {"shadow": 1} == dict(site.retrainer.results)
        # Somebody promotes one by hand that is no good: it goes back by itself.
        _wait(site, lambda: site.pipeline.shadow is None)
        bad = site.add(0.01)
        site.steps.clear()
        site.store.promote(bad, "tried on line 2", START_S + 1e6)
        site.until("promoted", readings=1)
        serving = site.pipeline.predictors.serving
        assert isinstance(serving, NextStepPredictor)
        # It could be loaded, but says nothing in service.
        serving._network.weights["head.bias"][:] = np.nan
        _, gone, why = site.until("rolled-back", readings=1)
        assert (bad, version) == (gone, site.store.current(NEXT_STEP))
        assert "not finite" in why
        assert "rolled-back" == site.store.show(bad).status
        assert version == site.pipeline.predictors.serving.name
    assert {} == site.conditions.now()


def test_a_model_that_can_not_serve_is_refused_and_the_one_before_it_serves(tmp_path: Path) -> None:
    """By name and with the reason, once; in the midst of service."""
    site = Site(tmp_path, Retrain(every_h=0.0))
    site.live(200)
    with site.running():
        # At the start it would be passed by instead.
        _wait(site, (tmp_path / "retrain.json").exists)
        bad = site.add(float("nan"))
        site.store.promote(bad, "tried on line 2", START_S + 1e6)
        assert "not finite" in site.until("failed", readings=10)[2]
        time.sleep(1.5)
        assert 1 == site.retrainer.steps["failed"]
        assert "retrain" in site.conditions.now()
        assert site.retrainer.alive
        assert site.pipeline.predictors.serving.name.startswith("next_step-")


def test_after_a_restart_it_learns_from_what_serves(tmp_path: Path) -> None:
    """The current version can't be loaded: the one before it serves, and is the champion."""
    first = Site(tmp_path, Retrain(every_h=0.0))
    first.store.promote(first.add(float("nan")), "by hand", START_S + 1e6)
    site = Site(tmp_path, Retrain(every_h=0.0, least_readings=1000, steps=5))
    site.live(2000)
    with site.running():
        site.retrainer.request()
        _wait(site, lambda: bool(site.retrainer.results))
    assert 0 == site.retrainer.results["failed"], site.steps
    (made,) = [each for each in site.store.list() if each.seed == 1]
    assert SHIPPED == made.parent


def test_when_the_gate_last_judged_is_known_after_a_restart(tmp_path: Path) -> None:
    """Accepted or not: what serves was held against a newer one."""
    site = Site(tmp_path, Retrain(every_h=0.0, least_readings=1000, steps=5))
    assert START_S == site.retrainer.judged_s
    site.live(2000)
    with site.running():
        site.retrainer.request()
        _wait(site, lambda: bool(site.retrainer.results))
    judged_s = site.retrainer.judged_s
    assert judged_s >= START_S + 2000
    after = Site(tmp_path, Retrain(every_h=0.0))
    with after.running():
        _wait(after, lambda: after.retrainer.judged_s == judged_s)


def test_a_slow_pipeline_is_waited_for(tmp_path: Path) -> None:
    """Nothing is done between its batches for a while: the thread, and the daemon, live on."""
    site = Site(tmp_path, Retrain(every_h=0.0, least_readings=1000, steps=5))
    site.live(2000)
    with site.running():
        site.retrainer.request()
        time.sleep(2.0)
        assert not site.steps
        assert site.retrainer.alive
        site.until("started")


def test_with_too_little_history_it_waits(tmp_path: Path) -> None:
    """And says so; nothing is made."""
    site = Site(tmp_path, Retrain(every_h=0.0, least_readings=10_000))
    site.live(300)
    with site.running():
        site.store.request()
        _wait(site, lambda: site.retrainer.results["too-little"] == 1)
    assert not [each for each in site.store.list() if each.version != SHIPPED]


def test_where_nothing_counts_as_normal_yet_it_waits(tmp_path: Path) -> None:
    """As in a plant's first minutes: that is no failure, and nothing has begun."""
    site = Site(tmp_path, Retrain(every_h=0.0, least_readings=50), threads=False)
    with site.turning():
        site.store.request()
        site.turn(140)
    assert 1 == site.retrainer.results["too-little"]
    assert not site.steps
    assert not site.conditions.now()


def test_it_yields_while_the_daemon_is_busy_and_stops_within_a_second(tmp_path: Path) -> None:
    """Training waits, and a stop is followed in the middle of it."""
    site = Site(tmp_path, Retrain(every_h=0.0, least_readings=1000, steps=100_000))
    site.live(2000)
    site.busy = "9 messages wait to be scored"
    with site.running():
        site.retrainer.request()
        site.until("started")
        assert 0.0 == site.retrainer.progress
        site.busy = None
        _wait(site, lambda: site.retrainer.progress > 0.0)
        began = time.monotonic()
        assert site.retrainer.stop(5.0)
        assert time.monotonic() - began < 1.0
    assert SHIPPED == site.store.current(NEXT_STEP)


def _wait(site: Site, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"{site.steps}, {site.conditions.now()}"
        site.live(10)
        time.sleep(0.02)


def test_the_schedule_goes_on_over_restarts(tmp_path: Path) -> None:
    """A daemon that lives half as long as the interval retrains all the same."""
    rules, rounds = Retrain(every_h=1.0, least_readings=10**9), 0
    for restart in range(12):
        site = Site(tmp_path, rules, at_s=restart * 1800, threads=False)
        with site.turning():
            site.turn(10)
        rounds += site.retrainer.results["too-little"]
    # 5.5 hours; the first round comes after one to two.
    assert rounds in (4, 5)


def test_a_watch_goes_on_over_a_restart(tmp_path: Path) -> None:
    """What was promoted is still taken back, by what the former one says beside it."""
    rules = Retrain(every_h=0.0, shadow_h=1.0)
    site = Site(tmp_path, rules, threads=False)
    version = site.add(0.0)
    with site.turning():
        site.live(200)
        site.store.promote(version, "by hand", START_S)
        site.turn(10)
        assert version == site.pipeline.predictors.serving.name
    site = Site(tmp_path, rules, at_s=300, threads=False)
    with site.turning():
        serving = site.pipeline.predictors.serving
        assert isinstance(serving, NextStepPredictor)
        assert version == serving.name
        site.turn(200)
        assert [] == site.steps
        serving._network.weights["head.bias"][:] = np.nan
        site.turn(10)
    ((step, gone, why),) = site.steps
    assert ("rolled-back", version) == (step, gone)
    assert "not finite" in why
    assert SHIPPED == site.store.current(NEXT_STEP)
    # What came back is watched no more.
    site = Site(tmp_path, rules, at_s=600, threads=False)
    with site.turning():
        assert site.pipeline.shadow is None


def test_who_was_in_shadow_is_tried_after_the_watch(tmp_path: Path) -> None:
    """And where what serves can't be watched, at once."""
    rules = Retrain(every_h=0.0, shadow_h=0.1)
    site = Site(tmp_path, rules, threads=False)
    challenger, other = site.add(0.0), site.add(0.001)
    site.store.promote(other, "by hand", START_S)
    site.store.promote(SHIPPED, "by hand", START_S)
    site.store.shadow(challenger, "better", START_S)
    AgendaFile(tmp_path, Conditions()).note(trusted=other)
    site = Site(tmp_path, rules, threads=False)
    with site.turning():
        assert other == _beside(site)
        site.turn(361)
        assert challenger == _beside(site)


def _beside(site: Site) -> str:
    assert site.pipeline.shadow is not None
    return site.pipeline.shadow.predictor.name


def test_a_trial_is_as_long_however_often_it_is_interrupted(tmp_path: Path) -> None:
    """Time under watch adds up over restarts, and without the daemon none passes."""
    rules, watched_s = Retrain(every_h=0.0, shadow_h=0.25), 0
    site = Site(tmp_path, rules, threads=False)
    site.store.promote(site.add(0.0), "by hand", START_S)
    while watched_s < 3000:
        site = Site(tmp_path, rules, at_s=watched_s * 20, threads=False)
        with site.turning():
            for _ in range(4):
                site.turn(100)
            watched_s += 400
            if site.pipeline.shadow is None:
                break
    assert 900 <= watched_s <= 1600


def test_a_round_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Stopped in its midst, nobody asks again: the weights are those of a round without a stop."""
    rules = Retrain(every_h=0.0, least_readings=1000, steps=24)
    sites = [Site(tmp_path / name, rules) for name in ("whole", "cut")]
    for site, cut in zip(sites, (False, True), strict=True):
        site.live(800)
        with site.running():
            site.retrainer.request()
            _until(site, _begun if cut else _over)
    assert (tmp_path / "cut" / "retrain.progress").exists()
    sites[1] = Site(tmp_path / "cut", rules, at_s=800)
    with sites[1].running():
        _until(sites[1], _over)
    assert not (tmp_path / "cut" / "retrain.progress").exists()
    made = [each.sha256 for s in sites for each in s.store.list() if each.version != SHIPPED]
    assert 2 == len(made)
    assert made[0] == made[1]


def test_drift_makes_a_round_due(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Residuals that are no longer what they were on the plant's channels, once in some hours."""
    rules = Retrain(every_h=10_000.0, least_readings=10**9)
    site = Site(tmp_path, rules, threads=False)
    caplog.set_level("INFO")
    with site.turning():
        site.live(1400)
        site._at += 30_000
        site.turn(10)
        assert 0 == site.retrainer.results["too-little"]
        site.live(1400, kick=60.0)
        site.retrainer.turn()
    assert 1 == site.retrainer.results["too-little"]
    assert "not retrained, drift, on " in caplog.text


def _begun(site: Site) -> bool:
    return site.retrainer.progress > 0.1


def _over(site: Site) -> bool:
    return bool(site.retrainer.results)


def _until(site: Site, condition: Callable[[Site], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition(site):
        assert time.monotonic() < deadline, f"{site.steps}, {site.conditions.now()}"
        site.between()
        time.sleep(0.02)
