"""Entries: what was asked comes back as it was, and a foreign body is one error."""

import numpy as np
import pytest

from anomalyd.detection.reading import NOTHING, Readings
from anomalyd.runtime.journal_entry import Asked, Entry, decode, encode, of_rows
from anomalyd.runtime.receipts import NOTHING_SIFTED

SIFTED = (NOTHING_SIFTED.ids, NOTHING_SIFTED.digests)


def test_an_entry_comes_back_as_it_was() -> None:
    readings = Readings(np.array([3, 70_000]), np.array([1.5, 2.5]), np.array([-1.0, np.inf]))
    ids, digests = np.array([65_535], dtype=np.uint16), np.array([2**32 - 1], dtype=np.uint32)
    entry = Entry(Asked.SCORE, 12.25, [(3, "plant/a", "a")], readings, ids, digests)
    again = decode(b"".join(encode(entry)))
    assert (Asked.SCORE, 12.25, [(3, "plant/a", "a")]) == (again.asked, again.now_s, again.channels)
    for before, after in zip(
        (*_columns(readings), ids, digests), (*_columns(again.readings), again.ids, again.digests),
        strict=True,
    ):  # fmt: skip
        assert before.tolist() == after.tolist()


def _columns(readings: Readings) -> tuple[np.ndarray, ...]:
    return readings.rows, readings.times, readings.values


@pytest.mark.parametrize("asked", list(Asked))
def test_what_is_asked_of_channels_comes_back(asked: Asked) -> None:
    entry = Entry(asked, -3.0, (), of_rows(np.array([5, 1]), -3.0), *SIFTED)
    again = decode(b"".join(encode(entry)))
    assert (asked, -3.0, [5, 1]) == (again.asked, again.now_s, again.readings.rows.tolist())


@pytest.mark.parametrize("body", [b"", b"x" * 30, b"\x09" + bytes(20), bytes(21)[:-1]])
def test_a_foreign_body_is_one_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"foreign|buffer|not a valid"):
        decode(body)


def test_an_empty_entry_is_small() -> None:
    assert len(b"".join(encode(Entry(Asked.SCORE, 0.0, (), NOTHING, *SIFTED)))) < 32
