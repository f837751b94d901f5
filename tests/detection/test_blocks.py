"""Block means: each of four finer ones, complete when due, begun anew after a silence."""

from __future__ import annotations

import numpy as np

from anomalyd.detection.blocks import FACTOR, Blocks
from anomalyd.detection.reading import Floats

ROWS = np.array([2])
LENGTH = 8


def _fed(values: Floats) -> tuple[Blocks, list[int]]:
    blocks, due = Blocks(3, LENGTH), []
    for value in values:
        due += [level for level, _ in blocks.append(ROWS, np.array([value]))]
    return blocks, due


def test_every_level_holds_the_means_of_the_readings() -> None:
    """The newest last."""
    values = np.random.default_rng(1).normal(size=160)
    blocks, _ = _fed(values)
    for level in range(3):
        means = values.reshape(-1, FACTOR**level).mean(axis=1)
        windows, filled = blocks.windows(ROWS, level)
        assert [min(means.size, LENGTH)] == filled.tolist()
        np.testing.assert_allclose(means[-filled[0] :], windows[0, LENGTH - filled[0] :])


def test_a_level_is_due_when_a_block_of_the_next_is_complete() -> None:
    """Once in four of its blocks."""
    _, due = _fed(np.zeros(64))
    assert {0: 16, 1: 4, 2: 1} == {level: due.count(level) for level in set(due)}


def test_a_silence_begins_the_finer_levels_anew() -> None:
    """Where blocks are longer than the silence, it is a part of one."""
    blocks, _ = _fed(np.zeros(64))
    blocks.interrupt(ROWS, np.array([10.0]))
    assert [0, 0, 4] == [blocks.windows(ROWS, level)[1][0] for level in range(3)]


def test_a_new_channel_sees_nothing_of_the_one_before() -> None:
    """Its row begins empty."""
    blocks, _ = _fed(np.ones(64))
    blocks.reset(ROWS)
    assert [0, 0, 0] == [blocks.windows(ROWS, level)[1][0] for level in range(3)]
