"""The short form of the fuzzing: whatever arrives is readings or a reason, soon and in bounds."""

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
