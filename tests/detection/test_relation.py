"""The relations' rules: what a channel should be, given the others of its asset; who of them is
off; and the same however the readings are cut into batches."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from anomalyd.detection.relation import MEMBERS, Compared, Relations
from anomalyd.detection.rounds import rounds

CAPACITY = 24
KNOWN, MEMBER_COUNT = 300, 4
INTERVAL_S = 1.0

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


class Plant:
    """Relations, and all that they compared."""

    def __init__(self, members: int = MEMBER_COUNT) -> None:
        self.relations = Relations(CAPACITY)
        self.now = 0.0
        self.compared: list[Compared] = []
        self.seen: list[float] = []
        """the residual that each reading was judged by"""
        for row in range(members):
            self.relations.join(row, 0)

    def tell(self, rows: Rows, times: Array, values: Array, learns: bool = True) -> None:
        """A batch of readings, in order of arrival."""
        seen = np.empty(rows.size)
        for chosen in rounds(rows, self.relations.group(rows), self.relations.fits):
            seen[chosen] = self.relations.residual(rows[chosen], times[chosen])
            interval_s = np.full(chosen.size, INTERVAL_S)
            compared = self.relations.observe(
                rows[chosen], times[chosen], values[chosen], interval_s
            )
            self.relations.learn(compared, np.full(compared.assets.size, learns))
            self.compared += [compared] if compared.assets.size else []
        self.seen += seen.tolist()
        self.now = float(times.max(initial=self.now))

    def live(self, values: Array, start: int = 0, learns: bool = True) -> None:
        """(ticks, channels): each channel speaks once a second, in the order of the rows."""
        ticks, channels = values.shape
        times = np.repeat(np.arange(start, start + ticks) * INTERVAL_S, channels)
        self.tell(np.tile(np.arange(channels), ticks), times, values.ravel(), learns)

    def residual(self, members: int = MEMBER_COUNT) -> Array:
        return self.relations.residual(np.arange(members), np.full(members, self.now))


def machine(ticks: int, members: int = MEMBER_COUNT, seed: int = 0) -> Array:
    """Channels that follow one load, each in its own unit and some of them downwards."""
    rng = np.random.default_rng(seed)
    load = np.sin(np.arange(ticks) / 9.0) + 0.3 * rng.standard_normal(ticks)
    gains = np.array([1.0, -20.0, 300.0, 0.5, 7.0, -3.0])[np.arange(members) % 6]
    values: Array = load[:, None] * gains
    values += 0.1 * np.abs(gains) * rng.standard_normal((ticks, members))
    return values


def test_nothing_is_known_at_first() -> None:
    """A relation needs some hundred comparisons; a channel without an asset has none."""
    plant = Plant()
    plant.live(machine(200))
    assert np.isnan(plant.residual()).all()
    plant.live(machine(200, seed=1), start=200)
    assert not np.isnan(plant.residual()).any()
    assert np.isnan(plant.residual(CAPACITY)[MEMBER_COUNT:]).all()


@pytest.mark.parametrize("culprit", range(MEMBER_COUNT))
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_who_is_off_is_told_from_those_that_it_misleads(culprit: int, side: float) -> None:
    """The evidence is highest against the channel that left; its residual has the sign and about
    the size of its error, in its standard deviations."""
    values = machine(KNOWN + 60)
    spread = values.std(axis=0)
    values[KNOWN:, culprit] += side * 2.0 * spread[culprit]
    plant = Plant()
    plant.live(values[:KNOWN])
    plant.live(values[KNOWN:], start=KNOWN, learns=False)
    evidence = plant.compared[-1].evidence[0, :MEMBER_COUNT]
    assert culprit == evidence.argmax()
    assert plant.residual()[culprit] == pytest.approx(side * 2.0, abs=0.5)
    assert plant.relations.spread(np.arange(MEMBER_COUNT)) == pytest.approx(spread, rel=0.2)


def test_shares_name_the_one_that_is_off_first() -> None:
    """They are those of the asset's channels, most first, and sum up to 1."""
    values = machine(KNOWN + 60)
    values[KNOWN:, 2] += 2.0 * values[:, 2].std()
    plant = Plant()
    plant.live(values[:KNOWN])
    plant.live(values[KNOWN:], start=KNOWN, learns=False)
    rows, shares = plant.relations.shares(0)
    assert 2 == rows[0]
    assert [0, 1, 2, 3] == sorted(rows.tolist())
    assert sorted(shares.tolist(), reverse=True) == shares.tolist()
    assert shares.sum() == pytest.approx(1.0)


