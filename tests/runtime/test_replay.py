"""Replay's rules: the contract's file, the same bytes for the same input, the same verdicts however
the file is laid out, and an error that names the line of what can't be read."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalyd.adapters.recording import Recording
from anomalyd.demo.plant import Fault, Plant
from anomalyd.errors import DataError, ModelError
from anomalyd.runtime.alerts import Alert, iso
from anomalyd.runtime.replay import Block, replay
from anomalyd.settings import Channels, Settings, Stream

START_S = 1_700_000_000
STEPS = 700
SPIKED = "line1/pump1/flow"
PLANT = Plant(3, 8, [Fault("spike", SPIKED, start=600, size=200.0)])
NAMES = PLANT.names
VALUES: list[list[float]] = PLANT.run(STEPS).tolist()
STREAM = Stream(topic="plant/{line}/{machine}/{sensor}", group_by=("line", "machine"))

Cells = Mapping[str, str]


pytestmark = pytest.mark.usefixtures("one_thread")


class Run:
    """One replay of one file."""

    def __init__(self, source: Path, *streams: Stream, channels: Channels | None = None) -> None:
        self.out = source.with_name(f"verdicts-of-{source.name}.csv")
        self.alerts: list[Alert] = []
        self.done: list[int] = []
        settings = Settings(streams=streams, channels=channels or Channels(max=64))
        replay(settings, source.parent, source, self.out, self._each)

    def _each(self, block: Block) -> None:
        self.alerts += block.alerts
        self.done.append(block.done)

    @property
    def rows(self) -> list[Cells]:
        with self.out.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def verdicts(self, *left_out: str) -> list[Cells]:
        return [{key: row[key] for key in row if key not in left_out} for row in self.rows]


def wide(path: Path, prefix: str = "", stamp: Any = str) -> Path:
    lines = [",".join(["timestamp", *(prefix + name for name in NAMES)])]
    for step, row in enumerate(VALUES):
        lines.append(",".join([stamp(START_S + step), *map(repr, row)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def long(path: Path) -> Path:
    lines = ["timestamp,channel,value"]
    for step, row in enumerate(VALUES):
        lines += [
            f"{START_S + step},{name},{value!r}" for name, value in zip(NAMES, row, strict=True)
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The plant with a spike."""
    return Run(wide(tmp_path_factory.mktemp("replay") / "wide.csv"), STREAM)


# --- the file ---------------------------------------------------------------------------------


def test_the_header_is_the_contracts(run: Run) -> None:
    """Programs read the columns by these names, in this order."""
    header = "timestamp,channel,value,expected,lower,upper,score,state,kind"
    assert header == run.out.read_text().splitlines()[0]


def test_there_is_a_row_for_each_reading_in_the_order_of_the_input(run: Run) -> None:
    """With the time and the name as the file has them."""
    expected = [(str(START_S + step), name) for step in range(STEPS) for name in NAMES]
    assert expected == [(row["timestamp"], row["channel"]) for row in run.rows]
    values = [float(row["value"]) for row in run.rows]
    assert values == pytest.approx([value for row in VALUES for value in row], rel=1e-9)


def test_states_kinds_and_figures_are_what_the_contract_says(run: Run) -> None:
    """A score is not negative; a row without one says why in its state or kind; a row with one
    has an expectation inside its band."""
    states, kinds = set(), set()
    for row in run.rows:
        states.add(row["state"])
        kinds.add(row["kind"])
        if not row["score"]:
            assert row["state"] == "warming" or row["kind"]
            continue
        assert float(row["score"]) >= 0
        assert float(row["lower"]) <= float(row["expected"]) <= float(row["upper"])
        assert float(row["score"]) < 1.0 or row["state"] in {"pending", "firing"}
    assert {"warming", "normal", "firing"} <= states <= {"warming", "normal", "pending", "firing"}
    assert (
        {"", "residual"} <= kinds <= {"", "residual", "relation", "stuck", "gap", "late", "value"}
    )


def test_the_first_reading_says_nothing_yet(run: Run) -> None:
    """Unknown figures are empty cells."""
    assert ["", "", "", "", "warming", ""] == [*run.rows[0].values()][3:]


def test_a_score_of_one_is_the_threshold(run: Run) -> None:
    """The spike is above it where it is, and the only alert begins there."""
    spike = run.rows[600 * len(NAMES) + NAMES.index(SPIKED)]
    assert (str(START_S + 600), SPIKED) == (spike["timestamp"], spike["channel"])
    assert ("firing", "residual") == (spike["state"], spike["kind"])
    assert float(spike["score"]) > 1.0
    assert [(SPIKED, iso(START_S + 600))] == [
        (each.channel, each.updated_at) for each in run.alerts if each.transition == "raised"
    ]


def test_progress_is_told_to_the_end(run: Run, tmp_path: Path) -> None:
    """Rising, and complete with the last block."""
    assert sorted(run.done) == run.done
    assert Recording(wide(tmp_path / "same.csv")).size == run.done[-1]


