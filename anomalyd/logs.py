"""How the daemon says what it does: a line an event, for a person, for journald, or a machine.

`cli.py` calls `configure` once, on the main thread, before any other thread starts; every module
then uses `logging.getLogger(__name__)`. A message reads as a sentence without its extra fields:
those go into the JSON form and the journal. What arrives from outside can't forge a line: control
characters are escaped. It is not called for each message: changes of state are logged, numbers are
metrics.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import starmap
from typing import TextIO

PACKAGE = "anomalyd"
JOURNAL_SOCKET = "/run/systemd/journal/socket"

_NAMES = {"WARNING": "WARN", "CRITICAL": "FATAL"}

# <N> of sd-daemon(3): journald takes a line's priority from its first characters.
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))

_CONTROL = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_ESCAPES = {code: f"\\x{code:02x}" for code in _CONTROL} | {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}

# What a record has without anybody's `extra`.
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, format: str, stream: TextIO, environ: Mapping[str, str]) -> None:
    """Send every log line to `stream`: `format` is auto, plain or json.

    auto is plain, except where journald reads the stream: there the journal has the time.
    Libraries are heard from `warning` on, whatever our own level.
    """
    handler: logging.Handler = logging.StreamHandler(stream)
    formatter = _formatter(format, stream, environ, tracebacks=level == "debug")
    if isinstance(formatter, Journal):
        handler = Journald(JOURNAL_SOCKET, handler)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    change_level(level)


def change_level(level: str) -> None:
    """From now on; a reload calls it. Tracebacks stay as they were configured."""
    ours = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(max(ours, logging.WARNING))
    logging.getLogger(PACKAGE).setLevel(ours)


class Plain(logging.Formatter):
    """`2026-11-22T18:36:59.123Z INFO  pipeline: ...`: for a person at a terminal."""

    def __init__(self, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        level = _NAMES.get(record.levelname, record.levelname)
        line = f"{_time(record)} {level:<5} {_part(record)}: {_sentence(record)}"
        return "\n".join([line, *self._traceback(record)])

    def _traceback(self, record: logging.LogRecord) -> list[str]:
        if not self._tracebacks or not record.exc_info:
            return []
        return [line.translate(_ESCAPES) for line in _trace(self, record).splitlines()]


class Journal(Plain):
    """`<6>pipeline: ...`: journald turns the prefix into a priority and has the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        lines = [f"{_part(record)}: {_sentence(record)}", *self._traceback(record)]
        return "\n".join(f"<{priority}>{line}" for line in lines)


class Journald(logging.Handler):
    """Lines with their fields, as systemd's Native Journal Protocol has them: `journalctl
    ANOMALYD_CHANNEL=line1/pump2/flow`. Where nobody takes them, they go to `otherwise`."""

    def __init__(self, address: str, otherwise: logging.Handler) -> None:
        super().__init__()
        self._address = address
        self._otherwise = otherwise

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802 - logging's name
        super().setFormatter(fmt)
        self._otherwise.setFormatter(fmt)

    def emit(self, record: logging.LogRecord) -> None:
        # The lines of a traceback carry the priority each; here the field has it.
        priority, _, text = self.format(record).removeprefix("<").partition(">")
        fields = {
            "MESSAGE": text.replace(f"\n<{priority}>", "\n"),
            "PRIORITY": priority,
            "SYSLOG_IDENTIFIER": PACKAGE,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "THREAD_NAME": str(record.threadName),
        }
        fields |= {f"ANOMALYD_{key.upper()}": str(value) for key, value in _extra(record).items()}
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        try:
            with socket.socket(socket.AF_UNIX, kind) as journal:
                journal.sendto(b"".join(starmap(_field, fields.items())), self._address)
        except OSError:
            self._otherwise.emit(record)


def _field(name: str, value: str) -> bytes:
    """With its length, so that a line's end in the value ends nothing."""
    text = value.encode(errors="replace")
    return name.encode() + b"\n" + len(text).to_bytes(8, "little") + text + b"\n"


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _OWN_FIELDS}


class Json(logging.Formatter):
    """One JSON object a line: time, level, logger, message, exception, and the extra fields."""

    def __init__(self, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        line = _extra(record) | {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if exception := _exception(record):
            line["exception"] = exception
        if self._tracebacks and record.exc_info:
            line["traceback"] = _trace(self, record)
        return json.dumps(line, default=str)


class Sparse:
    """Repeated warnings, thinned: each key's first at once, the rest counted and told later.

    Belongs to the thread that calls it, so it needs no lock. It remembers at most `max_keys` keys;
    keys beyond that share one place, so that an attacker who varies the key can't fill the log.
    """

    def __init__(self, logger: logging.Logger, every_s: float, max_keys: int = 64) -> None:
        self._logger = logger
        self._every_s = every_s
        self._max_keys = max_keys
        self._keys: dict[str, _Repeats] = {}

    def warning(self, key: str, now: float, msg: str, *args: object) -> None:
        """Log `msg % args` unless this key was logged less than `every_s` before `now`."""
        if key not in self._keys and len(self._keys) >= self._max_keys:
            self.flush(now)
            key = key if len(self._keys) < self._max_keys else ""
        known = self._keys.get(key)
        if known and now - known.since < self._every_s:
            known.more += 1
            return
        more = known.said(now) if known else ""
        self._keys[key] = _Repeats(now, msg, args)
        self._logger.warning("%s%s", msg % args if args else msg, more)

    def flush(self, now: float) -> None:
        """Tell what was held back by keys that are due, and forget keys that fell silent."""
        due = [key for key, known in self._keys.items() if now - known.since >= self._every_s]
        for key in due:
            known = self._keys.pop(key)
            if not known.more:
                continue
            first = known.msg % known.args if known.args else known.msg
            self._logger.warning("%s%s", first, known.said(now))
            self._keys[key] = _Repeats(now, known.msg, known.args)


class _Repeats:
    """One key of `Sparse`: when it was last logged, what was said, and how many were held back."""

    __slots__ = ("args", "more", "msg", "since")

    def __init__(self, since: float, msg: str, args: tuple[object, ...]) -> None:
        self.since = since
        self.msg = msg
        self.args = args
        self.more = 0

    def said(self, now: float) -> str:
        return f" ... and {self.more} more in the last {now - self.since:.0f} s" * bool(self.more)


def _formatter(
    format: str, stream: TextIO, environ: Mapping[str, str], tracebacks: bool
) -> logging.Formatter:
    if format == "json":
        return Json(tracebacks)
    if format == "auto" and _journald_reads(stream, environ):
        return Journal(tracebacks)
    return Plain(tracebacks)


def _journald_reads(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """JOURNAL_STREAM is inherited by children whose stderr is a file: only the inode tells."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _part(record: logging.LogRecord) -> str:
    """Our module's own name; a library's logger in full."""
    ours = record.name.startswith(f"{PACKAGE}.")
    return record.name.rpartition(".")[2] if ours else record.name


def _sentence(record: logging.LogRecord) -> str:
    parts = [record.getMessage(), _exception(record)]
    return ": ".join(part for part in parts if part).translate(_ESCAPES)


def _exception(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    error = record.exc_info[1]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    assert record.exc_info
    return formatter.formatException(record.exc_info)
