"""`python -m tests.deploy.hour --minutes 60`: no alert rule fires while all is well.

The real daemon on shipped defaults, a real broker, the simulated plant without a fault at its own
pace, and a real Prometheus with the shipped files as they are. At the end a line for every rule;
exit status 1 where one fired. A minute of it is a test.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalyd.demo.broker import HOST, EmbeddedBroker
from anomalyd.demo.child import Child
from anomalyd.demo.listener import fetch
from tests.broker.daemon import own_environment
from tests.deploy.monitoring import Prometheus
from tests.deploy.rules import alerts, without_comparisons
from tests.programs import free_port

_ANOMALYD = (sys.executable, "-m", "anomalyd")
_READY_WITHIN_S = 60.0
_LOOK_EVERY_S = 5.0
_STEP_S = 15
# What a site must say itself; all else is as shipped.
_CONFIG = """
[mqtt]
port = {broker}
[[streams]]
topic = "plant/{{line}}/{{machine}}/{{sensor}}"
value = "value"
time = "ts"
group_by = ["line", "machine"]
[http]
port = {http}
[state]
directory = "{state}"
"""


@dataclass(frozen=True)
class Found:
    """What a rule did. NaN where its expression had no series."""

    rule: str
    state: str
    """the worst: inactive, pending, firing"""
    least: float
    most: float
    """of its expression, without the comparison"""

    def __str__(self) -> str:
        return f"{self.rule:28} {self.state:9} {self.least:12.5g} {self.most:12.5g}"


def watch(directory: Path, seconds: float) -> Sequence[Found]:
    """Let it run for so long; what became of each rule."""
    began = time.monotonic()
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker())
        http_port = free_port()
        config = directory / "anomalyd.toml"
        state = directory / "state"
        config.write_text(_CONFIG.format(broker=broker.port, http=http_port, state=state))
        command = (*_ANOMALYD, "run", "--config", config)
        log = directory / "anomalyd.log"
        daemon = stack.enter_context(Child("anomalyd", command, log, own_environment({})))
        daemon.wait_until(lambda: fetch(HOST, http_port, "/-/ready") is not None, _READY_WITHIN_S)
        prometheus = stack.enter_context(Prometheus(directory, [http_port], fast=False))
        prometheus.wait_ready()
        where = f"{broker.host}:{broker.port}"
        sensors = (*_ANOMALYD, "simulate", "--broker", where, "--rate", "1")
        plant = stack.enter_context(Child("simulate", sensors, directory / "simulate.log"))
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY_S))
            for each in (daemon, prometheus, plant):
                each.check()
        window_s = math.ceil(time.monotonic() - began)
        return [_found(prometheus, name, rule["expr"], window_s) for name, rule in alerts().items()]


def _found(prometheus: Prometheus, name: str, expression: str, window_s: int) -> Found:
    def was(state: str) -> bool:
        series = f'ALERTS{{alertname="{name}",alertstate="{state}"}}'
        return bool(prometheus.query(f"max_over_time({series}[{window_s}s])"))

    state = next((each for each in ("firing", "pending") if was(each)), "inactive")
    over = f"({without_comparisons(expression)})[{window_s}s:{_STEP_S}s]"
    least, most = (
        _number(prometheus.query(f"{which}({which}_over_time({over}))")) for which in ("min", "max")
    )
    return Found(name, state, least, most)


def _number(found: list[Any] | None) -> float:
    return float(found[0]["value"][1]) if found else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.hour", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="anomalyd-hour-") as directory:
        table = watch(Path(directory), minutes * 60.0)
        said = Path(directory, "anomalyd.log").read_text()
    print(f"{'rule':28} {'state':9} {'least':>12} {'most':>12}   of its expression")
    print(*table, sep="\n")
    fired = [each.rule for each in table if each.state == "firing"]
    print(f"{len(table)} rules, {minutes:g} minutes, fired: {', '.join(fired) or 'none'}")
    if fired:
        print(said)
    sys.exit(1 if fired else 0)


if __name__ == "__main__":
    main()
