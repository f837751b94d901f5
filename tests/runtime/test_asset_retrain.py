"""Asset classes learn on site: trained, judged, tried in shadow, promoted between two batches, and
taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomalyd.adapters.models.manifest import SHIPPED
from anomalyd.detection.channels import Channel
from anomalyd.detection.reading import Readings
from anomalyd.model import asset_training, checkpoint
from anomalyd.model.asset import AssetConfig, AssetNetwork, Carried
from anomalyd.model.asset_predictor import AssetPredictor
from anomalyd.model.asset_training import AssetPlan
from anomalyd.runtime import memory, registry
from anomalyd.runtime.conditions import Conditions
from anomalyd.runtime.history import History
from anomalyd.runtime.pipeline import Pipeline
from anomalyd.runtime.retrain import Retrainer
from anomalyd.runtime.trial import Step
from anomalyd.settings import Alerts, Channels, Retrain, Settings, State, Stream
from anomalyd.settings import History as HistoryRules
from tests.runtime.test_asset_gate import NEW, OLD, Array, machine

START_S, TICKS, ROLE = 1_748_772_000.0, 2400, "asset:pumps"
SENSORS = ("current", "flow", "pressure", "setpoint")
STREAM = Stream(
    topic="plant/{machine}/{sensor}",
    group_by=("machine",),
    inputs=("setpoint",),
    model=Path("pumps.safetensors"),
)
SHADOW = 600
RULES = Retrain(every_h=0.0, least_readings=10**9, steps=60, shadow_h=SHADOW / 3600.0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Site:
    """The daemon of two machines without its threads but `history`; their model was made for
    machines whose members have other shares."""

    def __init__(self, folder: Path, gain: tuple[float, ...] = OLD) -> None:
        config = AssetConfig(SENSORS[:3], SENSORS[3:], hidden=4)
        plan = AssetPlan(steps=20, check_every=20)
        file = folder / "pumps.safetensors"
        if not file.exists():
            network, _ = asset_training.train([machine(900, 3, gain)], config, 1, plan)
            file.write_bytes(checkpoint.dump(network, {}))
        self.settings = Settings(
            streams=(STREAM,),
            channels=Channels(max=16, warmup_readings=60),
            alerts=Alerts(budget_per_week=20.0, plant_budget_per_day=1000.0),
            state=State(directory=folder / "state"),
            history=HistoryRules(readings_per_channel_per_day=10**9),
            retrain=RULES,
        )
        self.store = registry.open_store(folder / "state", 8, (STREAM,), folder)
        served = registry.load((STREAM,), folder, 16, self.store)
        self.pipeline = Pipeline(
            "test", self.settings.channels, self.settings.alerts, (STREAM,), served.predictors,
            served.assets,
        )  # fmt: skip
        self.conditions = Conditions()
        self.history = History(
            folder / "state" / "history", self.settings.history, self.pipeline.table,
            self.conditions,
        )  # fmt: skip
        self.at = 0
        self.steps: list[tuple[Step, str, str]] = []
        self.alerts: list[str] = []
        self.retrainer = Retrainer(
            self.settings, self.store, self.history, self.pipeline, lambda change: change(),
            self.conditions, lambda *step: self.steps.append(step), lambda: None,
            lambda: START_S + self.at,
        )  # fmt: skip

    @property
    def serving(self) -> str:
        return self.pipeline.asset_classes[0].name

    def join(self) -> None:
        for at in range(2):
            for name in SENSORS:
                labels = {"machine": f"m{at}", "sensor": name}
                self.pipeline.add(Channel(f"m{at}/{name}", labels, 0, "", f"0:m{at}", name))

    @contextmanager
    def running(self) -> Iterator[Site]:
        self.history.start()
        self.retrainer.open()
        try:
            yield self
        finally:
            self.history.stop(5.0)

    def live(self, ticks: int, fault: float = 0.0) -> None:
        """Both machines, one reading of each channel a second; `fault`: of one sensor."""
        values = np.column_stack([machine(ticks, seed + self.at, NEW) for seed in (1, 2)])
        values[:, 2] += fault
        self.step(values)

    def step(self, values: Array) -> None:
        ticks, width = values.shape
        rows = np.tile(np.arange(width, dtype=np.intp), ticks)
        times = START_S + self.at + np.repeat(np.arange(ticks), width) + 0.01 * rows
        self.at += ticks
        outcome = self.pipeline.step(Readings(rows, times, values.ravel()))
        self.alerts += [each.id for each in outcome.alerts if each.transition == "raised"]
        self.history.record(outcome.verdicts)

    def turn(self) -> list[Step]:
        """A look of the retrainer; what it told."""
        self.steps.clear()
        self.retrainer.turn()
        assert not self.conditions.now()
        return [step for step, _, _ in self.steps]


def tried(folder: Path) -> Site:
    """A class that has learnt; the challenger is in shadow."""
    site = Site(folder)
    site.join()
    with site.running():
        site.live(TICKS)
        site.store.request()
        assert ["started", "shadow"] == site.turn()
    return site


def promoted(folder: Path) -> Site:
    """... and serves, watched by the former."""
    site = tried(folder)
    site.live(SHADOW)
    assert ["promoted"] == site.turn()
    return site


class Spoilt:
    """A network that is wrong in fifty comparisons of a hundred."""

    def __init__(self, network: AssetNetwork) -> None:
        self._network, self._at = network, 0

    def step(
        self, values: NDArray[np.float32], carried: Carried
    ) -> tuple[NDArray[np.float32], Carried]:
        expected, after = self._network.step(values, carried)
        self._at += 1
        return expected + np.float32(5.0 * (self._at // 50 % 2)), after


def spoil(predictor: AssetPredictor) -> None:
    predictor._network = Spoilt(predictor._network)  # type: ignore[assignment]


def test_a_class_learns_from_the_history_and_its_network_serves(tmp_path: Path) -> None:
    """Though the predictor has too little to learn from. It scores in shadow first, and the swap
    raises nothing; it was commissioned in shadow, so it finds at once what happens to its machines;
    the class is taken back by hand, within a look."""
    site = Site(tmp_path)
    site.join()
    with site.running():
        site.live(TICKS)
        own = site.serving
        assert [] == site.turn()
        site.store.request()
        assert ["started", "shadow"] == site.turn()
        version = site.steps[-1][1]
        assert site.steps[-1][2].startswith("asset:pumps: log-score better by ")
        assert (own, SHIPPED) == (site.serving, site.store.current(ROLE))
        assert "shadow" == site.store.show(version).status
        site.alerts.clear()
        site.live(SHADOW - 1)
        assert [] == site.turn()
        site.live(1)
        assert ["promoted"] == site.turn()
        assert version == site.serving == site.store.current(ROLE) != own
        manifest = site.store.show(version)
        assert (SHIPPED, "current") == (manifest.parent, manifest.status)
        site.live(30)
        assert [] == site.alerts
        site.live(200, fault=3.0)
        assert site.alerts
        site.live(300)
        assert SHIPPED == site.store.rollback(ROLE, "by hand", START_S)
        assert ["promoted"] == site.turn()
        assert own == site.serving
        assert [] == site.turn()


def test_it_is_trusted_after_its_watch(tmp_path: Path) -> None:
    """Nothing scores beside it any more, and the next round may begin; not before."""
    site = Site(tmp_path)
    site.join()
    with site.running():
        site.live(TICKS)
        site.store.request()
        site.turn()
        site.live(SHADOW)
        assert ["promoted"] == site.turn()
        version = site.serving
        site.store.request()
        assert [] == site.turn()
        site.live(SHADOW)
        assert [] == site.turn()
        assert not site.pipeline.asset_shadows
        assert version == site.serving
        site.store.request()
        assert "started" == site.turn()[0]


def test_one_that_finds_its_assets_odd_in_shadow_never_serves(tmp_path: Path) -> None:
    site = tried(tmp_path)
    own = site.serving
    site.live(500)
    spoil(next(iter(site.pipeline.asset_shadows.values())).other)
    site.alerts.clear()
    site.live(300)
    assert ["rejected"] == site.turn()
    assert "alerts in shadow" in site.steps[-1][2]
    assert own == site.serving
    assert [] == site.alerts
    assert not site.pipeline.asset_shadows
    assert [] == site.turn()


def test_one_that_floods_in_service_goes_back_by_itself(tmp_path: Path) -> None:
    """Though its own alerts stand; they end with it."""
    site = tried(tmp_path)
    own = site.serving
    site.live(SHADOW)
    assert ["promoted"] == site.turn()
    bad = site.serving
    spoil(site.pipeline.asset_classes[0])
    site.alerts.clear()
    for _ in range(15):
        site.live(60)
        if site.turn():
            break
    assert ("rolled-back", bad) == site.steps[0][:2]
    assert own == site.serving
    assert SHIPPED == site.store.current(ROLE)
    assert site.alerts
    site.live(200)
    assert not site.pipeline.count_states(list(range(8)))["firing"]


@pytest.mark.parametrize("by_hand", ["promote", "rollback"])
def test_somebody_may_decide_before_the_trial_does(tmp_path: Path, by_hand: str) -> None:
    """The challenger in shadow, or the way back, with what it has seen there."""
    site = tried(tmp_path) if by_hand == "promote" else promoted(tmp_path)
    site.live(SHADOW - 100)
    shadow = next(iter(site.pipeline.asset_shadows.values())).other
    count, name = shadow._count.copy(), shadow.name
    if by_hand == "promote":
        site.store.promote(name, "by hand", START_S)
    else:
        site.store.rollback(ROLE, "by hand", START_S)
    assert ["promoted"] == site.turn()
    assert name == site.serving
    assert (count == site.pipeline.asset_classes[0]._count).all()
    assert (by_hand == "promote") == bool(site.pipeline.asset_shadows)


def test_a_trial_goes_on_after_a_restart(tmp_path: Path) -> None:
    """In shadow, and in the watch after the promotion, with the time that it has had."""
    before = tried(tmp_path)
    for step in ("promoted", None):
        before.live(500)
        assert [] == before.turn()
        kept = memory.remember(before.pipeline, (STREAM,))
        after = Site(tmp_path)
        after.at = before.at + 3600
        memory.recall(after.pipeline, (STREAM,), kept, START_S)
        with after.running():
            assert before.serving == after.serving
            assert after.pipeline.asset_shadows
            after.live(SHADOW - 500)
            assert [] == after.turn(), "the shadow is not commissioned, or not watched for long"
            after.live(400)
            assert ([step] if step else []) == after.turn()
        before = after
    assert not before.pipeline.asset_shadows


def test_one_that_is_no_better_is_rejected(tmp_path: Path) -> None:
    """The model was made for machines like these; the file goes on serving."""
    site = Site(tmp_path, NEW)
    site.join()
    with site.running():
        site.live(TICKS)
        site.store.request()
        assert ["started", "rejected"] == site.turn()
        assert "asset:pumps: log-score" in site.steps[-1][2]
        assert SHIPPED == site.store.current(ROLE)
        assert site.serving.startswith("pumps-")


def test_with_too_little_history_it_waits(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.join()
    with site.running():
        site.live(400)
        site.store.request()
        assert [] == site.turn()
    # Once for the predictor, once for the class.
    assert 2 == site.retrainer.results["too-little"]


def test_it_is_not_swapped_under_an_alert(tmp_path: Path) -> None:
    """Its residual is held until the fault is over; then the network follows the registry."""
    site = promoted(tmp_path)
    version = site.serving
    site.live(SHADOW)
    assert [] == site.turn()
    assert not site.pipeline.asset_shadows
    site.live(60, fault=1.5)
    assert not site.pipeline.calm(site.pipeline.asset_classes[0])
    site.store.rollback(ROLE, "by hand", START_S)
    assert [] == site.turn()
    assert version == site.serving
    site.live(400)
    assert ["promoted"] == site.turn()
    assert site.serving.startswith("pumps-")


class Off:
    """A network that says too much of one member of the second machine, by so many of its standard
    deviations."""

    def __init__(self, network: AssetNetwork, by: float) -> None:
        self._network, self._by = network, np.float32(by)

    def step(
        self, values: NDArray[np.float32], carried: Carried
    ) -> tuple[NDArray[np.float32], Carried]:
        expected, after = self._network.step(values, carried)
        expected = expected.copy()
        expected[-1, 1] += self._by
        return expected, after


def beside(site: Site) -> AssetPredictor:
    (shadow,) = site.pipeline.asset_shadows.values()
    return shadow.other


def test_a_promotion_raises_no_alert_of_its_own(tmp_path: Path) -> None:
    """What was usual among the former's residuals says nothing of the new one's."""
    site = tried(tmp_path)
    other = beside(site)
    other._network = Off(other._network, 0.5)  # type: ignore[assignment]
    site.alerts.clear()
    site.live(900)
    assert ["promoted"] == site.turn()
    site.live(SHADOW // 2)
    assert [] == site.alerts
    site.live(100, fault=3.0)
    assert site.alerts


@pytest.mark.parametrize("serves", [False, True])
def test_one_that_says_nothing_any_more_goes(tmp_path: Path, serves: bool) -> None:
    """Though it did in the beginning."""
    site = promoted(tmp_path) if serves else tried(tmp_path)
    site.live(450)
    spoilt = site.pipeline.asset_classes[0] if serves else beside(site)
    spoilt._network = Off(spoilt._network, np.nan)  # type: ignore[assignment]
    site.live(100)
    assert ["rolled-back" if serves else "rejected"] == site.turn()


@pytest.mark.parametrize("floods", [False, True])
def test_what_was_taken_back_by_hand_stays_back(tmp_path: Path, floods: bool) -> None:
    """While the daemon is away, and in the midst of a flood, which is never without alerts."""
    site = promoted(tmp_path)
    bad = site.serving
    if floods:
        spoil(site.pipeline.asset_classes[0])
    site.live(400)
    assert SHIPPED == site.store.rollback(ROLE, "by hand", START_S)
    if floods:
        assert ["promoted"] == site.turn()
    else:
        at, site = site.at, Site(tmp_path)
        site.at = at
        site.join()
    with site.running() if not floods else nullcontext(site):
        for _ in range(8):
            site.live(200)
            assert [] == site.turn()
    assert bad != site.serving
    assert (SHIPPED, "rolled-back") == (site.store.current(ROLE), site.store.show(bad).status)


def test_a_flood_is_seen_after_a_restart_too(tmp_path: Path) -> None:
    """Though its own alerts keep the former from being commissioned again."""
    before = promoted(tmp_path)
    bad = before.serving
    before.live(20)
    after = Site(tmp_path)
    after.at = before.at
    memory.recall(after.pipeline, (STREAM,), memory.remember(before.pipeline, (STREAM,)), START_S)
    with after.running():
        spoil(after.pipeline.asset_classes[0])
        for _ in range(15):
            after.live(60)
            if after.turn():
                break
    assert [("rolled-back", bad)] == [step[:2] for step in after.steps]


def test_the_time_in_shadow_never_passes_for_a_watch(tmp_path: Path) -> None:
    """Promoted by hand while the daemon was away."""
    before = tried(tmp_path)
    version = beside(before).name
    before.live(SHADOW - 20)
    before.turn()
    before.store.promote(version, "by hand", START_S)
    after = Site(tmp_path)
    after.join()
    after.at = before.at
    with after.running():
        after.live(SHADOW - 20)
        after.turn()
        assert version == after.serving
        assert after.pipeline.asset_shadows


def test_a_trial_of_other_channels_ends(tmp_path: Path) -> None:
    """The class has another file now, whose channels stand in another order."""
    before = tried(tmp_path)
    version = beside(before).name
    config = AssetConfig(("flow", "current", "pressure"), SENSORS[3:], hidden=4)
    rows = machine(900, 3, OLD)[:, [1, 0, 2, 3]]
    network, _ = asset_training.train([rows], config, 1, AssetPlan(steps=20, check_every=20))
    (tmp_path / "pumps.safetensors").write_bytes(checkpoint.dump(network, {}))
    after = Site(tmp_path)
    after.join()
    after.at = before.at
    with after.running():
        assert not after.pipeline.asset_shadows
        assert "rejected" == after.store.show(version).status
        assert [] == after.turn()


def test_after_a_restart_the_promoted_one_serves_as_it_did(tmp_path: Path) -> None:
    """With what it knew of its machines; where another serves meanwhile, that begins anew."""
    before = promoted(tmp_path)
    before.live(100)
    kept = memory.remember(before.pipeline, (STREAM,))
    known = before.pipeline.asset_classes[0]
    after = Site(tmp_path)
    memory.recall(after.pipeline, (STREAM,), kept, START_S)
    again = after.pipeline.asset_classes[0]
    assert before.serving == after.serving
    assert (known._h == again._h).all()
    assert (known._count == again._count).all()
    after.store.rollback(ROLE, "by hand", START_S)
    last = Site(tmp_path)
    memory.recall(last.pipeline, (STREAM,), kept, START_S)
    assert last.serving.startswith("pumps-")
    assert 0.0 == last.pipeline.asset_classes[0]._count.max()


def test_a_round_that_is_stopped_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Nobody asks again; a class that is done is not trained twice."""
    site = Site(tmp_path)
    site.join()
    with site.running():
        site.live(TICKS)
        site.store.request()
        site.retrainer._stop.set()
        assert "shadow" not in site.turn()
    after = Site(tmp_path)
    after.join()
    after.at = site.at
    with after.running():
        assert ["started", "shadow"] == after.turn()
        assert [] == after.turn()
    assert 1 == sum(each.role == ROLE and each.version != SHIPPED for each in after.store.list())
