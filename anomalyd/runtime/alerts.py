"""Alerts as operators see them: a transition of a channel's state becomes one JSON document.

Built by `open_alerts.py` and `limits.py` on the pipeline's thread, only when something changes;
published by the service. Everything follows from the readings, so a replay writes the same
documents with the same ids.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from anomalyd.detection.window import Recent

SCHEMA = "anomalyd/alert/1"

_SPANS = (("s", 1.0, 99.5), ("min", 60.0, 99.5), ("h", 3600.0, 47.5), ("days", 86400.0, math.inf))
"""unit, seconds in it, and how many of it are still said in it"""

Transition = Literal["raised", "updated", "cleared"]
Severity = Literal["warning", "critical"]


class Contributor(msgspec.Struct, frozen=True):
    """A channel's share of what is wrong with its asset."""

    channel: str
    share: float


class Sample(msgspec.Struct, frozen=True):
    """A recent reading, and what was expected of it."""

    t: str
    value: float
    expected: float | None


class Crossing(msgspec.Struct, frozen=True):
    """When a limit will be reached: half of the times before `likely`, four times in five between
    `earliest` and `latest`."""

    earliest: str
    likely: str
    latest: str


class Acknowledgement(msgspec.Struct, frozen=True):
    """Somebody has taken notice of an alert."""

    at: str
    by: str | None = None
    note: str | None = None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One transition of one alert; times are ISO 8601, UTC. `id` is the same from raise to clear
    and is never used again."""

    schema: str = SCHEMA
    id: str
    transition: Transition
    channel: str
    labels: Mapping[str, str]
    kind: str
    severity: Severity
    reason: str
    score: float
    value: float
    expected: float | None
    lower: float | None
    upper: float | None
    unit: str
    started_at: str
    updated_at: str
    cleared_at: str | None
    contributors: Sequence[Contributor]
    recent: Sequence[Sample]
    model: str
    instance: str
    runbook_url: str
    limit: float | None = None
    """of kinds range and forecast"""
    crosses_at: Crossing | None = None
    """of kind forecast"""
    acknowledged: Acknowledgement | None = None
    accepted: bool = False
    """it has lasted for `alerts.accept_after_s`: it counts as the new normal, and is learnt"""


def json_schema() -> bytes:
    """The schema of an alert, as it is shipped."""
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA}
    return msgspec.json.format(msgspec.json.encode(about | msgspec.json.schema(Alert))) + b"\n"


def alert_id(instance: str, channel: str, started_s: float) -> str:
    """A channel's readings have rising times, so no two of its alerts start at the same one."""
    digest = hashlib.blake2b(f"{instance}/{channel}/{started_s!r}".encode(), digest_size=10)
    return digest.hexdigest()


def samples(recent: Recent) -> list[Sample]:
    """A channel's last readings, oldest first."""
    return [
        Sample(iso(time_s), value, number(expected))
        for time_s, value, expected in zip(*(each.tolist() for each in recent), strict=True)
    ]


def iso(time_s: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(time_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number(figure: float) -> float | None:
    """A figure for JSON: None where it is unknown."""
    return figure if figure == figure else None


def span(earliest_s: float, likely_s: float, latest_s: float) -> str:
    """A time to come with its interval, as one says it: "40-70 min (likely 52)"."""
    unit, seconds = next(
        (unit, seconds) for unit, seconds, most in _SPANS if latest_s < most * seconds
    )
    times_s = (earliest_s, likely_s, latest_s)
    earliest, likely, latest = (f"{time_s / seconds:.2g}" for time_s in times_s)
    return f"{earliest}-{latest} {unit} (likely {likely})"


def lasted(seconds: float) -> str:
    """A time that has passed, as one says it: "40 s", "20 min", "1.5 h", "3 days"."""
    unit, length = next(
        (unit, length)
        for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
        if seconds >= (2.0 if unit == "days" else 1.0) * length or unit == "s"
    )
    return f"{seconds / length:.3g} {unit}"


def reason(kind: str, value: float, expected: float, lower: float, upper: float, unit: str) -> str:
    """Why, in one sentence."""
    unit = f" {unit}" if unit else ""
    if kind == "stuck":
        return f"{value:.6g}{unit} has not changed for far longer than this sensor ever stood still"
    band = f"expected {expected:.6g}{unit}, normal from {lower:.6g} to {upper:.6g}"
    if kind == "relation":
        return f"{value:.6g}{unit} doesn't fit the other channels of its asset: {band}"
    if lower <= value <= upper:
        return f"{value:.6g}{unit} varies more than this channel does: {band}"
    side = "above" if value > upper else "below"
    return f"{value:.6g}{unit} is {abs(value - expected):.4g}{unit} {side} what was {band}"
