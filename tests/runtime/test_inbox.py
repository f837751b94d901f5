"""The inbox's rules: in order, bounded, the oldest of the busiest topics dropped and counted,
and never a wait for who puts."""

import threading
import time

from anomalyd.runtime.inbox import Inbox, Message

WITHIN_S = 10.0


def message(number: int) -> Message:
    return Message("plant/x", str(number).encode(), float(number))


def filled(count: int, capacity: int = 100) -> Inbox:
    inbox = Inbox(capacity)
    for number in range(count):
        inbox.put(message(number))
    return inbox


def test_messages_come_in_order_of_arrival() -> None:
    """Oldest first, at most as many as asked for."""
    inbox = filled(5)
    assert [message(0), message(1), message(2)] == inbox.take(3)
    assert [message(3), message(4)] == inbox.take(3)
    assert [] == inbox.take(3)


def test_a_full_inbox_drops_the_oldest_and_counts_it() -> None:
    """What is newest keeps its place; everything that came is in `received`."""
    inbox = filled(9, capacity=8)
    assert (7, 9, 2) == (len(inbox), inbox.received, inbox.shed)
    assert [message(number) for number in range(2, 9)] == inbox.take(9)
    inbox.put(message(5))
    assert [message(5)] == inbox.take(9)


def test_who_floods_pays_for_it() -> None:
    """The topics that are busiest lose, the quiet ones lose nothing; the order stays."""
    inbox = Inbox(100)
    quiet = [Message(f"quiet/{number}", b"1", float(number)) for number in range(20)]
    for each in quiet:
        inbox.put(each)
    for number in range(1000):
        inbox.put(message(number))
        assert len(inbox) <= 100
    taken = inbox.take(1000)
    assert quiet == taken[:20]
    newest = [message(number) for number in range(1000)]
    assert newest[-len(taken[20:]) :] == taken[20:]
    assert (1020, 0) == (len(taken) + inbox.shed, inbox.bytes)


def test_large_messages_fill_it_too() -> None:
    """The bytes that wait are bounded as well; a small topic loses nothing to a large one."""
    inbox = Inbox(1000, capacity_bytes=100_000)
    inbox.put(message(0))
    for number in range(100):
        inbox.put(Message("plant/large", bytes(10_000), float(number)))
        assert inbox.bytes <= 100_000
    taken = inbox.take(1000)
    assert message(0) == taken[0]
    assert 99.0 == taken[-1].arrived
    assert (101, 0) == (len(taken) + inbox.shed, inbox.bytes)


def test_what_the_broker_keeps_is_never_shed() -> None:
    """It fills half of the inbox at most, if who puts heeds `full`; a flood of the others sheds
    others only."""
    inbox = Inbox(100)
    owed = [Message("plant/owed", b"1", float(number), ticket=number + 1) for number in range(50)]
    for each in owed:
        assert not inbox.full
        inbox.put(each)
    assert inbox.full
    for number in range(1000):
        inbox.put(message(number))
        assert len(inbox) <= 100
    taken = inbox.take(20)
    assert (owed[:20], False) == (taken, inbox.full)
    taken += inbox.take(1000)
    assert owed == [each for each in taken if each.ticket]
    assert (1050, 0) == (len(taken) + inbox.shed, inbox.bytes)


def test_large_messages_that_the_broker_keeps_fill_it_too() -> None:
    """In bytes; and a closed inbox holds nobody up."""
    inbox = Inbox(1000, capacity_bytes=100_000)
    for number in range(5):
        assert not inbox.full
        inbox.put(Message("plant/large", bytes(10_000), float(number), ticket=number + 1))
    assert inbox.full
    inbox.close()
    assert not inbox.full


def test_a_closed_inbox_takes_nothing_more_and_gives_what_it_has() -> None:
    """That is how the pipeline drains."""
    inbox = filled(2)
    inbox.close()
    inbox.put(message(2))
    assert (True, 2, 1) == (inbox.closed, len(inbox), inbox.dropped)
    assert [message(0), message(1)] == inbox.take(9)


def test_waiting_ends_with_a_message() -> None:
    """At once if one is there, and when one comes."""
    assert waited_s(filled(1)) < WITHIN_S / 2
    inbox = Inbox(9)
    threading.Timer(0.05, inbox.put, [message(0)]).start()
    assert waited_s(inbox) < WITHIN_S / 2


def test_waiting_ends_when_it_is_closed() -> None:
    """Or the pipeline would sleep while the daemon is to stop."""
    inbox = Inbox(9)
    threading.Timer(0.05, inbox.close).start()
    assert waited_s(inbox) < WITHIN_S / 2
    assert waited_s(inbox) < WITHIN_S / 2, "and stays so"
    inbox.take(9)
    assert waited_s(inbox) < WITHIN_S / 2, "also after taking"


def test_waiting_ends_while_something_is_left() -> None:
    """A take of fewer than there are leaves the rest to be taken at once."""
    inbox = filled(3)
    inbox.take(2)
    assert waited_s(inbox) < WITHIN_S / 2


def test_waiting_has_an_end() -> None:
    """Nothing comes: the pipeline still shows that it is alive."""
    inbox = filled(1)
    inbox.take(1)
    begin = time.monotonic()
    inbox.wait(0.05)
    assert 0.04 < time.monotonic() - begin < WITHIN_S


def test_waiting_for_many_ends_when_they_are_there() -> None:
    """One is not enough to be woken for; the last of them is, whenever it came."""
    inbox = filled(1)
    begin = time.monotonic()
    inbox.wait(0.05, 2)
    assert 0.04 < time.monotonic() - begin
    timer = threading.Timer(0.05, inbox.put, (message(1),))
    timer.start()
    inbox.wait(WITHIN_S, 2)
    timer.join()
    assert time.monotonic() - begin < WITHIN_S


def test_the_oldest_tells_since_when_they_wait() -> None:
    inbox = Inbox(10)
    inbox.put(Message("t", b"", 5.0))
    inbox.put(Message("t", b"", 6.0))
    assert 5.0 == inbox.waits_since()
    inbox.take(2)
    assert time.monotonic() - 1.0 < inbox.waits_since() <= time.monotonic()


def waited_s(inbox: Inbox) -> float:
    begin = time.monotonic()
    inbox.wait(WITHIN_S)
    return time.monotonic() - begin


def test_nothing_is_lost_between_two_threads() -> None:
    """One puts and one takes, at full speed and without a lock."""
    count = 50_000
    inbox = Inbox(count)

    def put_all() -> None:
        for number in range(count):
            inbox.put(message(number))

    putter = threading.Thread(target=put_all)
    putter.start()
    taken: list[Message] = []
    deadline = time.monotonic() + WITHIN_S
    while len(taken) < count and time.monotonic() < deadline:
        inbox.wait(WITHIN_S)
        taken += inbox.take(700)
    putter.join()
    assert [message(each) for each in range(count)] == taken
    assert (count, 0, 0) == (inbox.received, inbox.dropped, len(inbox))


def test_what_is_discarded_is_counted_and_not_taken() -> None:
    inbox = Inbox(10)
    for _ in range(3):
        inbox.put(message(0))
    inbox.close()
    assert 3 == inbox.discard()
    assert [] == inbox.take(10)
    assert (0, 3) == (len(inbox), inbox.dropped)