def test_units_and_offsets_are_nothing() -> None:
    """Residuals are the same in any unit."""
    values = machine(KNOWN)
    plain, scaled = Plant(), Plant()
    plain.live(values)
    scaled.live(values * [1e3, 0.01, -1.0, 4.0] + [5.0, 0.0, 1e4, -7.0])
    turned = plain.residual() * [1.0, 1.0, -1.0, 1.0]
    assert scaled.residual() == pytest.approx(turned, rel=1e-6)


def test_a_channel_that_never_moves_is_unrelated() -> None:
    """A constant says nothing, and nothing is said of it."""
    values = machine(KNOWN)
    still = np.insert(values, 1, 5.0, axis=1)
    plain, with_constant = Plant(), Plant(MEMBER_COUNT + 1)
    plain.live(values)
    with_constant.live(still)
    residual = with_constant.residual(MEMBER_COUNT + 1)
    assert np.isnan(residual[1])
    assert np.delete(residual, 1) == pytest.approx(plain.residual(), rel=1e-9)


# --- when an asset is compared --------------------------------------------------------------------


def test_an_asset_is_compared_when_all_have_spoken() -> None:
    """Once a tick: with the last of its channels, whatever their order."""
    plant = Plant()
    plant.live(machine(20))
    expected = len(plant.compared)
    assert 19 <= expected <= 20
    rng = np.random.default_rng(0)
    for tick in range(20, 40):
        rows = rng.permutation(MEMBER_COUNT)
        times = float(tick) + 0.01 * np.arange(MEMBER_COUNT)
        plant.tell(rows, times.astype(np.float64), np.full(MEMBER_COUNT, float(tick)))
        assert [float(tick)] * MEMBER_COUNT == plant.compared[-1].values[0, :MEMBER_COUNT].tolist()
    assert expected + 20 == len(plant.compared)


def test_a_fast_channel_waits_for_a_slow_one() -> None:
    """Rates may differ: an asset is compared as often as its slowest channel speaks, with what the
    others said last."""
    relations = Relations(CAPACITY)
    for row in (0, 1):
        relations.join(row, 0)
    compared: list[list[float]] = []
    for at in range(100):
        for row in (0, 1) if at % 10 == 9 else (0,):
            said = relations.observe(
                np.array([row]),
                np.array([float(at)]),
                np.array([float(at)]),
                np.array([1.0, 10.0])[[row]],
            )
            compared += said.values[:, :2].tolist()
    assert 9 <= len(compared) <= 10
    assert all(0.0 <= slow - fast <= 1.0 for fast, slow in compared)


def test_a_lost_reading_costs_one_comparison() -> None:
    """Values of different ticks are not compared, and the next ticks are whole again."""
    values = machine(40)
    times = np.repeat(np.arange(40.0), MEMBER_COUNT) + np.tile([0.0, 0.01, 0.02, 0.03], 40)
    rows = np.tile(np.arange(MEMBER_COUNT), 40)
    for lost in range(20 * MEMBER_COUNT, 21 * MEMBER_COUNT):
        plant, whole = Plant(), Plant()
        whole.tell(rows, times, values.ravel())
        plant.tell(np.delete(rows, lost), np.delete(times, lost), np.delete(values.ravel(), lost))
        kept = {tuple(each.values[0].tolist()) for each in plant.compared}
        every = {tuple(each.values[0].tolist()) for each in whole.compared}
        assert kept < every
        assert len(every) - 1 == len(kept)


@pytest.mark.parametrize("members", [2, 3, 4, 8])
def test_channels_that_take_turns_are_compared(members: int) -> None:
    """Phases spread evenly over the interval are as good as any: about one comparison a tick."""
    plant, ticks = Plant(members), 60
    rows = np.tile(np.arange(members), ticks)
    plant.tell(rows, np.arange(rows.size) / members, machine(ticks, members).ravel())
    assert ticks / 2 <= len(plant.compared) <= ticks


def test_a_silent_member_freezes_nobody() -> None:
    """Once it has been silent for long there is no residual, until it speaks again."""
    values = machine(KNOWN + 100)
    plant = Plant()
    plant.live(values[:KNOWN])
    others = np.arange(1, MEMBER_COUNT)
    for tick in range(KNOWN, KNOWN + 100):
        plant.tell(others, np.full(others.size, float(tick)), values[tick, 1:])
    assert np.isnan(plant.residual()[1:]).all()
    plant.live(machine(10, seed=1), start=KNOWN + 100)
    assert not np.isnan(plant.residual()).any()


# --- members --------------------------------------------------------------------------------------


