"""The report's rules: it shows what was raised and why, plainly where nothing was; one page that
needs nothing else, the same for the same replay, and no larger for a longer one."""

import tracemalloc
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from anomalyd.adapters.recording import Recording
from anomalyd.demo.plant import Fault, Plant
from anomalyd.detection.reading import Kind, Readings, State, Verdicts
from anomalyd.errors import DataError
from anomalyd.runtime.alerts import Alert, iso
from anomalyd.runtime.replay import Block, Replay
from anomalyd.runtime.report import MOST_LISTED, MOST_PLOTS, Report
from anomalyd.settings import Settings, Stream
from tests.runtime.transitions import transition

START_S = 1_748_772_000.0
BROKEN = "line1/pump1/voltage"


class Page(HTMLParser):
    """Checks that tags nest, and gathers text and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def count(self, tag: str, kind: str) -> int:
        return sum(each == tag and attrs.get("class") == kind for each, attrs in self.found)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def recorded(folder: Path, steps: int, faults: tuple[Fault, ...] = (), prefix: str = "") -> Path:
    """A wide file of eight sensors' readings, one a second."""
    plant = Plant(3, 8, faults)
    path = folder / "plant.csv"
    lines = [",".join(["timestamp", *(prefix + name for name in plant.names)])]
    for step, row in enumerate(plant.run(steps).tolist()):
        lines.append(",".join([f"{START_S + step:.0f}", *(f"{value:.6g}" for value in row)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def replayed(path: Path, *streams: Stream) -> list[Block]:
    return list(Replay(Settings(streams=streams), path.parent).blocks(Recording(path)))


def written(blocks: list[Block], path: Path, title: str = "plant.csv") -> str:
    report = Report(title)
    for block in blocks:
        report.add(block)
    report.write(path)
    return path.read_text(encoding="utf-8")


def block(rows: list[int], first_s: float, score: float, alerts: list[Alert]) -> Block:
    """One reading a second of value 5.0, the channels in turn."""
    size = len(rows)
    times = first_s + np.arange(size, dtype=np.float64)
    verdicts = Verdicts.blank(Readings(np.array(rows), times, np.full(size, 5.0)))
    verdicts.score[:] = score
    verdicts.state[:] = State.FIRING
    verdicts.kind[:] = Kind.RESIDUAL
    stamps = [f"{time:.0f}" for time in times.tolist()]
    return Block(stamps, [f"c{row}" for row in rows], verdicts, alerts, 0)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> list[Block]:
    """A sensor that leaves its range for a minute."""
    fault = Fault("shift", BROKEN, 900, 60, 15.0)
    return replayed(recorded(tmp_path_factory.mktemp("replay"), 1200, (fault,)))


def test_an_alert_is_listed_with_its_reason_and_plotted(
    blocks: list[Block], tmp_path: Path
) -> None:
    page = Page(written(blocks, tmp_path / "report.html"))
    raised = [each for part in blocks for each in part.alerts if each.transition == "raised"]
    assert BROKEN in {alert.channel for alert in raised}
    for alert in raised:
        assert alert.reason in page.words
        assert f"{alert.started_at[:10]} {alert.started_at[11:19]}" in page.words
    assert page.count("svg", "chart") == len({alert.channel for alert in raised})
    assert {"value", "expected", "band", "high"} <= {
        attrs.get("class") for tag, attrs in page.found if tag == "path"
    }
    assert "9,600" in page.words and "2025-06-01 10:00:00 to 2025-06-01 10:19:59" in page.text


def test_other_channels_are_listed_with_their_highest_score(
    blocks: list[Block], tmp_path: Path
) -> None:
    page = Page(written(blocks, tmp_path / "report.html"))
    names = {name for part in blocks for name in part.channels}
    assert names <= set(page.words)
    assert page.count("svg", "spark") == len(names) == 8


def test_the_page_needs_nothing_else(blocks: list[Block], tmp_path: Path) -> None:
    text = written(blocks, tmp_path / "report.html")
    for outside in ("http://", "https://", "src=", "url(", "@import", "<script", "<link"):
        assert outside not in text
    links = [attrs["href"] for tag, attrs in Page(text).found if tag == "a"]
    assert links and all(link is not None and link.startswith("#") for link in links)


def test_the_same_replay_writes_the_same_bytes(blocks: list[Block], tmp_path: Path) -> None:
    once = replayed(recorded(tmp_path, 400))
    again = replayed(recorded(tmp_path, 400))
    assert written(once, tmp_path / "1.html") == written(again, tmp_path / "2.html")
    assert written(blocks, tmp_path / "3.html") == written(blocks, tmp_path / "4.html")


def test_names_and_title_are_text(tmp_path: Path) -> None:
    fault = Fault("shift", BROKEN, 900, 60, 15.0)
    prefix = "<b onclick='x()'>&amp;"
    found = replayed(recorded(tmp_path, 1000, (fault,), prefix))
    assert any(part.alerts for part in found)
    text = written(found, tmp_path / "report.html", "<i>&.csv")
    page = Page(text)
    assert "<b " not in text and "<i>" not in text
    assert prefix + BROKEN in page.words and "Replay of <i>&.csv" in page.words


def test_a_channel_is_called_as_in_the_file(tmp_path: Path) -> None:
    """Its alert has the name without the topic's literal prefix."""
    fault = Fault("shift", BROKEN, 900, 60, 15.0)
    stream = Stream(topic="plant/{line}/{machine}/{sensor}", unit="V")
    found = replayed(recorded(tmp_path, 1000, (fault,), "plant/"), stream)
    assert BROKEN in {alert.channel for part in found for alert in part.alerts}
    page = Page(written(found, tmp_path / "report.html"))
    assert f"plant/{BROKEN}" in page.words and BROKEN not in page.words
    assert "V" in page.words


def test_of_two_channels_that_say_the_same_the_name_decides(tmp_path: Path) -> None:
    alert = transition("raised", "c1", 5.0, 3.0, START_S)
    twins = block([0, 1], START_S, 3.0, [alert])
    twins.verdicts.times[:] = START_S
    page = Page(written([twins], tmp_path / "report.html"))
    assert {"#c1"} == {attrs["href"] for tag, attrs in page.found if tag == "a"}


def test_nothing_raised_is_said(tmp_path: Path) -> None:
    quiet = [block([0, 1] * 100, START_S, 0.4, [])]
    page = Page(written(quiet, tmp_path / "report.html"))
    assert "No alert was raised." in page.words
    assert {"c0", "c1", "0.40"} <= set(page.words)
    assert page.count("svg", "chart") == 0


def test_nothing_scored_is_not_called_healthy(tmp_path: Path) -> None:
    page = Page(written(replayed(recorded(tmp_path, 20)), tmp_path / "report.html"))
    assert "Nothing could be scored." in page.words and "not scored" in page.words
    assert "No alert was raised." not in page.words


def test_no_readings_at_all_is_still_a_page(tmp_path: Path) -> None:
    assert "Nothing could be scored." in Page(written([], tmp_path / "report.html")).words


def test_what_was_left_out_is_counted_and_not_drawn(tmp_path: Path) -> None:
    some = block([0, 0, 0, 0], START_S, 0.4, [])
    some.verdicts.values[1:3] = (np.nan, np.inf)
    some.verdicts.kind[3] = Kind.LATE
    text = written([some], tmp_path / "report.html")
    assert "late or not a number" in Page(text).words
    assert "nan" not in text and "inf " not in text


def test_an_alert_that_never_clears_is_shown_so(tmp_path: Path) -> None:
    alert = transition("raised", "c0", 5.0, 3.0, START_S)
    page = Page(written([block([0] * 90, START_S, 3.0, [alert])], tmp_path / "report.html"))
    assert "not yet" in page.words and "1 min 29 s" in page.words


def test_how_the_replay_is_cut_into_blocks_does_not_show(
    blocks: list[Block], tmp_path: Path
) -> None:
    pieces = [piece for part in blocks for piece in cut(part, 700)]
    assert len(pieces) > len(blocks)
    assert written(pieces, tmp_path / "1.html") == written(blocks, tmp_path / "2.html")


def cut(part: Block, size: int) -> list[Block]:
    """The same in smaller blocks; each alert goes with its reading."""
    pieces = []
    for at in range(0, len(part.stamps), size):
        to = slice(at, at + size)
        columns = (getattr(part.verdicts, field.name) for field in fields(Verdicts))
        verdicts = Verdicts(*(column[to] for column in columns))
        said = {
            (name, iso(time_s), value)
            for name, time_s, value in zip(
                part.channels[to], verdicts.times.tolist(), verdicts.values.tolist(), strict=True
            )
        }
        alerts = [
            each for each in part.alerts if (each.channel, each.updated_at, each.value) in said
        ]
        pieces.append(Block(part.stamps[to], part.channels[to], verdicts, alerts, part.done))
    return pieces


def test_a_longer_alert_makes_no_larger_report(tmp_path: Path) -> None:
    report = Report("long.csv")
    report.add(block([0], START_S, 3.0, [transition("raised", "c0", 5.0, 3.0, START_S)]))

    def go_on(first: int, last: int) -> tuple[int, int]:
        for at in range(first, last):
            report.add(block([0] * 4096, START_S + 1 + at * 4096, 2.0, []))
        report.write(tmp_path / "report.html")
        return tracemalloc.get_traced_memory()[0], (tmp_path / "report.html").stat().st_size

    tracemalloc.start()
    try:
        (held, size), (held_later, size_later) = go_on(0, 10), go_on(10, 100)
    finally:
        tracemalloc.stop()
    assert held_later < held + 100_000
    assert size_later < size + 20_000


def test_many_alerts_are_bounded_and_the_worst_are_kept(tmp_path: Path) -> None:
    channels = 1500
    report = Report("many.csv")
    for row in range(channels):
        at_s, score = START_S + row, 1.0 + row
        alert = transition("raised", f"c{row}", 5.0, score, at_s)
        report.add(block([row], at_s, score, [alert]))
    report.write(tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.count("svg", "chart") == MOST_PLOTS
    assert f"The {MOST_LISTED} with the highest scores of 1,500." in page.words
    sections = [attrs["id"] for tag, attrs in page.found if tag == "section"]
    assert sections == [f"c{row}" for row in range(channels - 1, channels - 1 - MOST_PLOTS, -1)]


def test_a_path_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "report.html"
    with pytest.raises(DataError) as error:
        Report("plant.csv").write(path)
    assert str(error.value) == f"{path}: No such file or directory"
