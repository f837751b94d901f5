"""`anomalyd models`: what serves can be seen and changed, for people and for programs, and what
can't be used is refused with one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalyd import cli, terminal_models
from anomalyd.adapters.models.manifest import NEXT_STEP, Manifest
from anomalyd.adapters.models.store import ModelStore
from anomalyd.model import checkpoint
from anomalyd.runtime.registry import open_store


class Site:
    """A state directory with two versions, and what the command says of it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._config = folder / "anomalyd.toml"
        self._config.write_text(f'[state]\ndirectory = "{folder}"\n')
        self.store = open_store(folder, 8)
        sound = checkpoint.shipped().read_bytes()
        about = Manifest(role=NEXT_STEP, created_s=1e9, seed=1, code_version="0", reason="nightly")
        self.sound = self.store.add(sound, about)
        self.foreign = self.store.add(b"foreign", about)

    def models(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, and what was written to stdout and stderr."""
        status = cli.run(["models", *arguments, "--config", str(self._config)])
        return (status, *self._capsys.readouterr())


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


def test_the_list_has_every_version(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    status, out, err = site.models("list")
    assert (0, "") == (status, err)
    assert ["shipped", "shipped", *sorted((site.sound, site.foreign))] == [
        line.split()[0] for line in out.splitlines()[1:]
    ]
    assert "2001-09-09T01:46:40" in out


def test_programs_get_json(site: Site) -> None:
    status, out, _ = site.models("list", "--json")
    found = {(each["version"], each["role"]): each["status"] for each in json.loads(out)}
    assert (0, 4) == (status, len(found))
    assert "current" == found["shipped", NEXT_STEP]
    one = json.loads(site.models("show", site.sound, "--json")[1])
    assert (site.sound, "challenger") == (one["version"], one["status"])


def test_promotion_and_the_way_back(site: Site) -> None:
    """With what served before; the reason goes into the manifest and the journal."""
    status, out, _ = site.models("promote", site.sound, "--reason", "tried on line 2")
    assert (0, True) == (status, out.startswith(f"next-step: {site.sound} serves, shipped did"))
    assert site.sound == site.store.current(NEXT_STEP)
    status, out, _ = site.models("show", site.sound)
    assert (0, True) == (status, "promote  tried on line 2" in out)
    status, out, _ = site.models("rollback")
    assert (0, True) == (status, out.startswith(f"next-step: shipped serves, {site.sound} did"))
    status, _, err = site.models("rollback")
    assert (1, 1) == (status, len(err.splitlines()))


def test_what_cannot_serve_is_refused(site: Site) -> None:
    """Before anything changes."""
    for version in (site.foreign, "nobody"):
        status, out, err = site.models("promote", version)
        assert (1, "", 1) == (status, out, len(err.splitlines()))
        assert version in err
    assert "shipped" == site.store.current(NEXT_STEP)


@pytest.mark.parametrize("arguments", [["show"], ["promote"], ["list", "x"], ["rollback", "x"]])
def test_a_version_where_none_belongs_or_none_where_one_does(
    site: Site, arguments: list[str]
) -> None:
    status, out, err = site.models(*arguments)
    assert (2, "", 1) == (status, out, len(err.splitlines()))


@pytest.mark.parametrize(
    ("role", "when"),
    [
        ("next-step", "within a second\n"),
        ("forecast", "when it starts again\n"),
        ("asset:pumps", "or once none of its channels is under alert\n"),
    ],
)
def test_when_a_running_daemon_takes_it_up_is_told(
    role: str, when: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each kind, what is true of it."""
    store = ModelStore(tmp_path, 8, {role: checkpoint.shipped()})
    version = store.add(b"content", Manifest(role=role, created_s=1.0, seed=0, code_version=""))
    assert 0 == terminal_models.promote(store, version, role, "better", 2.0)
    assert capsys.readouterr().out.endswith(when)
