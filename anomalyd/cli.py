"""The command line: parses, calls one function, and is the only place that exits.

Exit status 0 good, 1 failed, 2 usage or configuration; one clear line on stderr and no traceback.
What a command needs is imported when it runs: nobody pays for torch but who trains.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anomalyd import __version__
from anomalyd.errors import AnomalydError, ConfigError
from anomalyd.settings import Settings, Stream, flatten, load, unknown_environment

_EPILOG = """\
start here:
  anomalyd demo                     a simulated plant with faults, and the real daemon on it
  anomalyd check --config my.toml   what is set, and what is wrong with it
  anomalyd run --config my.toml     the daemon
  anomalyd replay day.csv --out verdicts.csv   the same detection, over a file

a configuration that listens to your sensors:
  [mqtt]
  host = "127.0.0.1"
  [[streams]]
  topic = "plant/{line}/{machine}/{sensor}"    # named wildcards become labels
  value = "value"                              # JSON field; "" = a bare number; "*" = all fields
  time  = "ts"                                 # leave out for arrival time

exit status: 0 good, 1 failed, 2 wrong usage or configuration.
"""


def main() -> None:
    """Entry point of the `anomalyd` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] | None = getattr(options, "command", None)
    if command is None:
        parser.print_help()
        return 2
    try:
        return command(options)
    except ConfigError as error:
        return _fail(error, 2)
    except AnomalydError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="anomalyd",
        description="Tells a plant in seconds, and says why, when a sensor on its MQTT broker "
        "stops behaving as it should.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"anomalyd {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for add in (
        _add_run,
        _add_demo,
        _add_check,
        _add_alerts,
        _add_replay,
        _add_train,
        _add_models,
        _add_simulate,
    ):
        add(commands)
    return parser


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], what: str, more: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file; environment names such as ANOMALYD_MQTT__HOST win over it",
    )


# --- run --------------------------------------------------------------------------------------


def _add_run(commands: Any) -> None:
    parser = _command(
        commands, "run", _run, "the daemon: readings from MQTT in, alerts out",
        "what it writes, below anomalyd/<instance>/:\n"
        "  status            online or offline, retained\n"
        "  alert/<channel>   the state of each channel's alert, retained\n"
        "  event             every transition: raised, updated, cleared\n"
        "metrics and health: http://127.0.0.1:9464/metrics, /-/healthy, /-/ready\n\n"
        "It ends on SIGTERM after scoring what has arrived. A broker that is away is waited for.\n"
        "SIGHUP reads the configuration again, and the log says what needs a restart.",
    )  # fmt: skip
    _add_config(parser)


def _run(options: argparse.Namespace) -> int:
    settings = load(options.config)
    from anomalyd import logs

    logs.configure(settings.log.level, settings.log.format, sys.stderr, os.environ)
    # Until the daemon stands nothing is garbage: looking for it takes a third of the start.
    gc.disable()
    _prepare_numpy()
    from anomalyd.service import Service

    Service(settings, _folder(options.config), os.environ, lambda: load(options.config)).run()
    return 0


# --- demo -------------------------------------------------------------------------------------


def _add_demo(commands: Any) -> None:
    parser = _command(
        commands, "demo", _demo, "a simulated plant with faults, and the real daemon on it",
        "Three machines with 24 sensors run in accelerated time; six faults of known kind and\n"
        "time are put in. The closing table says which alert found each of them, and when.\n"
        "exit status: 0 only if every fault was found with at most one false alarm.",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=90.0, metavar="N", help="default 90")
    parser.add_argument("--port", type=int, metavar="P", help="broker's port; default: a free one")


def _demo(options: argparse.Namespace) -> int:
    from anomalyd.demo.demo import run_demo

    return run_demo(options.seconds, options.port)


# --- check ------------------------------------------------------------------------------------


