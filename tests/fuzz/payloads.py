"""Where fuzzed payloads come from: random bytes, mutated golden ones, and ones of the right shape.

Everything follows from a `random.Random`, so that a seed repeats a run.
"""

import json
from pathlib import Path
from random import Random
from typing import Any

from anomalyd.adapters.codec import FORMATS
from anomalyd.settings import Stream

GOLDEN = Path(__file__).parent.parent / "adapters" / "codec" / "golden"
SPARK_TOPIC = "spBv1.0/{group}/+/{node}/{device*}"
STREAMS = [
    Stream(topic="n/{x}", value=""),
    Stream(topic="m/{x}", value="", map={"OPEN": 1}, booleans=True),
    Stream(topic="f/{x}", time="ts"),
    Stream(topic="j/{x}", time="ts", map={"OPEN": 1}, booleans=True, quality="q"),
    Stream(topic="e/{x}", value="*"),
    Stream(topic="r/{x}", value="[].value", time="[].ts"),
    Stream(topic="q/{x}", value="d[].v", time="d[].t", quality="d[].q", booleans=True),
    Stream(topic="a/{x}", value="[].*", time="[].ts"),
    Stream(topic="s/{x}", value="values[]", time="t0", step="dt"),
    Stream(topic="p/{x}", value="v[]", time="t[]"),
    Stream(topic="t/{x}", format="thingsboard", booleans=True),
    Stream(topic="z/{x}", format="senml", booleans=True, map={"run": 2}),
    Stream(topic="i/{x}", format="influx", booleans=True),
    Stream(topic=SPARK_TOPIC, format="sparkplug", booleans=True),
]
SPARK_TOPICS = [
    *(f"spBv1.0/G/{kind}/N" for kind in ("NBIRTH", "NDATA", "NDEATH", "NCMD")),
    *(f"spBv1.0/G/{kind}/N/D" for kind in ("DBIRTH", "DDATA", "DDEATH")),
]
_KEYS = "ts time value values v t t0 dt d q n u vb vs s bn bt bu bv bs bver OPEN a/b".split()  # noqa: SIM905
_KEYS += ["\\", '{"x', "\n", "\u202e", "é"]
_OWN: dict[str, list[bytes]] = {
    "n": [b"21.5", b" -3e5\r\n"],
    "m": [b"OPEN", b"true", b"3"],
    "f": [b'{"ts":1700000000.25,"value":21.5}', b'{"value":1,"ts":"2023-11-14T22:13:20Z"}'],
    "j": [b'{"ts":1700000000,"value":"OPEN","q":192}', b'{"ts":1,"value":true,"q":"GOOD"}'],
    "e": [b'{"a":1,"b":{"c":{"d":2.5}},"e":"x","f":[1]}'],
    "r": [b'[{"ts":1700000000,"value":1},{"ts":1700000001,"value":2.5}]'],
    "q": [b'{"d":[{"t":1700000000,"v":true,"q":192},{"t":1,"v":2,"q":0}]}'],
    "a": [b'[{"ts":1700000000,"a":1,"b":2},{"ts":1700000001,"a":3,"c":{"d":1}}]'],
    "s": [
        b'{"t0":1700000000,"dt":0.5,"values":[1,2,3,4]}',
        b'{"t0":"2023-11-14","dt":1,"values":[]}',
    ],
    "p": [b'{"t":[1700000000,1700000001],"v":[1,2]}'],
}
"""by the first level of the stream's topic: beside the golden ones"""
_TOKENS = [
    b"9" * 400, b"1e999", b"-0", b"NaN", b"null", b"true", b"[" * 600, b"{" * 600, b'{"a":' * 600,
    b"\x00", b"\xff", b"\xf0\x9f", b"\\u0000", b"\\ud800", b'"', b"\\", b",", b"=", b" ", b"\n",
    b"12i", b"t=", b"\x12\x00", b"\x12\xff\xff\xff\x0f", b"\x80" * 11, b"\x7a\x05", b"192", b":",
]  # fmt: skip


def golden(format: str) -> list[bytes]:
    """All payloads of a format's golden file."""
    cases = json.loads((GOLDEN / f"{format}.json").read_text(encoding="utf-8"))
    texts = [case["payload"].encode() for case in cases if "payload" in case]
    return texts + [bytes.fromhex(said) for case in cases for _, said in case.get("steps", ())]


class Fuzzer:
    """An endless source of (topic, payload)."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._golden = {format: golden(format) for format in FORMATS}
        self._seeds = [seed for seeds in self._golden.values() for seed in seeds]

    def message(self) -> tuple[str, bytes]:
        """A topic of one of the streams, mostly, and a payload that may be meant for it."""
        random = self._random
        stream = random.choice(STREAMS)
        topic = stream.topic.replace("{x}", random.choice("xyz"))
        own = _OWN.get(topic[0]) or self._golden[stream.format]
        if stream.format == "sparkplug":
            topic, own = random.choice(SPARK_TOPICS), self._golden["sparkplug"]
        if random.random() < 0.02:
            at = random.randrange(len(topic) + 1)
            # What arrives has been decoded: a surrogate can't be in it.
            mutated = random.choice(["/", "\n", "\u202e", '"', "é" * 300, "", "{x}", "\x7f"])
            topic = topic[:at] + mutated + topic[at:]
        return topic, self._payload(own)

    def _payload(self, own: list[bytes]) -> bytes:
        kind = self._random.random()
        if kind < 0.1:
            return self._random.randbytes(self._random.randrange(200))
        if kind < 0.7:
            return self._mutated(self._random.choice(own))
        if kind < 0.8:
            return self._mutated(self._random.choice(self._seeds))
        return self._shaped()

    def _mutated(self, seed: bytes) -> bytes:
        random, out = self._random, bytearray(seed)
        for _ in range(random.choice((0, 1, 1, 1, 2, 3, 8))):
            at = random.randrange(len(out) + 1)
            how = random.randrange(5)
            if how == 0 and out:
                out[at % len(out)] = random.randrange(256)
            elif how == 1:
                del out[at : at + random.randrange(1, 9)]
            elif how == 2:
                out[at:at] = random.choice(_TOKENS)
            elif how == 3:
                other = random.choice(self._seeds)
                out[at:] = other[random.randrange(len(other) + 1) :]
            else:
                out[at:at] = out[at : at + 40] * random.choice((1, 1, 1, 50))
        if random.random() < 0.0005:
            out *= random.choice((30, 500, 5000))
        return bytes(out)

    def _shaped(self) -> bytes:
        document = json.dumps(self._document(3))
        return document.encode("utf-8", "surrogatepass")

    def _document(self, depth: int) -> Any:
        random = self._random
        kind = random.randrange(8 if depth else 6)
        if kind == 0:
            return random.choice([0, -1, 1_700_000_000, 2**63, 10**400, True, False])
        if kind == 1:
            return random.choice([1.5, -1e308, 1e308, 5e-324, float("nan"), float("inf")])
        if kind == 2:
            return random.choice(["OPEN", "run", "21.5", "2023-11-14T22:13:20Z", "", None, "\0"])
        if kind in (3, 6) and depth:
            return [self._document(depth - 1) for _ in range(random.randrange(4))]
        if depth:
            keys = [random.choice(_KEYS) for _ in range(random.randrange(5))]
            return {key: self._document(depth - 1) for key in keys}
        return random.random()
