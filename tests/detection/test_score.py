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
from anomalyd.detection.views import Expected, View

WARMUP, INTERVAL_S, RISK = 20, 1.0, 1e-5
ONE = np.array([0])
QUIET = 1008  # thresholds are found anew every 16 readings

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


class Channels:
    """Channels that are expected to say `level`, and what is said of their readings."""

    def __init__(self, channels: int = 1, level: float = 20.0, risk: float = RISK) -> None:
        self.scorer = Scorer(channels, WARMUP)
        self.relations = Relations(channels)
        self.rows: Rows = np.arange(channels)
        self.level = level
        self.usual = level
        self.risk = np.full(channels, risk)
        self.begun = False
        self.ticks = 0

    def look(
        self, values: Array, settling: bool = False, known: bool = True, open_: bool = False
    ) -> Look:
        size = self.rows.size
        expected = np.full((len(Expected), size), self.level if known else np.nan)
        expected[[Expected.AHEAD, Expected.USUAL]] = self.usual
        return self.scorer.look(
            self.rows,
            np.full(size, float(self.ticks)),
            values,
            expected,
            np.full(size, settling),
            self.relations,
            np.full(size, 0.01),
            self.risk,
            np.full(size, open_),
        )

    def learn(self, values: Array, look: Look, learns: bool = True, raised: bool = False) -> None:
        size = self.rows.size
        self.scorer.learn(
            self.rows, values, look, self.risk, np.full(size, learns), np.full(size, raised)
        )

    def live(self, values: Array, learns: bool = True) -> Look:
        """(readings, channels); what is said of the last ones. Nothing is learnt under alert."""
        for each in values:
            look = self.look(each, known=self.begun, open_=not learns)
            self.begun = True
            self.learn(each, look, learns)
        return look


