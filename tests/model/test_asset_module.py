"""The asset network's rules: nobody explains itself, and two
sinusoids are enough to foresee the second of them."""

import numpy as np
import pytest
import torch

from anomalyd.model.asset import AssetConfig
from anomalyd.model.asset_module import AssetModule
from anomalyd.model.asset_training import AssetPlan, train

MEMBERS = ("flow", "pressure", "speed")
SEQUENCE, HIDDEN = 20, 32


def network(ahead: int = 0) -> AssetModule:
    """Three members and one input, weights at random."""
    torch.manual_seed(1)
    made = AssetModule(AssetConfig(MEMBERS, ("command",), hidden=8, ahead=ahead))
    for weights in (made.linear, made.head, made.bias):
        torch.nn.init.normal_(weights)
    return made.eval()


@pytest.mark.parametrize("member", range(3))
def test_a_member_does_not_explain_itself(member: int) -> None:
    """Whatever a member says, it is expected from the others alone; they are misled by it."""
    plain = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(2))
    changed = plain.clone()
    changed[:, :, member] += 3.0
    with torch.inference_mode():
        moved = (network()(changed) - network()(plain)).abs().amax(dim=(0, 1))
    others = [other for other in range(3) if other != member]
    assert 0.0 == moved[member]
    assert all(moved[other] > 0.0 for other in others)


def test_the_next_value_is_expected_from_all() -> None:
    """Looking ahead, nothing is masked."""
    plain = torch.zeros(1, 5, 4)
    changed = plain.clone()
    changed[..., 0] = 1.0
    with torch.inference_mode():
        moved = (network(1)(changed) - network(1)(plain)).abs().amax(dim=(0, 1))
    assert all(moved > 0.0)


def test_assets_of_a_class_do_not_disturb_each_other() -> None:
    """Two assets in a batch are expected what each is expected alone."""
    values = torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        together = network()(values)
        alone = torch.cat([network()(values[:1]), network()(values[1:])])
    assert torch.allclose(together, alone, atol=1e-6)


def test_an_outlier_says_no_more_than_a_jump() -> None:
    """A value of 1e30 leads to the same expectation as one that is eight deviations out."""
    far, limit = torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)
    far[..., 0], limit[..., 0] = 1e30, 8.0
    with torch.inference_mode():
        assert torch.equal(network()(far)[..., 1:], network()(limit)[..., 1:])


def two_sinusoids(times: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(times / 6.0), np.sin(times / 4.6 + 0.7)], axis=1)


def test_of_two_sinusoids_the_second_is_foreseen_from_both() -> None:
    """The source's second example, with its sizes: 20 values of both, hidden 32, the next value of
    the second. On sequences that were not learnt the squared error is at most a hundredth of
    persistence's."""
    learnt = two_sinusoids(np.arange(1000.0))
    plan = AssetPlan(
        steps=300, sequences_a_batch=32, chunk=SEQUENCE, learning_rate=1e-2, dropout=0.0,
        weight_decay=0.0,
    )  # fmt: skip
    config = AssetConfig(("first", "second"), hidden=HIDDEN, ahead=1)
    trained, _ = train([learnt], config, 1, plan)
    unseen = two_sinusoids(np.arange(5000.0, 7000.0))
    unseen = (unseen - learnt.mean(axis=0)) / learnt.std(axis=0)
    starts = range(0, 1900, 7)
    seen = torch.from_numpy(np.stack([unseen[at : at + SEQUENCE] for at in starts])).float()
    target = np.array([unseen[at + SEQUENCE, 1] for at in starts])
    with torch.inference_mode():
        expected = AssetModule.of(trained)(seen)[:, -1, 1].double().numpy()
    persistence = np.mean((target - seen[:, -1, 1].double().numpy()) ** 2)
    assert np.mean((target - expected) ** 2) < persistence / 100.0
