"""What is noted survives; what can't be written or read is said, and hurts nothing."""

from __future__ import annotations

from pathlib import Path

from anomalyd.runtime.agenda import CONDITION, Agenda, AgendaFile, Round
from anomalyd.runtime.conditions import Conditions


def test_what_is_noted_is_there_after_a_restart(tmp_path: Path) -> None:
    """All of it, and nothing else is changed."""
    agenda = AgendaFile(tmp_path / "new", Conditions())
    assert Agenda() == agenda.now
    agenda.note(due_s=5.0)
    agenda.note(round=Round("shipped", 1.0, 2.0, "asked for"), trial="v")
    again = AgendaFile(tmp_path / "new", Conditions()).now
    assert Agenda(due_s=5.0, round=Round("shipped", 1.0, 2.0, "asked for"), trial="v") == again


def test_progress_is_taken_once(tmp_path: Path) -> None:
    """By the round that goes on from it."""
    agenda = AgendaFile(tmp_path, Conditions())
    assert agenda.take_progress() is None
    agenda.keep_progress(b"half")
    assert b"half" == AgendaFile(tmp_path, Conditions()).take_progress()
    assert agenda.take_progress() is None


def test_what_is_not_readable_begins_anew(tmp_path: Path) -> None:
    """It is no reason to stop."""
    (tmp_path / "retrain.json").write_bytes(b"{")
    assert Agenda() == AgendaFile(tmp_path, Conditions()).now


def test_what_can_not_be_written_is_a_condition(tmp_path: Path) -> None:
    """Until it can."""
    conditions = Conditions()
    agenda = AgendaFile(tmp_path, conditions)
    (tmp_path / "retrain.json").mkdir()
    agenda.note(due_s=5.0)
    assert CONDITION in conditions.now()
    (tmp_path / "retrain.json").rmdir()
    agenda.note(due_s=6.0)
    assert {} == conditions.now()
    assert 6.0 == agenda.now.due_s
