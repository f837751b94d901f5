"""The daemon for an hour at 5 000 readings a second, with reconnects and retraining: does it grow?

The daemon and mosquitto are real, 1 000 channels of QoS 1 in a persistent session. Every minute its
connection is cut (another client takes its identifier) or, every third time, the broker is stopped
and started again; every twelfth of the time it retrains, with a shadow. One channel is wrong half
of the time, so that alerts come and go. Resident memory, descriptors and threads are read from
/proc. Counted as lost: a slope of memory above 0 after the warm-up (`trend.py`), and descriptors or
threads of which there are more in the last quarter than in the first one after the warm-up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import Message
from tests.broker.daemon import PLANT, Daemon, reading
from tests.faults import plot
from tests.faults.gateway import Gateway
from tests.faults.table import Row
from tests.faults.trend import slope
from tests.programs import Mosquitto, running

RATE, CHANNELS, WRONG = 5000.0, 1000, 5
_BROKER = """allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
persistence true
persistence_location {}/
"""
_PART = 12  # of the time: retraining, and a block of samples
_WARM_PARTS = 3
_CUT_EVERY_S, _SAMPLE_EVERY_S = 60.0, 5.0
_RETRAINED = 'anomalyd_retrain_total{{result="{}"}}'
_RULES = """
[retrain]
every_h = {every_h}
history_h = 0.0834
shadow_h = {shadow_h}
least_readings = 1000
steps = 40
[history]
readings_per_channel_per_day = 432000
max_mb = 50.0
"""
_AS_SHIPPED = {"ANOMALYD_STATE__SAVE_EVERY_S": "60"}  # tests save more often


class Sample(NamedTuple):
    """What /proc says of the daemon."""

    at_s: float
    resident_mb: float
    descriptors: int
    threads: int


class Load:
    """A plant that speaks at `RATE` on a socket of its own until it is stopped, at little cost."""

    def __init__(self, broker: Mosquitto, seed: int, channels: int) -> None:
        self.sent = 0
        self._broker, self._plant = broker, Plant(seed, channels)
        self._begun_s, self._steps = time.time(), 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError), Gateway(self._broker, "load") as gateway:
                self._speak(gateway)
            self._stop.wait(0.1)

    def _speak(self, gateway: Gateway) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self.sent += gateway.send(self._step())
            due = max(due + self._plant.channels / RATE, time.monotonic() - 1.0)
            self._stop.wait(max(due - time.monotonic(), 0.0))

    def _step(self) -> Iterable[Message]:
        """A reading of every channel."""
        now_s, row = time.time(), self._plant.run(1)[0]
        wrong = int((now_s - self._begun_s) // _CUT_EVERY_S) % 2
        row[WRONG] += 500.0 * wrong * (-1.0) ** self._steps
        self._steps += 1
        return (
            reading(name, now_s, value)
            for name, value in zip(self._plant.names, row.tolist(), strict=True)
        )


class Trouble:
    """Cuts the connection, or restarts the broker, now and then."""

    def __init__(self, broker: Mosquitto, every_s: float) -> None:
        self.cuts = 0
        self._broker, self._every_s = broker, every_s
        self._due = time.monotonic() + every_s

    def look(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due += self._every_s
        self.cuts += 1
        if self.cuts % 3 == 0:
            self._broker.stop()
            self._broker.start()
        else:
            with Gateway(self._broker, "anomalyd-main", clean=False):
                pass


def look(pid: int, begun: float) -> Sample:
    about = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (about / "status").read_text().splitlines())
    return Sample(
        time.monotonic() - begun,
        int(status["VmRSS"].split()[0]) / 1024.0,
        sum(1 for _ in (about / "fd").iterdir()),
        int(status["Threads"]),
    )


def soak(
    directory: Path,
    seconds: float,
    svg: Path | None = None,
    channels: int = CHANNELS,
    seed: int = 1,
) -> Row:
    """So long; what grew."""
    part_h = seconds / _PART / 3600.0
    rules = _RULES.format(every_h=part_h, shadow_h=0.1 * part_h)
    samples: list[Sample] = []
    with (
        running(Mosquitto(directory, _BROKER.format(directory))) as broker,
        Daemon(directory, broker.port, PLANT + rules, _AS_SHIPPED) as daemon,
    ):
        daemon.wait_ready()
        trouble, begun = Trouble(broker, min(_CUT_EVERY_S, seconds / _PART)), time.monotonic()
        with Load(broker, seed, channels) as load:
            while time.monotonic() - begun < seconds:
                samples.append(look(daemon.pid, begun))
                daemon.check()
                time.sleep(min(_SAMPLE_EVERY_S, seconds / 100.0))
                trouble.look()
        metrics = daemon.metrics()
    return row(samples, trouble.cuts, load.sent, metrics, svg)


def row(
    samples: list[Sample], cuts: int, sent: int, metrics: dict[str, float], svg: Path | None
) -> Row:
    at, resident, descriptors, threads = np.array(samples).T
    warm = at >= at[-1] * _WARM_PARTS / _PART
    grows = slope(at[warm] / 3600.0, resident[warm], _PART - _WARM_PARTS)
    # A round of retraining that takes longer, on a busy machine, moves a mean but no median.
    rest = slope(at[warm] / 3600.0, resident[warm], _PART - _WARM_PARTS, np.median)
    retrained = {
        name.split('"')[1]: int(value)
        for name, value in metrics.items()
        if name.startswith("anomalyd_retrain_total") and value
    }
    more = [_more(each[warm]) for each in (descriptors, threads)]
    if svg is not None:
        svg.write_text(plot.svg(at / 60.0, resident, "minutes", "resident memory, MB"))
    note = (
        f"{at[-1] / 60.0:.1f} min, {sent / at[-1]:.0f} readings/s, {sent} "
        f"confirmed, {metrics['anomalyd_readings_scored_total']:.0f} scored, "
        f"{metrics['anomalyd_mqtt_connects_total']:.0f} connects, "
        f"retrainings {retrained or 'none'}; "
        f"resident memory {resident[0]:.0f} MB at first, {resident[warm][0]:.0f} warm, "
        f"{resident.max():.0f} at most, {resident[-1]:.0f} at last: "
        f"{grows.median:+.2f} MB/h [{grows.low:+.2f}, {grows.high:+.2f}] "
        f"over {grows.blocks} blocks, {grows.verdict} "
        f"(between retrainings {rest.median:+.2f} [{rest.low:+.2f}, {rest.high:+.2f}]); "
        f"descriptors {_told(descriptors[warm])}, threads {_told(threads[warm])}"
    )
    figure = plot.text(at / 60.0, resident, "minutes", "resident memory, MB")
    return Row("soak: what grows", cuts, lost=grows.grows + sum(more), note=note, figure=figure)


def _more(counts: NDArray[np.float64]) -> bool:
    """More of them in the last quarter than in the first."""
    quarter = max(counts.size // 4, 1)
    return bool(np.median(counts[-quarter:]) > np.median(counts[:quarter]))


def _told(counts: NDArray[np.float64]) -> str:
    return f"{counts[0]:.0f} to {counts[-1]:.0f}, {counts.max():.0f} at most"


def campaign(directory: Path, minutes: int, svg: Path | None = None) -> Row:
    return soak(directory, 60.0 * minutes, svg)
