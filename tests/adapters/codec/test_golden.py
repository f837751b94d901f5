"""What each codec makes of the payloads in `golden/`, written down by hand from the formats' own
documents. A file is a list of cases: the stream's keys, the payload (or steps: topics and payloads
in hex, of which the last counts), and its readings or reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from anomalyd.adapters.codec import FORMATS, Decoded, Refused, Series
from anomalyd.runtime.streams import read_streams
from anomalyd.settings import Stream

GOLDEN = Path(__file__).parent / "golden"
CASES = [
    pytest.param(case, id=f"{file.stem}-{case['name']}")
    for file in sorted(GOLDEN.glob("*.json"))
    for case in json.loads(file.read_text(encoding="utf-8"))
]


def read(case: dict[str, Any]) -> dict[str, Any]:
    """The readings of a case, as its file has them."""
    steps = case.get("steps") or [["plant/x", case["payload"].encode().hex()]]
    topic = "spBv1.0/{group}/+/{node}/{device*}" if "steps" in case else "plant/#"
    codec = read_streams([Stream(topic=topic, **case.get("stream", {}))])[0].codec
    try:
        for topic, payload in steps:
            found = codec.decode(bytes.fromhex(payload), topic)
    except Refused as refused:
        return {"reason": refused.reason}
    if isinstance(found, Decoded):
        found = Series(
            [name for name, _ in found.fields],
            [value for _, value in found.fields],
            [found.time] * len(found.fields),
        )
    readings = zip(found.names, found.values, found.times, strict=True)
    return {
        "readings": [list(each) for each in readings],
        **({"units": dict(found.units)} if found.units else {}),
        **({"ages": list(found.ages)} if any(found.ages) else {}),
        **({"ask": found.ask} if found.ask else {}),
        **({"dead": found.dead} if found.dead else {}),
        **({"refused": [list(each) for each in found.refused]} if found.refused else {}),
    }


@pytest.mark.parametrize("case", CASES)
def test_a_payload_becomes_what_its_format_says(case: dict[str, Any]) -> None:
    """Field, value and time of each reading, in order; or the reason why there is none."""
    assert case["expected"] == read(case)


def test_every_format_has_its_file() -> None:
    """The names of the formats are the names of the files."""
    assert set(FORMATS) <= {file.stem for file in GOLDEN.glob("*.json")}


@pytest.mark.parametrize(
    ("format", "payload"),
    [
        ("influx", b"x\n" * 20_000),
        ("influx", b"m " + b"a=," * 20_000 + b"b=1"),
        ("thingsboard", b"[" + b",".join([b"{}"] * 20_000) + b"]"),
    ],
)
def test_what_is_refused_is_bounded_too(format: str, payload: bytes) -> None:
    """Else a small message would be as many rejections as it has bytes."""
    codec = read_streams([Stream.model_validate({"topic": "plant/#", "format": format})])[0].codec
    with pytest.raises(Refused) as refused:
        codec.decode(payload, "x")
    assert "size" == refused.value.reason
