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
NEEDED = 5.0
"""rarity of what is as rare as the risk"""
KNOWN_WELL = 1008  # the thresholds are as of the last of these readings
FORGIVEN = 320
"""readings after which a surprise is an event again"""
ONE = np.array([0])

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


class Channels:
    """Channels that are expected to say `level`, were before and usually are at `usual`, and what
    is said of their readings."""

    def __init__(self, channels: int = 1, level: float = 20.0, risk: float = RISK) -> None:
        self.scorer = Scorer(channels, WARMUP)
        self.relations = Relations(channels)
        self.rows: Rows = np.arange(channels)
        self.level = self.usual = level
        self.risk = np.full(channels, risk)
        self.quantum = np.zeros(channels)
        self.begun = False
        self.ticks = 0

    def look(
        self, values: Array, settling: bool = False, known: bool = True, open_: bool = False
    ) -> Look:
        size = self.rows.size
        expected = np.full((len(Expected), size), self.usual if known else np.nan)
        expected[Expected.NEXT] = self.level if known else np.nan
        return self.scorer.look(
            self.rows,
            np.full(size, float(self.ticks)),
            values,
            expected,
            np.full(size, settling),
            self.relations,
            self.quantum,
            self.risk,
            np.full(size, open_),
        )

    def learn(self, values: Array, look: Look, learns: bool = True, raised: bool = False) -> None:
        size = self.rows.size
        flags = np.full(size, learns), np.full(size, raised)
        self.scorer.learn(self.rows, values, look, self.risk, *flags)

    def live(self, values: Array, learns: bool = True) -> Look:
        """(readings, channels); what is said of the last ones."""
        for each in values:
            look = self.look(each, known=self.begun)
            self.begun = True
            self.learn(each, look, learns)
        return look

    def limit(self, view: View) -> float:
        """The first channel's threshold."""
        return float(self.scorer.thresholds(ONE)[view, 0])