def _add_check(commands: Any) -> None:
    parser = _command(
        commands, "check", _check, "validate the configuration and list what is in force",
        "Lists every setting with its value; a * marks those that differ from the default.\n"
        "ANOMALYD_* names in the environment that no setting reads are listed too, and fail.\n"
        "With --topic and --payload: what that message becomes, channel by channel, or why it is\n"
        "refused; status 1 where there is no reading in it, 2 where no stream has the topic:\n"
        "  mosquitto_sub -t plant/l1/p3 -C 1 -N | \\\n"
        "    anomalyd check --config my.toml --topic plant/l1/p3 --payload -",
    )  # fmt: skip
    parser.add_argument("--topic", metavar="T", help="a message's topic")
    parser.add_argument("--payload", type=Path, metavar="FILE", help="its payload; - = stdin")
    _add_config(parser)


def _check(options: argparse.Namespace) -> int:
    if (options.topic is None) != (options.payload is None):
        raise ConfigError("check: --topic and --payload go together")
    unknown = list(unknown_environment(os.environ))
    for line in unknown:
        _tell(line)
    settings = load(options.config)
    if options.topic is not None:
        from anomalyd import terminal_payload

        return terminal_payload.show(settings, options.topic, options.payload, time.time())
    from anomalyd.runtime.streams import read_streams

    read_streams(settings.streams)
    _print_settings(settings)
    if not settings.streams:
        _tell("no [[streams]]: `anomalyd run` would have nothing to listen to")
    return 2 if unknown else 0


def _print_settings(settings: Settings) -> None:
    defaults = {key: value for key, value, _ in flatten(Settings.model_construct())}
    for key, value, meaning in flatten(settings):
        stream_key = key.partition("streams.")[2].partition(".")[2]
        default = Stream.model_fields[stream_key].default if stream_key else defaults[key]
        mark = " " if default == value else "*"
        sys.stdout.write(f"{mark} {key} = {_shown(value)}  # {meaning}\n")


def _shown(value: object) -> str:
    if value is None:
        return "(absent)"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)


# --- alerts -----------------------------------------------------------------------------------


def _add_alerts(commands: Any) -> None:
    parser = _command(
        commands, "alerts", _alerts, "what was raised: open and recent alerts, or one of them",
        "examples:\n"
        "  anomalyd alerts list --config my.toml --open\n"
        "  anomalyd alerts list --channel 'line1/*' --since 24h --json\n"
        "  anomalyd alerts show 8a1f0c5e7d21b9a4c3f0\n"
        "Reads the database in state.directory, while the daemon runs or not. Times are UTC.",
    )  # fmt: skip
    verbs = parser.add_subparsers(metavar="list | show", required=True, dest="verb")
    listing = verbs.add_parser("list", help="open and recent alerts, newest first")
    listing.add_argument("--open", action="store_true", help="only those that are not over")
    listing.add_argument("--channel", metavar="NAME", help="of these channels; * and ? match")
    listing.add_argument(
        "--since", default="7d", metavar="TIME", help="30m, 24h, 7d, or ISO 8601; default 7d"
    )
    show = verbs.add_parser("show", help="one alert and all its transitions")
    show.add_argument("id", metavar="ID", help="the alert's id, or how it begins")
    for each in (listing, show):
        each.add_argument("--json", action="store_true", help="one document a line")
        _add_config(each)


def _alerts(options: argparse.Namespace) -> int:
    settings = load(options.config)
    from anomalyd.runtime import alert_book

    if options.verb == "show":
        lines = alert_book.show(settings.state.directory, options.id, options.json)
    else:
        since_s = alert_book.since(options.since, time.time())
        lines = alert_book.listing(
            settings.state.directory, options.open, options.channel, since_s, options.json
        )
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return 0


# --- replay -----------------------------------------------------------------------------------


