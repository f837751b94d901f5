"""The simulated plant: the faults are where the script says, and nothing else differs."""

from itertools import pairwise

import numpy as np
import pytest

from tests.benchmarks.detection import plant
from tests.benchmarks.detection.judged import Judged, Promise
from tests.benchmarks.detection.plant import KINDS, SIZES, Plant


@pytest.fixture(scope="module")
def made() -> Plant:
    return plant.make(seed=1, channels=32, weeks=5)


def test_the_same_seed_gives_the_same_plant(made: Plant) -> None:
    again = plant.make(seed=1, channels=32, weeks=5)
    assert made.faults == again.faults
    for one, other in zip(made.series, again.series, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_every_kind_and_size_occurs(made: Plant) -> None:
    expected = {(kind, size) for kind in KINDS for size in SIZES}
    assert expected == {(fault.kind, fault.size) for fault in made.faults}


def test_faults_of_an_asset_are_apart(made: Plant) -> None:
    for asset in range(len(made.series)):
        mine = sorted((fault.first, fault.last) for fault in made.faults if fault.series == asset)
        for (_, last), (first, _) in pairwise(mine):
            assert last < first


def test_a_stuck_channel_stands_still_as_long_as_its_size_says(made: Plant) -> None:
    for fault in made.faults:
        if fault.kind == "stuck":
            column = made.series[fault.series].values[:, fault.channel]
            assert 12 * fault.size == fault.last + 1 - fault.first
            assert 1 == np.unique(column[fault.first : fault.last + 1]).size


def test_one_who_knows_finds_all_and_raises_no_false_alarm(made: Plant) -> None:
    def knows(series: object, promise: Promise, streams: object = ()) -> list[Judged]:
        raised = [np.zeros(each.values.shape, dtype=np.bool_) for each in made.series]
        for fault in made.faults:
            raised[fault.series][fault.first, fault.channel] = True
        nothing = np.zeros(made.series[0].values.shape)
        return [
            Judged(each.astype(float), each, each, each.astype(float), nothing) for each in raised
        ]

    curve, by_kind = plant.run(made, {"one who knows": knows})
    (row,) = curve.rows
    assert [1.0] * len(SIZES) == [row[str(size)] for size in SIZES]
    assert (0, 0.0) == (row["false alarms"], row["delay"])
    assert len(KINDS) == len(by_kind.rows)
