"""Readings as MQTT packets, made before they are sent: a publisher that costs next to nothing.

Run as a program, so that what it costs is on nobody's account: `python -m tests.benchmarks.load
PORT CHANNELS QOS RATE SECONDS SHAPE`. RATE is in readings a second. SHAPE: `json` (a reading a
message), `array` or `sparkplug` (100 a message). It says `ready`, sends a stretch of SECONDS for
each of two lines on stdin, and tells how many readings it was, and what it took, once the broker
has taken them all.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import msgspec

from anomalyd.demo.plant import Plant
from anomalyd.demo.publisher import payload
from tests.adapters.codec import sparkplug_schema
from tests.broker.daemon import packet

PER_MESSAGE = {"json": 1, "array": 100, "sparkplug": 100}
_BURSTS = 50  # a second
_CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04load"
_PINGREQ, _PINGRESP = b"\xc0\x00", b"\xd0\x00"
_DOUBLE = 10


def packets(channels: int, rows: list[list[float]], first_s: float, shape: str) -> Iterator[bytes]:
    """One for each message; `rows`: what all channels say, a second of the plant each."""
    names = Plant(1, channels).names
    if shape == "array":
        yield from _arrays(names, rows, first_s)
    for step, row in enumerate(rows):
        time_s = first_s + step
        if shape == "json":
            for name, value in zip(names, row, strict=True):
                yield packet(f"plant/{name}", payload(time_s, value))
        elif shape == "sparkplug":
            yield from _nodes(row, time_s, birth=step == 0)


def _arrays(names: Sequence[str], rows: list[list[float]], first_s: float) -> Iterator[bytes]:
    size = PER_MESSAGE["array"]
    for begin in range(0, len(rows) - size + 1, size):
        for at, name in enumerate(names):
            said = [
                {"ts": first_s + begin + step, "value": rows[begin + step][at]}
                for step in range(size)
            ]
            yield packet(f"plant/{name}", msgspec.json.encode(said))


def _nodes(row: list[float], time_s: float, birth: bool) -> Iterator[bytes]:
    """A node of a hundred metrics each; first its birth, then data by alias."""
    size, time_ms = PER_MESSAGE["sparkplug"], int(1000 * time_s)
    kind = "NBIRTH" if birth else "NDATA"
    for begin in range(0, len(row), size):
        metrics = [
            {"alias": 1000 + at, "timestamp": time_ms, "double_value": value}
            | ({"name": f"m{at}", "datatype": _DOUBLE} if birth else {})
            for at, value in enumerate(row[begin : begin + size])
        ]
        yield packet(f"spBv1.0/G/{kind}/N{begin // size}", sparkplug_schema.payload(*metrics))


def main() -> None:
    port, channels, qos = (int(each) for each in sys.argv[1:4])
    rate, seconds, shape = float(sys.argv[4]), float(sys.argv[5]), sys.argv[6]
    steps = max(round(2 * rate * seconds / channels), 2)
    rows = Plant(1, channels).run(steps).tolist()
    made = list(packets(channels, rows, time.time() - 2 * steps, shape))
    if qos:
        made = [_confirmed(each, 1 + number % 65535) for number, each in enumerate(made)]
    per_burst = max(int(rate / PER_MESSAGE[shape] / _BURSTS), 1)
    with socket.create_connection(("127.0.0.1", port), timeout=300.0) as connection:
        connection.sendall(_CONNECT)
        connection.recv(4, socket.MSG_WAITALL)
        print("ready", flush=True)
        half = len(made) // 2
        for stretch in (made[:half], made[half:]):
            sys.stdin.readline()
            answers = threading.Thread(target=_hear, args=(connection, qos * len(stretch)))
            answers.start()
            began = time.monotonic()
            for number, at in enumerate(range(0, len(stretch), per_burst)):
                time.sleep(max(0.0, began + number / _BURSTS - time.monotonic()))
                connection.sendall(b"".join(stretch[at : at + per_burst]))
            connection.sendall(_PINGREQ)
            answers.join()
            print(len(stretch) * PER_MESSAGE[shape], time.monotonic() - began, flush=True)


def _confirmed(made: bytes, number: int) -> bytes:
    """The same with QoS 1: an id behind the topic, and two bytes more."""
    at = 2 if made[1] < 0x80 else 3
    end = at + 2 + int.from_bytes(made[at : at + 2])
    body = made[at:end] + number.to_bytes(2) + made[end:]
    left = len(body)
    head = bytes([left]) if left < 0x80 else bytes([left & 0x7F | 0x80, left >> 7])
    return b"\x32" + head + body


def _hear(connection: socket.socket, confirmations: int) -> None:
    """So many acknowledgements, and that the broker has taken everything."""
    left = 4 * confirmations + len(_PINGRESP)
    while left:
        left -= len(connection.recv(min(left, 65536)))


if __name__ == "__main__":
    main()
