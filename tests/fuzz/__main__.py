"""`python -m tests.fuzz --payloads N [--seed S]`: N fuzzed messages through all codecs.

Each goes the whole way that a message goes before it is a reading: topic, codec, channel's name.
Fails where anything but Refused is raised, a message takes longer than `--slowest-s`, or memory
grows beyond `--most-mb`. Prints messages a second and the rejections by reason.
"""

import argparse
import resource
import sys
import time
from collections import Counter
from random import Random

import numpy as np

from anomalyd.adapters.codec import Decoded, Refused, Series
from anomalyd.adapters.codec.payload import MOST_READINGS
from anomalyd.detection.timestamp import seconds
from anomalyd.runtime.streams import StreamReader, read_streams
from tests.fuzz.payloads import STREAMS, Fuzzer

_TELL_EVERY = 250_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--payloads", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slowest-s", type=float, default=2.0)
    parser.add_argument("--most-mb", type=float, default=200.0)
    options = parser.parse_args()
    outcome = run(options.payloads, options.seed)
    sys.stdout.write(f"{outcome}\n")
    return int(outcome.slowest_s > options.slowest_s or outcome.grown_mb > options.most_mb)


class Outcome:
    """What came of a run."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.payloads = self.readings = 0
        self.seconds = self.slowest_s = self.grown_mb = 0.0

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        return (
            f"{self.payloads} payloads, {self.payloads / self.seconds:.0f}/s with their making, "
            f"{self.readings} readings; slowest {self.slowest_s * 1e3:.1f} ms; "
            f"memory +{self.grown_mb:.1f} MB; rejected: {reasons}"
        )


def run(payloads: int, seed: int) -> Outcome:
    """Raises what a codec raises, with the message that made it, where it isn't Refused."""
    outcome, fuzzer, readers = Outcome(), Fuzzer(Random(seed)), read_streams(STREAMS)  # noqa: S311
    begin, before_mb = time.perf_counter(), _memory_mb()
    for _ in range(payloads):
        topic, payload = fuzzer.message()
        at = time.perf_counter()
        try:
            outcome.readings += read(readers, topic, payload, outcome.reasons)
        except Refused as refused:
            outcome.reasons[refused.reason] += 1
        except Exception as error:
            raise AssertionError(f"topic {topic!r} payload {payload!r}") from error
        outcome.slowest_s = max(outcome.slowest_s, time.perf_counter() - at)
        outcome.payloads += 1
        if outcome.payloads % _TELL_EVERY == 0:
            sys.stderr.write(f"{outcome.payloads}\n")
    outcome.seconds = time.perf_counter() - begin
    outcome.grown_mb = _memory_mb() - before_mb
    return outcome


def read(readers: list[StreamReader], topic: str, payload: bytes, reasons: Counter[str]) -> int:
    """How many readings it is; every one has its channel, a float and a time or None."""
    for reader in readers:
        match = reader.match(topic)
        if match is None:
            continue
        found = reader.codec.decode(payload, topic)
        series = found if isinstance(found, Series) else _series(found)
        count = len(series.names)
        assert count == len(series.values) == len(series.times) <= MOST_READINGS
        assert len(series.ages) in (0, count)
        assert all(type(value) is float for value in series.values)
        reasons.update(reason for _, reason in series.refused)
        seconds(series.times, np.zeros(count))
        for name in set(series.names):
            try:
                channel = reader.channel(match, name, series.units.get(name, ""))
            except Refused as refused:
                reasons[refused.reason] += 1
            else:
                _hold_name(channel.name)
        return count
    raise Refused("topic", "no stream")


def _hold_name(name: str) -> None:
    assert len(name.encode()) <= 1024
    assert not any(each < " " or each in "\x7f\u202e\u2028" for each in name)
    assert not set(name) & set("+#")


def _series(found: Decoded) -> Series:
    names, values = [name for name, _ in found.fields], [value for _, value in found.fields]
    return Series(names, values, [found.time] * len(names))


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
