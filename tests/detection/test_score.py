"""The score's rules: 1.0 is the threshold on every channel, the worst view says why, and an asset
accuses one channel at a time."""

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyd.detection.reading import Kind
from anomalyd.detection.relation import MEMBERS, Compared, Relations
from anomalyd.detection.score import SCORE_LIMIT, Look, Scorer
from anomalyd.detection.views import View

WARMUP, INTERVAL_S, BUDGET = 20, 1.0, 1.0
ONE = np.array([0])

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


class Channels:
    """Channels that are expected to say `level`, and what is said of their readings."""

    def __init__(self, channels: int = 1, level: float = 20.0) -> None:
        self.scorer = Scorer(channels, WARMUP)
        self.relations = Relations(channels)
        self.rows: Rows = np.arange(channels)
        self.level = level
        self.begun = False
        self.ticks = 0

    def look(self, values: Array, settling: bool = False, known: bool = True) -> Look:
        size = self.rows.size
        expected = np.full(size, self.level if known else np.nan)
        flags = np.full(size, settling)
        times = np.full(size, float(self.ticks))
        return self.scorer.look(self.rows, times, values, expected, flags, self.relations)

    def learn(self, values: Array, look: Look, learns: bool = True) -> None:
        size = self.rows.size
        self.scorer.learn(
            self.rows,
            values,
            look,
            np.full(size, 0.01),
            BUDGET,
            np.full(size, INTERVAL_S),
            np.full(size, learns),
        )

    def live(self, values: Array, learns: bool = True) -> Look:
        """(readings, channels); what is said of the last ones."""
        for each in values:
            look = self.look(each, known=self.begun)
            self.begun = True
            self.learn(each, look, learns)
        return look