def noise(readings: int, channels: int = 1, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(20.0, 1.0, (readings, channels))


@cache
def _quiet(channels: int) -> Channels:
    lively = Channels(channels)
    lively.live(noise(KNOWN_WELL, channels))
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
        channel.live(values[None])
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
    limit = channel.limit(View.RESIDUAL)
    for times in (0.9, 1.05, 3.0):
        look = channel.look(np.array([20.0 + times * limit]))
        assert (look.score[0] >= 1.0) == (times > 1.0)
        assert [Kind.RESIDUAL if times >= 1.0 else Kind.NONE] == look.kind.tolist()
        assert [20.0] == look.expected.tolist()
        assert [20.0 - limit, 20.0 + limit] == [look.lower[0], look.upper[0]]


def test_the_score_is_how_much_rarer_than_promised() -> None:
    """A tenth of the risk asks for a decade more."""
    channel = quiet()
    spike = np.array([20.0 + 3.0 * channel.limit(View.RESIDUAL)])
    for needed in (4.0, 5.0, 6.0):
        channel.risk = np.array([10.0**-needed])
        look = channel.look(spike)
        assert look.score[0] == pytest.approx(look.rarity[0] / needed)


@pytest.mark.parametrize("value", [1e9, 1e30, -1e30])
def test_the_score_is_bounded(value: float) -> None:
    """The largest values still have a score, an expectation and a band; and are not learnt from."""
    channel = quiet()
    look = channel.look(np.array([value]))
    assert 1.0 < look.score[0] <= SCORE_LIMIT
    assert np.isfinite([look.expected[0], look.lower[0], look.upper[0]]).all()
    channel.learn(np.array([value]), look, learns=False)
    assert channel.live(noise(40, seed=1)).score[0] < 1.0


def test_more_noise_is_found() -> None:
    """Residuals that are each in the band are too much together."""
    channel = quiet()
    limit = channel.limit(View.RESIDUAL)
    restless = 20.0 + 0.7 * limit * np.resize([1.0, -1.0], (60, 1))
    looks = [channel.live(each[None], learns=False) for each in restless]
    found = [look for look in looks if look.score[0] >= 1.0]
    assert found
    assert {Kind.RESIDUAL} == {look.kind[0] for look in found}
    assert all(look.lower[0] < restless.min() < restless.max() < look.upper[0] for look in found)


def test_a_level_that_leaves_is_found() -> None:
    """What is expected follows a drift; the long-term level and the usual one don't, and are what
    the reading is held against."""
    channel = quiet()
    channel.level = 40.0
    looks = [channel.live(each[None] + 20.0, learns=False) for each in noise(40, seed=1)]
    found = [look for look in looks if look.score[0] >= 1.0]
    assert found
    for look in found:
        assert look.expected[0] == pytest.approx(20.0, abs=0.5)
        assert look.upper[0] < 40.0


def test_habits_count_together() -> None:
    """A level that leaves, at an hour when it usually does, is less of an event than one that
    nothing explains."""
    rarities = []
    for usual in (20.0, 40.0):
        channel = quiet()
        channel.level, channel.usual = 40.0, usual
        for each in noise(40, seed=1) + 20.0:
            look = channel.look(each)
            channel.learn(each, look, learns=False)
        rarities.append(float(look.rarity[0]))
    assert rarities[0] > rarities[1] + 1.0


def test_no_more_than_promised() -> None:
    """Of channels on which nothing is wrong, no more readings are events than the risk allows."""
    size, risk = 150, 1e-4
    channels = Channels(size, risk=risk)
    channels.live(noise(500, size))
    events = 0
    for values in noise(1000, size, seed=1):
        look = channels.live(values[None])
        events += int((look.score >= 1.0).sum())
    assert events <= risk * size * 1000


@pytest.mark.parametrize("risk", [1e-4, 1e-2, 0.5, 10.0])
def test_no_surprise_is_no_event(risk: float) -> None:
    """However slow the channel or large its budget, plain noise rarely scores 1 and is mostly
    below what clears an alert."""
    channel, scores = Channels(4, risk=risk), []
    channel.live(noise(400, 4))
    for values in noise(400, 4, seed=1):
        look = channel.look(values, open_=True)
        channel.learn(values, look)
        scores.append(look.score)
    assert np.mean(np.array(scores) >= 1.0) <= 0.02
    assert np.mean(np.array(scores) < 0.8) >= 0.65


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


@pytest.mark.parametrize("unit", [2.0**-12, 2.0**12])
def test_the_score_is_free_of_the_unit(unit: float) -> None:
    """Pascal or bar: the same reading has the same score, and the band is in its unit."""
    plain, scaled = Channels(), Channels(level=20.0 * unit)
    values = noise(300)
    plain.live(values)
    scaled.live(unit * values)
    for value in (20.0, 22.0, 24.0, 40.0):
        one, other = plain.look(np.array([value])), scaled.look(np.array([unit * value]))
        assert other.score == pytest.approx(one.score, rel=1e-4)
        assert other.upper == pytest.approx(unit * one.upper, rel=1e-4)


def test_what_can_not_be_resolved_is_no_event() -> None:
    """A step of the instrument's resolution on a channel that never moved."""
    channel = Channels()
    channel.live(np.full((200, 1), 20.0))
    assert channel.look(np.array([20.0 + 1e-2])).score[0] < 1.0
    assert channel.look(np.array([30.0])).score[0] >= 1.0


def test_a_look_changes_nothing() -> None:
    """Scoring leaves no trace, and what is quarantined moves no threshold."""
    channel, wild = quiet(), np.array([500.0])
    limits = channel.scorer.thresholds(ONE)
    first = channel.look(wild)
    assert first.score.tolist() == channel.look(wild).score.tolist()
    channel.live(np.full((20, 1), 500.0), learns=False)
    assert limits.tolist() == channel.scorer.thresholds(ONE).tolist()


def test_an_outlier_does_not_hide_the_next() -> None:
    """Not for longer than it takes to be an event of its own."""
    channel = quiet()
    spike = np.array([20.0 + 3.0 * channel.limit(View.RESIDUAL)])
    channel.live(np.array([[1e9]]), learns=False)
    channel.live(noise(FORGIVEN, seed=1))
    assert channel.look(spike).score[0] >= 1.0


def test_only_a_greater_surprise_is_soon_an_event_of_its_own() -> None:
    """What is no more than the last is the same event; an alert that is open goes on with it."""
    channel = quiet()
    limit = channel.limit(View.RESIDUAL)
    first, spike, greater = (np.array([20.0 + times * limit]) for times in (3.0, 2.0, 30.0))
    assert channel.look(spike).score[0] >= 1.0
    channel.live(first[None], learns=False)
    channel.live(noise(50, seed=1))
    assert channel.look(spike).score[0] < 1.0
    assert channel.look(spike, open_=True).score[0] >= 1.0
    assert channel.look(greater).score[0] >= 1.0
    channel.live(noise(FORGIVEN, seed=2))
    assert channel.look(spike).score[0] >= 1.0


def test_a_channel_that_has_alarmed_must_surprise_more() -> None:
    """Each alarm of late lowers the score; it fades."""
    channel, usual = quiet(), np.array([20.0])
    spike = np.array([20.0 + 3.0 * channel.limit(View.RESIDUAL)])
    scores = [channel.look(spike).score[0]]
    for _ in range(2):
        channel.learn(usual, channel.look(usual), raised=True)
        scores.append(channel.look(spike).score[0])
    assert scores[0] > scores[1] > scores[2]
    assert [2.0] == pytest.approx(channel.scorer.alarms(ONE).tolist(), abs=0.01)
    channel.live(noise(2000), learns=False)
    assert channel.scorer.alarms(ONE)[0] < 1.0


def test_what_alarms_again_and_again_is_learnt() -> None:
    """A surprise that comes again while the last alarm is fresh is what the channel does; one that
    comes alone stays a surprise."""
    channel = quiet()
    spike = np.array([20.0 + 3.0 * channel.limit(View.RESIDUAL)])
    scores = []
    for seed in range(1, 8):
        look = channel.look(spike)
        scores.append(float(look.score[0]))
        channel.learn(spike, look, learns=False, raised=scores[-1] >= 1.0)
        channel.live(noise(FORGIVEN, seed=seed))
    assert min(scores[:3]) >= 1.0 > scores[-1]
    assert channel.look(np.array([20.0 + 30.0 * channel.limit(View.RESIDUAL)])).score[0] >= 1.0


def test_a_glitch_in_the_first_minutes_is_not_normal() -> None:
    """An instrument's 65535 must not blind the channel."""
    values = noise(600)
    glitched = values.copy()
    glitched[[8, 15]] = 65535.0
    plain, channel = Channels(), Channels()
    plain.quantum[:] = channel.quantum[:] = 0.01
    plain.live(values)
    channel.live(glitched)
    assert channel.limit(View.RESIDUAL) == pytest.approx(plain.limit(View.RESIDUAL), rel=0.2)
    assert channel.look(np.array([60.0])).score[0] >= 1.0


def test_channels_are_scored_each_for_itself() -> None:
    """A wild neighbour in the batch changes nothing."""
    together, alone = quiet(3), Channels()
    alone.live(noise(KNOWN_WELL, 3)[:, [1]])
    values = np.array([1e6, 21.0, -1e6])
    assert together.look(values).score[1] == pytest.approx(alone.look(values[[1]]).score[0])


def test_a_channel_that_is_forgotten_begins_anew() -> None:
    """A reset leaves no threshold, no alarm and no score."""
    channel, usual = quiet(), np.array([20.0])
    channel.learn(usual, channel.look(usual), raised=True)
    channel.scorer.reset(ONE)
    assert [[0.0]] * len(View) == channel.scorer.thresholds(ONE).tolist()
    assert [0.0] == channel.scorer.alarms(ONE).tolist()
    assert np.isnan(channel.look(np.array([1e6])).score).all()
    channel.begun = False
    channel.live(noise(KNOWN_WELL))
    new = quiet()
    for value in (20.0, 24.0, 40.0):
        again = channel.look(np.array([value]))
        assert new.look(np.array([value])).score.tolist() == again.score.tolist()


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
    machine, found = known(unit), []
    for drawn in noise(40, 4, seed=1) - 20.0:
        look = machine.work(drawn[None], off=(0.0, 2.5, 0.0))
        assert not (look.score[[0, 2]] >= 1.0).any()
        if look.score[1] >= 1.0:
            found.append((float(drawn[0]), look))
    assert found
    for _, look in found:
        assert [Kind.NONE, Kind.RELATION, Kind.NONE] == look.kind.tolist()
    # A relation is smoothed: what the others say shows in full once it has caught up.
    load, look = found[-1]
    assert look.expected[1] == pytest.approx(unit * load, abs=unit)
    assert look.upper[1] - look.lower[1] < machine.unit * 2.0 * 2.5


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
    those that are far out by their own standards. Ten times as far is four decades rarer."""
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
    assert accused.size == 0 or score[accused] == pytest.approx(
        1.0 + 4.0 * np.log10(highest) / NEEDED
    )
