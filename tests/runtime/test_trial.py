"""What makes a model unfit to serve; the trial's course is held in `test_retrain.py`."""

import pytest

from anomalyd.runtime.shadow import Tally
from anomalyd.runtime.trial import unfit


@pytest.mark.parametrize(
    ("raised", "other", "promised", "floods"),
    [(1, 0, 1e-4, False), (3, 0, 1e-4, True), (9, 8, 1e-4, False), (60, 8, 1e-4, True),
     (5, 0, 4.0, False)],
)  # fmt: skip
def test_what_floods_is_unfit(raised: int, other: int, promised: float, floods: bool) -> None:
    """More alerts than the promise and than the other model on the same readings can explain; one
    alert alone is none."""
    why = unfit(Tally(10_000, raised, other, promised, 0, 0), "in shadow")
    assert floods == (why is not None)
    assert why is None or why.startswith(f"{raised} alerts in shadow")
