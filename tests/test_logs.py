"""A line an event, in the form that its reader wants, and nothing from outside can forge one."""

import io
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomalyd import logs

MOMENT = 1795372619.123


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "JOURNAL_SOCKET", "/nobody/listens")
    root, ours = logging.getLogger(), logging.getLogger("anomalyd")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


def _record(msg: str, *args: object, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    record = logging.LogRecord("anomalyd.runtime.pipeline", level, __file__, 1, msg, args, None)
    record.created = MOMENT
    vars(record).update(extra)
    return record


def _with_error(record: logging.LogRecord) -> logging.LogRecord:
    try:
        raise ValueError("bad\nvalue")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    return record


def test_plain_is_time_level_part_and_sentence() -> None:
    record = _record("channel=%s pending => firing score=%.1f", "line1/pump3/flow", 7.1)
    expected = (
        "2026-11-22T18:36:59.123Z INFO  pipeline: "
        "channel=line1/pump3/flow pending => firing score=7.1"
    )
    assert expected == logs.Plain(tracebacks=False).format(record)


def test_plain_keeps_the_full_name_of_a_library() -> None:
    record = _record("slow", level=logging.WARNING)
    record.name = "uvicorn.error"
    expected = "2026-11-22T18:36:59.123Z WARN  uvicorn.error: slow"
    assert expected == logs.Plain(tracebacks=False).format(record)


def test_a_topic_cannot_forge_a_line() -> None:
    record = _record("channel=%s", "a\n<3>pipeline: \x1b[31mall is lost\u2028")
    line = logs.Journal(tracebacks=False).format(record)
    assert r"<6>pipeline: channel=a\n<3>pipeline: \x1b[31mall is lost\x2028" == line


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.DEBUG, "<7>"),
        (logging.INFO, "<6>"),
        (logging.WARNING, "<4>"),
        (logging.ERROR, "<3>"),
        (logging.CRITICAL, "<3>"),
    ],
)
def test_journald_gets_a_priority_and_no_time(level: int, prefix: str) -> None:
    line = logs.Journal(tracebacks=False).format(_record("ready", level=level))
    assert f"{prefix}pipeline: ready" == line


def test_an_exception_is_one_line() -> None:
    line = logs.Plain(tracebacks=False).format(_with_error(_record("it died")))
    assert line.endswith(r"pipeline: it died: ValueError: bad\nvalue")
    assert 1 == len(line.splitlines())


def test_at_debug_level_the_traceback_follows_with_a_priority_on_each_line() -> None:
    lines = logs.Journal(tracebacks=True).format(_with_error(_record("it died"))).splitlines()
    assert "<6>Traceback (most recent call last):" == lines[1]
    assert all(line.startswith("<6>") for line in lines)


def test_json_is_one_object_a_line_with_the_extra_fields() -> None:
    record = _record("channel=%s firing", "a", channel="a", score=7.1)
    assert {
        "time": "2026-11-22T18:36:59.123Z",
        "level": "info",
        "logger": "anomalyd.runtime.pipeline",
        "message": "channel=a firing",
        "channel": "a",
        "score": 7.1,
    } == json.loads(logs.Json(tracebacks=False).format(record))


def test_json_has_the_exception_and_at_debug_level_the_traceback() -> None:
    line = logs.Json(tracebacks=False).format(_with_error(_record("it died")))
    assert "ValueError: bad\nvalue" == json.loads(line)["exception"]
    assert "traceback" not in json.loads(line)
    line = logs.Json(tracebacks=True).format(_with_error(_record("it died")))
    assert "Traceback" in json.loads(line)["traceback"]
    assert 1 == len(line.splitlines())


def test_configure_hears_us_from_our_level_and_libraries_from_warning() -> None:
    stream = io.StringIO()
    logs.configure("debug", "plain", stream, {})
    logging.getLogger("anomalyd.service").debug("ours")
    logging.getLogger("asyncio").info("not ours")
    logging.getLogger("asyncio").warning("not ours, but serious")
    said = [line.split("Z ", 1)[1] for line in stream.getvalue().splitlines()]
    assert ["DEBUG service: ours", "WARN  asyncio: not ours, but serious"] == said


def test_configure_again_replaces_the_former_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure("info", "plain", first, {})
    logs.configure("error", "plain", second, {})
    logging.getLogger("anomalyd.service").warning("below the level")
    logging.getLogger("anomalyd.service").error("said once")
    assert "" == first.getvalue()
    assert 1 == len(second.getvalue().splitlines())