def noise(readings: int, channels: int = 1, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(20.0, 1.0, (readings, channels))


@cache
def _quiet(channels: int) -> Channels:
    lively = Channels(channels)
    lively.live(noise(1000, channels))
    return lively


def quiet(channels: int = 1) -> Channels:
    """Channels that say 20, give or take one, and are known well."""
    return deepcopy(_quiet(channels))


def test_a_young_channel_has_no_score() -> None:
    """Until `warmup_readings` there is none, however far off a reading is."""
    channel = Channels()
    for values in noise(WARMUP):
        look = channel.look(values + 1e6)
        assert np.isnan(look.score).all()
        assert [Kind.NONE] == look.kind.tolist()
        channel.learn(values, channel.look(values))
    assert channel.look(np.array([1e6])).score[0] > 1.0


def test_what_can_not_be_compared_has_no_score() -> None:
    """Nor has a reading without an expectation, or just after a gap."""
    channel = quiet()
    for look in (
        channel.look(np.array([1e6]), settling=True),
        channel.look(np.array([1e6]), known=False),
    ):
        assert np.isnan(look.score).all()
        assert [Kind.NONE] == look.kind.tolist()


def test_a_spike_is_scored_by_the_channels_threshold() -> None:
    """1.0 is where the threshold of its residual is; the band shows that threshold."""
    channel = quiet()
    limit = float(channel.scorer.thresholds(ONE)[View.RESIDUAL, 0])
    for times in (0.99, 1.01, 3.0):
        look = channel.look(np.array([20.0 + times * limit]))
        assert look.score[0] == pytest.approx(times)
        assert [Kind.RESIDUAL if times >= 1.0 else Kind.NONE] == look.kind.tolist()
        assert [20.0] == look.expected.tolist()
        assert [20.0 - limit, 20.0 + limit] == [look.lower[0], look.upper[0]]


def test_the_score_is_bounded() -> None:
    """Nothing is more than a thousand times its threshold."""
    assert [SCORE_LIMIT] == quiet().look(np.array([1e30])).score.tolist()


def test_more_noise_is_found() -> None:
    """Residuals that are each in the band are too much together."""
    channel = quiet()
    limit = channel.scorer.thresholds(ONE)[View.RESIDUAL, 0]
    restless = 20.0 + 0.7 * limit * np.resize([1.0, -1.0], (60, 1))
    look = channel.live(restless, learns=False)
    assert look.score[0] >= 1.0
    assert [Kind.RESIDUAL] == look.kind.tolist()
    assert look.lower[0] < restless[-1, 0] < look.upper[0]


def test_a_level_that_leaves_is_found() -> None:
    """What is expected follows a drift; the long-term level doesn't, and is what the reading is
    held against."""
    channel = quiet()
    channel.level = 30.0
    look = channel.live(noise(40, seed=1) + 10.0, learns=False)
    assert look.score[0] >= 1.0
    assert look.expected[0] == pytest.approx(20.0, abs=0.5)
    assert look.upper[0] < 30.0


@settings(derandomize=True, database=None, deadline=None, max_examples=10)
@given(st.integers(0, 2**32), st.floats(-1e4, 1e4))
def test_a_verdict_is_consistent(seed: int, value: float) -> None:
    """The score is never negative, the band holds what was expected, and only a score of 1 has a
    kind."""
    channel = Channels()
    channel.live(noise(60, seed=seed))
    look = channel.look(np.array([value]))
    assert 0.0 <= look.score[0] <= SCORE_LIMIT
    assert look.lower[0] <= look.expected[0] <= look.upper[0]
    assert (look.score[0] >= 1.0) == (look.kind[0] != Kind.NONE)


def test_a_look_changes_nothing() -> None:
    """Scoring leaves no trace, and what is quarantined moves no threshold."""
    channel, wild = quiet(), np.array([500.0])
    limits = channel.scorer.thresholds(ONE)
    first = channel.look(wild)
    assert first.score.tolist() == channel.look(wild).score.tolist()
    channel.live(np.full((20, 1), 500.0), learns=False)
    assert limits.tolist() == channel.scorer.thresholds(ONE).tolist()


def test_channels_are_scored_each_for_itself() -> None:
    """A wild neighbour in the batch changes nothing."""
    together, alone = quiet(3), Channels()
    alone.live(noise(1000, 3)[:, [1]])
    values = np.array([1e6, 21.0, -1e6])
    assert together.look(values).score[1] == pytest.approx(alone.look(values[[1]]).score[0])


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A reset leaves no threshold and no score."""
    channel = quiet()
    channel.scorer.reset(ONE)
    assert [[0.0]] * len(View) == channel.scorer.thresholds(ONE).tolist()
    assert np.isnan(channel.look(np.array([1e6])).score).all()


# --- relations ------------------------------------------------------------------------------------


class Machine(Channels):
    """Three channels of one asset that follow one load; resolution, level and unit differ."""

    def __init__(self, unit: float) -> None:
        super().__init__(3, level=0.0)
        self.unit = unit
        for row in self.rows.tolist():
            self.relations.join(row, 0)

    def work(self, drawn: Array, off: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Look:
        """(ticks, load and 3 noises); what is said of the last tick."""
        for load, *noises in drawn.tolist():
            said = self.unit * (load + 0.1 * np.array(noises) + off)
            look = self.look(said, known=self.begun)
            self.begun = True
            self.learn(said, look, learns=off == (0.0, 0.0, 0.0))
            for row in self.rows:
                self._observe(row, said)
            self.ticks += 1
        return look

    def _observe(self, row: int, said: Array) -> None:
        at, times = np.array([row]), np.array([float(self.ticks)])
        compared = self.relations.observe(at, times, said[at], np.array([INTERVAL_S]))
        self.relations.learn(compared, np.ones(compared.assets.size, np.bool_))
        if compared.assets.size:
            self.scorer.elect(compared)


@cache
def _known(unit: float) -> Machine:
    machine = Machine(unit)
    machine.work(noise(600, 4) - 20.0)
    return machine


def known(unit: float = 1.0) -> Machine:
    """A machine whose relations are known."""
    return deepcopy(_known(unit))


@pytest.mark.parametrize("unit", [1.0, 1e5])
def test_one_channel_is_accused(unit: float) -> None:
    """A channel that leaves its machine is scored by its relation, whatever its unit; those that it
    misleads are not. What was expected is what the others say."""
    machine = known(unit)
    look = machine.work(noise(40, 4, seed=1) - 20.0, off=(0.0, 2.5, 0.0))
    assert [Kind.NONE, Kind.RELATION, Kind.NONE] == look.kind.tolist()
    assert look.score[1] >= 1.0
    assert not (look.score[[0, 2]] >= 1.0).any()
    assert look.upper[1] < machine.unit * 2.5


def test_who_is_accused_no_more_is_cleared() -> None:
    """An accusation lasts as long as the comparison that made it."""
    machine = known()
    machine.work(noise(40, 4, seed=1) - 20.0, off=(0.0, 2.5, 0.0))
    look = machine.work(noise(60, 4, seed=2) - 20.0)
    assert (look.score < 1.0).all()


def test_an_accusation_needs_a_relation() -> None:
    """Once the asset says nothing any more of the channel, the accusation is void."""
    machine = known()
    machine.work(noise(40, 4, seed=1) - 20.0, off=(0.0, 2.5, 0.0))
    machine.relations.leave(np.array([1]))
    assert machine.look(np.zeros(3)).score[1] < 1.0


@settings(derandomize=True, database=None, deadline=None, max_examples=30)
@given(st.lists(st.floats(-20.0, 20.0), min_size=3, max_size=3), st.integers(0, 2**32))
def test_no_more_than_one_of_an_asset_is_accused(residuals: list[float], seed: int) -> None:
    """Whatever a comparison says, one channel at most is scored by it: one with most evidence of
    those that are far out by their own standards."""
    machine = known()
    evidence = np.zeros((1, MEMBERS))
    evidence[0, :3] = np.random.default_rng(seed).uniform(0.0, 9.0, 3)
    padded = np.zeros((1, MEMBERS))
    padded[0, :3] = residuals
    rows = np.full((1, MEMBERS), -1)
    rows[0, :3] = machine.rows
    machine.scorer.elect(Compared(np.array([0]), rows, padded, padded, evidence))
    score = machine.look(np.zeros(3)).score
    limits = machine.scorer.thresholds(machine.rows)[View.RELATION]
    highest = (np.abs(residuals) / limits).max()
    accused = np.flatnonzero(score >= 1.0)
    assert (highest >= 1.0) == (accused.size == 1)
    assert score[accused] == pytest.approx(highest)
