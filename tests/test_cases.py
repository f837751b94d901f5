"""Stories: settings, readings, and the alerts that must come of them.

Each folder in `cases/` is one: `settings.toml`, `readings.csv`, `alerts.txt` with a line for each
transition: seconds after the first reading, channel, transition, kind. A bug starts as a new
folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalyd.adapters.recording import Recording, parse_time
from anomalyd.runtime.replay import Replay
from anomalyd.settings import load

_STORIES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())


@pytest.mark.parametrize("story", _STORIES, ids=lambda story: story.name)
def test_the_story_has_its_alerts(story: Path) -> None:
    """Neither more nor fewer, each at its reading."""
    recording = Recording(story / "readings.csv")
    first_s = next(recording.rows()).time
    run = Replay(load(story / "settings.toml"), story)
    told = [
        f"{parse_time(alert.updated_at) - first_s:g} {alert.channel} "
        f"{alert.transition} {alert.kind}"
        for block in run.blocks(recording)
        for alert in block.alerts
    ]
    assert (story / "alerts.txt").read_text().splitlines() == told
