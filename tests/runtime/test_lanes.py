"""Each channel's transitions wait in order; only updates are replaced, and not on their way."""

from anomalyd.runtime.lanes import Lanes, Post


def post(seq: int, what: str, channel: str = "x", identity: str = "a") -> Post:
    return Post(seq, identity, channel, f"alert/{channel}", what, b"")


def waiting(lanes: Lanes, channel: str = "x") -> list[int]:
    seqs = []
    while channel in lanes.free((), 99):
        seqs.append(lanes.head(channel).seq)
        lanes.pop(channel)
    return seqs


def test_an_update_replaces_the_one_before_it() -> None:
    lanes = Lanes()
    for seq, what in enumerate(("raised", "updated", "updated", "updated", "cleared")):
        lanes.add(post(seq, what))
    assert ([1, 2], 3) == (lanes.superseded, len(lanes))
    assert [0, 3, 4] == waiting(lanes)


def test_what_is_on_its_way_is_not_replaced() -> None:
    lanes = Lanes()
    lanes.add(post(1, "updated"))
    lanes.add(post(2, "updated"), supersede=False)
    assert [1, 2] == waiting(lanes)


def test_another_alert_of_the_channel_is_not_replaced() -> None:
    lanes = Lanes()
    lanes.add(post(1, "updated"))
    lanes.add(post(2, "updated", identity="b"))
    assert [1, 2] == waiting(lanes)


def test_channels_take_turns() -> None:
    lanes = Lanes()
    for seq, channel in enumerate("xxyz"):
        lanes.add(post(seq, "raised", channel))
    assert ["y"] == lanes.free({"x"}, 1)
    lanes.pop("x")
    assert ["y", "z", "x"] == lanes.free((), 9)
    assert [] == lanes.free((), -1)


def test_older_ones_come_first_but_not_before_what_is_on_its_way() -> None:
    lanes = Lanes()
    for seq in (5, 6, 1, 2):
        lanes.add(post(seq, "raised"))
        lanes.add(post(seq, "raised", "y"))
    lanes.sort({"x"})
    assert [5, 1, 2, 6] == waiting(lanes)
    assert [1, 2, 5, 6] == waiting(lanes, "y")


def test_what_waits_for_a_topic_is_known() -> None:
    lanes = Lanes()
    lanes.add(post(1, "raised"))
    assert (True, False) == (lanes.waits("x", "alert/x"), lanes.waits("x", "range/x"))
    assert [1] == list(lanes.seqs())
