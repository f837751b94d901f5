"""A program that is missing is named: the test is skipped, and in CI it fails."""

import socket

import pytest

from tests.programs import Mosquitto, require


def test_a_missing_program_skips_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANOMALYD_REQUIRE_PROGRAMS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no anomalyd-nothing: install nothing"):
        require("anomalyd-nothing", "nothing")


def test_in_ci_a_missing_program_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYD_REQUIRE_PROGRAMS", "1")
    with pytest.raises(pytest.fail.Exception, match="no anomalyd-nothing: install nothing"):
        require("anomalyd-nothing", "nothing")


def test_a_broker_keeps_its_port_when_it_is_started_again(mosquitto: Mosquitto) -> None:
    address = mosquitto.host, mosquitto.port
    mosquitto.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=1)
    mosquitto.start()
    socket.create_connection(address, timeout=1).close()
