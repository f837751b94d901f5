"""A short form of the campaign: restarts change nothing."""

import pytest
import torch

from tests.faults import restarts


@pytest.mark.parametrize("backwards", [False, True], ids=["the same rows", "other rows"])
def test_restarts_change_no_alert_and_no_score(backwards: bool) -> None:
    """In the same order of the members of an asset to the last bit, in another to 1e-12."""
    torch.set_num_threads(1)
    whole, broken = restarts.both(1, 1200, 6, backwards)
    assert whole.alerts
    assert [(each.id, each.transition) for each in whole.alerts] == [
        (each.id, each.transition) for each in broken.alerts
    ]
    assert restarts.apart(whole, broken) <= (1e-12 if backwards else 0.0)
    assert backwards or whole.alerts == broken.alerts
