"""The registry's rules: exactly one version of each role serves, whatever was cut off; a version is
there whole or not at all; and what is damaged is refused by name."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from anomalyd.adapters.models.manifest import FORECAST, NEXT_STEP, SHIPPED, Manifest
from anomalyd.adapters.models.store import ModelStore
from anomalyd.errors import ModelError
from anomalyd.files import UNFINISHED

PUMPS = "asset:line/pumps"


def store(folder: Path, keep: int = 8) -> ModelStore:
    shipped = folder / "shipped"
    shipped.mkdir(exist_ok=True)
    for name in ("next", "forecast"):
        (shipped / name).write_bytes(name.encode())
    both = {NEXT_STEP: shipped / "next", FORECAST: shipped / "forecast"}
    return ModelStore(folder / "models", keep, both)


def manifest(second: int, role: str = NEXT_STEP, **more: object) -> Manifest:
    known = {"role": role, "created_s": 1e9 + second, "seed": 1, "code_version": "0"}
    return msgspec.convert(known | more, Manifest)


def added(models: ModelStore, *seconds: int, role: str = NEXT_STEP) -> list[str]:
    return [models.add(b"%d" % each, manifest(each, role)) for each in seconds]


def statuses(models: ModelStore) -> dict[str, str]:
    return {each.version: each.status for each in models.list() if each.role == NEXT_STEP}


def test_what_was_shipped_serves_until_something_is_promoted(tmp_path: Path) -> None:
    models = store(tmp_path)
    assert (SHIPPED, SHIPPED) == (models.current(NEXT_STEP), models.current(FORECAST))
    assert b"forecast" == models.load(SHIPPED, FORECAST)
    assert {SHIPPED: "current"} == statuses(models)
    assert not (tmp_path / "models").exists()


def test_what_was_added_comes_back(tmp_path: Path) -> None:
    """Its bytes, and all that is known of it; adding it again changes nothing."""
    models = store(tmp_path)
    about = manifest(0, metrics={"nll": 1.5}, parent=SHIPPED, reason="nightly")
    version = models.add(b"weights", about)
    assert version == models.add(b"weights", about)
    assert "20010909T014640Z" == version.rpartition("-")[0]
    found = store(tmp_path).show(version)
    assert (b"weights", "challenger") == (models.load(version), found.status)
    assert {"nll": 1.5} == found.metrics
    assert SHIPPED == models.current(NEXT_STEP)


def test_promotion_and_the_way_back(tmp_path: Path) -> None:
    """Back goes to what served before, in the end to what was shipped, and no further."""
    models = store(tmp_path)
    first, second = added(models, 1, 2)
    models.promote(first, "better", 10.0)
    models.promote(second, "better still", 20.0)
    assert {SHIPPED: "shipped", first: "retired", second: "current"} == statuses(models)
    assert first == models.rollback(NEXT_STEP, "floods", 30.0)
    assert {SHIPPED: "shipped", first: "current", second: "rolled-back"} == statuses(models)
    assert SHIPPED == models.rollback(NEXT_STEP, "too", 40.0)
    with pytest.raises(ModelError, match="no way back"):
        models.rollback(NEXT_STEP, "again", 50.0)
    told = [(each.event, each.version, each.reason) for each in models.events()]
    assert [
        ("add", first, ""),
        ("add", second, ""),
        ("promote", first, "better"),
        ("promote", second, "better still"),
        ("rollback", first, "floods"),
        ("rollback", SHIPPED, "too"),
    ] == told


def test_roles_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    models = store(tmp_path)
    (pumps,) = added(models, 1, role=PUMPS)
    models.promote(pumps, "", 5.0)
    assert (pumps, SHIPPED) == (models.current(PUMPS), models.current(NEXT_STEP))
    assert [NEXT_STEP, FORECAST, PUMPS] == list(dict.fromkeys(each.role for each in models.list()))
    # No file of that role came with the program, and no stream names one.
    with pytest.raises(ModelError, match="no way back"):
        models.rollback(PUMPS, "", 6.0)
    assert pumps == models.current(PUMPS)


def test_the_rejected_says_why(tmp_path: Path) -> None:
    models = store(tmp_path)
    first, second = added(models, 1, 2)
    models.shadow(second, "passed the gate", 2.0)
    assert "shadow" == models.show(second).status
    models.reject(first, "misses case 3", 3.0)
    assert ("rejected", "misses case 3") == (models.show(first).status, models.show(first).reason)
    models.promote(second, "", 4.0)
    with pytest.raises(ModelError, match="roll back instead"):
        models.reject(second, "", 5.0)


def test_so_many_are_kept_and_what_is_needed(tmp_path: Path) -> None:
    """What serves, what it was made from, what it would go back to, and what is in shadow."""
    models = store(tmp_path, keep=2)
    parent, before = added(models, 1, 2)
    models.promote(before, "", 3.0)
    current = models.add(b"c", manifest(4, parent=parent))
    models.promote(current, "", 5.0)
    (shadow,) = added(models, 6)
    models.shadow(shadow, "", 7.0)
    *_, old, new = added(models, 10, 11, 12, 13)
    left = {each.version for each in models.list() if each.version != SHIPPED}
    assert {before, current, shadow, old, new} <= left
    assert 6 >= len(left)
    assert parent in left


# --- what was cut off or damaged --------------------------------------------------------------


def test_a_damaged_model_is_refused_and_the_one_before_serves(tmp_path: Path) -> None:
    models = store(tmp_path)
    first, second, third = added(models, 1, 2, 3)
    for each in (first, second):
        models.promote(each, "", 4.0)
    for damaged in (first, third):
        (tmp_path / "models" / damaged / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match=f"{third}.*damaged"):
        models.promote(third, "", 5.0)
    with pytest.raises(ModelError, match=f"{first}.*damaged"):
        models.load(first)
    assert second == models.current(NEXT_STEP)
    assert SHIPPED == models.rollback(NEXT_STEP, "", 6.0)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"versions": 3}', b"\xff\xfe"])
def test_a_damaged_pointer_is_told_and_the_shipped_serves(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    models = store(tmp_path)
    (version,) = added(models, 1)
    models.promote(version, "", 2.0)
    (tmp_path / "models" / "current-next-step.json").write_bytes(content)
    assert SHIPPED == models.current(NEXT_STEP)
    assert "current-next-step.json" in caplog.messages[0]
    models.promote(version, "", 3.0)
    assert version == models.current(NEXT_STEP)


@pytest.mark.parametrize("content", [b"", b"{", None])
def test_what_is_no_version_is_swept_with_a_line(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a valid manifest it never counts; the rest stays."""
    models = store(tmp_path)
    whole, broken = added(models, 1, 2)
    models.promote(broken, "", 3.0)
    path = tmp_path / "models" / broken / "manifest.json"
    path.unlink() if content is None else path.write_bytes(content)
    (tmp_path / "models" / f".x{UNFINISHED}").mkdir()
    assert SHIPPED == models.current(NEXT_STEP)
    with caplog.at_level(logging.WARNING):
        models.sweep()
    left = {each.name for each in (tmp_path / "models").iterdir() if each.is_dir()}
    assert {whole} == left
    assert [True] == [broken in line for line in caplog.messages if "removed" in line]


