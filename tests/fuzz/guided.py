"""`python -m tests.fuzz.guided --payloads N [--seed S]`: N messages, led by what they reach.

libFuzzer, by atheris, mutates messages and keeps those that reach code that none did before; it
begins with the golden payloads. Fails as `python -m tests.fuzz` does, and where memory grows beyond
2 GB or a message takes longer than ten seconds. Prints libFuzzer's lines.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["anomalyd.adapters", "anomalyd.runtime.streams"]):
    from anomalyd.runtime.streams import read_streams

from anomalyd.adapters.codec import Refused
from tests.fuzz.__main__ import read
from tests.fuzz.payloads import SPARK_TOPICS, STREAMS, golden

_TOPICS = [stream.topic.replace("{x}", "x") for stream in STREAMS[:-1]] + SPARK_TOPICS
_ANY_TOPIC = len(_TOPICS)
"""the first byte of an input picks its topic; from this on, the first line is the topic"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided")
    parser.add_argument("--payloads", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    readers, reasons = read_streams(STREAMS), Counter[str]()

    def send(data: bytes) -> None:
        topic, payload = _message(data)
        try:
            read(readers, topic, payload, reasons)
        except Refused as refused:
            reasons[refused.reason] += 1

    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(_seeds()):
            (Path(folder) / str(number)).write_bytes(seed)
        limits = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=4096"]
        runs = [f"-runs={options.payloads}", f"-seed={options.seed}"]
        # Crashing inputs are told in the traceback; no file of them is left behind.
        left = [f"-artifact_prefix={folder}/"]
        atheris.Setup([sys.argv[0], *limits, *runs, *left, folder], send)
        atheris.Fuzz()
    return 0


def _message(data: bytes) -> tuple[str, bytes]:
    if not data:
        return _TOPICS[0], b""
    picked, rest = data[0] % (_ANY_TOPIC + 1), data[1:]
    if picked < _ANY_TOPIC:
        return _TOPICS[picked], rest
    topic, _, payload = rest.partition(b"\n")
    return topic.decode("utf-8", "replace"), payload


def _seeds() -> list[bytes]:
    """Every golden payload on the topics of its format, and one with a topic of its own."""
    found = [bytes([_ANY_TOPIC]) + b"n/x\n21.5"]
    for number in range(len(_TOPICS)):
        stream = STREAMS[min(number, len(STREAMS) - 1)]
        found += [bytes([number]) + payload for payload in golden(stream.format)]
    return found


if __name__ == "__main__":
    sys.exit(main())
