"""What the broker sends again is left out where it was scored, and only there."""

from anomalyd.adapters.mqtt import TICKET_DUP
from anomalyd.runtime.inbox import Message
from anomalyd.runtime.receipts import Receipts

CONNECTION = 1 << 17


def message(mid: int, payload: bytes, again: bool = False) -> Message:
    return Message("plant/x", payload, 0.0, False, CONNECTION | again * TICKET_DUP | mid)


def test_a_repeated_message_is_left_out_and_acknowledged() -> None:
    receipts = Receipts()
    receipts.sift([message(1, b"1"), message(2, b"2")])
    again, new = message(1, b"1", again=True), message(3, b"3")
    sifted = receipts.sift([again, new])
    assert ([new], [3], 1) == (sifted.messages, sifted.ids.tolist(), receipts.repeated)
    assert [again.ticket, new.ticket] == sifted.tickets.tolist()


def test_a_repeated_message_in_the_same_batch_is_found() -> None:
    first = message(1, b"1")
    assert [first] == Receipts().sift([first, message(1, b"1", again=True)]).messages


def test_the_mark_alone_means_nothing() -> None:
    """Its first copy may never have come; and an id is used again, with something else."""
    receipts = Receipts()
    lost = message(1, b"1", again=True)
    assert [lost] == receipts.sift([lost]).messages
    other = message(1, b"2", again=True)
    assert [other] == receipts.sift([other]).messages


def test_what_a_journal_says_is_known() -> None:
    before, after = Receipts(), Receipts()
    sifted = before.sift([message(7, b"1")])
    after.note(sifted.ids, sifted.digests)
    assert [] == after.sift([message(7, b"1", again=True)]).messages


def test_messages_of_qos_0_pass() -> None:
    plain = [Message("plant/x", b"1", 0.0)] * 2
    sifted = Receipts().sift(plain)
    assert (plain, 0) == (sifted.messages, sifted.tickets.size)