def test_another_releases_version_is_left_out_and_stays(tmp_path: Path) -> None:
    models = store(tmp_path)
    (version,) = added(models, 1)
    path = tmp_path / "models" / version / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"anomalyd/model/1", b"anomalyd/model/9"))
    models.sweep()
    assert path.exists()
    assert [SHIPPED] == list(statuses(models))
    with pytest.raises(ModelError, match="another version or format"):
        models.promote(version, "", 2.0)


@pytest.mark.parametrize("name", ["", "nobody", "../models", ".lock", "current-next-step.json"])
def test_what_is_not_there_is_said_so(tmp_path: Path, name: str) -> None:
    models = store(tmp_path)
    added(models, 1)
    for ask in (models.show, models.load, models.path):
        with pytest.raises(ModelError):
            ask(name)


def test_a_disk_that_refuses_is_one_line(tmp_path: Path) -> None:
    """And nothing is half there."""
    models = store(tmp_path)
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(ModelError, match="models"):
        added(models, 1)


def test_a_cut_off_line_of_the_journal_is_left_out(tmp_path: Path) -> None:
    models = store(tmp_path)
    added(models, 1)
    with (tmp_path / "models" / "journal.jsonl").open("ab") as file:
        file.write(b'{"time_s": 1')
    added(models, 2)
    assert ["add", "add"] == [each.event for each in models.events()]


@pytest.mark.parametrize("back", [False, True])
def test_nothing_stays_in_shadow_where_another_serves(tmp_path: Path, back: bool) -> None:
    """Promoted or rolled back by hand: what was to follow the one before is rejected, and says
    why."""
    models = store(tmp_path)
    first, second = added(models, 1, 2)
    if back:
        models.promote(first, "better", 10.0)
    models.shadow(second, "better still", 20.0)
    if back:
        models.rollback(NEXT_STEP, "by hand", 30.0)
    else:
        models.promote(first, "by hand", 30.0)
    assert "rejected" == statuses(models)[second]
    assert f"{first} was" in models.show(second).reason


def test_the_way_back_passes_by_what_can_not_be_loaded(tmp_path: Path) -> None:
    """Its checksum is right, and it is of another format all the same."""

    def inspect(path: Path, role: str) -> None:
        if path.read_bytes() == b"1":
            raise ModelError(f"{path}: not a model")

    store(tmp_path)
    shipped = {NEXT_STEP: tmp_path / "shipped" / "next"}
    models = ModelStore(tmp_path / "models", 8, shipped, inspect)
    first, second = added(models, 1, 2)
    models.promote(first, "better", 10.0)
    models.promote(second, "better still", 20.0)
    assert SHIPPED == models.rollback(NEXT_STEP, "floods", 30.0)