@pytest.mark.parametrize("form", ["auto", "plain"])
def test_auto_finds_out_whether_journald_reads_the_stream(tmp_path: Path, form: str) -> None:
    with (tmp_path / "stderr").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        logs.configure("info", form, stream, environ)
        logging.getLogger("anomalyd.service").info("ready")
        stream.seek(0)
        assert (form == "auto") == (stream.read() == "<6>service: ready\n")


def test_a_journal_stream_inherited_from_a_parent_is_not_ours(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w+") as stream:
        logs.configure("info", "auto", stream, {"JOURNAL_STREAM": "1:1"})
        logging.getLogger("anomalyd.service").info("ready")
        stream.seek(0)
        assert stream.read().endswith("INFO  service: ready\n")


def _sparse(max_keys: int = 64) -> tuple[logs.Sparse, io.StringIO]:
    stream = io.StringIO()
    logs.configure("info", "plain", stream, {})
    logger = logging.getLogger("anomalyd.runtime.inbox")
    return logs.Sparse(logger, every_s=60.0, max_keys=max_keys), stream


def _said(stream: io.StringIO) -> list[str]:
    return [line.split("inbox: ", 1)[1] for line in stream.getvalue().splitlines()]


def test_sparse_says_the_first_at_once_and_counts_the_rest() -> None:
    sparse, stream = _sparse()
    for now in (0.0, 1.0, 59.9, 60.0, 61.0):
        sparse.warning("full", now, "dropped %d", 5)
    assert ["dropped 5", "dropped 5 ... and 2 more in the last 60 s"] == _said(stream)


def test_sparse_keys_do_not_hold_back_each_other() -> None:
    sparse, stream = _sparse()
    sparse.warning("a", 0.0, "from a")
    sparse.warning("b", 1.0, "from b, 100 %")
    assert ["from a", "from b, 100 %"] == _said(stream)


def test_flush_tells_what_was_held_back_when_it_is_due() -> None:
    sparse, stream = _sparse()
    sparse.warning("a", 0.0, "from a")
    sparse.warning("a", 1.0, "from a")
    sparse.flush(59.0)
    sparse.flush(61.0)
    sparse.flush(200.0)
    sparse.warning("a", 201.0, "from a")
    assert ["from a", "from a ... and 1 more in the last 61 s", "from a"] == _said(stream)


def test_sparse_stays_bounded_whatever_the_keys() -> None:
    sparse, stream = _sparse(max_keys=2)
    for number in range(1000):
        sparse.warning(f"key {number}", 0.001 * number, "key %d", number)
    assert ["key 0", "key 1", "key 2"] == _said(stream)
    sparse.warning("key 7", 100.0, "key %d", 7)
    expected = "key 2 ... and 997 more in the last 100 s"
    assert [expected, "key 7"] == _said(stream)[3:]


# --- the journal itself -----------------------------------------------------------------------


def _fields(datagram: bytes) -> dict[str, str]:
    """As journald reads them: a name, the length of its value, the value."""
    fields: dict[str, str] = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        length = int.from_bytes(rest[:8], "little")
        fields[name.decode()] = rest[8 : 8 + length].decode()
        assert b"\n" == rest[8 + length : 9 + length]
        datagram = rest[9 + length :]
    return fields


def _to_journal(address: str, otherwise: io.StringIO, record: logging.LogRecord) -> None:
    handler = logs.Journald(address, logging.StreamHandler(otherwise))
    handler.setFormatter(logs.Journal(tracebacks=True))
    handler.handle(record)


def test_the_journal_gets_the_fields_of_a_line(tmp_path: Path) -> None:
    """`journalctl ANOMALYD_CHANNEL=...` finds it, and a value can't forge another field."""
    address, otherwise = str(tmp_path / "journal"), io.StringIO()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(address)
        forged = "a\nPRIORITY=0"
        _to_journal(address, otherwise, _with_error(_record("raised", channel=forged)))
        fields = _fields(journal.recv(65536))
    assert ("6", "anomalyd", forged) == tuple(
        fields[name] for name in ("PRIORITY", "SYSLOG_IDENTIFIER", "ANOMALYD_CHANNEL")
    )
    first, *trace = fields["MESSAGE"].splitlines()
    assert "pipeline: raised: ValueError: bad\\nvalue" == first
    assert trace
    assert not [line for line in trace if line.startswith("<")]
    assert "" == otherwise.getvalue()


def test_a_line_that_journald_does_not_take_goes_to_the_stream(tmp_path: Path) -> None:
    otherwise = io.StringIO()
    _to_journal(str(tmp_path / "nobody"), otherwise, _record("ready"))
    assert "<6>pipeline: ready\n" == otherwise.getvalue()