def _add_replay(commands: Any) -> None:
    parser = _command(
        commands, "replay", _replay, "run the detection over a file, exactly as the daemon would",
        "INPUT is CSV or Parquet: `timestamp` and one column a channel, or\n"
        "`timestamp,channel,value`. OUT has one row a reading:\n"
        "  timestamp,channel,value,expected,lower,upper,score,state,kind\n"
        "A score of 1.0 is the alert threshold on every channel. The same input, configuration\n"
        "and version write the same bytes.",
    )  # fmt: skip
    parser.add_argument("input", type=Path, metavar="INPUT", help="CSV or Parquet file")
    parser.add_argument("--out", type=Path, required=True, metavar="VERDICTS.csv")
    parser.add_argument(
        "--report", type=Path, metavar="REPORT.html", help="also one self-contained page to read"
    )
    _add_config(parser)


def _replay(options: argparse.Namespace) -> int:
    settings = load(options.config)
    _prepare_numpy()
    from anomalyd import terminal

    folder = _folder(options.config)
    return terminal.replay(settings, folder, options.input, options.out, options.report)


# --- train ------------------------------------------------------------------------------------


def _add_train(commands: Any) -> None:
    parser = _command(
        commands, "train", _train, "train a predictor, or fine-tune the shipped one on your data",
        "examples:\n"
        "  anomalyd train week1.csv week2.csv --out pump.safetensors\n"
        "  anomalyd train week1.csv --predictor asset --config my.toml --out pumps.safetensors\n"
        "  anomalyd train --synthetic --seed 1 --out next_step.safetensors   (the shipped one)\n"
        "  anomalyd train --predictor forecast week*.csv --out limits.safetensors\n"
        "Use it with `model = \"pump.safetensors\"` in a stream, a forecaster with\n"
        "`forecast_model`. The same data, seed and version give the same weights. The last fifth\n"
        "of the data is held out for the closing figures.",
    )  # fmt: skip
    parser.add_argument("data", nargs="*", type=Path, metavar="DATA", help="CSV or Parquet files")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL.safetensors")
    parser.add_argument(
        "--predictor", choices=("next-step", "asset", "forecast"), default="next-step",
        help="next-step: one channel from its past (default); asset: each member of an asset from "
        "the others, for streams with group_by; forecast: early warnings for channels with limits "
        "(low, high)",
    )  # fmt: skip
    _add_config(parser)
    parser.add_argument("--synthetic", action="store_true", help="learn from generated signals")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="default 1")
    parser.add_argument("--steps", type=int, metavar="N", help="batches to learn from")
    parser.add_argument("--series", type=int, metavar="N", help="with --synthetic: signals to draw")


def _train(options: argparse.Namespace) -> int:
    if options.predictor == "asset":
        return _train_asset(options)
    if bool(options.data) == options.synthetic:
        raise ConfigError("train: give data files, or --synthetic, one of the two")
    _prepare_numpy()
    from anomalyd import terminal_train

    train = (
        terminal_train.train_forecaster if options.predictor == "forecast" else terminal_train.train
    )
    return train(options.data, options.out, options.seed, options.steps, options.series)


def _train_asset(options: argparse.Namespace) -> int:
    if not options.data or options.synthetic or options.series:
        raise ConfigError("train: --predictor asset learns from data files alone")
    settings = load(options.config)
    _prepare_numpy()
    from anomalyd import terminal_train as terminal

    return terminal.train_asset(settings, options.data, options.out, options.seed, options.steps)


# --- models -----------------------------------------------------------------------------------