def test_two_runs_write_the_same_bytes(run: Run, tmp_path: Path) -> None:
    """Same input, settings and version: also the alerts and their ids."""
    again = Run(wide(tmp_path / "again.csv"), STREAM)
    assert run.out.read_bytes() == again.out.read_bytes()
    assert run.alerts == again.alerts


# --- layouts ----------------------------------------------------------------------------------


def test_a_long_file_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    """The layout is not the content."""
    assert run.out.read_bytes() == Run(long(tmp_path / "long.csv"), STREAM).out.read_bytes()


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_parquet_gives_the_same_bytes(run: Run, tmp_path: Path, layout: str) -> None:
    """Neither is the format."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns: dict[str, Sequence[object]] = {
        "timestamp": [START_S + step for step in range(STEPS)],
        **dict(zip(NAMES, zip(*VALUES, strict=True), strict=True)),
    }
    if layout == "long":
        columns = {
            "timestamp": [START_S + step for step in range(STEPS) for _ in NAMES],
            "channel": [name for _ in range(STEPS) for name in NAMES],
            "value": [value for row in VALUES for value in row],
        }
    path = tmp_path / "plant.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    assert run.out.read_bytes() == Run(path, STREAM).out.read_bytes()


@pytest.mark.parametrize("factor", [10**3, 10**6, 10**9])
def test_the_unit_of_the_times_does_not_matter(run: Run, tmp_path: Path, factor: int) -> None:
    """Seconds, milli-, micro- or nanoseconds: the stamps differ, the verdicts don't."""
    other = Run(wide(tmp_path / "wide.csv", stamp=lambda at: str(at * factor)), STREAM)
    assert run.verdicts("timestamp") == other.verdicts("timestamp")
    assert run.alerts == other.alerts


def test_a_column_is_known_with_and_without_the_prefix(run: Run, tmp_path: Path) -> None:
    """`plant/line1/pump1/flow` and `line1/pump1/flow` are the same channel of the stream."""
    other = Run(wide(tmp_path / "wide.csv", prefix="plant/"), STREAM)
    assert {f"plant/{name}" for name in NAMES} == {row["channel"] for row in other.rows}
    assert run.verdicts("channel") == other.verdicts("channel")
    assert run.alerts == other.alerts, "with the channel's own name, as live"


def test_a_column_of_no_stream_has_the_defaults(tmp_path: Path) -> None:
    """It is a channel of its own: scored, and compared with nobody."""
    run = Run(wide(tmp_path / "wide.csv"), Stream(topic="elsewhere/{sensor}"))
    assert any(row["score"] for row in run.rows)
    assert "relation" not in {row["kind"] for row in run.rows}
    assert {} == run.alerts[0].labels


def test_names_and_times_are_quoted_where_they_must_be(tmp_path: Path) -> None:
    """Whatever the input's cells hold, a row has nine of them."""
    stamp = "2023-11-14T22:13:20,5"
    text = f'timestamp,"a,b","say ""x"""\n"{stamp}",1,2\n'
    rows = Run(written(tmp_path / "quoted.csv", text)).rows
    assert [(stamp, "a,b"), (stamp, 'say "x"')] == [
        (row["timestamp"], row["channel"]) for row in rows
    ]


# --- cells that are no good reading -----------------------------------------------------------


def test_what_cannot_be_scored_says_why(tmp_path: Path) -> None:
    """NaN and infinity are `value`, times that go back are `late`, the first after a silence are
    `gap`; an empty cell is no reading; the readings around them are as if they weren't there."""
    column = [row[0] for row in VALUES]
    clean = [(START_S + step, repr(column[step])) for step in range(400)]
    clean += [(START_S + 5000 + step, repr(column[step])) for step in range(400, 420)]
    bad = {100: "nan", 150: "", 200: "inf", 250: "-inf", 300: "1e999"}
    dirty: list[tuple[int, str]] = []
    for index, (at, cell) in enumerate(clean):
        dirty.append((at, cell))
        if index in bad:
            dirty.append((at + 1, bad[index]))
        if index == 350:
            dirty.append((at - 5, cell))
    found = {
        name: Run(
            written(
                tmp_path / f"{name}.csv",
                "timestamp,x\n" + "".join(f"{at},{cell}\n" for at, cell in rows),
            )
        ).rows
        for name, rows in {"clean": clean, "dirty": dirty}.items()
    }
    left_out = [row for row in found["dirty"] if row["kind"] in {"value", "late"}]
    assert ["value", "value", "value", "value", "late"] == [row["kind"] for row in left_out]
    assert {""} == {row["score"] for row in left_out}
    assert found["clean"] == [row for row in found["dirty"] if row not in left_out]
    gap = [row for row in found["clean"] if row["kind"] == "gap"]
    assert str(START_S + 5400) == gap[0]["timestamp"]
    assert {""} == {row["score"] for row in gap}