def noise(readings: int, channels: int = 1, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(20.0, 1.0, (readings, channels))


@cache
def _quiet(channels: int) -> Channels:
    lively = Channels(channels)
    lively.live(noise(QUIET, channels))
    return lively


def quiet(channels: int = 1) -> Channels:
    """Channels that say 20, give or take one, and are known well."""
    return deepcopy(_quiet(channels))


def threshold(channel: Channels) -> float:
    """How far from what is expected a reading scores 1, found by trying."""
    sizes = np.geomspace(1.0, 1e3, 3000)
    scores = [channel.look(np.array([20.0 + size])).score[0] for size in sizes]
    return float(sizes[np.searchsorted(scores, 1.0)])


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
    """The score rises with the distance, 1.0 is at the threshold that the band shows, and only what
    is beyond it has a kind."""
    channel = quiet()
    limit = float(channel.scorer.thresholds(ONE)[View.RESIDUAL, 0])
    looks = [channel.look(np.array([20.0 + times * limit])) for times in (0.5, 0.9, 1.02, 3.0)]
    scores = [float(look.score[0]) for look in looks]
    assert sorted(scores) == scores
    assert scores[1] < 1.0 <= scores[2]
    assert [Kind.NONE, Kind.RESIDUAL] == [int(look.kind[0]) for look in looks[1:3]]
    for look in looks:
        assert [20.0] == look.expected.tolist()
        assert [20.0 - limit, 20.0 + limit] == [look.lower[0], look.upper[0]]


def test_a_spike_below_scores_like_one_above() -> None:
    """There is no good side to be off on."""
    channel = quiet()
    above, below = (channel.look(np.array([each])).score[0] for each in (28.0, 12.0))
    assert above == below


def test_a_smaller_promise_needs_a_greater_surprise() -> None:
    """The fewer false alarms are promised, the further off a reading may be."""
    limits = []
    for risk in (1e-4, 1e-6, 1e-8):
        channel = quiet()
        channel.risk = np.full(1, risk)
        limits.append(threshold(channel))
    assert limits[0] < 0.9 * limits[1] < 0.9 * 0.9 * limits[2]


@pytest.mark.parametrize("risk", [1e-4, 1e-2, 0.5, 10.0])
def test_no_surprise_is_no_event(risk: float) -> None:
    """However slow the channel or large its budget, plain noise rarely scores 1 and is mostly
    below what clears an alert."""
    channel = Channels(4, risk=risk)
    channel.live(noise(400, 4))
    scores = []
    for values in noise(400, 4, seed=1):
        look = channel.look(values, open_=True)
        channel.learn(values, look)
        scores.append(look.score)
    assert np.mean(np.array(scores) >= 1.0) <= 0.02
    assert np.mean(np.array(scores) < 0.8) >= 0.65


def test_after_a_surprise_only_a_greater_one_is_an_event() -> None:
    """For a while: then one like it counts again. Under alert there is no such condition."""
    channel, limit = quiet(), threshold(quiet())
    far, further = np.array([20.0 + 1.5 * limit]), np.array([20.0 + 6.0 * limit])
    channel.learn(further, channel.look(further), learns=False)
    channel.live(noise(100, seed=1))
    assert channel.look(far).score[0] < 1.0 <= channel.look(far, open_=True).score[0]
    assert channel.look(np.array([1e4])).score[0] >= 1.0
    channel.live(noise(300, seed=2))
    assert channel.look(far).score[0] >= 1.0


def test_a_channel_that_has_alarmed_must_surprise_more() -> None:
    """Each alarm of late lowers the scores, and is forgotten in some thousand readings."""
    channel, far = quiet(), np.array([1e6])
    scores = [channel.look(far).score[0]]
    for alarms in (1, 2):
        channel.learn(noise(1)[0], channel.look(noise(1)[0]), raised=alarms > 0)
        scores.append(channel.look(far).score[0])
    assert scores[0] > scores[1] > scores[2]
    before = channel.scorer.alarms(ONE)[0]
    channel.live(noise(2000, seed=3), learns=False)
    assert channel.scorer.alarms(ONE)[0] == pytest.approx(before * np.exp(-1.0), rel=0.01)


def test_what_the_instrument_can_not_resolve_is_no_event() -> None:
    """A channel that never moved, and then moves by its resolution."""
    channel = Channels()
    channel.live(np.full((600, 1), 20.0))
    assert channel.look(np.array([20.02])).score[0] < 1.0 <= channel.look(np.array([21.0])).score[0]


def test_a_glitch_in_the_first_minutes_blinds_nobody() -> None:
    """65535 while a channel is young is not what is normal; many of them are."""
    plain, glitched, often = Channels(), Channels(), Channels()
    values = noise(600)
    plain.live(values)
    once, many = values.copy(), values.copy()
    once[12], many[5:600:7] = 65535.0, 65535.0
    glitched.live(once)
    often.live(many)
    limits = [
        float(each.scorer.thresholds(ONE)[View.RESIDUAL, 0]) for each in (plain, glitched, often)
    ]
    assert limits[1] == pytest.approx(limits[0], rel=0.2)
    assert limits[2] > 1e4


def test_the_score_is_bounded() -> None:
    """Whatever is read, the score is a number that can be told."""
    for value in (0.0, 1e30, -1e30, 1e36):
        assert 0.0 <= quiet().look(np.array([value])).score[0] <= SCORE_LIMIT


def test_more_noise_is_found() -> None:
    """Residuals that are each in the band are too much together."""
    channel = quiet()
    limit = threshold(channel)
    restless = 20.0 + 0.7 * limit * np.resize([1.0, -1.0], (60, 1))
    look = channel.live(restless, learns=False)
    assert look.score[0] >= 1.0
    assert [Kind.RESIDUAL] == look.kind.tolist()


def test_a_level_that_leaves_is_found() -> None:
    """What is expected next follows a drift; the long-term level and what is usual don't, and the
    one that shows it most is what the reading is held against."""
    channel = quiet()
    channel.level = 30.0
    look = channel.live(noise(40, seed=1) + 10.0, learns=False)
    assert look.score[0] >= 1.0
    assert [Kind.RESIDUAL] == look.kind.tolist()
    assert look.expected[0] == pytest.approx(20.0, abs=0.5)
    assert look.upper[0] < 30.0


def test_habits_speak_together() -> None:
    """A reading that is only unlike the time of the day, and neither off its level nor off what was
    forecast, must be further out than one that all of them find strange."""
    alone, together = quiet(), quiet()
    alone.usual = 14.0
    together.level, together.usual = 14.0, 14.0
    together.scorer = deepcopy(alone.scorer)
    one = alone.look(np.array([20.0])).score[0]
    together.live(np.full((20, 1), 14.0), learns=False)
    together.usual = 20.0
    assert one < together.look(np.array([14.0]), open_=True).score[0]


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
    alone.live(noise(QUIET, 3)[:, [1]])
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
            healthy = off == (0.0, 0.0, 0.0)
            look = self.look(said, known=self.begun, open_=not healthy)
            self.begun = True
            self.learn(said, look, learns=healthy)
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
    assert score[accused] == pytest.approx(1.0 - 4.0 * np.log10(max(highest, 1.0)) / np.log10(RISK))
