"""The rebirths' rules: a node is asked once a minute, and all of them seldom enough."""

from anomalyd.runtime.rebirths import Rebirths


def test_a_node_is_asked_again_after_a_minute() -> None:
    """Not with every message that it sends."""
    rebirths = Rebirths()
    for at_s in (0.0, 1.0, 59.0):
        rebirths.ask("spBv1.0/G/NCMD/N", at_s)
    assert ["spBv1.0/G/NCMD/N"] == rebirths.take()
    rebirths.ask("spBv1.0/G/NCMD/N", 60.0)
    assert (["spBv1.0/G/NCMD/N"], []) == (rebirths.take(), rebirths.take())


def test_many_nodes_cause_no_flood() -> None:
    """A hundred a minute; who has to wait is asked when it speaks again."""
    rebirths = Rebirths()
    for node in range(100_000):
        rebirths.ask(f"spBv1.0/G/NCMD/{node}", 0.0)
    assert 100 == len(rebirths.take())
    rebirths.ask("spBv1.0/G/NCMD/5000", 60.0)
    assert ["spBv1.0/G/NCMD/5000"] == rebirths.take()