@pytest.mark.parametrize("size", [1e300, -1e300, 1e30])
def test_one_absurd_value_does_not_blind_its_channel(tmp_path: Path, size: float) -> None:
    """A number that no sensor means, once: it alerts or is left out, and then all is as before."""
    column = [row[0] for row in VALUES]
    cells = [repr(value) for value in column[:400]] + [repr(size)]
    cells += [repr(value) for value in column[401:]] * 3
    text = "".join(f"{START_S + step},{cell}\n" for step, cell in enumerate(cells))
    run = Run(written(tmp_path / "absurd.csv", "timestamp,x\n" + text))
    assert "normal" == run.rows[-1]["state"]
    assert float(run.rows[-1]["score"]) < 1.0


# --- files that can't be read -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: must be column names"),
        ("time,x\n1,2\n", "line 1: must be column names"),
        (f"timestamp,x\n{START_S},1\n{START_S + 1},high\n", "line 3: could not convert"),
        (f"timestamp,x\n{START_S},1\n\nyesterday,2\n", "line 4: 'yesterday' is not a time"),
        (f"timestamp,x\n{START_S},1,2\n", "line 2: 3 cells under 2 column names"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The file, its line, and what is wrong with it."""
    with pytest.raises(DataError, match=message) as error:
        Run(written(tmp_path / "bad.csv", text))
    assert str(tmp_path / "bad.csv") in str(error.value)


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "folder"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """Missing, or no file at all."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=name):
        Run(tmp_path / name)


def test_damaged_parquet_is_the_inputs_error(tmp_path: Path) -> None:
    """Not the output's, which is on another disk."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "damaged.parquet"
    parquet.write_table(pyarrow.table({"timestamp": range(START_S, START_S + 500)}), path)
    damaged = bytearray(path.read_bytes())
    damaged[100:1000] = bytes(900)
    path.write_bytes(damaged)
    with pytest.raises(DataError) as error:
        Run(path)
    assert str(error.value).startswith(str(path))


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Before anything is scored."""
    source = wide(tmp_path / "wide.csv")
    out = tmp_path / "nowhere" / "verdicts.csv"
    with pytest.raises(DataError, match=r"nowhere/verdicts\.csv: No such file"):
        replay(Settings(), tmp_path, source, out, lambda block: None)


@pytest.mark.parametrize("out", ["wide.csv", "folder/../wide.csv"])
def test_the_input_is_not_overwritten(tmp_path: Path, out: str) -> None:
    """Verdicts in place of the recording: refused, and the recording is as it was."""
    (tmp_path / "folder").mkdir()
    source = wide(tmp_path / "wide.csv")
    before = source.read_bytes()
    with pytest.raises(DataError):
        replay(Settings(), tmp_path, source, tmp_path / out, lambda block: None)
    assert before == source.read_bytes()


def test_too_many_channels_are_an_error(tmp_path: Path) -> None:
    """A file is known beforehand: nothing of it is left out quietly."""
    with pytest.raises(DataError, match=r"one channel too many: channels\.max is 3"):
        Run(wide(tmp_path / "wide.csv"), channels=Channels(max=3))


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    """Found from the folder of the configuration."""
    stream = STREAM.model_copy(update={"model": Path("pump.safetensors")})
    with pytest.raises(ModelError, match=r"pump\.safetensors"):
        Run(wide(tmp_path / "wide.csv"), stream)


def test_a_file_out_of_order_has_the_verdicts_of_a_sorted_one(tmp_path: Path, run: Run) -> None:
    """Within the tolerance of its stream: written in the order of its lines, the same alerts."""
    rows = [
        (START_S + step, name, value)
        for step, row in enumerate(VALUES)
        for name, value in zip(NAMES, row, strict=True)
    ]
    delays = np.random.default_rng(0).uniform(0.0, 5.0, len(rows)).tolist()
    shuffled = [row for _, row in sorted(zip(delays, rows, strict=True), key=_arrival)]
    lines = [f"{at},{name},{value!r}" for at, name, value in shuffled]
    text = "\n".join(["timestamp,channel,value", *lines]) + "\n"
    tolerant = STREAM.model_copy(update={"time": "ts", "reorder_s": 5.0})
    source = written(tmp_path / "shuffled.csv", text)
    ordered = Run(source, tolerant)
    found = [(row["timestamp"], row["channel"]) for row in ordered.rows]
    assert [(str(at), name) for at, name, _ in shuffled] == found
    sorted_lines = sorted(ordered.rows, key=lambda row: (row["timestamp"], row["channel"]))
    expected = sorted(run.rows, key=lambda row: (row["timestamp"], row["channel"]))
    assert [_said(row) for row in expected] == [_said(row) for row in sorted_lines]
    assert [each.id for each in run.alerts] == [each.id for each in ordered.alerts]
    assert "late" in {row["kind"] for row in Run(source, STREAM).rows}


def _arrival(each: tuple[float, tuple[int, str, float]]) -> float:
    return each[0] + each[1][0]


def _said(row: Cells) -> tuple[Any, ...]:
    score = row["score"]
    return (
        row["timestamp"],
        row["channel"],
        row["state"],
        row["kind"],
        score and round(float(score), 4),
    )
