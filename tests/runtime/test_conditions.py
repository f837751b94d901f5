"""A condition is told when it begins and when it ends, and listed in between."""

import logging

import pytest

from anomalyd.runtime.conditions import Conditions


def test_a_condition_is_told_once_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    conditions = Conditions()
    conditions.begin("state", "disk full")
    conditions.begin("state", "disk still full")
    assert {"state": "disk still full"} == conditions.now()
    conditions.end("state")
    conditions.end("state")
    assert {} == conditions.now()
    assert [
        "degraded condition=state: disk full",
        "recovered condition=state; it was: disk still full",
    ] == caplog.messages