def test_who_comes_or_goes_changes_the_asset() -> None:
    """With another member, or one less, an asset's relations are learnt anew."""
    plant = Plant()
    plant.live(machine(KNOWN))
    plant.relations.join(MEMBER_COUNT, 0)
    assert not np.isnan(plant.residual()).any()
    plant.live(machine(20, MEMBER_COUNT + 1), start=KNOWN)
    assert np.isnan(plant.residual(MEMBER_COUNT + 1)).all()
    plant.live(machine(KNOWN, MEMBER_COUNT + 1, seed=1), start=KNOWN + 20)
    assert not np.isnan(plant.residual(MEMBER_COUNT + 1)).any()
    plant.relations.leave(np.array([MEMBER_COUNT]))
    assert np.isnan(plant.residual()).all()
    plant.live(machine(KNOWN, seed=2), start=2 * KNOWN + 20)
    assert not np.isnan(plant.residual()).any()


def test_one_member_too_many_is_not_compared() -> None:
    """An asset has so many seats; who has none is alone, and takes none from the others."""
    plant = Plant(MEMBERS + 1)
    rows = np.arange(MEMBERS + 1)
    assert [0] * MEMBERS + [-1 - MEMBERS] == plant.relations.group(rows).tolist()
    plant.live(machine(KNOWN, MEMBERS + 1))
    assert [False] * MEMBERS + [True] == np.isnan(plant.residual(MEMBERS + 1)).tolist()


@pytest.mark.parametrize("members", [5, 12])
def test_a_large_asset_beside_a_small_one_changes_nothing(members: int) -> None:
    """What comes of an asset doesn't depend, in any bit, on who else is in the round."""
    alone, beside = Plant(members), Plant(members)
    others = CAPACITY - members if members < 12 else MEMBER_COUNT
    for row in range(members, members + others):
        beside.relations.join(row, 1)
    values = machine(KNOWN, members + others)
    alone.live(values[:, :members])
    beside.live(values)
    assert alone.residual(members).tolist() == beside.residual(members).tolist()
    assert not np.isnan(beside.residual(members)).any()


def test_assets_are_compared_each_for_itself() -> None:
    """Two machines in one batch say what each would say alone."""
    plant = Plant()
    for row in (10, 11, 12, 13):
        plant.relations.join(row, 1)
    one, other = machine(KNOWN), machine(KNOWN, seed=1)
    rows = np.tile([0, 10, 1, 11, 2, 12, 3, 13], KNOWN)
    both = np.stack((one, other), axis=2).reshape(KNOWN, -1)
    plant.tell(rows, np.repeat(np.arange(float(KNOWN)), 8), both.ravel())
    alone = Plant()
    alone.live(other)
    assert plant.residual(14)[10:] == pytest.approx(alone.residual(), rel=1e-9)


def test_only_what_counts_as_normal_is_learnt() -> None:
    """Under alert an asset is compared, but its relations stay as they were."""
    plant = Plant()
    plant.live(machine(KNOWN))
    spread = plant.relations.spread(np.arange(MEMBER_COUNT)).tolist()
    plant.live(100.0 * machine(50, seed=1), start=KNOWN, learns=False)
    assert spread == plant.relations.spread(np.arange(MEMBER_COUNT)).tolist()


@pytest.mark.parametrize("seed", range(2))
def test_a_batch_says_what_its_readings_say_one_by_one(seed: int) -> None:
    """However the readings are cut, each is judged by the same residual: with readings lost and
    repeated, in any order, and a member that falls silent."""
    rng = np.random.default_rng(seed)
    ticks = KNOWN + 150
    values = machine(ticks, seed=seed)
    times = np.arange(ticks)[:, None] + rng.uniform(0.0, 0.4, values.shape)
    sent = rng.random(values.shape) > 0.02
    sent[KNOWN + 20 :, seed] = False
    order = np.argsort(times[sent])
    rows = np.nonzero(sent)[1][order]
    times, values = times[sent][order], values[sent][order]
    one_by_one, *others = (Plant() for _ in range(4))
    for at in range(rows.size):
        one_by_one.tell(rows[[at]], times[[at]], values[[at]])
    some = np.flatnonzero(rng.random(rows.size) < 0.05).tolist()
    for plant, cuts in zip(others, ([], some, range(3, rows.size, 3)), strict=True):
        for first, end in pairwise([0, *cuts, rows.size]):
            plant.tell(rows[first:end], times[first:end], values[first:end])
        assert plant.seen == pytest.approx(one_by_one.seen, rel=1e-6, abs=1e-9, nan_ok=True)
    assert np.isnan(one_by_one.seen).sum() > 256 * MEMBER_COUNT