def _add_models(commands: Any) -> None:
    parser = _command(
        commands, "models", _models, "the registry of models: list, show, promote; retrain",
        "examples:\n"
        "  anomalyd models list --config my.toml\n"
        "  anomalyd models show 20260401T120000Z-5f3a9c01 --config my.toml\n"
        "  anomalyd models promote 20260401T120000Z-5f3a9c01 --reason 'tried on line 2'\n"
        "  anomalyd models rollback --role next-step\n"
        "  anomalyd models retrain --config my.toml\n"
        "Works on state.directory, whether the daemon runs or not; a running one follows within a\n"
        "second. `shipped` is the version that came with the program; of asset:CLASS, the file\n"
        "CLASS.safetensors that a stream names.",
    )  # fmt: skip
    parser.add_argument("action", choices=("list", "show", "promote", "rollback", "retrain"))
    parser.add_argument("version", nargs="?", metavar="V", help="of show and promote")
    parser.add_argument(
        "--role", default="next-step", metavar="ROLE",
        help="next-step (default), forecast or asset:CLASS; of rollback, and of V = shipped",
    )  # fmt: skip
    parser.add_argument("--reason", default="asked for on the command line", metavar="WHY")
    parser.add_argument("--json", action="store_true", help="of list and show: for programs")
    _add_config(parser)


def _models(options: argparse.Namespace) -> int:
    if (options.version is None) == (options.action in ("show", "promote")):
        missing = options.version is None
        raise ConfigError(f"models {options.action}: {'name a' if missing else 'takes no'} version")
    settings = load(options.config)
    from anomalyd import terminal_models
    from anomalyd.runtime.registry import open_store

    about = settings.streams, _folder(options.config)
    store = open_store(settings.state.directory, settings.retrain.keep_models, *about)
    if options.action == "list":
        return terminal_models.show_all(store, options.json)
    if options.action == "show":
        return terminal_models.show(store, options.version, options.role, options.json)
    if options.action == "retrain":
        store.request()
        return 0
    if options.action == "promote":
        why = (options.role, options.reason)
        return terminal_models.promote(store, options.version, *why, time.time())
    return terminal_models.roll_back(store, options.role, options.reason, time.time())


# --- simulate ---------------------------------------------------------------------------------


def _add_simulate(commands: Any) -> None:
    parser = _command(
        commands, "simulate", _simulate, "publish a simulated plant, or a recorded file",
        "examples:\n"
        "  anomalyd simulate --broker 127.0.0.1:1883 --channels 100 --rate 1\n"
        "  anomalyd simulate --broker 127.0.0.1:1883 --csv day.csv --speed 60",
    )  # fmt: skip
    parser.add_argument("--broker", required=True, metavar="HOST:PORT")
    parser.add_argument("--channels", type=int, default=24, metavar="N", help="default 24")
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="R", help="readings a second of each; default 1"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="default: until interrupted")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="publish this file instead")
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="times faster")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the plant; default 1")
    parser.add_argument(
        "--topic", default="plant", metavar="PREFIX", help="first levels of the topics"
    )
    parser.add_argument("--qos", type=int, choices=(0, 1, 2), default=0, help="default 0")


def _simulate(options: argparse.Namespace) -> int:
    from rich.console import Console

    from anomalyd.demo.simulate import Simulation, simulate

    host, _, port = options.broker.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"simulate: --broker {options.broker!r} is not HOST:PORT")
    simulation = Simulation(
        host=host.strip("[]"),
        port=int(port),
        channels=options.channels,
        rate=options.rate,
        seconds=options.seconds,
        speed=options.speed,
        seed=options.seed,
        prefix=options.topic,
        qos=options.qos,
        csv=options.csv,
    )
    return simulate(simulation, time.time(), Console(stderr=True))


# --- common -----------------------------------------------------------------------------------


def _folder(config: Path | None) -> Path:
    """Where relative model paths start: beside the configuration."""
    return config.parent if config else Path.cwd()


def _prepare_numpy() -> None:
    """Before numpy is imported: scoring is many small steps, and the threads of a matrix library
    would only wait for each other; a huge page is 2 MB for the few channels at its beginning, in
    each of many columns."""
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["NUMPY_MADVISE_HUGEPAGE"] = "0"


def _fail(error: AnomalydError, status: int) -> int:
    _tell(str(error))
    return status


def _tell(line: str) -> None:
    sys.stderr.write(f"anomalyd: {line}\n")
