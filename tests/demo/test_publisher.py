"""The publisher's rules: it counts what went out, and outlives the broker it talks to."""

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from anomalyd.demo.broker import EmbeddedBroker, find_program, free_port
from anomalyd.demo.publisher import Publisher, payload
from anomalyd.errors import ProgramMissing

WITHIN_S = 10.0
BATCH = [("plant/l/a/x", payload(1.5, 2.25)), ("plant/l/a/y", payload(1.5, -1.0))]


def test_a_reading_is_as_the_wire_contract_has_it() -> None:
    assert payload(1_700_000_000.25, 3.5) == b'{"ts":1700000000.25,"value":3.5}'


def test_readings_are_lost_while_the_broker_is_away_and_go_out_again_after() -> None:
    try:
        find_program()
    except ProgramMissing as missing:
        pytest.skip(str(missing))
    port = free_port()
    with ExitStack() as stack:
        with EmbeddedBroker(port):
            publisher = stack.enter_context(Publisher("127.0.0.1", port))
            assert goes_out(publisher)
        assert until(lambda: not goes_out(publisher)), "paho never noticed"
        lost = publisher.sent - publisher.published
        assert lost > 0
        stack.enter_context(EmbeddedBroker(port))
        assert until(lambda: goes_out(publisher)), "it never connected again"
        assert publisher.sent - publisher.published >= lost


def goes_out(publisher: Publisher) -> bool:
    before = publisher.published
    publisher.send(BATCH)
    return publisher.published == before + len(BATCH)


def until(happens: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if happens():
            return True
    return False
