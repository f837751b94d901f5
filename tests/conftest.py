"""What many tests need, started for real."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.programs import Mosquitto, running

OPEN_TO_ALL = "allow_anonymous true\nmax_queued_messages 0\n"


@pytest.fixture
def start_mosquitto(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Mosquitto]]:
    """`start_mosquitto(config)`: a running mosquitto with that configuration."""
    with ExitStack() as brokers:

        def start(config: str) -> Mosquitto:
            directory = tmp_path_factory.mktemp("mosquitto")
            return brokers.enter_context(running(Mosquitto(directory, config)))

        yield start


@pytest.fixture
def mosquitto(start_mosquitto: Callable[[str], Mosquitto]) -> Mosquitto:
    """A running mosquitto that lets everybody in; stop(), kill() and start() keep its port."""
    return start_mosquitto(OPEN_TO_ALL)
