"""A steady load on a real daemon, and how long its readings waited for their score."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from anomalyd.demo.publisher import Publisher
from tests.broker.daemon import Daemon, pour, reading
from tests.programs import Mosquitto

TIMED = ("-m", "tests.benchmarks.timed_daemon")
"""a daemon whose latencies are told to 2 %"""
_BUCKET = "anomalyd_scoring_latency_seconds_bucket"
SCORED = "anomalyd_readings_scored_total"
_BURSTS = 20  # a second
_LOOK_S, _WITHIN_S = 0.1, 60.0


class Load:
    """Readings of all channels in turn at a steady pace; where the load ends, the next goes on."""

    def __init__(
        self, broker: Mosquitto, names: Sequence[str], start_s: float, rate: float
    ) -> None:
        """`rate`: readings a second of all channels; `start_s`: time of each channel's first."""
        self.sent = 0
        self._broker = broker
        step_s = len(names) / rate
        self._next = ((name, start_s + n * step_s) for n in itertools.count() for name in names)
        self._rate = rate

    def run(self, stop: Callable[[], bool]) -> None:
        """Publish until `stop`, which is asked before every burst."""
        began, size = time.monotonic(), int(self._rate / _BURSTS)
        with Publisher(self._broker.host, self._broker.port) as publisher:
            for burst in itertools.count():
                time.sleep(max(0.0, began + burst / _BURSTS - time.monotonic()))
                if stop():
                    return
                some = itertools.islice(self._next, size)
                publisher.send(reading(name, at, _value(at)) for name, at in some)
                self.sent += size

    def burst(self, readings: int, daemon: Daemon) -> float:
        """Readings a second that are scored when they come all at once."""
        some = [
            reading(name, at, _value(at)) for name, at in itertools.islice(self._next, readings)
        ]
        self.sent += readings
        wanted = daemon.metric(SCORED) + readings
        began = time.monotonic()
        pour(self._broker, some)
        while daemon.metric(SCORED) < wanted:
            assert time.monotonic() < began + _WITHIN_S, "a burst was not scored"
            time.sleep(_LOOK_S)
        return readings / (time.monotonic() - began)

    def for_a_while(self, seconds: float, meanwhile: Callable[[], None] | None = None) -> int:
        """Publish for so long; how often `meanwhile` was done, again and again."""
        done, count = threading.Event(), [0]

        def work() -> None:
            while meanwhile and not done.is_set():
                meanwhile()
                count[0] += 1

        thread = threading.Thread(target=work, name="meanwhile")
        thread.start()
        until = time.monotonic() + seconds
        self.run(lambda: time.monotonic() >= until)
        done.set()
        thread.join()
        return count[0]


def _value(at_s: float) -> float:
    return 1.0 + at_s // 1 % 3


def buckets(daemon: Daemon) -> Counter[float]:
    """Upper bound of the latency -> readings so far, not cumulative."""
    head = f'{_BUCKET}{{le="'
    found = {
        float(name.removeprefix(head).removesuffix('"}')): value
        for name, value in daemon.metrics().items()
        if name.startswith(head)
    }
    bounds = sorted(found)
    counts = np.diff([found[bound] for bound in bounds], prepend=0.0).astype(int).tolist()
    return Counter(dict(zip(bounds, counts, strict=True)))


def quantile(found: Counter[float], share: float) -> float:
    """Seconds, within which so large a share was scored."""
    bounds = sorted(found)
    upto = np.cumsum([found[bound] for bound in bounds])
    return float(bounds[int(np.searchsorted(upto, share * upto[-1]))])
