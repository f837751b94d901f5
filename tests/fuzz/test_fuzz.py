"""The short form of the fuzzing: whatever arrives is readings or a reason, soon and in bounds."""

import subprocess
import sys

import pytest

from tests.fuzz.__main__ import run


def test_no_message_hurts() -> None:
    """All codecs; `python -m tests.fuzz` is the long form."""
    outcome = run(20_000, seed=7)
    assert 20_000 == outcome.payloads
    assert outcome.readings > 1_000
    assert outcome.slowest_s < 2.0
    assert outcome.grown_mb < 200.0
    assert set(outcome.reasons) <= {
        *("size", "empty", "json", "field", "depth", "number", "line", "protobuf"),
        *("topic", "name", "time", "quality", "alias", "null"),
    }


def test_no_message_that_reaches_new_code_hurts() -> None:
    """All codecs; `python -m tests.fuzz.guided` is the long form."""
    pytest.importorskip("atheris", reason="no atheris: install it, where it is built for")
    command = [sys.executable, "-m", "tests.fuzz.guided", "--payloads", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == done.returncode, done.stderr
    assert "Done 20000 runs" in done.stderr
