"""What a changed configuration changes: in flight, or only by a restart.

`service.py` calls it on the main thread at SIGHUP. Settings are frozen: a reload makes new ones, of
the old keys and those that can be changed in flight, so what is told to be in force is in force.
"""

from __future__ import annotations

from dataclasses import dataclass

from anomalyd.settings import Settings, flatten, in_flight


@dataclass(frozen=True, slots=True)
class Reload:
    """The outcome of reading the configuration again."""

    settings: Settings
    """what is in force after it"""
    applied: tuple[str, ...]
    """changed keys that hold at once"""
    waiting: tuple[str, ...]
    """changed keys that need a restart"""


def compare(now: Settings, wanted: Settings) -> Reload:
    """Take from `wanted` what can be changed in flight."""
    before = {key: value for key, value, _ in flatten(now)}
    after = {key: value for key, value, _ in flatten(wanted)}
    changed = [
        key for key in {**before, **after} if before.get(key, _ABSENT) != after.get(key, _ABSENT)
    ]
    waiting = [key for key in changed if not in_flight(key)]
    if now.password != wanted.password:
        waiting.append("mqtt password")
    if now.http_token != wanted.http_token:
        waiting.append("http token")
    applied = [key for key in changed if in_flight(key)]
    sections: dict[str, dict[str, object]] = {}
    for key in applied:
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = after[key]
    update = {
        section: getattr(now, section).model_copy(update=values)
        for section, values in sections.items()
    }
    return Reload(now.model_copy(update=update), tuple(applied), tuple(waiting))


_ABSENT = object()
