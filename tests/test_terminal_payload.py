"""`check --topic --payload` shows what the daemon would make of a message: a row for each reading,
or why there is none; nothing of a hostile message reaches the terminal unescaped."""

import io
import sys
from pathlib import Path

import pytest

from anomalyd import cli
from anomalyd.settings import Settings, Stream
from anomalyd.terminal_payload import show

NOW_S = 1_700_000_000.0
EVERY = Stream(topic="plant/{line}/{machine}", value="*", time="ts", unit="bar")
SENML = Stream(topic="senml/{gateway}", format="senml")
SPARK = Stream(topic="spBv1.0/{group}/+/{node}/{device*}", format="sparkplug")


def shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, topic: str, payload: bytes
) -> tuple[int, list[list[str]]]:
    """Exit status and the cells of the table, without its heading."""
    file = tmp_path / "payload"
    file.write_bytes(payload)
    status = show(Settings(streams=(EVERY, SENML, SPARK)), topic, file, NOW_S)
    lines = capsys.readouterr().out.splitlines()[1:]
    return status, [[cell.strip() for cell in line.split("  ") if cell] for line in lines]


def test_a_row_for_each_channel(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Name, labels, time, value and unit."""
    payload = b'{"ts": 1699999999, "t": 21.5, "rpm": 3}'
    at = "2023-11-14T22:13:19.000Z"
    assert (
        0,
        [
            ["l1/m1/t", "line=l1 machine=m1", at, "21.5", "bar"],
            ["l1/m1/rpm", "line=l1 machine=m1", at, "3", "bar"],
        ],
    ) == shown(capsys, tmp_path, "plant/l1/m1", payload)


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        ("plant/l/m", b"{", "json"),
        ("plant/l/m", b'{"ts": "x", "a": 1}', "time"),
        ("plant/l/m", b'{"ts": 1700000100, "a": 1}', "future"),
        ("plant/l/m", b'{"ts": 1700000000, "a": 1e305}', "value"),
        ("plant/l/m", b'{"ts": 1700000000, "' + b"a" * 2000 + b'": 1}', "name"),
        ("plant/l/\x1b[2J", b'{"ts": 1700000000, "a": 1}', "name"),
        ("senml/g", b'[{"n": "a b", "v": 1}]', "field"),
        ("spBv1.0/G/NCMD/N", b"", "no reading"),
        ("spBv1.0/G/NDEATH/N", b"", "a death"),
    ],
)
def test_a_refusal_says_why(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, topic: str, payload: bytes, why: str
) -> None:
    """With status 1, where no reading is left."""
    status, rows = shown(capsys, tmp_path, topic, payload)
    assert 1 == status
    assert rows[0][-1].startswith(why)


def test_what_is_hostile_is_escaped(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """No escape sequence, line end or turned writing reaches the terminal."""
    payload = b'{"ts": 1700000000, "a\\u001b[2J\\u202e\\n": 1}'
    shown(capsys, tmp_path, "plant/l/m", payload)
    shown(capsys, tmp_path, "plant/\x1b[2J/\u202e\n", payload)
    file = tmp_path / "payload"
    for topic in ("plant/l/m", "plant/\x1b[2J/\u202e\n"):
        show(Settings(streams=(EVERY,)), topic, file, NOW_S)
        assert all(each.isprintable() for each in capsys.readouterr().out.splitlines())


def test_the_command_reads_a_file_or_standard_input(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is status 2 with one line where no stream has the topic, or half of it is missing."""
    monkeypatch.delenv("ANOMALYD_REQUIRE_PROGRAMS", raising=False)  # no setting, and told so
    config = tmp_path / "my.toml"
    config.write_text('[[streams]]\ntopic = "plant/{x}"\nvalue = ""\n', encoding="utf-8")
    asked = ["check", "--config", str(config), "--payload", "-", "--topic"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"21.5")))
    assert 0 == cli.run([*asked, "plant/a"])
    assert "21.5" in capsys.readouterr().out
    for arguments in ([*asked, "elsewhere"], asked[:-1]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"21.5")))
        assert 2 == cli.run(arguments)
        assert 1 == len(capsys.readouterr().err.splitlines())
    assert 2 == cli.run([*asked[:-3], "--payload", str(tmp_path / "none"), "--topic", "plant/a"])
