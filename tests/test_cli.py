"""The command line's rules: help that teaches, exit status 0, 1 or 2, one clear line on stderr and
no traceback, and torch only where something is trained."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anomalyd import __version__, cli
from anomalyd.model import checkpoint
from anomalyd.model.asset import AssetConfig
from anomalyd.model.asset_module import AssetModule
from anomalyd.settings import Settings, flatten
from tests.broker.daemon import PLANT, own_environment
from tests.programs import free_port

COMMANDS = ["run", "demo", "check", "replay", "train", "models", "simulate"]
DATA = "timestamp,l/m/x\n1700000000,1\n1700000001,2\n"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(own_environment({})):
        monkeypatch.delenv(name)


def written(directory: Path, text: str, name: str = "anomalyd.toml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


class Run:
    """One command, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> None:
        try:
            self.status: object = cli.run([str(each) for each in arguments])
        except SystemExit as exit:  # argparse's own
            self.status = exit.code
        self.out, self.err = capsys.readouterr()


def anomalyd(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The program itself; it is ended where it doesn't end by itself."""
    return subprocess.run(
        ["timeout", "10", sys.executable, "-m", "anomalyd", *arguments],
        env=own_environment({}),
        capture_output=True,
        text=True,
    )


# --- help -------------------------------------------------------------------------------------


def test_help_lists_every_command_and_says_where_to_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each with a line, an example of a configuration, and what the exit status means."""
    run = Run(capsys, "--help")
    assert (0, "") == (run.status, run.err)
    for command in COMMANDS:
        assert f"\n    {command} " in run.out
    for taught in ("anomalyd demo", "[[streams]]", "exit status"):
        assert taught in run.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Usage, what it does, and more than the list of its options."""
    run = Run(capsys, command, "--help")
    assert (0, "") == (run.status, run.err)
    assert run.out.startswith(f"usage: anomalyd {command} ")
    assert 6 < len(run.out.splitlines())


def test_the_contracts_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts and the documentation rely on them by name."""
    for command, options in {
        "run": "--config",
        "demo": "--seconds --port",
        "check": "--config",
        "replay": "INPUT --out --config --report",
        "train": "DATA --out --predictor --config --synthetic --seed",
        "simulate": "--broker --channels --rate --csv --speed",
    }.items():
        text = Run(capsys, command, "--help").out
        assert [] == [option for option in options.split() if option not in text]


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """And it is wrong usage."""
    run = Run(capsys)
    assert 2 == run.status
    assert "start here:" in run.out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """One line."""
    run = Run(capsys, "--version")
    assert (0, f"anomalyd {__version__}\n") == (run.status, run.out)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["train", "--help"], ["check"]]
)
def test_what_does_not_score_does_not_pay_for_torch(arguments: list[str]) -> None:
    """Importing it costs more than a second."""
    script = (
        "import sys\nfrom anomalyd import cli\n"
        f"try:\n    cli.run({arguments})\nexcept SystemExit:\n    pass\n"
        "sys.exit(','.join({'torch', 'pyarrow', 'paho', 'uvicorn'} & set(sys.modules)) or 0)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], env=own_environment({}), capture_output=True, text=True
    )
    assert (0, "") == (found.returncode, found.stderr.replace(NO_STREAMS, ""))


def test_what_scores_does_not_pay_for_torch(tmp_path: Path) -> None:
    """A replay of a machine with limits and an asset network: all predictors serve. And the
    daemon's imports. Numpy comes last, and its columns take no huge pages."""
    rng = np.random.default_rng(1)
    lines = (
        f"{1700000000 + at},{a},{b}\n" for at, (a, b) in enumerate(rng.normal(5.0, 1.0, (300, 2)))
    )
    source = written(tmp_path, "timestamp,p/flow,p/pressure\n" + "".join(lines), "day.csv")
    asset = AssetModule(AssetConfig(("flow", "pressure"), hidden=4)).network()
    (tmp_path / "asset.safetensors").write_bytes(checkpoint.dump(asset, {}))
    config = written(
        tmp_path,
        '[[streams]]\ntopic = "{machine}/{sensor}"\ngroup_by = ["machine"]\nhigh = 9.0\n'
        'model = "asset.safetensors"\n',
    )
    out = tmp_path / "out.csv"
    arguments = ["replay", *map(str, (source, "--out", out, "--config", config))]
    script = (
        "import os\nimport sys\nfrom anomalyd import cli\n"
        "assert 'numpy' not in sys.modules\n"
        f"run = cli.run({arguments})\n"
        "import anomalyd.service\n"
        "assert '0' == os.environ['NUMPY_MADVISE_HUGEPAGE']\n"
        "sys.exit(run or 'torch' in sys.modules)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], env=own_environment({}), capture_output=True, text=True
    )
    assert 0 == found.returncode, found.stderr
    assert "600 readings" in found.stderr


NO_STREAMS = "anomalyd: no [[streams]]: `anomalyd run` would have nothing to listen to\n"


# --- wrong usage: 2 ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["run", "--fly"],
        ["replay"],
        ["replay", "day.csv"],
        ["train"],
        ["train", "--out", "x.safetensors"],
        ["train", "day.csv", "--synthetic", "--out", "x.safetensors"],
        ["train", "--predictor", "asset", "--out", "x.safetensors"],
        ["train", "day.csv", "--predictor", "asset", "--series", "3", "--out", "x.safetensors"],
        ["simulate"],
        ["simulate", "--broker", "127.0.0.1"],
        ["simulate", "--broker", ":1883"],
        ["simulate", "--broker", "127.0.0.1:x"],
        ["simulate", "--broker", "127.0.0.1:1883", "--channels", "0"],
        ["simulate", "--broker", "127.0.0.1:1883", "--rate", "fast"],
        ["demo", "--seconds", "soon"],
        ["run", "--config", "no-such.toml"],
        ["check", "--config", "no-such.toml"],
        ["replay", "day.csv", "--out", "out.csv", "--config", "no-such.toml"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_and_ends_with_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    """On stderr; the last line says what is wrong."""
    monkeypatch.chdir(tmp_path)
    run = Run(capsys, *arguments)
    assert 2 == run.status
    assert run.err.splitlines()[-1].startswith("anomalyd")
    assert [] == [*tmp_path.iterdir()], "nothing was written"


SETTINGS = {
    "not toml": "[mqtt\n",
    "a misspelt key": "[mqtt]\nhots = 'x'\n",
    "a value out of range": "[http]\nport = 70000\n",
    "a missing password": "[mqtt]\nusername = 'x'\npassword_file = 'no-such-file'\n",
}
STREAMS = {
    "a bad topic": "[[streams]]\ntopic = 'plant/{line'\n",
    "a bad template": "[[streams]]\ntopic = 'plant/{line}/{x}'\nchannel = '{x}'\n",
    "a template with a wildcard": "[[streams]]\ntopic = 'plant/{x}'\nchannel = '#{x}'\n",
    "an unknown label": PLANT + "group_by = ['site']\n",
    "a value that holds the time": "[[streams]]\ntopic = '{x}'\nvalue = 'a'\ntime = 'a.b'\n",
    "a value that is the time": "[[streams]]\ntopic = '{x}'\nvalue = 'a'\ntime = 'a'\n",
    "a name that no decoder can have": "[[streams]]\ntopic = '{x}'\nvalue = 'a\"b'\n",
}


@pytest.mark.parametrize("text", SETTINGS.values(), ids=list(SETTINGS))
def test_a_wrong_setting_is_one_line_and_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    """All commands load them in the same way."""
    run = Run(capsys, "check", "--config", written(tmp_path, text))
    assert (2, 1) == (run.status, len(run.err.splitlines())), run.err
    assert run.err.startswith("anomalyd: ")


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("text", STREAMS.values(), ids=list(STREAMS))
def test_a_stream_that_cannot_work_is_one_line_and_2(
    tmp_path: Path, command: str, text: str
) -> None:
    """Before anything is listened to; and what `check` lets pass, `run` must not refuse."""
    port = f"[http]\nport = {free_port()}\n"
    found = anomalyd(command, "--config", written(tmp_path, port + text))
    assert (2, 1) == (found.returncode, len(found.stderr.splitlines())), found.stderr
    assert found.stderr.startswith("anomalyd: ")


def test_replay_refuses_a_wrong_configuration_too(tmp_path: Path) -> None:
    """Before it writes anything."""
    config = written(tmp_path, PLANT + "group_by = ['site']\n")
    source, out = written(tmp_path, DATA, "day.csv"), tmp_path / "out.csv"
    found = anomalyd("replay", source, "--out", out, "--config", config)
    assert (2, 1) == (found.returncode, len(found.stderr.splitlines())), found.stderr
    assert not out.exists()


def test_run_without_streams_says_how_to_name_one() -> None:
    """The first thing that a newcomer tries."""
    found = anomalyd("run")
    assert 2 == found.returncode
    assert found.stderr.startswith("anomalyd: no [[streams]]: name at least one topic")
    assert 1 == len(found.stderr.splitlines())


# --- check ------------------------------------------------------------------------------------


def test_check_lists_what_is_in_force(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every setting with its value and meaning; a * marks what differs from the default."""
    run = Run(capsys, "check", "--config", written(tmp_path, "[mqtt]\nhost = 'h'\n" + PLANT))
    assert (0, "") == (run.status, run.err)
    lines = run.out.splitlines()
    assert '* mqtt.host = "h"  # broker\'s host name or address' in lines
    assert "  mqtt.port = 1883  # broker's port" in lines
    assert '* streams.0.topic = "plant/{line}/{machine}/{sensor}"' in run.out
    listed = {line[2:].partition(" = ")[0] for line in lines}
    assert {key for key, _, _ in flatten(Settings())} <= listed
    marked = {line[2:].partition(" = ")[0] for line in lines if line.startswith("*")}
    assert {"mqtt.host"} == {key for key in marked if not key.startswith("streams.")}


def test_check_shows_the_environment_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in force, wherever it comes from."""
    monkeypatch.setenv("ANOMALYD_MQTT__PORT", "1884")
    run = Run(capsys, "check")
    assert 0 == run.status
    assert "* mqtt.port = 1884  #" in run.out


def test_check_names_what_no_setting_reads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the nearest name that exists; it fails, or nobody would see it in a script."""
    monkeypatch.setenv("ANOMALYD_MQT__HOST", "x")
    run = Run(capsys, "check", "--config", written(tmp_path, PLANT))
    assert 2 == run.status
    nearest = "did you mean ANOMALYD_MQTT__HOST?"
    assert f"anomalyd: ANOMALYD_MQT__HOST is not a setting; {nearest}\n" == run.err


def test_check_does_not_show_the_password(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Only where it comes from."""
    secret = written(tmp_path, "s3cret\n", "secret")
    config = written(tmp_path, f"[mqtt]\nusername = 'x'\npassword_file = '{secret}'\n" + PLANT)
    run = Run(capsys, "check", "--config", config)
    assert 0 == run.status
    assert str(secret) in run.out
    assert "s3cret" not in run.out + run.err


def test_check_tells_that_there_is_nothing_to_listen_to(capsys: pytest.CaptureFixture[str]) -> None:
    """The defaults are good, but not for `run`."""
    run = Run(capsys, "check")
    assert (0, NO_STREAMS) == (run.status, run.err)


# --- failed: 1, good: 0 -----------------------------------------------------------------------


def test_replay_writes_and_says_what_it_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The closing line on stderr; the verdicts and the report in their files."""
    source, out = written(tmp_path, DATA, "day.csv"), tmp_path / "out.csv"
    report = tmp_path / "report.html"
    run = Run(capsys, "replay", source, "--out", out, "--report", report)
    assert (0, "") == (run.status, run.out)
    assert f"2 readings, alerts raised: none; verdicts in {out}\n" == run.err
    assert 3 == len(out.read_text().splitlines())
    assert report.read_text().lower().startswith("<!doctype html>")


def test_replay_of_a_bad_file_is_one_line_and_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What is wrong is the data, not the usage."""
    source = written(tmp_path, DATA + "yesterday,3\n", "day.csv")
    run = Run(capsys, "replay", source, "--out", tmp_path / "out.csv")
    assert 1 == run.status
    assert f"anomalyd: {source}, line 4: 'yesterday' is not a time\n" == run.err


def test_a_model_that_cannot_be_used_is_one_line_and_1(tmp_path: Path) -> None:
    """Named with its path."""
    model = written(tmp_path, "not a model", "pump.safetensors")
    config = written(tmp_path, PLANT + "model = 'pump.safetensors'\n")
    found = anomalyd("run", "--config", config)
    assert (1, 1) == (found.returncode, len(found.stderr.splitlines())), found.stderr
    assert found.stderr.startswith(f"anomalyd: {model}: ")


def test_train_writes_a_model_that_replay_uses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The forms of the contract, one after the other."""
    rows = "".join(f"{1_700_000_000 + step},{step % 7},{step % 5}\n" for step in range(600))
    source = written(tmp_path, "timestamp,a,b\n" + rows, "day.csv")
    model = tmp_path / "pump.safetensors"
    trained = Run(capsys, "train", source, "--out", model, "--steps", "2", "--seed", "3")
    assert 0 == trained.status
    assert "held out:" in trained.err
    config = written(tmp_path, "[[streams]]\ntopic = '{x}'\nmodel = 'pump.safetensors'\n")
    replayed = Run(capsys, "replay", source, "--out", tmp_path / "out.csv", "--config", config)
    assert 0 == replayed.status
    assert 1201 == len((tmp_path / "out.csv").read_text().splitlines())


def test_an_asset_model_is_trained_and_used_with_one_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The stream that makes the assets names the model that is yet to be made."""
    rows = "".join(
        f"{1_700_000_000 + step},{step % 7},{3 * (step % 7)},{step % 5}\n" for step in range(300)
    )
    source = written(tmp_path, "timestamp,a/flow,a/speed,b/flow\n" + rows, "day.csv")
    config = written(
        tmp_path,
        "[[streams]]\ntopic = '{m}/{x}'\ngroup_by = ['m']\nmodel = 'pumps.safetensors'\n",
    )
    about = ("--predictor", "asset", "--config", config, "--steps", "2")
    trained = Run(capsys, "train", source, *about, "--out", tmp_path / "pumps.safetensors")
    assert 0 == trained.status
    assert "left out, short or not of this class: day.csv: b" in trained.err
    assert "1 assets of 2 members (flow, speed) and 0 inputs" in trained.err
    replayed = Run(capsys, "replay", source, "--out", tmp_path / "out.csv", "--config", config)
    assert 0 == replayed.status
    assert 901 == len((tmp_path / "out.csv").read_text().splitlines())


def test_train_writes_a_forecaster_that_replay_uses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """For streams with limits."""
    rows = "".join(f"{1_700_000_000 + step},{step % 7}\n" for step in range(600))
    source = written(tmp_path, "timestamp,a\n" + rows, "day.csv")
    model = tmp_path / "limits.safetensors"
    trained = Run(
        capsys, "train", source, "--predictor", "forecast", "--out", model, "--steps", "2"
    )
    assert 0 == trained.status
    assert "held out:" in trained.err
    settings = "[[streams]]\ntopic = '{x}'\nhigh = 5.5\nforecast_model = 'limits.safetensors'\n"
    config = written(tmp_path, settings)
    replayed = Run(capsys, "replay", source, "--out", tmp_path / "out.csv", "--config", config)
    assert 0 == replayed.status
    assert "range" in replayed.err


def test_train_on_a_bad_file_is_one_line_and_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """And no model is written."""
    model = tmp_path / "x.safetensors"
    run = Run(capsys, "train", tmp_path / "none.csv", "--out", model)
    assert 1 == run.status
    assert run.err.splitlines()[-1].startswith(f"anomalyd: {tmp_path}/none.csv: ")
    assert not model.exists()


def test_simulate_without_a_broker_is_one_line_and_1(capsys: pytest.CaptureFixture[str]) -> None:
    """It doesn't wait for one."""
    port = free_port()
    run = Run(capsys, "simulate", "--broker", f"127.0.0.1:{port}", "--seconds", "1")
    assert 1 == run.status
    assert run.err.splitlines()[-1].startswith(f"anomalyd: no broker at 127.0.0.1:{port}: ")


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`anomalyd check | head -1`."""
    command = f"{sys.executable} -m anomalyd check | head -1; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(
        ["bash", "-c", command], env=own_environment({}), capture_output=True, text=True
    )
    assert (0, 1) == (found.returncode, len(found.stdout.splitlines()))
    assert "Traceback" not in found.stderr
    assert "BrokenPipe" not in found.stderr
